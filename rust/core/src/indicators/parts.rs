//! Expressions that several indicators are made of, and what the profiles change in them.

use crate::catalog::Args;
use crate::graph::{Expr, Graph, Seed};

/// `a / b - 1`: how far a stands from b. Equal, so 0, where b is nothing beside the close.
pub(super) fn relative(g: &mut Graph, a: Expr, b: Expr) -> Expr {
    let r = g.ratio(a, b, 1.0);
    g.sub(r, 1.0)
}

/// `close / lag(close, 1) - 1`.
pub(super) fn simple_return(g: &mut Graph) -> Expr {
    let close = g.close();
    g.change(close, 1)
}

/// `log(close / lag(close, 1))`.
pub(super) fn log_return(g: &mut Graph) -> Expr {
    let close = g.close();
    let before = g.lag(close, 1);
    log_ratio(g, close, before)
}

/// `log(a / b)`, 0 where b is nothing beside the close.
pub(super) fn log_ratio(g: &mut Graph, a: Expr, b: Expr) -> Expr {
    let r = g.ratio(a, b, 1.0);
    g.log(r, 0.0)
}

/// Typical price `(high + low + close) / 3`.
pub(super) fn typical(g: &mut Graph) -> Expr {
    let (high, low, close) = (g.high(), g.low(), g.close());
    let two = g.add(high, low);
    let three = g.add(two, close);
    g.ratio(three, 3.0, 0.0)
}

/// The part of x above 0 and minus the part below. `up - x` is exact: one of the two is 0.
pub(super) fn halves(g: &mut Graph, x: Expr) -> (Expr, Expr) {
    let up = g.greater(x, 0.0);
    (up, g.sub(up, x))
}

/// True range: the largest of high - low, |high - close before| and |low - close before|, which is how far
/// the bar and the close before it reach together. Null without a close before (first bar, bar after a null
/// row); with `tr0` that bar has its high - low.
pub(super) fn true_range(g: &mut Graph, tr0: bool) -> Expr {
    let (high, low, close) = (g.high(), g.low(), g.close());
    let before = g.lag(close, 1);
    let (top, bottom) = (g.greater(high, before), g.lesser(low, before));
    let range = g.sub(top, bottom);
    if !tr0 {
        return range;
    }
    let bar = g.sub(high, low);
    g.or_else(range, bar)
}

/// Highest high and lowest low of the last n bars.
pub(super) fn channel(g: &mut Graph, n: u32) -> (Expr, Expr) {
    let (high, low) = (g.high(), g.low());
    (g.max_over(high, n), g.min_over(low, n))
}

/// `sign(close - lag(close, 1)) * volume`: null on the first bar.
pub(super) fn signed_volume(g: &mut Graph) -> Expr {
    let (close, volume) = (g.close(), g.volume());
    let change = g.diff(close, 1);
    let side = g.sign(change);
    g.mul(side, volume)
}

/// Exponential mean of the indicators. The `legacy` profile starts at the first input, as pandas'
/// `ewm(span=n, adjust=False)` does.
pub(super) fn ema(g: &mut Graph, x: Expr, n: u32, seed: Seed) -> Expr {
    let seed = if g.legacy_eps().is_some() { Seed::First } else { seed };
    g.ema(x, n, seed)
}

/// Degrees of freedom of a spread: the i-th parameter; always the sample's in the `legacy` profile, as in
/// pandas' `rolling(n).std()`.
pub(super) fn ddof(g: &Graph, a: &Args, i: usize) -> u32 {
    if g.legacy_eps().is_some() { 1 } else { a.int(i) }
}
