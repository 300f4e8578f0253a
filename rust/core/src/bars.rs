//! Which bars are accepted, and what to do about the others.

use crate::error::{Error, Place, Result};
use crate::graph::Input;
use crate::source::OHLCV;

/// What to do with a bad bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBad {
    /// An error that names column, row and value.
    #[default]
    Raise,
    /// A null row, which counts as a row.
    Null,
    /// A null row; the next row is row 0 of a new series.
    Reset,
}

/// What to do with a hole in the timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnGap {
    /// Nothing.
    #[default]
    Ignore,
    /// An error.
    Raise,
    /// The row after the hole is row 0 of a new series.
    Reset,
}

/// The policies of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// For bad bars.
    pub on_bad: OnBad,
    /// For holes.
    pub on_gap: OnGap,
    /// Distance between bars, ns; needed for `on_gap` other than `Ignore`.
    pub interval: Option<i64>,
}

pub(crate) const PRICE: std::ops::RangeInclusive<f64> = 1e-110..=1e110;
pub(crate) const VOLUME: std::ops::RangeInclusive<f64> = 1e-30..=1e30;
const EXTRA: f64 = 1e100;

#[inline(always)]
fn price_ok(x: f64) -> bool {
    (x >= *PRICE.start()) & (x <= *PRICE.end())
}

#[inline(always)]
fn volume_ok(x: f64) -> bool {
    ((x >= *VOLUME.start()) & (x <= *VOLUME.end())) | (x == 0.0)
}

/// True if every row is an accepted bar. All slices have the same length.
pub fn all_good(o: &[f64], h: &[f64], l: &[f64], c: &[f64], v: &[f64]) -> bool {
    crate::cpu::all_good([o, h, l, c, v])
}

/// As [`all_good`], to be compiled for each CPU level. Comparisons are false for NaN.
#[inline(always)]
pub(crate) fn all_good_rows([o, h, l, c, v]: [&[f64]; 5]) -> bool {
    let n = o.len();
    let (h, l, c, v) = (&h[..n], &l[..n], &c[..n], &v[..n]);
    let mut good = true;
    for i in 0..n {
        good &= is_good(&[o[i], h[i], l[i], c[i], v[i]]);
    }
    good
}

/// What is wrong with one bar: (column, value, reason). Columns not given are not checked.
pub fn fault(bar: [Option<f64>; 5]) -> Option<(usize, f64, &'static str)> {
    for (k, x) in bar.iter().enumerate() {
        let Some(x) = *x else { continue };
        if let Some(reason) = if k == 4 { volume_fault(x) } else { price_fault(x) } {
            return Some((k, x, reason));
        }
    }
    let [open, high, low, close, _] = bar;
    let above = |a: Option<f64>, b: Option<f64>| matches!((a, b), (Some(a), Some(b)) if a > b);
    let at = |k: usize, reason| bar[k].map(|x| (k, x, reason));
    if above(low, high) {
        at(1, "high is below low")
    } else if above(open, high) || above(low, open) {
        at(0, "open is outside low..high")
    } else if above(close, high) || above(low, close) {
        at(3, "close is outside low..high")
    } else {
        None
    }
}

fn price_fault(x: f64) -> Option<&'static str> {
    if price_ok(x) {
        None
    } else if x != x {
        Some("null or NaN")
    } else if x.abs() == f64::INFINITY {
        Some("infinite")
    } else if x <= 0.0 {
        Some("a price must be above 0")
    } else {
        Some("outside the accepted range 1e-110..1e110")
    }
}

fn volume_fault(x: f64) -> Option<&'static str> {
    if volume_ok(x) {
        None
    } else if x != x {
        Some("null or NaN")
    } else if x.abs() == f64::INFINITY {
        Some("infinite")
    } else if x < 0.0 {
        Some("a volume must not be negative")
    } else {
        Some("outside the accepted range 1e-30..1e30 (or 0)")
    }
}

/// What is wrong with a value of an extra column.
pub fn extra_fault(x: f64) -> Option<&'static str> {
    if x.abs() <= EXTRA {
        None
    } else if x != x {
        Some("null or NaN")
    } else if x.abs() == f64::INFINITY {
        Some("infinite")
    } else {
        Some("outside the accepted range ±1e100")
    }
}

/// The error for a bad bar.
pub fn bad_bar(column: &str, value: f64, reason: &'static str, place: Place) -> Error {
    Error::BadBar { column: column.to_owned(), value, reason, place }
}

/// True for an accepted bar (low <= open, close <= high bounds all four prices by low and high); [`fault`] says what is wrong with another.
#[inline(always)]
pub fn is_good(&[o, h, l, c, v]: &[f64; 5]) -> bool {
    (l >= *PRICE.start()) & (h <= *PRICE.end()) & (l <= o) & (o <= h) & (l <= c) & (c <= h) & volume_ok(v)
}

/// Checks one whole bar and its extra values.
pub fn check_bar(
    bar: &[f64; 5],
    extras: &[f64],
    names: &[String],
) -> std::result::Result<(), (String, f64, &'static str)> {
    if !is_good(bar)
        && let Some((k, x, reason)) = fault(bar.map(Some))
    {
        return Err((OHLCV[k].to_owned(), x, reason));
    }
    for (x, name) in extras.iter().zip(names) {
        if let Some(reason) = extra_fault(*x) {
            return Err((name.clone(), *x, reason));
        }
    }
    Ok(())
}

/// What happened between two rows of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// The next bar.
    Next,
    /// A hole before it, with `on_gap="reset"`.
    Reset,
}

/// The time of a series' last row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock {
    /// Time of the last row, ns.
    pub last: Option<i64>,
}

impl Clock {
    /// Checks the next row's time without taking it.
    #[inline]
    pub fn check(&self, now: i64, policy: &Policy, column: &str, place: impl Fn() -> Place) -> Result<Tick> {
        let Some(previous) = self.last else { return Ok(Tick::Next) };
        if now <= previous {
            let place = Place { time_ns: Some(now), ..place() };
            return Err(Error::Unsorted { column: column.to_owned(), value: now, previous, place });
        }
        match (policy.on_gap, policy.interval) {
            // Two times may be further apart than an i64 of nanoseconds reaches.
            (OnGap::Raise, Some(interval)) if now.abs_diff(previous) > interval.unsigned_abs() => {
                let place = Place { time_ns: Some(now), ..place() };
                Err(Error::Gap { column: column.to_owned(), value: now, previous, interval, place })
            }
            (OnGap::Reset, Some(interval)) if now.abs_diff(previous) > interval.unsigned_abs() => Ok(Tick::Reset),
            _ => Ok(Tick::Next),
        }
    }
}

/// A calendar input from a time in ns since 1970 UTC.
pub fn calendar(input: Input, ns: i64) -> f64 {
    let hours = ns.div_euclid(3_600_000_000_000);
    match input {
        Input::Hour => hours.rem_euclid(24) as f64,
        // 1970-01-01 was a Thursday.
        _ => (hours.div_euclid(24) + 3).rem_euclid(7) as f64,
    }
}
