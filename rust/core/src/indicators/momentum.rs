//! Momentum indicators.

use super::params::{CHANGE, FREE, PERCENT, bars, one, out, period, spread_period};
use super::parts;
use crate::catalog::{Args, Indicator, Kind, Param, Value};
use crate::graph::{Expr, Graph, Seed};
use crate::primitives::ratio::TINY;

/// How RSI smooths its gains and losses.
const SMOOTHING: Param =
    Param { name: "smoothing", kind: Kind::Word(&["wilder", "sma", "ema"]), default: Value::Word("wilder") };

/// Relative strength index: 100 * up / (up + down), with up and down the smoothed gains and losses, by Wilder's
/// mean or `smoothing="sma"` or `"ema"`. A flat market gives 50: by Wilder's mean the last ratio stays until
/// gains + losses have fallen under 2^-44 of the close (about 320 bars for 14). The `legacy` profile has
/// simple means of gains and losses that are 0 on the first bar, 100 - 100 / (1 + up / (down + eps) + eps),
/// whatever `smoothing` says.
fn rsi(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let n = a.int(0);
    if let Some(eps) = g.legacy_eps() {
        return vec![rsi_legacy(g, n, eps)];
    }
    let close = g.close();
    let change = g.diff(close, 1);
    let (gain, loss) = parts::halves(g, change);
    let [up, down] = [gain, loss].map(|x| match a.word(1) {
        "sma" => g.mean(x, n),
        "ema" => g.ema(x, n, Seed::Mean),
        _ => g.rma(x, n, Seed::Mean),
    });
    let total = g.add(up, down);
    let share = g.ratio(up, total, 0.5);
    vec![g.mul(share, 100.0)]
}

fn rsi_legacy(g: &mut Graph, n: u32, eps: f64) -> Expr {
    let close = g.close();
    let change = g.diff(close, 1);
    let minus = g.sub(0.0, change);
    let (gain, loss) = (g.pos(change), g.pos(minus));
    let (up, down) = (g.mean(gain, n), g.mean(loss, n));
    let below = g.add(down, eps);
    let strength = g.ratio(up, below, 0.0);
    let one_more = g.add(strength, 1.0);
    let den = g.add(one_more, eps);
    let rest = g.ratio(100.0, den, 0.0);
    g.sub(100.0, rest)
}

/// Rate of change: close / lag(close, period) - 1, a fraction. Unchanged gives 0; so does a close before that
/// is nothing beside this one.
fn roc(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let close = g.close();
    vec![g.change(close, a.int(0))]
}

/// Momentum: close - lag(close, period), in price.
fn momentum(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let close = g.close();
    vec![g.diff(close, a.int(0))]
}

/// Slow stochastic: where the close stands in the range of the last k bars, 0 at the lowest low and 100 at the
/// highest high, averaged over `smooth` bars (%K), and that over d bars (%D). A range of nothing counts as 50.
/// The `talib` profile gives %K no sooner than %D.
fn stoch(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let close = g.close();
    let (top, bottom) = parts::channel(g, a.int(0));
    let (above, range) = (g.sub(close, bottom), g.sub(top, bottom));
    let place = g.ratio(above, range, 0.5);
    let raw = g.mul(place, 100.0);
    let k = g.mean(raw, a.int(1));
    let d = g.mean(k, a.int(2));
    let k = if g.is_talib() { g.hold_until(k, d) } else { k };
    vec![k, d]
}

/// Williams %R: 0 where the close is the highest high of the period, -100 at the lowest low. A range of
/// nothing gives -50.
fn willr(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let close = g.close();
    let (top, bottom) = parts::channel(g, a.int(0));
    let (below, range) = (g.sub(close, top), g.sub(top, bottom));
    let place = g.ratio(below, range, -0.5);
    vec![g.mul(place, 100.0)]
}

/// Commodity channel index: distance of the typical price from its mean in units of 0.015 of its mean absolute
/// deviation. A flat market gives 0.
fn cci(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let n = a.int(0);
    let price = parts::typical(g);
    let (mean, spread) = (g.mean(price, n), g.mean_abs_dev(price, n));
    let away = g.sub(price, mean);
    let unit = g.mul(spread, 0.015);
    vec![g.ratio(away, unit, 0.0)]
}

/// Money flow index: 100 * up / (up + down), with up and down the sums over the period of typical price *
/// volume of the bars whose typical price rose or fell. A move of up to 2^-44 of the close is none: it is what
/// rounding makes of equal thirds (TA-Lib has a limit too). No money flow gives 50.
fn mfi(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let n = a.int(0);
    let (close, price, volume) = (g.close(), parts::typical(g), g.volume());
    let flow = g.mul(price, volume);
    let change = g.diff(price, 1);
    let (least, most) = (g.mul(close, TINY), g.mul(close, -TINY));
    let (rose, fell) = (g.lt(least, change), g.lt(change, most));
    let (gain, loss) = (g.select(rose, flow, 0.0), g.select(fell, flow, 0.0));
    let (up, down) = (g.sum(gain, n), g.sum(loss, n));
    let total = g.add(up, down);
    let share = g.ratio(up, total, 0.5);
    vec![g.mul(share, 100.0)]
}

