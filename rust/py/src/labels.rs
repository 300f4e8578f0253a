//! Labels.

use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use qtfeat_core::labels::{Labels, forward_labels as label_series};

use crate::error::schema_error;

/// Forward return, class and row of the outcome.
type Labelled<'py> = (Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<i8>>, Bound<'py, PyArray1<i64>>);

/// See `qtfeat.labels`.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // a borrow that PyO3 hands over
pub fn forward_labels<'py>(
    py: Python<'py>,
    close: PyReadonlyArray1<'py, f64>,
    horizon: usize,
    threshold: f64,
) -> PyResult<Labelled<'py>> {
    let close = close.as_slice()?;
    let Labels { forward, class, end } =
        py.detach(|| label_series(close, horizon, threshold)).map_err(|e| schema_error(py, e.to_string()))?;
    Ok((forward.into_pyarray(py), class.into_pyarray(py), end.into_pyarray(py)))
}
