//! Spread of prices: bands, true ranges, volatilities, channels.

use super::params::{CHANGE, DDOF, FREE, POSITIVE, TR0, one, out, period, spread_period};
use super::parts;
use crate::catalog::{Args, Indicator, Kind, Param, Value};
use crate::graph::{Expr, Graph, Seed};

/// Half the width of Bollinger's bands, in standard deviations.
const WIDTH: Param = Param { name: "k", kind: Kind::Float(0.01, 100.0), default: Value::Float(2.0) };

/// Bollinger bands: mid = mean(close), upper and lower k standard deviations away; pct = (close - lower) /
/// (upper - lower), not clamped, computed as 0.5 + (close - mid) / (2 k std), which loses fewer digits; width
/// = (upper - lower) / mid. A flat market has pct 0.5 and width 0. The `legacy` profile has the sample's
/// deviation and pct = (close - lower) / (upper - lower + eps) inside ±100.
fn bb(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let (n, k) = (a.int(0), a.float(1));
    let ddof = parts::ddof(g, a, 2);
    let close = g.close();
    let (mid, std) = (g.mean(close, n), g.std(close, n, ddof));
    let reach = g.mul(std, k);
    let (upper, lower) = (g.add(mid, reach), g.sub(mid, reach));
    let span = g.mul(std, 2.0 * k);
    let pct = if let Some(eps) = g.legacy_eps() {
        let (above, band) = (g.sub(close, lower), g.sub(upper, lower));
        let den = g.add(band, eps);
        let share = g.ratio(above, den, 0.0);
        g.clip(share, -100.0, 100.0)
    } else {
        let away = g.sub(close, mid);
        let share = g.ratio(away, span, 0.0);
        g.add(share, 0.5)
    };
    vec![upper, mid, lower, pct, g.ratio(span, mid, 0.0)]
}

/// True range: max(high - low, |high - close before|, |low - close before|). Null on the first bar and on the
/// bar after a null row; with `tr0=true` those have high - low.
fn true_range(g: &mut Graph, a: &Args) -> Vec<Expr> {
    vec![parts::true_range(g, a.flag(0))]
}

/// Average true range: Wilder's mean of the true range, from the mean of the first `period`, the first bar's
/// left out unless `tr0=true`. The `legacy` profile has a simple rolling mean.
fn atr(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let range = parts::true_range(g, a.flag(1));
    let mean = if g.legacy_eps().is_some() { g.mean(range, a.int(0)) } else { g.rma(range, a.int(0), Seed::Mean) };
    vec![mean]
}

/// Average true range as a percentage of the close: 100 * atr / close.
fn natr(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let close = g.close();
    atr(g, a)
        .into_iter()
        .map(|x| {
            let share = g.ratio(x, close, 0.0);
            g.mul(share, 100.0)
        })
        .collect()
}

/// Volatility: standard deviation of the simple returns of the last `period` bars, the population's unless
/// `ddof=1` (always the sample's in the `legacy` profile). Not annualised. Constant returns give exactly 0.
fn volatility(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let returns = parts::simple_return(g);
    let ddof = parts::ddof(g, a, 1);
    vec![g.std(returns, a.int(0), ddof)]
}

/// Volatility of logarithmic returns; otherwise as `volatility`.
fn log_volatility(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let returns = parts::log_return(g);
    let ddof = parts::ddof(g, a, 1);
    vec![g.std(returns, a.int(0), ddof)]
}

/// Parkinson's volatility from highs and lows: sqrt(mean(log(high / low)^2, period) / (4 ln 2)). Bars of one
/// price give 0.
fn parkinson(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let (high, low) = (g.high(), g.low());
    let span = parts::log_ratio(g, high, low);
    let square = g.mul(span, span);
    let mean = g.mean(square, a.int(0));
    let variance = g.mul(mean, 1.0 / (4.0 * std::f64::consts::LN_2));
    vec![g.sqrt(variance)]
}

/// Garman and Klass' volatility: sqrt(mean(0.5 log(high / low)^2 - (2 ln 2 - 1) log(close / open)^2, period)).
/// The mean can come out below 0 (wide bodies in short ranges); its root is then 0.
fn garman_klass(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let (open, high, low, close) = (g.open(), g.high(), g.low(), g.close());
    let (span, drift) = (parts::log_ratio(g, high, low), parts::log_ratio(g, close, open));
    let (spans, drifts) = (g.mul(span, span), g.mul(drift, drift));
    let half = g.mul(spans, 0.5);
    let rest = g.mul(drifts, 2.0 * std::f64::consts::LN_2 - 1.0);
    let variance = g.sub(half, rest);
    let mean = g.mean(variance, a.int(0));
    vec![g.sqrt(mean)]
}