/// Average directional index with its two directional indicators, by Wilder's means from the mean of the first
/// `period` moves. A market that goes nowhere has DI 0 and DX 0. The `talib` profile starts the means of moves
/// and ranges as TA-Lib's sums: period - 1 values, then one step; ADX itself starts with a mean in both.
fn adx(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let n = a.int(0);
    let seed = if g.is_talib() { Seed::Partial } else { Seed::Mean };
    let range = parts::true_range(g, false);
    let travelled = g.rma(range, n, seed);
    let [plus, minus] = directional_moves(g).map(|x| {
        let mean = g.rma(x, n, seed);
        let share = g.ratio(mean, travelled, 0.0);
        // A move is at most its bar's range, but the two means round on their own.
        let whole = g.lesser(share, 1.0);
        g.mul(whole, 100.0)
    });
    let between = g.sub(plus, minus);
    let (apart, both) = (g.abs(between), g.add(plus, minus));
    let share = g.ratio(apart, both, 0.0);
    let dx = g.mul(share, 100.0);
    vec![g.rma(dx, n, Seed::Mean), plus, minus]
}

/// How far the high rose above the last high, and the low fell under the last low: only the larger of the two
/// counts, and neither when they are equal.
fn directional_moves(g: &mut Graph) -> [Expr; 2] {
    let (high, low) = (g.high(), g.low());
    let up = g.diff(high, 1);
    let low_before = g.lag(low, 1);
    let down = g.sub(low_before, low);
    let (rise, fall) = (g.greater(up, 0.0), g.greater(down, 0.0));
    let (up_wins, down_wins) = (g.lt(down, up), g.lt(up, down));
    [g.select(up_wins, rise, 0.0), g.select(down_wins, fall, 0.0)]
}

/// One-bar change, in per cent, of the close smoothed by three exponential means of `period` bars, each seeded
/// with the mean of its first `period` inputs. A flat market gives 0.
fn trix(g: &mut Graph, a: &Args) -> Vec<Expr> {
    let mut smooth = g.close();
    for _ in 0..3 {
        smooth = parts::ema(g, smooth, a.int(0), Seed::Mean);
    }
    let change = g.change(smooth, 1);
    vec![g.mul(change, 100.0)]
}

/// Catalogue rows.
pub const TABLE: &[Indicator] = &[
    Indicator {
        id: "rsi",
        params: &[period(14), SMOOTHING],
        outputs: &[one("rsi", "0..100", PERCENT, Some(50.0))],
        formula: "100 * rma(up, period) / (rma(up, period) + rma(down, period)), up = max(close - lag(close, 1), 0), down = max(lag(close, 1) - close, 0)",
        source: "Wilder 1978",
        build: rsi,
        check: None,
    },
    Indicator {
        id: "roc",
        params: &[period(10)],
        outputs: &[one("roc", "fraction", CHANGE, Some(0.0))],
        formula: "close / lag(close, period) - 1",
        source: "common definition; TA-Lib ROCP",
        build: roc,
        check: None,
    },
    Indicator {
        id: "momentum",
        params: &[period(10)],
        outputs: &[one("momentum", "price difference", FREE, Some(0.0))],
        formula: "close - lag(close, period)",
        source: "common definition; TA-Lib MOM",
        build: momentum,
        check: None,
    },
    Indicator {
        id: "stoch",
        params: &[bars("k", 1, 14), bars("smooth", 1, 3), bars("d", 1, 3)],
        outputs: &[
            out("k", "stoch_k", "0..100", PERCENT, Some(50.0)),
            out("d", "stoch_d", "0..100", PERCENT, Some(50.0)),
        ],
        formula: "k = mean(100 * (close - min(low, k)) / (max(high, k) - min(low, k)), smooth); d = mean(k, d)",
        source: "Lane 1984; TA-Lib STOCH with simple means",
        build: stoch,
        check: None,
    },
    Indicator {
        id: "willr",
        params: &[period(14)],
        outputs: &[one("willr", "-100..0", (Some(-100.0), Some(0.0)), Some(-50.0))],
        formula: "100 * (close - max(high, period)) / (max(high, period) - min(low, period))",
        source: "Williams 1979",
        build: willr,
        check: None,
    },
    Indicator {
        id: "cci",
        params: &[spread_period(20)],
        outputs: &[one("cci", "multiple of 0.015 mean absolute deviations", FREE, Some(0.0))],
        formula: "(hlc3 - mean(hlc3, period)) / (0.015 * mean_abs_dev(hlc3, period)), hlc3 = (high + low + close) / 3",
        source: "Lambert 1980",
        build: cci,
        check: None,
    },
    Indicator {
        id: "mfi",
        params: &[period(14)],
        outputs: &[one("mfi", "0..100", PERCENT, Some(50.0))],
        formula: "100 * sum(up, period) / (sum(up, period) + sum(down, period)), up and down = hlc3 * volume where hlc3 rose or fell",
        source: "Quong and Soudack 1989",
        build: mfi,
        check: None,
    },
    Indicator {
        id: "adx",
        params: &[period(14)],
        outputs: &[
            out("adx", "adx", "0..100", PERCENT, Some(0.0)),
            out("plus_di", "adx_plus_di", "0..100", PERCENT, Some(0.0)),
            out("minus_di", "adx_minus_di", "0..100", PERCENT, Some(0.0)),
        ],
        formula: "di = 100 * rma(dm, period) / rma(true_range, period); adx = rma(100 * abs(plus_di - minus_di) / (plus_di + minus_di), period)",
        source: "Wilder 1978; seeds as TradingView and ChartSchool",
        build: adx,
        check: None,
    },
    Indicator {
        id: "trix",
        params: &[period(15)],
        outputs: &[one("trix", "percent", (Some(-100.0), None), Some(0.0))],
        formula: "100 * (t / lag(t, 1) - 1), t = ema(ema(ema(close, period), period), period)",
        source: "Hutson 1983",
        build: trix,
        check: None,
    },
];
