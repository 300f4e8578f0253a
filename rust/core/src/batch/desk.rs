//! A block of bars on its way into the plan: read and checked.

use crate::bars::{self, all_good, extra_fault, fault};
use crate::graph::Input;
use crate::machine::Machine;
use crate::plan::Read;
use crate::source::{Bars, OHLCV, Rows};

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

/// Reads `n` rows into the plan's inputs, and the bar columns it does not read into the desk.
pub(super) fn fill(machine: &mut Machine, desk: &mut Desk, bars: &Bars<'_>, rows: &Rows, at: usize, n: usize) {
    desk.times.clear();
    if let Some(times) = &bars.times {
        desk.times.resize(n, 0);
        times.read(rows, at, &mut desk.times);
    }
    let mut read = [false; 5];
    for k in 0..machine.plan().inputs.len() {
        let input = machine.plan().inputs[k].input;
        let dst = machine.input(k, n);
        match input {
            Input::Hour | Input::Weekday => {
                for (d, &t) in dst.iter_mut().zip(&desk.times) {
                    *d = bars::calendar(input, t);
                }
            }
            Input::Extra(e) => bars.extras[e as usize].read(rows, at, dst),
            _ => {
                let c = column_of(input);
                read[c] = true;
                if let Some(column) = &bars.ohlcv[c] {
                    column.read(rows, at, dst);
                }
            }
        }
    }
    for (c, column) in bars.ohlcv.iter().enumerate() {
        desk.columns[c].clear();
        if let (false, Some(column)) = (read[c], column)
            && column.plain(rows, at, n).is_none()
        {
            desk.columns[c].resize(n, 0.0);
            column.read(rows, at, &mut desk.columns[c]);
        }
    }
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
    let mut where_is: [Option<usize>; 5] = [None; 5];
    for (k, Read { input, .. }) in machine.plan().inputs.iter().enumerate() {
        if !matches!(input, Input::Extra(_) | Input::Hour | Input::Weekday) {
            where_is[column_of(*input)] = Some(k);
        }
    }
    let machine = &*machine;
    let view: [Option<&[f64]>; 5] = std::array::from_fn(|c| {
        bars.ohlcv[c].as_ref().map(|column| match where_is[c] {
            Some(k) => machine.input_view(k, n),
            None => column.plain(rows, at, n).unwrap_or(&desk.columns[c]),
        })
    });
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
