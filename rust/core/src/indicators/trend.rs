//! Means of the close and distances between them.

use super::params::{CHANGE, FREE, POSITIVE, SEED, bars, fast_below_slow, one, out, period};
use super::parts;
use crate::catalog::{Args, Indicator};
use crate::graph::{Expr, Graph, Seed};

/// Simple moving average of the close over `period` bars. A constant close keeps its bits.
fn sma(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let close = g.close();
    vec![g.mean(close, a.int(0))]
}

/// Exponential moving average of the close: s + k (close - s) with k = 2 / (period + 1), starting at bar
/// period - 1 with the mean of the first `period` closes, or with `seed="first"` at the first close. The
/// `legacy` profile always starts at the first close.
fn ema(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let close = g.close();
    vec![parts::ema(g, close, a.int(0), a.seed(1))]
}

/// Wilder's moving average of the close: s + (close - s) / period, started as `ema`; the `legacy` profile
/// changes nothing.
fn rma(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let close = g.close();
    vec![g.rma(close, a.int(0), a.seed(1))]
}

/// Distance of the close from its exponential mean: close / ema(close, period) - 1. Flat gives 0.
fn ema_gap(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let close = g.close();
    let mean = parts::ema(g, close, a.int(0), a.seed(1));
    vec![parts::relative(g, close, mean)]
}

/// Distance between two exponential means: ema(close, fast) / ema(close, slow) - 1. Flat gives 0.
fn ema_cross(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let close = g.close();
    let fast = parts::ema(g, close, a.int(0), Seed::Mean);
    let slow = parts::ema(g, close, a.int(1), Seed::Mean);
    vec![parts::relative(g, fast, slow)]
}

/// Moving average convergence/divergence: line = ema(close, fast) - ema(close, slow), signal = ema(line,
/// signal), hist = line - signal. Each mean is seeded on its own, as in TradingView and the textbooks. In
/// the `talib` profile the fast mean is seeded late, with the closes that end where the slow one's seed
/// ends, as TA-Lib does; the line is still given before the signal exists.
fn macd(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let (fast, slow) = (a.int(0), a.int(1));
    let close = g.close();
    let quick = if g.is_talib() {
        g.ema_late(close, fast, slow.saturating_sub(fast))
    } else {
        parts::ema(g, close, fast, Seed::Mean)
    };
    let steady = parts::ema(g, close, slow, Seed::Mean);
    let line = g.sub(quick, steady);
    let signal = parts::ema(g, line, a.int(2), Seed::Mean);
    vec![line, signal, g.sub(line, signal)]
}

/// MACD as a fraction of the close: line, signal and hist of `macd`, each over this bar's close.
fn macd_pct(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let close = g.close();
    macd(g, a).into_iter().map(|x| g.ratio(x, close, 0.0)).collect()
}

/// Catalogue rows.
pub const TABLE: &[Indicator] = &[
    Indicator {
        id: "sma",
        params: &[period(20)],
        outputs: &[one("sma", "price", POSITIVE, None)],
        formula: "mean(close, period)",
        source: "common definition",
        build: sma,
        check: None,
    },
    Indicator {
        id: "ema",
        params: &[period(20), SEED],
        outputs: &[one("ema", "price", POSITIVE, None)],
        formula: "ema(close, period)",
        source: "common definition; seed as TA-Lib",
        build: ema,
        check: None,
    },
    Indicator {
        id: "rma",
        params: &[period(14), SEED],
        outputs: &[one("rma", "price", POSITIVE, None)],
        formula: "rma(close, period)",
        source: "Wilder 1978",
        build: rma,
        check: None,
    },
    Indicator {
        id: "ema_gap",
        params: &[period(20), SEED],
        outputs: &[one("ema_gap", "fraction", CHANGE, Some(0.0))],
        formula: "close / ema(close, period) - 1",
        source: "common definition",
        build: ema_gap,
        check: None,
    },
    Indicator {
        id: "ema_cross",
        params: &[bars("fast", 1, 10), bars("slow", 2, 20)],
        outputs: &[one("ema_cross", "fraction", CHANGE, Some(0.0))],
        formula: "ema(close, fast) / ema(close, slow) - 1",
        source: "common definition",
        build: ema_cross,
        check: Some(fast_below_slow),
    },
    Indicator {
        id: "macd",
        params: &[bars("fast", 1, 12), bars("slow", 2, 26), bars("signal", 1, 9)],
        outputs: &[
            out("line", "macd", "price difference", FREE, Some(0.0)),
            out("signal", "macd_signal", "price difference", FREE, Some(0.0)),
            out("hist", "macd_hist", "price difference", FREE, Some(0.0)),
        ],
        formula: "line = ema(close, fast) - ema(close, slow); signal = ema(line, signal); hist = line - signal",
        source: "Appel 1979; seeds as TradingView",
        build: macd,
        check: Some(fast_below_slow),
    },
    Indicator {
        id: "macd_pct",
        params: &[bars("fast", 1, 12), bars("slow", 2, 26), bars("signal", 1, 9)],
        outputs: &[
            out("line", "macd_pct", "fraction of close", FREE, Some(0.0)),
            out("signal", "macd_pct_signal", "fraction of close", FREE, Some(0.0)),
            out("hist", "macd_pct_hist", "fraction of close", FREE, Some(0.0)),
        ],
        formula: "macd(fast, slow, signal) / close",
        source: "Appel 1979, over the close",
        build: macd_pct,
        check: Some(fast_below_slow),
    },
];
