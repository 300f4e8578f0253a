//! Labels of one series: the return over the next `horizon` bars, its class, and the bar at which it is known.
//!
//! A panel is labelled one symbol at a time, so a label never reaches into another symbol.

use std::fmt;

/// The return is below `-threshold`.
pub const SELL: i8 = 0;
/// The return is within `-threshold..=threshold`.
pub const HOLD: i8 = 1;
/// The return is above `threshold`.
pub const BUY: i8 = 2;
/// There is no label: the outcome lies beyond the last row, or a close is missing.
pub const NONE: i8 = -1;

/// What is wrong with the input of [`forward_labels`].
#[derive(Debug, Clone, PartialEq)]
pub enum LabelError {
    /// The horizon is 0.
    Horizon,
    /// The threshold is negative, NaN or infinite.
    Threshold(f64),
    /// A close that is zero, negative or infinite.
    Close {
        /// Row, from 0.
        row: usize,
        /// The close.
        value: f64,
    },
}

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Horizon => f.write_str("horizon must be at least 1 bar"),
            Self::Threshold(value) => write!(f, "threshold must be finite and not negative, got {value}"),
            Self::Close { row, value } => write!(f, "row {row}: close must be positive and finite, got {value}"),
        }
    }
}

impl std::error::Error for LabelError {}

/// Labels of one series, one entry per bar.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Labels {
    /// `close[t + horizon] / close[t] - 1`, a fraction; NaN where there is none.
    pub forward: Vec<f64>,
    /// [`SELL`], [`HOLD`], [`BUY`] or [`NONE`].
    pub class: Vec<i8>,
    /// Row `t + horizon`, where the outcome is known; -1 where there is no label.
    pub end: Vec<i64>,
}

/// Labels every bar of one series in a single pass.
///
/// A return exactly at the threshold is HOLD. A NaN close (a null bar) counts as a row and leaves the labels that
/// need it empty.
///
/// # Errors
/// [`LabelError`] for a horizon of 0, a bad threshold, or a close that is not positive and finite.
pub fn forward_labels(close: &[f64], horizon: usize, threshold: f64) -> Result<Labels, LabelError> {
    if horizon == 0 {
        return Err(LabelError::Horizon);
    }
    if !(threshold >= 0.0 && threshold.is_finite()) {
        return Err(LabelError::Threshold(threshold));
    }
    let n = close.len();
    let mut out = Labels { forward: vec![f64::NAN; n], class: vec![NONE; n], end: vec![-1; n] };
    for (row, &value) in close.iter().enumerate() {
        if value <= 0.0 || value.is_infinite() {
            return Err(LabelError::Close { row, value });
        }
        let Some(start) = row.checked_sub(horizon) else { continue };
        let forward = value / close[start] - 1.0;
        if forward.is_nan() {
            continue;
        }
        out.forward[start] = forward;
        out.class[start] = class_of(forward, threshold);
        out.end[start] = row as i64;
    }
    Ok(out)
}

fn class_of(forward: f64, threshold: f64) -> i8 {
    if forward > threshold {
        BUY
    } else if forward < -threshold {
        SELL
    } else {
        HOLD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let labels = forward_labels(&[100.0, 101.0, 102.0, 101.0, 50.0], 2, 0.01).unwrap();
        assert_eq!(labels.forward[..3], [102.0 / 100.0 - 1.0, 0.0, 50.0 / 102.0 - 1.0]);
        assert!(labels.forward[3].is_nan() && labels.forward[4].is_nan());
        assert_eq!(labels.class, [BUY, HOLD, SELL, NONE, NONE]);
        assert_eq!(labels.end, [2, 3, 4, -1, -1]);
    }

    #[test]
    fn the_threshold_itself_is_hold() {
        let labels = forward_labels(&[1.0, 1.5, 0.75], 1, 0.5).unwrap();
        assert_eq!(labels.class, [HOLD, HOLD, NONE]);
        assert_eq!(forward_labels(&[1.0, 1.0], 1, 0.0).unwrap().class, [HOLD, NONE]);
    }

    #[test]
    fn short_and_empty_series_have_no_label() {
        assert_eq!(forward_labels(&[], 5, 0.01).unwrap(), Labels::default());
        assert_eq!(forward_labels(&[1.0; 5], 5, 0.01).unwrap().end, [-1; 5]);
        assert_eq!(forward_labels(&[1.0; 3], usize::MAX, 0.01).unwrap().class, [NONE; 3]);
    }

    #[test]
    fn a_null_close_empties_the_labels_that_need_it() {
        let labels = forward_labels(&[1.0, f64::NAN, 2.0, 4.0], 1, 0.1).unwrap();
        assert_eq!(labels.class, [NONE, NONE, BUY, NONE]);
        assert_eq!(labels.end, [-1, -1, 3, -1]);
    }

    #[test]
    fn bad_input_is_refused() {
        assert_eq!(forward_labels(&[1.0], 0, 0.1), Err(LabelError::Horizon));
        assert_eq!(forward_labels(&[1.0], 1, -0.1), Err(LabelError::Threshold(-0.1)));
        assert!(forward_labels(&[1.0], 1, f64::NAN).is_err());
        for value in [0.0, -1.0, f64::INFINITY] {
            assert_eq!(forward_labels(&[1.0, value], 1, 0.1), Err(LabelError::Close { row: 1, value }));
        }
    }
}
