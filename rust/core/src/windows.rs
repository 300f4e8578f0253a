//! Windows: many short series of the same length, computed in tiles of 8 interleaved ones. With only
//! the last row wanted, steps that forget compute just the rows that it needs.

mod put;
mod sources;
#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::bars::{Clock, OnBad, OnGap, Policy, bad_bar, calendar, check_bar};
use crate::batch::column_of;
use crate::block::{Element, Shared};
use crate::error::{Error, Place, Result};
use crate::features::FeatureSet;
use crate::graph::Input;
use crate::kernels::TILE_LANES;
use crate::machine::Machine;
use crate::simd::new_rows_of;
use put::Put;

pub use sources::{Cube, History, Windows};

const L: usize = TILE_LANES;
/// Tiles that a thread takes at a time.
const BATCH: usize = 16;

/// One thread's tile.
struct Tile {
    machine: Machine,
    columns: [Vec<f64>; 5],
    /// Values of the last row, column by column, and window by window.
    last: (Vec<[f64; L]>, Vec<MaybeUninit<f64>>),
    policy: Policy,
    last_only: bool,
}

/// Computes every window into `out`: row-major (n, F), or (n, rows, F) with `all_rows`.
pub fn compute<T: Element>(
    fs: &FeatureSet,
    windows: &impl Windows,
    policy: &Policy,
    all_rows: bool,
    threads: usize,
    out: &mut [T],
) -> Result<()> {
    let (n, rows) = (windows.count(), windows.rows());
    let size = fs.columns().len() * if all_rows { rows } else { 1 };
    if out.len() != n * size {
        return Err(Error::schema(format!("the output has {} elements, needed are {}", out.len(), n * size)));
    }
    let plan = fs.window_plan(rows);
    let out = Shared::new(out);
    let next = AtomicUsize::new(0);
    let work = || -> Option<Error> {
        let mut tile = Tile::new(fs.tile(&plan), *policy, !all_rows);
        let mut error: Option<Error> = None;
        loop {
            let first = next.fetch_add(BATCH * L, Ordering::Relaxed);
            for w in (first..n.min(first + BATCH * L)).step_by(L) {
                let lanes = L.min(n - w);
                // SAFETY: windows w..w + lanes are this thread's alone: `next` hands each out once.
                let part = unsafe { out.part(w * size, lanes * size) };
                if let Err(e) = tile.compute(fs, windows, w, lanes, part) {
                    error.get_or_insert(e);
                }
            }
            if first >= n || error.is_some() {
                fs.tile_done(tile.machine);
                return error;
            }
        }
    };
    let threads = threads.clamp(1, n.div_ceil(BATCH * L).max(1));
    let errors: Vec<Error> = if threads == 1 {
        work().into_iter().collect()
    } else {
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            handles.into_iter().filter_map(|h| h.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
        })
    };
    // Tiles are handed out in order, so the smallest window with an error is among those found.
    errors.into_iter().min_by_key(|e| e.place().and_then(|p| p.window)).map_or(Ok(()), Err)
}

impl Tile {
    fn new(machine: Machine, policy: Policy, last_only: bool) -> Self {
        Self { machine, columns: Default::default(), last: Default::default(), policy, last_only }
    }

    fn compute<T: Element>(
        &mut self,
        fs: &FeatureSet,
        windows: &impl Windows,
        first: usize,
        lanes: usize,
        out: &mut [T],
    ) -> Result<()> {
        let rows = windows.rows();
        if self.fill_good(fs, windows, first) && self.run_good(fs, rows, windows.memory(first + L), out) {
            return Ok(());
        }
        self.columns.iter_mut().for_each(|column| column.resize(rows * L, 0.0));
        windows.bars(first, self.columns.each_mut().map(|d| d.as_chunks_mut::<L>().0));
        let resets = self.check(fs, windows, first, lanes)?;
        self.fill(windows, first, lanes);
        let (last_only, columns, policy) = (self.last_only, &self.columns, &self.policy);
        // A bad row under `on_bad="reset"` is null as a whole, whatever its features would say.
        let marks = (policy.on_bad == OnBad::Reset).then_some(columns[3].as_slice());
        let mut put = Put { out, f: fs.columns().len(), lanes, rows, last_only, marks };
        if resets.is_empty() {
            for last_only in [last_only, false] {
                if self
                    .machine
                    .run_fresh(rows, last_only, &[], &mut |k: usize, _: usize, values: &[f64]| put.take(k, 0, values))
                {
                    break;
                }
            }
            return Ok(());
        }
        // Saved so that the next tile finds NaN history, and no states, again.
        let fresh = self.machine.clone();
        self.machine.restart();
        let mut from = 0;
        let mut stops: Vec<usize> = resets.iter().map(|r| r.0).chain([rows]).collect();
        stops.dedup();
        for stop in stops {
            self.machine.run(stop - from, false, &mut |k: usize, _: usize, values: &[f64]| {
                if stop == rows || !last_only {
                    put.take(k, from, values);
                }
            });
            self.machine.advance(stop - from);
            for &(_, lane) in resets.iter().filter(|r| r.0 == stop) {
                self.machine.restart_lane(lane);
            }
            from = stop;
        }
        self.machine = fresh;
        Ok(())
    }

