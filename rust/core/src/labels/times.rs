//! When each bar has closed.

use std::collections::HashMap;

use super::{LabelError, Panel, Result};

/// Close times of `order`, whose series begin at `starts`: the bars' own, or open times and the length of a bar.
pub(super) fn close_times(panel: &Panel<'_>, order: &[u32], starts: &[usize]) -> Result<Vec<i64>> {
    if let Some(given) = panel.close_time {
        return own(panel, given, order, starts);
    }
    if order.is_empty() {
        return Ok(Vec::new());
    }
    let interval = match panel.interval {
        Some(given) => fits(panel, given, order, starts)?,
        None => common_step(panel, order, starts)?,
    };
    let open = |row: u32| panel.open_time[row as usize];
    let late = |row: u32| value("open_time", row, open(row), "the bar closes after 2262".to_owned());
    order.iter().map(|&row| open(row).checked_add(interval).ok_or_else(|| late(row))).collect()
}

fn value(column: &'static str, row: u32, value: i64, reason: String) -> LabelError {
    LabelError::Value { column, row: row as usize, value: value as f64, reason }
}

/// The bars' own close times: each after its open, and not after the next bar's.
fn own(panel: &Panel<'_>, given: &[i64], order: &[u32], starts: &[usize]) -> Result<Vec<i64>> {
    let fault = |row: u32, reason: &str| Err(value("close_time", row, given[row as usize], reason.to_owned()));
    for bounds in starts.windows(2) {
        let rows = &order[bounds[0]..bounds[1]];
        for (i, &row) in rows.iter().enumerate() {
            let closes = given[row as usize];
            if closes <= panel.open_time[row as usize] {
                return fault(row, "a bar must close after it opens");
            }
            if rows.get(i + 1).is_some_and(|&next| closes > panel.open_time[next as usize]) {
                return fault(row, "the bar closes after the next one opens");
            }
        }
    }
    Ok(order.iter().map(|&row| given[row as usize]).collect())
}

/// Distances between the bars of one series, and the later row of each.
fn steps<'a>(panel: &'a Panel<'_>, rows: &'a [u32]) -> impl Iterator<Item = (i64, u32)> + 'a {
    let open = |row: u32| panel.open_time[row as usize];
    rows.windows(2).map(move |pair| (open(pair[1]).saturating_sub(open(pair[0])), pair[1]))
}

fn fits(panel: &Panel<'_>, interval: i64, order: &[u32], starts: &[usize]) -> Result<i64> {
    if interval <= 0 {
        return Err(LabelError::Setting(format!("interval must be longer than 0, got {interval} ns")));
    }
    for bounds in starts.windows(2) {
        if let Some((step, row)) = steps(panel, &order[bounds[0]..bounds[1]]).find(|&(step, _)| step < interval) {
            let reason =
                format!("{} after the bar before it, closer than interval = {}", seconds(step), seconds(interval));
            return Err(value("open_time", row, panel.open_time[row as usize], reason));
        }
    }
    Ok(interval)
}

/// The most common distance between bars. It must be the smallest one too, and the most common of each symbol: else a
/// bar would get a close time at which it had not closed yet.
fn common_step(panel: &Panel<'_>, order: &[u32], starts: &[usize]) -> Result<i64> {
    let mut all = Counts::default();
    let mut own = Vec::new();
    for bounds in starts.windows(2) {
        let counts = Counts::of(steps(panel, &order[bounds[0]..bounds[1]]).map(|s| s.0));
        counts.0.iter().for_each(|(&step, &n)| all.add(step, n));
        if !counts.0.is_empty() {
            own.push((order[bounds[0]], counts.most_common()));
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
