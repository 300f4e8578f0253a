//! Trades beside bars.

use super::{LabelError, Panel, Result};

/// The caller's row of the last bar of `symbols[i]` whose close time is at or before `times[i]`, or -1 where that
/// symbol has none.
///
/// # Errors
/// [`LabelError`] as in [`super::label`], and where the two slices differ in length.
pub fn as_of(panel: &Panel<'_>, symbols: &[i64], times: &[i64]) -> Result<(Vec<i64>, Vec<i64>)> {
    if symbols.len() != times.len() {
        return Err(LabelError::Setting(format!("{} symbols for {} times", symbols.len(), times.len())));
    }
    let sorted = panel.sort()?;
    let mut rows = Vec::with_capacity(times.len());
    for (&symbol, &time) in symbols.iter().zip(times) {
        let (at, closes) = sorted.of_symbol(symbol);
        let before = closes.partition_point(|&close| close <= time);
        rows.push(if before == 0 { -1 } else { i64::from(at[before - 1]) });
    }
    Ok((rows, sorted.close_times_of_rows()))
}
