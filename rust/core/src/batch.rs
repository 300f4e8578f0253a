//! Series in blocks: one long series, a panel over threads, and record batches that follow each other.

mod abreast;
mod desk;
mod worker;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::bars::{Clock, OnBad, Policy, Tick, bad_bar};
use crate::block::{Columns, Element, Room};
use crate::error::{Error, Place, Result};
use crate::fault::Fault;
use crate::features::FeatureSet;
use crate::graph::Input;
use crate::kernels::{Next, Take};
use crate::machine::Machine;
use crate::plan::EMITS;
use crate::source::{Bars, OHLCV, Rows};

pub(crate) use desk::column_of;
use desk::{Desk, check, fill};
use worker::{Worker, groups};

/// One series of a call.
#[derive(Debug, Clone)]
pub struct Series {
    /// Its rows in the caller's table.
    pub rows: Rows,
    /// Its symbol, for messages.
    pub symbol: Option<String>,
}

/// Null stretches of one call: (column, the caller's first row, rows).
pub type Nulls = Vec<(u32, u32, u32)>;

/// What happens at a row of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// The row starts a new series.
    Gap,
    /// The row is null, and the next starts a new series.
    BadReset,
}

/// Runs some rows of one series through `machine` and hands its outputs to `writer`.
fn run_series<T: Element>(
    machine: &mut Machine,
    desk: &mut Desk,
    bars: &Bars<'_>,
    (series, some): (&Series, Range<usize>),
    (policy, clock): (&Policy, &mut Clock),
    extras: &[String],
    writer: &mut Writer<'_, T>,
) -> Result<()> {
    let (mut at, total) = (some.start, some.end);
    while at < total {
        machine.wrap();
        let n = machine.room().min(total - at);
        fill(machine, desk, bars, &series.rows, at, n);
        check(machine, desk, bars, extras, (&series.rows, at, n));
        let place = |i: usize| Place {
            row: series.rows.at(at + i),
            window: None,
            symbol: series.symbol.clone(),
            time_ns: desk.times.get(i).copied(),
        };
        let mut events: Vec<(usize, Event)> = Vec::new();
        // A time error and a bad bar in one block: the earlier row is reported.
        let first_bad = desk.bad.first().map_or(usize::MAX, |b| b.0);
        for (i, &now) in desk.times.iter().enumerate() {
            if policy.on_bad == OnBad::Raise && i >= first_bad {
                break;
            }
            if clock.check(now, policy, &bars.time_name, || place(i))? == Tick::Reset {
                events.push((i, Event::Gap));
            }
            clock.last = Some(now);
        }
        if let Some((i, column, value, reason)) = desk.bad.first() {
            match policy.on_bad {
                OnBad::Raise => return Err(bad_bar(column, *value, reason, place(*i))),
                OnBad::Null => {
                    for k in 0..machine.plan().inputs.len() {
                        let input = machine.input(k, n);
                        desk.bad.iter().for_each(|b| input[b.0] = f64::NAN);
                    }
                }
                OnBad::Reset => events.extend(desk.bad.iter().map(|b| (b.0, Event::BadReset))),
            }
        }
        events.sort_by_key(|e| e.0);
        // The next block's lines arrive while this one is computed.
        let soon = n.min(total - at - n);
        let next: Next<'_> = std::array::from_fn(|c| {
            bars.ohlcv[c].as_ref().and_then(|column| column.plain(&series.rows, at + n, soon)).unwrap_or(&[])
        });
        segments(machine, &events, (at, n), next, writer);
        at += n;
    }
    Ok(())
}

/// Runs `n` rows from row `at` of the series on, cut at the events. `next` is read after them.
fn segments<T: Element>(
    machine: &mut Machine,
    events: &[(usize, Event)],
    (at, n): (usize, usize),
    next: Next<'_>,
    writer: &mut Writer<'_, T>,
) {
    let run = |machine: &mut Machine, from: usize, to: usize, writer: &mut Writer<'_, T>| {
        if to > from {
            writer.start = at + from;
            machine.run_ahead(to - from, next, writer);
            machine.advance(to - from);
        }
    };
    let mut from = 0;
    for &(row, event) in events {
        run(machine, from, row, writer);
        from = from.max(row);
        if event == Event::BadReset {
            writer.null(at + row);
            machine.advance(1);
            from = row + 1;
        }
        machine.restart();
    }
    run(machine, from, n, writer);
}

/// Where the rows of one series go.
struct Writer<'a, T> {
    out: &'a Columns<'a, T>,
    rows: &'a Rows,
    nulls: &'a mut Nulls,
    fault: Option<Fault>,
    warmup: usize,
    /// Row of the series that a run starts with.
    start: usize,
}

impl<T: Element> Take for Writer<'_, T> {
    fn take(&mut self, k: usize, row: usize, values: &[f64]) {
        let at = self.start + row..self.start + row + values.len();
        match (k, self.fault) {
            (0, Some(fault)) => {
                let planted = plant(fault, values, at.start, self.warmup);
                self.column(0, at, &planted);
            }
            _ => self.column(k, at, values),
        }
    }

    fn rooms(&mut self, outputs: [Option<usize>; EMITS], row: usize, rows: usize) -> [Option<Room<'_>>; EMITS] {
        let (Rows::Range(r), None) = (self.rows, self.fault) else { return [const { None }; EMITS] };
        let from = r.start + self.start + row;
        // SAFETY: as in `column`; each output is handed out once.
        outputs.map(|k| k.and_then(|k| unsafe { self.out.room(k, from..from + rows) }))
    }

    fn note(&mut self, k: usize, row: usize, values: &[f64]) {
        self.nulls_of(k as u32, self.start + row, values);
    }
}