/// Distance of the close from its mean in standard deviations: (close - mean) / std. A flat market gives 0.
fn zscore(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let n = a.int(0);
    let ddof = parts::ddof(g, a, 1);
    let close = g.close();
    let (mean, std) = (g.mean(close, n), g.std(close, n, ddof));
    let away = g.sub(close, mean);
    vec![g.ratio(away, std, 0.0)]
}

/// Donchian channel: highest high and lowest low of the last `period` bars, this one included, and their mean.
fn donchian(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let (upper, lower) = parts::channel(g, a.int(0));
    let both = g.add(upper, lower);
    vec![upper, lower, g.mul(both, 0.5)]
}

/// Drawdown: close / highest close of the last `period` bars - 1. 0 at a new high, never below -1.
fn drawdown(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let close = g.close();
    let peak = g.max_over(close, a.int(0));
    vec![parts::relative(g, close, peak)]
}

/// Catalogue rows.
pub const TABLE: &[Indicator] = &[
    Indicator {
        id: "bb",
        params: &[spread_period(20), WIDTH, DDOF],
        outputs: &[
            out("upper", "bb_upper", "price", POSITIVE, None),
            out("mid", "bb_mid", "price", POSITIVE, None),
            out("lower", "bb_lower", "price", FREE, None),
            out("pct", "bb_pct", "fraction of the band", FREE, Some(0.5)),
            out("width", "bb_width", "fraction of mid", POSITIVE, Some(0.0)),
        ],
        formula: "mid = mean(close, period); upper, lower = mid + and - k * std(close, period); pct = (close - lower) / (upper - lower); width = (upper - lower) / mid",
        source: "Bollinger 2001",
        build: bb,
        check: None,
    },
    Indicator {
        id: "true_range",
        params: &[TR0],
        outputs: &[one("true_range", "price difference", POSITIVE, Some(0.0))],
        formula: "max(high, lag(close, 1)) - min(low, lag(close, 1))",
        source: "Wilder 1978",
        build: true_range,
        check: None,
    },
    Indicator {
        id: "atr",
        params: &[period(14), TR0],
        outputs: &[one("atr", "price difference", POSITIVE, Some(0.0))],
        formula: "rma(true_range, period)",
        source: "Wilder 1978; first true range left out as TA-Lib",
        build: atr,
        check: None,
    },
    Indicator {
        id: "natr",
        params: &[period(14), TR0],
        outputs: &[one("natr", "percent of close", POSITIVE, Some(0.0))],
        formula: "100 * atr(period) / close",
        source: "TA-Lib NATR",
        build: natr,
        check: None,
    },
    Indicator {
        id: "volatility",
        params: &[spread_period(20), DDOF],
        outputs: &[one("volatility", "fraction per bar", POSITIVE, Some(0.0))],
        formula: "std(close / lag(close, 1) - 1, period)",
        source: "common definition",
        build: volatility,
        check: None,
    },
    Indicator {
        id: "log_volatility",
        params: &[spread_period(20), DDOF],
        outputs: &[one("log_volatility", "log return per bar", POSITIVE, Some(0.0))],
        formula: "std(log(close / lag(close, 1)), period)",
        source: "common definition",
        build: log_volatility,
        check: None,
    },
    Indicator {
        id: "parkinson",
        params: &[period(20)],
        outputs: &[one("parkinson", "log return per bar", POSITIVE, Some(0.0))],
        formula: "sqrt(mean(log(high / low)^2, period) / (4 ln 2))",
        source: "Parkinson 1980",
        build: parkinson,
        check: None,
    },
    Indicator {
        id: "garman_klass",
        params: &[period(20)],
        outputs: &[one("garman_klass", "log return per bar", POSITIVE, Some(0.0))],
        formula: "sqrt(mean(0.5 log(high / low)^2 - (2 ln 2 - 1) log(close / open)^2, period))",
        source: "Garman and Klass 1980",
        build: garman_klass,
        check: None,
    },
    Indicator {
        id: "zscore",
        params: &[spread_period(20), DDOF],
        outputs: &[one("zscore", "standard deviations", FREE, Some(0.0))],
        formula: "(close - mean(close, period)) / std(close, period)",
        source: "common definition",
        build: zscore,
        check: None,
    },
    Indicator {
        id: "donchian",
        params: &[period(20)],
        outputs: &[
            out("upper", "donchian_upper", "price", POSITIVE, None),
            out("lower", "donchian_lower", "price", POSITIVE, None),
            out("mid", "donchian_mid", "price", POSITIVE, None),
        ],
        formula: "upper = max(high, period); lower = min(low, period); mid = (upper + lower) / 2",
        source: "Donchian 1960",
        build: donchian,
        check: None,
    },
    Indicator {
        id: "drawdown",
        params: &[period(100)],
        outputs: &[one("drawdown", "fraction", (CHANGE.0, Some(0.0)), Some(0.0))],
        formula: "close / max(close, period) - 1",
        source: "common definition",
        build: drawdown,
        check: None,
    },
];
