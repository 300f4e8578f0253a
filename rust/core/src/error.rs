//! One error type for the whole core. Each variant carries the values its message names,
//! so that a caller can act on them without parsing text.

use std::fmt;

/// Where a bad row stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Place {
    /// Row of the caller's table, from 0 (inside its window when `window` is given).
    pub row: usize,
    /// Window number, for calls that take many windows.
    pub window: Option<usize>,
    /// Symbol, where the call has more than one.
    pub symbol: Option<String>,
    /// Timestamp of the row in nanoseconds since 1970, where the call has a time column.
    pub time_ns: Option<i64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}", self.row)?;
        if let Some(w) = self.window {
            write!(f, " of window {w}")?;
        }
        if let Some(s) = &self.symbol {
            write!(f, ", symbol {s:?}")?;
        }
        if let Some(t) = self.time_ns {
            write!(f, ", time {}", Utc(t))?;
        }
        Ok(())
    }
}

/// Everything that can go wrong in the core.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// A bar outside what the engine accepts (design, section 10).
    #[error(
        "{place}: column {column:?} = {value}: {reason}; choose on_bad=\"null\" or \"reset\" to go on without this row"
    )]
    BadBar {
        /// Offending column.
        column: String,
        /// Offending value (NaN for a null).
        value: f64,
        /// What is wrong with it.
        reason: &'static str,
        /// Where it stands.
        place: Place,
    },
    /// A column, shape or type that does not fit the call.
    #[error("{message}")]
    Schema {
        /// Column concerned, if one is.
        column: Option<String>,
        /// What is wrong and what to do.
        message: String,
    },
    /// Timestamps that do not strictly increase within a symbol.
    #[error("{place}: column {column:?} = {} is not after {}: sort the bars by time and drop duplicates (one bar per symbol and time)", Utc(*.value), Utc(*.previous))]
    Unsorted {
        /// Time column.
        column: String,
        /// This row's time, ns.
        value: i64,
        /// The row before it, ns.
        previous: i64,
        /// Where it stands.
        place: Place,
    },
    /// A hole in the timestamps, with `on_gap="raise"`.
    #[error("{place}: column {column:?} jumps from {} to {}, more than the interval of {} s; choose on_gap=\"reset\" or \"ignore\"", Utc(*.previous), Utc(*.value), *.interval as f64 / 1e9)]
    Gap {
        /// Time column.
        column: String,
        /// This row's time, ns.
        value: i64,
        /// The row before it, ns.
        previous: i64,
        /// Expected distance, ns.
        interval: i64,
        /// Where it stands.
        place: Place,
    },
    /// A feature that cannot be built.
    #[error("{}", spec_text(.message, .spec, *.position))]
    Spec {
        /// What is wrong.
        message: String,
        /// The spec as given.
        spec: String,
        /// Byte offset in `spec` that the message points at.
        position: usize,
    },
    /// Bytes or a model made for another feature set.
    #[error("fingerprint mismatch: expected {expected}, found {found}")]
    Fingerprint {
        /// Fingerprint of the feature set at hand.
        expected: String,
        /// Fingerprint that came along.
        found: String,
    },
    /// A snapshot that is damaged, foreign or of another format.
    #[error("snapshot refused: {0}")]
    Snapshot(String),
    /// A tree model that is damaged, or holds what the evaluator does not support.
    #[error("tree model refused: {0}")]
    Model(String),
}

/// `Result` with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A [`Error::Schema`] about one column.
    pub fn column(column: &str, message: impl Into<String>) -> Self {
        Self::Schema { column: Some(column.into()), message: message.into() }
    }

    /// A [`Error::Schema`] about the call as a whole.
    pub fn schema(message: impl Into<String>) -> Self {
        Self::Schema { column: None, message: message.into() }
    }

    /// The place of the error, to correct it.
    pub fn place_mut(&mut self) -> Option<&mut Place> {
        match self {
            Self::BadBar { place, .. } | Self::Unsorted { place, .. } | Self::Gap { place, .. } => Some(place),
            _ => None,
        }
    }

    /// The place of the error, where it has one.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::BadBar { place, .. } | Self::Unsorted { place, .. } | Self::Gap { place, .. } => Some(place),
            _ => None,
        }
    }
}

/// Shows the spec with a caret under the offending character.
fn spec_text(message: &str, spec: &str, position: usize) -> String {
    let column = spec.char_indices().take_while(|(i, _)| *i < position).count();
    format!("{message}\n  {spec}\n  {:column$}^", "")
}

/// A time in nanoseconds since 1970, shown as UTC.
struct Utc(i64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.div_euclid(1_000_000_000);
        let nanos = self.0.rem_euclid(1_000_000_000);
        let (year, month, day) = civil(secs.div_euclid(86_400));
        let s = secs.rem_euclid(86_400);
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)?;
        if nanos != 0 {
            write!(f, ".{}", format!("{nanos:09}").trim_end_matches('0'))?;
        }
        write!(f, "Z")
    }
}

/// Days since 1970-01-01 to (year, month, day) in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Count from 0000-03-01, so that the leap day is the last day of its year.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_text() {
        assert_eq!(Utc(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Utc(1_709_164_800_000_000_000).to_string(), "2024-02-29T00:00:00Z");
        assert_eq!(Utc(-1_500_000_000).to_string(), "1969-12-31T23:59:58.5Z");
    }

    #[test]
    fn spec_points_at_character() {
        let e = Error::Spec { message: "unknown name".into(), spec: "a + é + b".into(), position: 4 };
        assert_eq!(e.to_string(), "unknown name\n  a + é + b\n      ^");
    }
}