impl<T: Element> Writer<'_, T> {
    /// A row that is null as a whole.
    fn null(&mut self, row: usize) {
        (0..self.out.columns()).for_each(|k| self.column(k, row..row + 1, &[f64::NAN]));
    }

    fn column(&mut self, k: usize, at: Range<usize>, values: &[f64]) {
        // SAFETY: a row belongs to one series (`groups` are disjoint), and a series to one thread at a time.
        let any_null = unsafe {
            match self.rows {
                Rows::Range(r) => self.out.write(k, r.start + at.start..r.start + at.end, values),
                Rows::Index(index) => self.out.scatter(k, &index[at.clone()], values),
            }
        };
        if any_null {
            self.nulls_of(k as u32, at.start, values);
        }
    }

    /// Notes the null stretches of a column.
    #[cold]
    fn nulls_of(&mut self, column: u32, from: usize, values: &[f64]) {
        // Most of a block that has nulls has none: it is a warm-up.
        let some = values.chunks(64).enumerate().filter(|(_, part)| part.iter().fold(false, |any, x| any | (x != x)));
        for (i, _) in some.flat_map(|(at, part)| (64 * at..).zip(part)).filter(|(_, x)| x != x) {
            note(self.nulls, column, self.rows.at(from + i) as u32);
        }
    }
}

/// Notes a null in `row` of a column.
fn note(nulls: &mut Nulls, column: u32, row: u32) {
    match nulls.last_mut() {
        Some((c, first, len)) if *c == column && *first + *len == row => *len += 1,
        _ => nulls.push((column, row, 1)),
    }
}

fn plant(fault: Fault, values: &[f64], at: usize, warmup: usize) -> Vec<f64> {
    let mut v = values.to_vec();
    match fault {
        Fault::Lookahead => {
            let by = usize::from(v.len() > 1);
            v.rotate_left(by);
        }
        Fault::Infinite => {
            if let Some(x) = (warmup + 7).checked_sub(at).and_then(|i| v.get_mut(i)) {
                *x = f64::INFINITY;
            }
        }
        Fault::Fused | Fault::StaleSnapshot => {}
    }
    v
}

/// Computes every series of a table into `out`, on up to `threads` threads. The error of the smallest
/// row is reported, whatever the threads.
pub fn compute<T: Element>(
    fs: &FeatureSet,
    bars: &Bars<'_>,
    series: &[Series],
    policy: &Policy,
    threads: usize,
    out: &Columns<'_, T>,
) -> Result<Nulls> {
    let next = AtomicUsize::new(0);
    let groups = groups(series, threads.max(1));
    let work = || {
        let mut worker = Worker::new(fs, bars, policy, out);
        while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
            worker.group(group);
        }
        worker.finish()
    };
    let threads = threads.clamp(1, groups.len().max(1));
    let parts: Vec<(Nulls, Option<Error>)> = if threads == 1 {
        vec![work()]
    } else {
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            handles.into_iter().map(|h| h.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
        })
    };
    let mut all = Nulls::new();
    let mut error = None;
    for (nulls, e) in parts {
        all.extend(nulls);
        if let Some(e) = e {
            error = Some(first(error, e));
        }
    }
    error.map_or(Ok(all), Err)
}

fn first(a: Option<Error>, b: Error) -> Error {
    let row = |e: &Error| e.place().map_or(0, |p| p.row);
    match a {
        Some(a) if row(&a) <= row(&b) => a,
        _ => b,
    }
}

/// A series that goes on from one record batch to the next.
#[derive(Debug, Clone, Default)]
pub struct Running {
    pub(crate) state: Option<crate::machine::State>,
    pub(crate) clock: Clock,
    pub(crate) rows: usize,
}

/// Computes the next rows of one running series into `out` (a small state is kept between calls; the
/// block's memory is shared by all series).
pub fn resume<T: Element>(
    fs: &FeatureSet,
    bars: &Bars<'_>,
    series: &Series,
    policy: &Policy,
    running: &mut Running,
    out: &Columns<'_, T>,
) -> Result<Nulls> {
    let mut worker = Worker::new(fs, bars, policy, out);
    worker.go_on(series, 0..series.rows.len(), running, None);
    let (nulls, error) = worker.finish();
    error.map_or(Ok(nulls), Err)
}

/// Checks that the columns fit each other and the set; `rows` is the table's length.
pub fn fit(fs: &FeatureSet, bars: &Bars<'_>, rows: usize) -> Result<()> {
    for input in fs.inputs() {
        if !matches!(input, Input::Extra(_) | Input::Hour | Input::Weekday) && bars.ohlcv[column_of(input)].is_none() {
            let name = OHLCV[column_of(input)];
            return Err(Error::column(name, format!("column {name:?} is missing: the feature set reads it")));
        }
    }
    if fs.needs_time() && bars.times.is_none() {
        return Err(Error::column(
            "time",
            "the set has calendar features (hour, weekday): name the time column with time=\"...\"",
        ));
    }
    let lengths = bars.ohlcv.iter().zip(OHLCV).filter_map(|(c, name)| c.as_ref().map(|c| (name, c.len())));
    let extras = bars.extras.iter().zip(fs.extras()).map(|(c, name)| (name.as_str(), c.len()));
    for (name, len) in lengths.chain(extras) {
        if len != rows {
            return Err(Error::column(name, format!("column {name:?} has {len} rows, the table {rows}")));
        }
    }
    if rows > u32::MAX as usize {
        return Err(Error::schema(format!("{rows} rows in one call: use compute_batches above {}", u32::MAX)));
    }
    Ok(())
}
