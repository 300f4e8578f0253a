//! Symbols whose rows lie side by side in a table, as in one in order of time: eight of them are a tile, a lane each.

use std::ops::Range;

use super::desk::{read_inputs, view};
use super::worker::Worker;
use super::{Running, Series, Writer};
use crate::bars::{Tick, all_good, calendar, extra_fault, fault};
use crate::block::Element;
use crate::error::Place;
use crate::features::FeatureSet;
use crate::graph::Input;
use crate::kernels::{TILE_LANES, Take};
use crate::machine::Machine;
use crate::plan::Read;
use crate::source::{Bars, Column, Rows};

/// Symbols of one group, and rows of each that are run before the next rows of the first: rows that share lines of the
/// cache are computed while those are in it. (64 rows were slower by a tenth, 512 by a third where lines are shared.)
pub(super) const ABREAST: usize = 64;
const ROWS: usize = 128;
/// Fewer rows, or fewer symbols, are run one symbol after the other.
const LEAST: usize = 16;
const FEW: usize = 3;
const L: usize = TILE_LANES;

/// A series that is run a slice at a time.
struct Going<'s> {
    series: &'s Series,
    index: &'s [u32],
    /// Its rows in this slice that are still to be run.
    rows: Range<usize>,
    running: Running,
}

/// A machine for one series, one for a tile of them, and what a tile needs. The state of a series fits both.
pub(super) struct Tile {
    pub(super) one: Machine,
    eight: Machine,
    /// Bar columns that the plan does not read, which are checked all the same.
    columns: [Vec<f64>; 5],
    /// Times, lane after lane.
    times: Vec<i64>,
    lane: Vec<f64>,
}

impl Tile {
    pub(super) fn new(fs: &FeatureSet) -> Self {
        let plan = fs.window_plan(ROWS);
        let eight = fs.tile(&plan);
        Self { one: Machine::new(plan, 1), eight, columns: Default::default(), times: Vec::new(), lane: Vec::new() }
    }

    /// Gives the tile's memory back for the next call.
    pub(super) fn finish(mut self, fs: &FeatureSet) {
        self.eight.reset();
        fs.tile_done(self.eight);
    }

