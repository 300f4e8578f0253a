//! Shape of a bar and its distance from the bar before. All are fractions, so free of the price level.

use super::params::{CHANGE, FREE, POSITIVE, one};
use super::parts;
use crate::catalog::{Args, Indicator};
use crate::graph::{Expr, Graph};

/// Simple return: close / lag(close, 1) - 1. Unchanged gives 0; so does a close before that is nothing
/// (under 2^-44) beside this one. Null on the first bar.
fn ret(g: &mut Graph, _: &Args) -> Vec<Expr> {
    vec![parts::simple_return(g)]
}

/// Logarithmic return: log(close / lag(close, 1)). Edge cases as `ret`.
fn log_ret(g: &mut Graph, _: &Args) -> Vec<Expr> {
    vec![parts::log_return(g)]
}

/// Opening gap: open / lag(close, 1) - 1. Edge cases as `ret`.
fn gap(g: &mut Graph, _: &Args) -> Vec<Expr> {
    let (open, close) = (g.open(), g.close());
    let before = g.lag(close, 1);
    vec![parts::relative(g, open, before)]
}

/// Height of the bar: (high - low) / close. A bar of one price gives 0.
fn range_hl(g: &mut Graph, _: &Args) -> Vec<Expr> {
    let (high, low, close) = (g.high(), g.low(), g.close());
    let span = g.sub(high, low);
    vec![g.ratio(span, close, 0.0)]
}

/// Body of the candle, signed: (close - open) / open. A doji gives 0; so does an open that is nothing beside
/// the close.
fn body(g: &mut Graph, _: &Args) -> Vec<Expr> {
    let (open, close) = (g.open(), g.close());
    let rise = g.sub(close, open);
    vec![g.ratio(rise, open, 0.0)]
}

/// Upper wick: (high - max(open, close)) / close. No wick gives 0.
fn upper_wick(g: &mut Graph, _: &Args) -> Vec<Expr> {
    let (open, high, close) = (g.open(), g.high(), g.close());
    let top = g.greater(open, close);
    let wick = g.sub(high, top);
    vec![g.ratio(wick, close, 0.0)]
}

/// Lower wick: (min(open, close) - low) / close. No wick gives 0; it cannot be longer than the close.
fn lower_wick(g: &mut Graph, _: &Args) -> Vec<Expr> {
    let (open, low, close) = (g.open(), g.low(), g.close());
    let bottom = g.lesser(open, close);
    let wick = g.sub(bottom, low);
    vec![g.ratio(wick, close, 0.0)]
}

/// Catalogue rows.
pub const TABLE: &[Indicator] = &[
    Indicator {
        id: "ret",
        params: &[],
        outputs: &[one("ret", "fraction", CHANGE, Some(0.0))],
        formula: "close / lag(close, 1) - 1",
        source: "common definition",
        build: ret,
        check: None,
    },
    Indicator {
        id: "log_ret",
        params: &[],
        outputs: &[one("log_ret", "log return", FREE, Some(0.0))],
        formula: "log(close / lag(close, 1))",
        source: "common definition",
        build: log_ret,
        check: None,
    },
    Indicator {
        id: "gap",
        params: &[],
        outputs: &[one("gap", "fraction", CHANGE, Some(0.0))],
        formula: "open / lag(close, 1) - 1",
        source: "common definition",
        build: gap,
        check: None,
    },
    Indicator {
        id: "range_hl",
        params: &[],
        outputs: &[one("range_hl", "fraction", POSITIVE, Some(0.0))],
        formula: "(high - low) / close",
        source: "common definition",
        build: range_hl,
        check: None,
    },
    Indicator {
        id: "body",
        params: &[],
        outputs: &[one("body", "fraction", CHANGE, Some(0.0))],
        formula: "(close - open) / open",
        source: "common definition",
        build: body,
        check: None,
    },
    Indicator {
        id: "upper_wick",
        params: &[],
        outputs: &[one("upper_wick", "fraction", POSITIVE, Some(0.0))],
        formula: "(high - max(open, close)) / close",
        source: "common definition",
        build: upper_wick,
        check: None,
    },
    Indicator {
        id: "lower_wick",
        params: &[],
        outputs: &[one("lower_wick", "fraction", (Some(0.0), Some(1.0)), Some(0.0))],
        formula: "(min(open, close) - low) / close",
        source: "common definition",
        build: lower_wick,
        check: None,
    },
];
