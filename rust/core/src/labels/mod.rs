//! Labels of a panel in one pass: what a decision at the close of a bar earns, its class, and when that is known.
//!
//! ```text
//! panel.rs    rows in any order -> series of one symbol each, in time order
//! times.rs    when each bar has closed
//! outcome.rs  one series -> outcomes: forward return, volatility-scaled, win or loss, triple barrier
//! neutral.rs  all symbols at one time -> market-neutral
//! trades.rs   the last bar that had closed at a time
//! ```
//!
//! A label belongs to the close of its bar (`t`) and is known at the close of a later bar of the same symbol. Bars are
//! counted, not clock time: over a hole in the data the outcome is simply known later, and its time says so.

mod neutral;
mod outcome;
mod panel;
#[cfg(test)]
mod tests;
mod times;
mod trades;

use crate::error::Error;

pub use panel::Panel;
pub use trades::as_of;

/// The outcome is below `-threshold`.
pub const SELL: i8 = 0;
/// The outcome is within `-threshold..=threshold`.
pub const HOLD: i8 = 1;
/// The outcome is above `threshold`.
pub const BUY: i8 = 2;
/// There is no label.
pub const NONE: i8 = -1;
/// The time of no outcome.
pub const NEVER: i64 = i64::MIN;
/// Symbols that a market needs: market-neutral labels are null with fewer.
pub const MARKET: usize = 5;
/// Bars of the volatility that scales a return.
pub const VOLATILITY_BARS: usize = 20;

/// What is wrong with the input of [`label`] or [`as_of`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LabelError {
    /// A setting outside its range.
    #[error("{0}")]
    Setting(String),
    /// A value that no bar can have.
    #[error("row {row}: column {column:?} = {value}: {reason}")]
    Value {
        /// Column.
        column: &'static str,
        /// The caller's row, from 0.
        row: usize,
        /// The value.
        value: f64,
        /// What is wrong with it.
        reason: String,
    },
    /// Bars that do not tell how long they are.
    #[error("{0}; pass interval=\"1h\" or the like, or a column close_time")]
    Interval(String),
    /// An error of the engine: times that do not increase.
    #[error(transparent)]
    Core(#[from] Error),
}

/// `Result` with [`LabelError`].
pub type Result<T> = std::result::Result<T, LabelError>;

/// Which outcome.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// The return over the horizon.
    Forward,
    /// That return over `volatility(20) * sqrt(horizon)`; null where the volatility is null or 0.
    Scaled,
    /// That return less the mean return of all symbols with one at the same time; null with fewer than [`MARKET`].
    Neutral,
    /// 1 where that return is above the threshold, else 0; never HOLD.
    WinLoss,
    /// The first of a rise to `take_profit`, a fall to `stop_loss`, and the end of the horizon.
    Barrier {
        /// Rise that is taken, a fraction.
        take_profit: f64,
        /// Fall that is not, a fraction below 1.
        stop_loss: f64,
    },
}

/// What to label with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Which outcome.
    pub kind: Kind,
    /// Bars ahead.
    pub horizon: usize,
    /// What separates HOLD from BUY and SELL, in units of `value`; not used by barriers.
    pub threshold: f64,
}

/// Labels, one entry per row of the panel, in the caller's order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Labels {
    /// What to predict; NaN where there is none.
    pub value: Vec<f64>,
    /// The return from the close of the row to the end of the outcome, a fraction; NaN where there is none.
    pub ret: Vec<f64>,
    /// [`SELL`], [`HOLD`], [`BUY`] or [`NONE`].
    pub side: Vec<i8>,
    /// Close time of the row's bar, ns.
    pub t: Vec<i64>,
    /// Close time of the bar that decides the outcome, ns, or [`NEVER`].
    pub t_end: Vec<i64>,
}

/// One outcome.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Outcome {
    value: f64,
    ret: f64,
    side: i8,
    t_end: i64,
}

impl Labels {
    fn empty(t: Vec<i64>) -> Self {
        let n = t.len();
        Self { value: vec![f64::NAN; n], ret: vec![f64::NAN; n], side: vec![NONE; n], t, t_end: vec![NEVER; n] }
    }

    fn set(&mut self, row: usize, outcome: Outcome) {
        self.value[row] = outcome.value;
        self.ret[row] = outcome.ret;
        self.side[row] = outcome.side;
        self.t_end[row] = outcome.t_end;
    }

    fn clear(&mut self, row: usize) {
        self.set(row, Outcome { value: f64::NAN, ret: f64::NAN, side: NONE, t_end: NEVER });
    }
}

/// Labels every row of a panel.
///
/// A row has no label where the outcome lies beyond the last bar of its symbol or needs a null bar. Null bars count
/// as bars.
///
/// # Errors
/// [`LabelError`] for a setting outside its range, a bad price, or times that do not tell the bars apart.
pub fn label(panel: &Panel<'_>, settings: &Settings) -> Result<Labels> {
    settings.check()?;
    let sorted = panel.sort()?;
    sorted.check_prices()?;
    let mut out = Labels::empty(sorted.close_times_of_rows());
    let scale = if settings.kind == Kind::Scaled { Some(sorted.volatility()?) } else { None };
    for series in sorted.series(scale.as_deref()) {
        outcome::label_series(&series, settings, &mut out);
    }
    if settings.kind == Kind::Neutral {
        neutral::subtract_market(&mut out, settings.threshold);
    }
    Ok(out)
}

impl Settings {
    fn check(&self) -> Result<()> {
        let fault = |text: String| Err(LabelError::Setting(text));
        if self.horizon == 0 {
            return fault("horizon must be at least 1 bar, got 0".to_owned());
        }
        if !(self.threshold >= 0.0 && self.threshold.is_finite()) {
            return fault(format!("threshold must be finite and not negative, got {}", self.threshold));
        }
        let Kind::Barrier { take_profit, stop_loss } = self.kind else { return Ok(()) };
        if !(take_profit > 0.0 && take_profit.is_finite()) {
            return fault(format!("take_profit must be above 0 and finite, got {take_profit}"));
        }
        if !(stop_loss > 0.0 && stop_loss < 1.0) {
            return fault(format!("stop_loss must be above 0 and below 1, got {stop_loss}"));
        }
        Ok(())
    }
}

fn class_of(value: f64, threshold: f64) -> i8 {
    if value > threshold {
        BUY
    } else if value < -threshold {
        SELL
    } else {
        HOLD
    }
}
