//! Time of day and day of week (UTC) as points on a circle, so that 23 h is next to 0 h and Sunday to Monday.
//! They need timestamps. Any row with a time has a value: no warm-up, no memory.

use super::params::{UNIT, one};
use crate::catalog::{Args, Indicator};
use crate::graph::{Expr, Graph, Input};

/// Hours of a day.
const DAY: f64 = 24.0;
/// Days of a week.
const WEEK: f64 = 7.0;

/// Sine of the hour of day (0..23, whole hours, UTC): sin(2 pi hour / 24).
fn hour_sin(g: &mut Graph, _: &Args) -> Vec<Expr> {
    let hour = g.input(Input::Hour);
    vec![g.sin_turn(hour, DAY)]
}

/// Cosine of the hour of day: cos(2 pi hour / 24).
fn hour_cos(g: &mut Graph, _: &Args) -> Vec<Expr> {
    let hour = g.input(Input::Hour);
    vec![g.cos_turn(hour, DAY)]
}

/// Sine of the day of week (Monday 0, Sunday 6, UTC): sin(2 pi weekday / 7).
fn dow_sin(g: &mut Graph, _: &Args) -> Vec<Expr> {
    let day = g.input(Input::Weekday);
    vec![g.sin_turn(day, WEEK)]
}

/// Cosine of the day of week: cos(2 pi weekday / 7).
fn dow_cos(g: &mut Graph, _: &Args) -> Vec<Expr> {
    let day = g.input(Input::Weekday);
    vec![g.cos_turn(day, WEEK)]
}

/// Catalogue rows.
pub const TABLE: &[Indicator] = &[
    Indicator {
        id: "hour_sin",
        params: &[],
        outputs: &[one("hour_sin", "-1..1", UNIT, None)],
        formula: "sin(2 pi hour / 24), hour of the timestamp in UTC",
        source: "common definition",
        build: hour_sin,
        check: None,
    },
    Indicator {
        id: "hour_cos",
        params: &[],
        outputs: &[one("hour_cos", "-1..1", UNIT, None)],
        formula: "cos(2 pi hour / 24), hour of the timestamp in UTC",
        source: "common definition",
        build: hour_cos,
        check: None,
    },
    Indicator {
        id: "dow_sin",
        params: &[],
        outputs: &[one("dow_sin", "-1..1", UNIT, None)],
        formula: "sin(2 pi weekday / 7), Monday = 0, of the timestamp in UTC",
        source: "common definition",
        build: dow_sin,
        check: None,
    },
    Indicator {
        id: "dow_cos",
        params: &[],
        outputs: &[one("dow_cos", "-1..1", UNIT, None)],
        formula: "cos(2 pi weekday / 7), Monday = 0, of the timestamp in UTC",
        source: "common definition",
        build: dow_cos,
        check: None,
    },
];
