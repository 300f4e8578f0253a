//! Simulated markets and synthetic windows.

use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadwriteArray3, PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use qtfeat_core::synth::windows::{Config, Kind, Synthetic, WindowError};
use qtfeat_core::synth::{Market, MarketConfig, simulate as simulate_market};
use qtfeat_core::windows::fit;

use crate::compute::Options;
use crate::error::{OrRaise, row_error, schema_error};
use crate::features::FeatureSet;
use crate::windows::compute;

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

/// What to generate; see `qtfeat.synthetic`. `context` is rho and signal bars, or None for the outcome.
#[derive(FromPyObject)]
pub struct WindowConfig {
    #[pyo3(item)]
    bars: usize,
    #[pyo3(item)]
    seed: u64,
    #[pyo3(item)]
    context: Option<(f64, usize)>,
    #[pyo3(item)]
    volatility: f64,
    #[pyo3(item)]
    tick: f64,
}

impl WindowConfig {
    fn source(&self, py: Python<'_>, outcomes: &[f64]) -> PyResult<Synthetic> {
        let kind = self.context.map_or(Kind::Outcome, |(rho, signal_bars)| Kind::Context { rho, signal_bars });
        let Self { bars, seed, volatility, tick, .. } = *self;
        Synthetic::new(outcomes, Config { bars, seed, kind, volatility, tick }).map_err(|e| match e {
            WindowError::Setting(_) => schema_error(py, format!("synthetic windows: {e}")),
            WindowError::Outcome { row, .. } => row_error(py, "pnl_pct", row, format!("synthetic windows: {e}")),
        })
    }
}

/// Writes windows for outcomes as fractions into `out`, (n, bars, 5).
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "the arguments of the Python function")]
pub fn synthetic_windows(
    py: Python<'_>,
    outcomes: PyReadonlyArray1<'_, f64>,
    config: WindowConfig,
    threads: usize,
    mut out: PyReadwriteArray3<'_, f64>,
) -> PyResult<()> {
    let outcomes = outcomes.as_slice()?;
    let source = config.source(py, outcomes)?;
    if out.shape() != [outcomes.len(), config.bars, 5] {
        return Err(schema_error(py, "out must be (n, bars, 5)"));
    }
    let out = out.as_slice_mut()?;
    py.detach(|| source.write(threads, out));
    Ok(())
}

/// Features of such windows, (n, F), or (n, bars, F) with `all_rows`; the windows are not written out.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "the arguments of the Python function")]
pub fn synthetic_features<'py>(
    py: Python<'py>,
    fs: &FeatureSet,
    outcomes: PyReadonlyArray1<'py, f64>,
    config: WindowConfig,
    options: Options,
    all_rows: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let outcomes = outcomes.as_slice()?;
    let source = config.source(py, outcomes)?;
    fit(&fs.inner, config.bars, None, false, &options.policy).or_raise(py)?;
    compute(py, &fs.inner, &source, outcomes.len(), &options, all_rows)
}
