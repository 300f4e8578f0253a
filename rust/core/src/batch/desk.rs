//! A block of bars on its way into the plan: read and checked.

use crate::bars::{self, all_good, extra_fault, fault};
use crate::graph::Input;
use crate::machine::Machine;
use crate::plan::Read;
use crate::source::{Bars, Column, OHLCV, Rows};

/// Scratch of one thread: bar columns that no instruction reads are still checked.
#[derive(Debug)]
pub(super) struct Desk {
    columns: [Vec<f64>; 5],
    pub(super) times: Vec<i64>,
    pub(super) bad: Vec<(usize, String, f64, &'static str)>,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self { columns: std::array::from_fn(|_| Vec::new()), times: Vec::new(), bad: Vec::new() }
    }
}

/// Reads `n` rows of one series into the plan's inputs, and the bar columns it does not read into the desk.
pub(super) fn fill(machine: &mut Machine, desk: &mut Desk, bars: &Bars<'_>, rows: &Rows, at: usize, n: usize) {
    let Desk { columns, times, .. } = desk;
    times.clear();
    if let Some(given) = &bars.times {
        times.resize(n, 0);
        given.read(rows, at, times);
    }
    let calendar = |input: Input, dst: &mut [f64]| {
        dst.iter_mut().zip(&*times).for_each(|(d, &t)| *d = bars::calendar(input, t));
    };
    let plain = |column: &Column<'_>| column.plain(rows, at, n).is_some();
    read_inputs(machine, columns, bars, n, calendar, plain, |column, dst| column.read(rows, at, dst));
}

/// Reads `n` rows, of every lane, into the plan's inputs, and the bar columns it does not read into `columns`, but those
/// that are checked where they lie.
pub(super) fn read_inputs(
    machine: &mut Machine,
    columns: &mut [Vec<f64>; 5],
    bars: &Bars<'_>,
    n: usize,
    calendar: impl Fn(Input, &mut [f64]),
    plain: impl Fn(&Column<'_>) -> bool,
    mut read: impl FnMut(&Column<'_>, &mut [f64]),
) {
    let mut done = [false; 5];
    for k in 0..machine.plan().inputs.len() {
        let input = machine.plan().inputs[k].input;
        let dst = machine.input(k, n);
        match input {
            Input::Hour | Input::Weekday => calendar(input, dst),
            Input::Extra(e) => read(&bars.extras[e as usize], dst),
            _ => {
                let c = column_of(input);
                done[c] = true;
                if let Some(column) = &bars.ohlcv[c] {
                    read(column, dst);
                }
            }
        }
    }
    for (c, column) in bars.ohlcv.iter().enumerate() {
        columns[c].clear();
        if let (false, Some(column)) = (done[c], column)
            && !plain(column)
        {
            columns[c].resize(n * machine.lanes(), 0.0);
            read(column, &mut columns[c]);
        }
    }
}

/// The bar columns of the `n` rows just read, wherever they are.
pub(super) fn view<'v>(
    machine: &'v Machine,
    columns: &'v [Vec<f64>; 5],
    bars: &Bars<'v>,
    n: usize,
    plain: impl Fn(&Column<'v>) -> Option<&'v [f64]>,
) -> [Option<&'v [f64]>; 5] {
    let mut view: [Option<&[f64]>; 5] =
        std::array::from_fn(|c| bars.ohlcv[c].as_ref().map(|column| plain(column).unwrap_or(&columns[c])));
    for (k, Read { input, .. }) in machine.plan().inputs.iter().enumerate() {
        if !matches!(input, Input::Extra(_) | Input::Hour | Input::Weekday) {
            view[column_of(*input)] = Some(machine.input_view(k, n));
        }
    }
    view
}

/// Number of a bar column among open, high, low, close, volume.
pub(crate) fn column_of(input: Input) -> usize {
    match input {
        Input::Open => 0,
        Input::High => 1,
        Input::Low => 2,
        Input::Close => 3,
        _ => 4,
    }
}

/// Lists the bad rows of the block just filled.
pub(super) fn check(
    machine: &mut Machine,
    desk: &mut Desk,
    bars: &Bars<'_>,
    extras: &[String],
    (rows, at, n): (&Rows, usize, usize),
) {
    desk.bad.clear();
    let machine = &*machine;
    let view = view(machine, &desk.columns, bars, n, |column| column.plain(rows, at, n));
    let clean = match view {
        [Some(o), Some(h), Some(l), Some(c), Some(v)] => all_good(o, h, l, c, v),
        _ => false,
    };
    if !clean {
        for i in 0..n {
            if let Some((c, x, reason)) = fault(view.map(|v| v.map(|v| v[i]))) {
                desk.bad.push((i, OHLCV[c].to_owned(), x, reason));
            }
        }
    }
    for (k, read) in machine.plan().inputs.iter().enumerate() {
        let Input::Extra(e) = read.input else { continue };
        for (i, &x) in machine.input_view(k, n).iter().enumerate() {
            if let Some(reason) = extra_fault(x) {
                desk.bad.push((i, extras[e as usize].clone(), x, reason));
            }
        }
    }
    desk.bad.sort_by_key(|b| b.0);
    desk.bad.dedup_by_key(|b| b.0);
}
