//! Simulated markets.

use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use qtfeat_core::synth::{Market, MarketConfig, simulate as simulate_market};

use crate::error::schema_error;

/// Names, open times (bars,), and (6, symbols * bars) values: open, high, low, close, volume, oracle; symbol after symbol.
type Simulated<'py> = (Vec<String>, Bound<'py, PyArray1<i64>>, Bound<'py, PyArray2<f64>>);

/// See `qtfeat.bars.simulate`.
#[pyfunction]
#[pyo3(signature = (*, symbols, bars, seed, interval_ms, start_ms, signal_r2, horizon, volatility, market_share))]
#[allow(clippy::too_many_arguments)] // one per setting, all by name
pub fn simulate(
    py: Python<'_>,
    symbols: usize,
    bars: usize,
    seed: u64,
    interval_ms: i64,
    start_ms: i64,
    signal_r2: f64,
    horizon: usize,
    volatility: f64,
    market_share: f64,
) -> PyResult<Simulated<'_>> {
    let config =
        MarketConfig { symbols, bars, seed, interval_ms, start_ms, signal_r2, horizon, volatility, market_share };
    let Market { names, time_ms, open, high, low, close, volume, oracle } =
        py.detach(|| simulate_market(&config)).map_err(|e| schema_error(py, e.to_string()))?;
    let values: Vec<f64> = [open, high, low, close, volume, oracle].into_iter().flatten().flatten().collect();
    Ok((names, time_ms.into_pyarray(py), values.into_pyarray(py).reshape([6, symbols * bars])?))
}
