//! Volume indicators.

use super::params::{CHANGE, FREE, POSITIVE, UNIT, one, period};
use super::parts;
use crate::catalog::{Args, Indicator};
use crate::graph::{Expr, Graph};

/// Change of volume: volume / lag(volume, 1) - 1, a fraction. 0 after a bar without volume.
fn volume_change(g: &mut Graph, _: &Args) -> Vec<Expr> {
    let volume = g.volume();
    vec![g.change(volume, 1)]
}

/// Volume over its mean of the last `period` bars, this one included. No volume at all gives 1; constant
/// volume gives exactly 1.
fn volume_ratio(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let volume = g.volume();
    let mean = g.mean(volume, a.int(0));
    vec![g.ratio(volume, mean, 1.0)]
}

/// On-balance volume: running sum of the volumes of bars that closed higher minus those that closed lower.
/// Starts at 0 on the first bar; a bar after a null row adds 0 too. The `talib` profile adds the first
/// bar's volume to all of it. It never forgets its start.
fn obv(g: &mut Graph, _: &Args) -> Vec<Expr> {
    let signed = parts::signed_volume(g);
    let volume = g.volume();
    let nothing = g.mul(volume, 0.0);
    let step = g.or_else(signed, nothing);
    let sum = g.cumsum(step);
    if g.is_talib() {
        let first = g.first(volume);
        return vec![g.add(sum, first)];
    }
    vec![sum]
}

/// Share of the last `period` bars' volume that went up minus the share that went down: -1 when every bar
/// closed lower, 1 when every bar closed higher, 0 without volume.
fn obv_slope(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let signed = parts::signed_volume(g);
    let volume = g.volume();
    let (net, total) = (g.sum(signed, a.int(0)), g.sum(volume, a.int(0)));
    vec![g.ratio(net, total, 0.0)]
}

/// Volume-weighted average price: sum(hlc3 * volume) / sum(volume) of the last `period` bars, hlc3 = (high +
/// low + close) / 3. Without volume it is this bar's hlc3.
fn vwap(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let (price, volume) = (parts::typical(g), g.volume());
    let traded = g.mul(price, volume);
    let (money, total) = (g.sum(traded, a.int(0)), g.sum(volume, a.int(0)));
    let mean = g.ratio(money, total, 0.0);
    let silent = g.eq(total, 0.0);
    vec![g.select(silent, price, mean)]
}

/// Distance of the close from the volume-weighted price: close / vwap(period) - 1.
fn vwap_gap(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let close = g.close();
    vwap(g, a).into_iter().map(|mean| parts::relative(g, close, mean)).collect()
}

/// Catalogue rows.
pub const TABLE: &[Indicator] = &[
    Indicator {
        id: "volume_change",
        params: &[],
        outputs: &[one("volume_change", "fraction", CHANGE, Some(0.0))],
        formula: "volume / lag(volume, 1) - 1",
        source: "common definition",
        build: volume_change,
        check: None,
    },
    Indicator {
        id: "volume_ratio",
        params: &[period(20)],
        outputs: &[one("volume_ratio", "multiple of the mean", POSITIVE, Some(1.0))],
        formula: "volume / mean(volume, period)",
        source: "common definition",
        build: volume_ratio,
        check: None,
    },
    Indicator {
        id: "obv",
        params: &[],
        outputs: &[one("obv", "volume", FREE, Some(0.0))],
        formula: "cumsum(sign(close - lag(close, 1)) * volume), 0 on the first bar",
        source: "Granville 1963",
        build: obv,
        check: None,
    },
    Indicator {
        id: "obv_slope",
        params: &[period(20)],
        outputs: &[one("obv_slope", "-1..1", UNIT, Some(0.0))],
        formula: "sum(sign(close - lag(close, 1)) * volume, period) / sum(volume, period)",
        source: "change of on-balance volume over the volume traded",
        build: obv_slope,
        check: None,
    },
    Indicator {
        id: "vwap",
        params: &[period(20)],
        outputs: &[one("vwap", "price", POSITIVE, None)],
        formula: "sum(hlc3 * volume, period) / sum(volume, period), hlc3 = (high + low + close) / 3",
        source: "common definition, over a rolling window",
        build: vwap,
        check: None,
    },
    Indicator {
        id: "vwap_gap",
        params: &[period(20)],
        outputs: &[one("vwap_gap", "fraction", CHANGE, Some(0.0))],
        formula: "close / vwap(period) - 1",
        source: "common definition",
        build: vwap_gap,
        check: None,
    },
];
