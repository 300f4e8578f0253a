//! Outcomes of one series.

use super::panel::Series;
use super::{BUY, HOLD, Kind, Labels, Outcome, SELL, Settings, class_of};

/// Labels the rows of one series.
pub(super) fn label_series(series: &Series<'_>, settings: &Settings, out: &mut Labels) {
    let Settings { kind, horizon, threshold } = *settings;
    for i in 0..series.rows.len() {
        let outcome = match kind {
            Kind::Barrier { take_profit, stop_loss } => barrier(series, i, horizon, take_profit, stop_loss),
            _ => forward(series, i, horizon).and_then(|(ret, t_end)| {
                let value = value_of(kind, ret, series, i, settings)?;
                let side = if kind == Kind::WinLoss {
                    if value > 0.0 { BUY } else { SELL }
                } else {
                    class_of(value, threshold)
                };
                Some(Outcome { value, ret, side, t_end })
            }),
        };
        if let Some(outcome) = outcome {
            out.set(series.rows[i] as usize, outcome);
        }
    }
}

/// The return over `horizon` bars, and when it is known.
fn forward(series: &Series<'_>, i: usize, horizon: usize) -> Option<(f64, i64)> {
    let end = i.checked_add(horizon).filter(|&end| end < series.close.len())?;
    let ret = series.close[end] / series.close[i] - 1.0;
    (ret == ret).then_some((ret, series.t[end]))
}

fn value_of(kind: Kind, ret: f64, series: &Series<'_>, i: usize, settings: &Settings) -> Option<f64> {
    match kind {
        Kind::Scaled => {
            let scale = series.scale[i] * libm::sqrt(settings.horizon as f64);
            // Null in the first bars, 0 in a flat market.
            (scale > 0.0).then(|| ret / scale).filter(|value| value.is_finite())
        }
        Kind::WinLoss => Some(if ret > settings.threshold { 1.0 } else { 0.0 }),
        _ => Some(ret),
    }
}

/// The first barrier that a position opened at the close of bar `i` meets. A bar that touches both counts as a stop:
/// bars do not say which came first. A bar that opens beyond a barrier is left at its open, which is what `ret` says.
fn barrier(series: &Series<'_>, i: usize, horizon: usize, take_profit: f64, stop_loss: f64) -> Option<Outcome> {
    let entry = series.close[i];
    let (upper, lower) = (entry * (1.0 + take_profit), entry * (1.0 - stop_loss));
    let last = i.saturating_add(horizon);
    for end in i + 1..=last.min(series.close.len() - 1) {
        let (open, high, low) = (series.open[end], series.high[end], series.low[end]);
        // A null bar on the way, or a null entry: nobody knows.
        if !(high >= low) || !(entry > 0.0) {
            return None;
        }
        let t_end = series.t[end];
        if low <= lower {
            let ret = if open < lower { open / entry - 1.0 } else { -stop_loss };
            return Some(Outcome { value: -stop_loss, ret, side: SELL, t_end });
        }
        if high >= upper {
            let ret = if open > upper { open / entry - 1.0 } else { take_profit };
            return Some(Outcome { value: take_profit, ret, side: BUY, t_end });
        }
    }
    if last >= series.close.len() {
        return None;
    }
    let ret = series.close[last] / entry - 1.0;
    (ret == ret).then_some(Outcome { value: ret, ret, side: HOLD, t_end: series.t[last] })
}