    /// Runs the rows that all of up to eight series have in this slice, as far as there is nothing to refuse or to
    /// start anew; what is left is for the caller.
    fn run<T: Element>(&mut self, some: &mut [Going<'_>], worker: &mut Worker<'_, T>) {
        let rows = some.iter().map(|g| g.rows.len()).min().unwrap_or(0);
        self.eight.reset();
        for (lane, going) in some.iter().enumerate() {
            going.running.state.as_ref().map(|state| self.eight.load_lane(lane, state));
        }
        let mut done = 0;
        while done < rows {
            self.eight.wrap();
            let n = self.eight.room().min(rows - done);
            let beside = lie_beside(some, n);
            self.fill(some, n, worker.bars, beside);
            if !self.sound(worker.bars, n) || !tick(some, &self.times, worker) {
                break;
            }
            self.compute(some, n, beside, worker);
            self.eight.advance(n);
            for going in &mut *some {
                going.rows.start += n;
                going.running.rows = going.running.rows.saturating_add(n);
            }
            done += n;
        }
        if done > 0 {
            for (lane, going) in some.iter_mut().enumerate() {
                going.running.state = Some(self.eight.save_lane(lane));
            }
        }
    }

    /// Reads the next `n` rows into the plan's inputs; lanes without a series repeat the last one.
    fn fill(&mut self, some: &[Going<'_>], n: usize, bars: &Bars<'_>, beside: bool) {
        self.times.clear();
        if let Some(times) = &bars.times {
            self.times.resize(n * some.len(), 0);
            for (going, dst) in some.iter().zip(self.times.chunks_exact_mut(n)) {
                times.read(&going.series.rows, going.rows.start, dst);
            }
        }
        let (times, last) = (&self.times, some.len() - 1);
        let calendar = |input: Input, dst: &mut [f64]| {
            for (r, d) in dst.as_chunks_mut::<L>().0.iter_mut().enumerate() {
                let time = |lane: usize| times.get(lane.min(last) * n + r);
                *d = std::array::from_fn(|lane| time(lane).map_or(f64::NAN, |&t| calendar(input, t)));
            }
        };
        let lane = &mut self.lane;
        read_inputs(
            &mut self.eight,
            &mut self.columns,
            bars,
            n,
            calendar,
            |_| false,
            |column, dst| read_lanes(column, some, beside, lane, dst.as_chunks_mut().0),
        );
    }

    /// True if all values of the `n` rows just read are accepted.
    fn sound(&self, bars: &Bars<'_>, n: usize) -> bool {
        let extra = |read: &Read| matches!(read.input, Input::Extra(_));
        let mut extras = self.eight.plan().inputs.iter().enumerate().filter(|(_, read)| extra(read));
        extras.all(|(k, _)| self.eight.input_view(k, n).iter().all(|&x| extra_fault(x).is_none()))
            && match view(&self.eight, &self.columns, bars, n, |_| None) {
                [Some(o), Some(h), Some(l), Some(c), Some(v)] => all_good(o, h, l, c, v),
                some => (0..n * L).all(|i| fault(some.map(|v| v.map(|v| v[i]))).is_none()),
            }
    }

    /// Computes the `n` rows just read and puts their outputs.
    fn compute<T: Element>(&mut self, some: &[Going<'_>], n: usize, beside: bool, worker: &mut Worker<'_, T>) {
        let (lane, nulls, out) = (&mut self.lane, &mut worker.nulls, worker.out);
        self.eight.run(n, false, &mut |k: usize, row: usize, values: &[f64]| {
            let rows = values.as_chunks::<L>().0;
            let place = |g: &Going<'_>| g.rows.start + row..g.rows.start + row + rows.len();
            if beside {
                let first = &some[0].index[place(&some[0])];
                // SAFETY: as in `Writer::column`.
                if unsafe { out.write_beside(k, first, some.len(), rows) } {
                    for (&row, x) in first.iter().zip(rows) {
                        let null = (0..some.len()).filter(|&lane| x[lane] != x[lane]);
                        null.for_each(|lane| super::note(nulls, k as u32, row + lane as u32));
                    }
                }
                return;
            }
            for (i, going) in some.iter().enumerate() {
                lane.clear();
                lane.extend(rows.iter().map(|x| x[i]));
                let start = place(going).start;
                let rows = &going.series.rows;
                Writer { out, rows, nulls: &mut *nulls, fault: None, warmup: 0, start }.take(k, 0, lane);
            }
        });
    }
}

/// True if each of the next `n` rows of the first series is followed by one of every other.
fn lie_beside(some: &[Going<'_>], n: usize) -> bool {
    let rows = |g: &Going<'_>| g.rows.start..g.rows.start + n;
    let first = &some[0].index[rows(&some[0])];
    (1_u32..).zip(&some[1..]).all(|(lane, g)| {
        first.iter().zip(&g.index[rows(g)]).fold(true, |all, (&a, &b)| all & (a.wrapping_add(lane) == b))
    })
}

/// Reads the next rows of each series into its lane.
fn read_lanes(column: &Column<'_>, some: &[Going<'_>], beside: bool, lane: &mut Vec<f64>, dst: &mut [[f64; L]]) {
    let first = some[0].rows.start;
    if beside && column.read_beside(&some[0].index[first..first + dst.len()], some.len(), dst) {
        return;
    }
    lane.resize(dst.len(), 0.0);
    for (i, going) in some.iter().enumerate() {
        column.read(&going.series.rows, going.rows.start, lane);
        let last = if i + 1 == some.len() { L } else { i + 1 };
        dst.iter_mut().zip(&*lane).for_each(|(d, &x)| d[i..last].fill(x));
    }
}

/// Moves every clock over the rows just read; false, and none is moved, if one of them would raise or start anew.
fn tick<T>(some: &mut [Going<'_>], times: &[i64], worker: &Worker<'_, T>) -> bool {
    if times.is_empty() {
        return true;
    }
    let each = || some.iter().zip(times.chunks_exact(times.len() / some.len()));
    let no_place = || Place { row: 0, window: None, symbol: None, time_ns: None };
    let sound = each().all(|(going, times)| {
        let mut clock = going.running.clock;
        times.iter().all(|&now| {
            let next = clock.check(now, worker.policy, "", no_place);
            clock.last = Some(now);
            matches!(next, Ok(Tick::Next))
        })
    });
    if sound {
        let last: Vec<Option<i64>> = each().map(|(_, times)| times.last().copied()).collect();
        some.iter_mut().zip(last).for_each(|(going, last)| going.running.clock.last = last);
    }
    sound
}

impl<T: Element> Worker<'_, T> {
    /// Runs series whose rows lie side by side, a slice of the table after the other.
    pub(super) fn abreast(&mut self, group: &[Series]) {
        let mut tile = self.tile.take().unwrap_or_else(|| Tile::new(self.fs));
        std::mem::swap(&mut self.machine, &mut tile.one);
        let mut going: Vec<Going<'_>> = group.iter().filter_map(Going::new).collect();
        let from = going.iter().filter_map(|g| g.index.first()).min().map_or(0, |&row| row as usize);
        let to = going.iter().filter_map(|g| g.index.last()).max().map_or(0, |&row| row as usize + 1);
        let longest = going.iter().map(|g| g.index.len()).max().unwrap_or(1);
        let slice = ROWS * (to - from).div_ceil(longest);
        for end in (from + slice..to + slice).step_by(slice) {
            for g in &mut going {
                g.rows.end = g.series.rows.before(end);
            }
            // Those of like length go together, and among them those that lie side by side.
            going.sort_unstable_by_key(|g| (g.rows.len(), g.index[g.rows.start]));
            let few = going.partition_point(|g| g.rows.len() < LEAST);
            if self.fs.fault().is_none() {
                going[few..].chunks_mut(L).filter(|some| some.len() >= FEW).for_each(|some| tile.run(some, self));
            }
            going.retain_mut(|g| {
                let rows = g.rows.clone();
                g.rows.start = rows.end;
                (rows.is_empty() || self.go_on(g.series, rows, &mut g.running, self.fs.fault()))
                    && g.rows.start < g.index.len()
            });
        }
        std::mem::swap(&mut self.machine, &mut tile.one);
        self.tile = Some(tile);
    }
}

impl<'s> Going<'s> {
    fn new(series: &'s Series) -> Option<Self> {
        let Rows::Index(index) = &series.rows else { return None };
        Some(Self { series, index, rows: 0..0, running: Running::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bars::Policy;
    use crate::batch::compute;
    use crate::block::Columns;
    use crate::graph::Profile;

    /// The outputs of a table of `symbols`, whose rows are in order of time where `side` is true.
    fn outputs(fs: &FeatureSet, symbols: usize, rows: usize, side: bool) -> Vec<Vec<u64>> {
        let n = symbols * rows;
        let at = |s: usize, t: usize| if side { t * symbols + s } else { s * rows + t };
        let mut columns: [Vec<f64>; 5] = std::array::from_fn(|_| vec![0.0; n]);
        for s in 0..symbols {
            for t in 0..rows {
                let wave = ((s * 31 + t * t * 7) % 101) as f64;
                let bar = [100.0 + wave, 202.0, 99.0, 100.0 + wave * 0.7, wave];
                columns.iter_mut().zip(bar).for_each(|(column, x)| column[at(s, t)] = x);
            }
        }
        // A bar that is refused in the middle of a tile.
        columns[3][at(1, rows / 2)] = f64::NAN;
        let bars = Bars { ohlcv: columns.each_ref().map(|c| Some(Column::of(c))), ..Bars::default() };
        let series: Vec<Series> = (0..symbols)
            .map(|s| {
                let index = Rows::Index((0..rows).map(|t| at(s, t) as u32).collect());
                let rows = if side { index } else { Rows::Range(s * rows..(s + 1) * rows) };
                Series { rows, symbol: None }
            })
            .collect();
        let f = fs.columns().len();
        let mut memory = vec![0.0_f64; f * n];
        let out = Columns::over(&mut memory, n, f, n);
        let policy = Policy { on_bad: crate::bars::OnBad::Null, ..Policy::default() };
        compute(fs, &bars, &series, &policy, 1, &out).unwrap();
        let of = |s: usize| (0..f * rows).map(move |i| i / rows * n + at(s, i % rows));
        (0..symbols).map(|s| of(s).map(|i| memory[i].to_bits()).collect()).collect()
    }

    #[test]
    fn a_lane_has_the_bits_of_the_series_alone() {
        let specs =
            ["ema(3)", "rsi(4)", "spread = std(close, 5)", "macd(3,5,2)", "total = cumsum(volume)"].map(str::to_owned);
        let fs = FeatureSet::new(&specs, Profile::Safe).unwrap();
        for (symbols, rows) in [(3, 40), (8, 300), (21, 33), (9, 17)] {
            assert_eq!(outputs(&fs, symbols, rows, true), outputs(&fs, symbols, rows, false), "{symbols} x {rows}");
        }
    }
}
