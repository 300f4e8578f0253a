//! When each bar has closed.

use std::collections::HashMap;
use std::ops::Range;

use super::panel::Order;
use super::{LabelError, Panel, Result};

/// Close times in `order`: the bars' own, or open times and the length of a bar.
pub(super) fn close_times(panel: &Panel<'_>, order: &Order) -> Result<Vec<i64>> {
    if let Some(given) = panel.close_time {
        return own(panel, given, order);
    }
    let n = panel.open_time.len();
    if n == 0 {
        return Ok(Vec::new());
    }
    let interval = match panel.interval {
        Some(given) => fits(panel, given, order)?,
        None => common_step(panel, order)?,
    };
    let last = panel.open_time.iter().enumerate().max_by_key(|t| t.1);
    if let Some((row, &open)) = last.filter(|t| t.1.checked_add(interval).is_none()) {
        return Err(value("open_time", row, open, "the bar closes after 2262".to_owned()));
    }
    Ok((0..n).map(|i| panel.open_time[order.row(i)] + interval).collect())
}

fn value(column: &'static str, row: usize, value: i64, reason: String) -> LabelError {
    LabelError::Value { column, row, value: value as f64, reason }
}

/// The bars' own close times: each after its open, and not after the next bar's.
fn own(panel: &Panel<'_>, given: &[i64], order: &Order) -> Result<Vec<i64>> {
    let fault = |row: usize, reason: &str| Err(value("close_time", row, given[row], reason.to_owned()));
    for series in order.series() {
        let end = series.end;
        for i in series {
            let row = order.row(i);
            if given[row] <= panel.open_time[row] {
                return fault(row, "a bar must close after it opens");
            }
            if i + 1 < end && given[row] > panel.open_time[order.row(i + 1)] {
                return fault(row, "the bar closes after the next one opens");
            }
        }
    }
    Ok((0..given.len()).map(|i| given[order.row(i)]).collect())
}

/// Distances between the bars of one series, and the caller's row of the later one of each.
fn steps<'a>(panel: &'a Panel<'_>, order: &'a Order, series: Range<usize>) -> impl Iterator<Item = (i64, usize)> + 'a {
    let open = |i: usize| panel.open_time[order.row(i)];
    (series.start + 1..series.end).map(move |i| (open(i).saturating_sub(open(i - 1)), order.row(i)))
}

fn fits(panel: &Panel<'_>, interval: i64, order: &Order) -> Result<i64> {
    if interval <= 0 {
        return Err(LabelError::Setting(format!("interval must be longer than 0, got {interval} ns")));
    }
    for series in order.series() {
        if let Some((step, row)) = steps(panel, order, series).find(|&(step, _)| step < interval) {
            let reason =
                format!("{} after the bar before it, closer than interval = {}", seconds(step), seconds(interval));
            return Err(value("open_time", row, panel.open_time[row], reason));
        }
    }
    Ok(interval)
}

/// The most common distance between bars. It must be the smallest one too, and the most common of each symbol: else a
/// bar would get a close time at which it had not closed yet.
fn common_step(panel: &Panel<'_>, order: &Order) -> Result<i64> {
    let mut all = Counts::default();
    let mut own = Vec::new();
    for series in order.series() {
        let counts = Counts::of(steps(panel, order, series.clone()).map(|s| s.0));
        counts.0.iter().for_each(|(&step, &n)| all.add(step, n));
        if !counts.0.is_empty() {
            own.push((order.row(series.start), counts.most_common()));
        }
    }
    let doubt = |text: String| Err(LabelError::Interval(format!("the bars do not tell how long they are: {text}")));
    let smallest = all.0.keys().copied().min().unwrap_or(0);
    match all.most_common().as_slice() {
        [] => doubt("no symbol has two of them".to_owned()),
        [step] if *step > smallest => doubt(format!("most are {} apart, some {}", seconds(*step), seconds(smallest))),
        [step] => match own.iter().find(|(_, own)| !own.contains(step)) {
            Some((row, own)) => {
                let (most, its) = (seconds(*step), seconds(own[0]));
                doubt(format!("most are {most} apart, those of the symbol in row {row} {its}"))
            }
            None => Ok(*step),
        },
        [a, b, ..] => doubt(format!("as many are {} apart as {}", seconds(*a), seconds(*b))),
    }
}

/// How often each distance occurs.
#[derive(Default)]
struct Counts(HashMap<i64, usize>);

impl Counts {
    fn of(steps: impl Iterator<Item = i64>) -> Self {
        let mut counts = Self::default();
        // Mostly one distance over and over: the map is asked once per run.
        let (mut run, mut length) = (0, 0);
        for step in steps {
            if step != run {
                counts.add(run, length);
                (run, length) = (step, 0);
            }
            length += 1;
        }
        counts.add(run, length);
        counts
    }

    fn add(&mut self, step: i64, n: usize) {
        if n > 0 {
            *self.0.entry(step).or_default() += n;
        }
    }

    /// The most common distances, ascending.
    fn most_common(&self) -> Vec<i64> {
        let most = self.0.values().copied().max().unwrap_or(0);
        let mut best: Vec<i64> = self.0.iter().filter(|(_, n)| **n == most).map(|(step, _)| *step).collect();
        best.sort_unstable();
        best
    }
}

fn seconds(ns: i64) -> String {
    format!("{} s", ns as f64 / 1e9)
}
