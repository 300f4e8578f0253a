//! The indicators: short functions that build an expression, each with its catalogue row beside it.

pub mod calendar;
pub mod candle;
pub mod momentum;
mod params;
mod parts;
pub mod trend;
pub mod volatility;
pub mod volume;

#[cfg(test)]
mod tests;

use crate::catalog::Indicator;

/// Every indicator, in catalogue order.
pub fn all() -> impl Iterator<Item = &'static Indicator> {
    [candle::TABLE, trend::TABLE, momentum::TABLE, volatility::TABLE, volume::TABLE, calendar::TABLE]
        .into_iter()
        .flatten()
}

/// The indicator of that name.
pub fn find(id: &str) -> Option<&'static Indicator> {
    all().find(|i| i.id == id)
}
