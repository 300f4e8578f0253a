//! Labels.

use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use qtfeat_core::labels::{Kind, LabelError, Labels, Panel, Settings, as_of, label};

use crate::error::{row_error, schema_error, to_py};

/// Rows of bars, and the close times of all bars.
type Located<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>);

/// Value, return, class, close time and time of the outcome.
type Labelled<'py> = (
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<i8>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i64>>,
);

/// The columns of a panel: symbols, open times, close times, interval; open, high and low; close.
#[derive(FromPyObject)]
pub struct PanelColumns<'py> {
    #[pyo3(item)]
    symbols: Option<PyReadonlyArray1<'py, i64>>,
    #[pyo3(item)]
    open_time: PyReadonlyArray1<'py, i64>,
    #[pyo3(item)]
    close_time: Option<PyReadonlyArray1<'py, i64>>,
    #[pyo3(item)]
    interval: Option<i64>,
    #[pyo3(item)]
    prices: Option<[PyReadonlyArray1<'py, f64>; 3]>,
    #[pyo3(item)]
    close: PyReadonlyArray1<'py, f64>,
}

impl PanelColumns<'_> {
    fn view(&self) -> PyResult<Panel<'_>> {
        let prices = match &self.prices {
            Some([open, high, low]) => Some([open.as_slice()?, high.as_slice()?, low.as_slice()?]),
            None => None,
        };
        Ok(Panel {
            symbols: self.symbols.as_ref().map(|s| s.as_slice()).transpose()?,
            open_time: self.open_time.as_slice()?,
            close_time: self.close_time.as_ref().map(|t| t.as_slice()).transpose()?,
            interval: self.interval,
            prices,
            close: self.close.as_slice()?,
        })
    }
}

/// Labels of a panel; see `qtfeat.labels`. `barriers` are take-profit and stop-loss.
#[pyfunction]
#[pyo3(signature = (panel, kind, horizon, threshold, barriers))]
#[allow(clippy::needless_pass_by_value, reason = "the arguments of the Python function")]
pub fn label_panel<'py>(
    py: Python<'py>,
    panel: PanelColumns<'py>,
    kind: &str,
    horizon: usize,
    threshold: f64,
    barriers: (f64, f64),
) -> PyResult<Labelled<'py>> {
    let kind = match kind {
        "forward" => Kind::Forward,
        "volatility_scaled" => Kind::Scaled,
        "market_neutral" => Kind::Neutral,
        "win_loss" => Kind::WinLoss,
        "triple_barrier" => Kind::Barrier { take_profit: barriers.0, stop_loss: barriers.1 },
        _ => return Err(schema_error(py, format!("labels: unknown kind {kind:?}"))),
    };
    let (view, settings) = (panel.view()?, Settings { kind, horizon, threshold });
    let Labels { value, ret, side, t, t_end } =
        py.detach(|| label(&view, &settings)).map_err(|e| label_error(py, &e))?;
    Ok((
        value.into_pyarray(py),
        ret.into_pyarray(py),
        side.into_pyarray(py),
        t.into_pyarray(py),
        t_end.into_pyarray(py),
    ))
}

/// The row of the last bar of each symbol that had closed at each time, or -1; and the close times of all bars.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "the arguments of the Python function")]
pub fn closed_before<'py>(
    py: Python<'py>,
    panel: PanelColumns<'py>,
    symbols: PyReadonlyArray1<'py, i64>,
    times: PyReadonlyArray1<'py, i64>,
) -> PyResult<Located<'py>> {
    let (view, symbols, times) = (panel.view()?, symbols.as_slice()?, times.as_slice()?);
    let (rows, closes) = py.detach(|| as_of(&view, symbols, times)).map_err(|e| label_error(py, &e))?;
    Ok((rows.into_pyarray(py), closes.into_pyarray(py)))
}

fn label_error(py: Python<'_>, error: &LabelError) -> PyErr {
    match error {
        LabelError::Core(core) => to_py(py, core),
        LabelError::Value { column, row, value, .. } => {
            let refused = row_error(py, column, *row, format!("labels: {error}"));
            let told = refused.value(py).setattr("value", *value);
            told.err().unwrap_or(refused)
        }
        LabelError::Setting(_) | LabelError::Interval(_) => schema_error(py, format!("labels: {error}")),
    }
}