    /// Computes a tile of accepted bars; false if what was put out is of no use.
    fn run_good<T: Element>(&mut self, fs: &FeatureSet, rows: usize, next: &[f64], out: &mut [T]) -> bool {
        let f = fs.columns().len();
        if !self.last_only {
            let lanes = out.len() / (rows * f);
            let mut put = Put { out, f, lanes, rows, last_only: false, marks: None };
            return self
                .machine
                .run_fresh(rows, false, next, &mut |k: usize, _: usize, values: &[f64]| put.take(k, 0, values));
        }
        let (columns, windows) = &mut self.last;
        columns.resize(f, [0.0; L]);
        windows.resize(out.len(), MaybeUninit::uninit());
        let whole = self.machine.run_fresh(rows, true, next, &mut |k: usize, _: usize, values: &[f64]| {
            columns[k] = *values.last_chunk().unwrap_or(&[f64::NAN; L]);
        });
        let (values, _) = new_rows_of(columns, windows);
        out.iter_mut().zip(values).for_each(|(y, x)| *y = T::from_value(*x));
        whole
    }

    /// Copies the bars that the plan reads into its slab, where nothing but bars is read; true if all are accepted.
    fn fill_good(&mut self, fs: &FeatureSet, windows: &impl Windows, first: usize) -> bool {
        if !fs.extras().is_empty() || windows.time(first, 0).is_some() {
            return false;
        }
        let rows = windows.rows();
        let mut which = [None; 5];
        for (k, read) in self.machine.plan().inputs.iter().enumerate() {
            let wanted = if self.last_only { rows.min(read.demand as usize) } else { rows };
            which[column_of(read.input)] = Some((k, wanted));
        }
        let columns = self.machine.inputs(which, rows);
        windows.bars(first, columns.map(|d| d.as_chunks_mut::<L>().0))
    }

    /// Copies the inputs that the plan reads into its slab.
    fn fill(&mut self, windows: &impl Windows, first: usize, lanes: usize) {
        let rows = windows.rows();
        for k in 0..self.machine.plan().inputs.len() {
            let input = self.machine.plan().inputs[k].input;
            let dst = self.machine.input(k, rows);
            match input {
                Input::Extra(e) => each_row(dst, lanes, first, |w, r| windows.extra(e as usize, w, r)),
                Input::Hour | Input::Weekday => {
                    each_row(dst, lanes, first, |w, r| windows.time(w, r).map_or(f64::NAN, |t| calendar(input, t)));
                }
                _ => dst.copy_from_slice(&self.columns[column_of(input)]),
            }
        }
        // A null row is null in every column, calendar and extra ones too.
        if self.policy.on_bad != OnBad::Raise {
            for k in 0..self.machine.plan().inputs.len() {
                let dst = self.machine.input(k, rows);
                for (x, mark) in dst.iter_mut().zip(&self.columns[3]) {
                    *x = if mark == mark { *x } else { f64::NAN };
                }
            }
        }
    }

    /// Checks bars and times. Bad rows become NaN in every column; rows at which a lane starts anew are
    /// returned as (first row of the new series, lane).
    fn check(
        &mut self,
        fs: &FeatureSet,
        windows: &impl Windows,
        first: usize,
        lanes: usize,
    ) -> Result<Vec<(usize, usize)>> {
        let mut resets = Vec::new();
        let mut extras = vec![0.0; fs.extras().len()];
        for lane in 0..lanes {
            let w = first + lane;
            let mut clock = Clock::default();
            for r in 0..windows.rows() {
                let at = r * L + lane;
                let place =
                    || Place { row: windows.row(w, r), window: Some(w), symbol: None, time_ns: windows.time(w, r) };
                extras.iter_mut().enumerate().for_each(|(e, x)| *x = windows.extra(e, w, r));
                let bar: [f64; 5] = std::array::from_fn(|k| self.columns[k][at]);
                let checked = check_bar(&bar, &extras, fs.extras());
                if let (Err((column, value, reason)), OnBad::Raise) = (&checked, self.policy.on_bad) {
                    return Err(bad_bar(column, *value, reason, place()));
                }
                if let Some(now) = windows.time(w, r) {
                    if clock.check(now, &self.policy, "time", place)? == crate::bars::Tick::Reset {
                        resets.push((r, lane));
                    }
                    clock.last = Some(now);
                }
                if checked.is_ok() {
                    continue;
                }
                match self.policy.on_bad {
                    OnBad::Raise | OnBad::Null => {}
                    OnBad::Reset => resets.push((r + 1, lane)),
                }
                self.columns.iter_mut().for_each(|k| k[at] = f64::NAN);
            }
        }
        resets.retain(|&(r, _)| r < windows.rows());
        resets.sort_unstable();
        resets.dedup();
        Ok(resets)
    }
}

fn each_row(dst: &mut [f64], lanes: usize, first: usize, value: impl Fn(usize, usize) -> f64) {
    for (r, row) in dst.as_chunks_mut::<L>().0.iter_mut().enumerate() {
        for (l, x) in row.iter_mut().enumerate() {
            *x = value(first + l.min(lanes - 1), r);
        }
    }
}

/// Checks the shape of a call; `columns` is the last axis of the array.
pub fn fit(fs: &FeatureSet, rows: usize, extras: Option<usize>, times: bool, policy: &Policy) -> Result<()> {
    if rows == 0 {
        return Err(Error::schema("windows need at least one row (the second axis is empty)"));
    }
    let given = extras.unwrap_or(0);
    if given != fs.extras().len() {
        let names = fs.extras().join(", ");
        let what = if names.is_empty() { "none".to_owned() } else { names };
        return Err(Error::Schema {
            column: fs.extras().first().cloned(),
            message: format!("the set reads {} extra columns ({what}), extra= holds {given}", fs.extras().len()),
        });
    }
    if fs.needs_time() && !times {
        return Err(Error::column("time", "the set has calendar features (hour, weekday): pass time="));
    }
    if policy.on_gap != OnGap::Ignore && !times {
        return Err(Error::column("time", "on_gap needs time="));
    }
    Ok(())
}
