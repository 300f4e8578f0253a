//! Words of the catalogue rows: parameters and outputs that many indicators share.

use crate::catalog::{Args, Kind, Output, Param, Value};

/// Longest period of an indicator, in bars.
const LONGEST: u32 = 100_000;

/// A number of bars from `least` to [`LONGEST`].
pub(super) const fn bars(name: &'static str, least: u32, default: u32) -> Param {
    Param { name, kind: Kind::Int(least, LONGEST), default: Value::Int(default) }
}

/// `period`, from 1 bar.
pub(super) const fn period(default: u32) -> Param {
    bars("period", 1, default)
}

/// `period` of a measure of spread, which needs 2 bars.
pub(super) const fn spread_period(default: u32) -> Param {
    bars("period", 2, default)
}

/// How an exponential mean starts: with the mean of its first `period` inputs or with the first one.
pub(super) const SEED: Param = Param { name: "seed", kind: Kind::Word(&["sma", "first"]), default: Value::Word("sma") };

/// Degrees of freedom taken off the divisor of a variance: 0 for the population's, 1 for the sample's.
pub(super) const DDOF: Param = Param { name: "ddof", kind: Kind::Int(0, 1), default: Value::Int(0) };

/// Whether the first bar, which has no close before it, has a true range (its high - low).
pub(super) const TR0: Param = Param { name: "tr0", kind: Kind::Bool, default: Value::Bool(false) };

/// An only output: output and column have the name of the indicator.
pub(super) const fn one(id: &'static str, unit: &'static str, range: Range, neutral: Option<f64>) -> Output {
    out(id, id, unit, range, neutral)
}

/// One output of several.
pub(super) const fn out(
    name: &'static str,
    column: &'static str,
    unit: &'static str,
    range: Range,
    neutral: Option<f64>,
) -> Output {
    Output { name, column, unit, min: range.0, max: range.1, neutral }
}

/// Smallest and largest value.
pub(super) type Range = (Option<f64>, Option<f64>);

/// Any number.
pub(super) const FREE: Range = (None, None);
/// 0 and more.
pub(super) const POSITIVE: Range = (Some(0.0), None);
/// A relative change of something positive.
pub(super) const CHANGE: Range = (Some(-1.0), None);
/// A percentage of a whole.
pub(super) const PERCENT: Range = (Some(0.0), Some(100.0));
/// -1 to 1.
pub(super) const UNIT: Range = (Some(-1.0), Some(1.0));

/// `check` of indicators whose first two parameters are a fast and a slow period.
pub(super) fn fast_below_slow(a: &Args) -> Result<(), String> {
    let (fast, slow) = (a.int(0), a.int(1));
    if fast < slow { Ok(()) } else { Err(format!("fast must be less than slow, not {fast} and {slow}")) }
}
