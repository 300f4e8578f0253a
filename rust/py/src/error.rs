//! The one place where core errors become Python exceptions (`qtfeat.errors`).

use pyo3::exceptions::{PyException, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use qtfeat_core::error::{Error, Place};

/// The Python exception for a core error.
pub fn to_py(py: Python<'_>, error: &Error) -> PyErr {
    raise(py, error, false)
}

/// As [`to_py`], for an error met while reading a snapshot: a foreign fingerprint is both kinds of error.
pub fn to_py_snapshot(py: Python<'_>, error: &Error) -> PyErr {
    raise(py, error, true)
}

/// Lets `?` turn a core result into a Python one.
pub trait OrRaise<T> {
    /// The value, or the Python exception.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for Result<T, Error> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|e| to_py(py, &e))
    }
}

fn raise(py: Python<'_>, error: &Error, snapshot: bool) -> PyErr {
    let built = build(py, error, snapshot);
    built.unwrap_or_else(|e| e)
}

fn build(py: Python<'_>, error: &Error, snapshot: bool) -> PyResult<PyErr> {
    let fields = PyDict::new(py);
    let place = |p: &Place| -> PyResult<()> {
        fields.set_item("row", p.row)?;
        fields.set_item("window", p.window)?;
        fields.set_item("symbol", p.symbol.as_deref())?;
        fields.set_item("time_ns", p.time_ns)
    };
    let class = match error {
        Error::BadBar { column, value, place: p, .. } => {
            place(p)?;
            fields.set_item("column", column)?;
            fields.set_item("value", value)?;
            "BadBarError"
        }
        Error::Schema { column, .. } => {
            fields.set_item("column", column.as_deref())?;
            "SchemaError"
        }
        Error::Unsorted { column, value, previous, place: p } => {
            place(p)?;
            fields.set_item("column", column)?;
            fields.set_item("value", value)?;
            fields.set_item("previous", previous)?;
            "UnsortedError"
        }
        Error::Gap { column, value, previous, interval, place: p } => {
            place(p)?;
            fields.set_item("column", column)?;
            fields.set_item("value", value)?;
            fields.set_item("previous", previous)?;
            fields.set_item("interval", interval)?;
            "GapError"
        }
        Error::Spec { spec, position, .. } => {
            fields.set_item("spec", spec)?;
            fields.set_item("position", position)?;
            "FeatureSpecError"
        }
        Error::Fingerprint { expected, found } => {
            fields.set_item("expected", expected)?;
            fields.set_item("found", found)?;
            if snapshot { "SnapshotMismatch" } else { "FingerprintMismatch" }
        }
        Error::Snapshot(_) => "SnapshotError",
        Error::Model(_) => "RegistryError",
    };
    let class = py.import("qtfeat.errors")?.getattr(class)?;
    let Ok(class) = class.cast_into::<PyType>() else {
        return Ok(PyRuntimeError::new_err(error.to_string()));
    };
    Ok(PyErr::from_value(class.call((error.to_string(),), Some(&fields))?))
}

/// A `SchemaError` about one column.
pub fn column_error(py: Python<'_>, column: &str, message: impl Into<String>) -> PyErr {
    to_py(py, &Error::column(column, message))
}

/// A `SchemaError` about the call.
pub fn schema_error(py: Python<'_>, message: impl Into<String>) -> PyErr {
    to_py(py, &Error::schema(message))
}

/// A `SchemaError` about one value of a column.
pub fn row_error(py: Python<'_>, column: &str, row: usize, message: impl Into<String>) -> PyErr {
    let error = column_error(py, column, message);
    let told = error.value(py).setattr("row", row);
    told.err().unwrap_or(error)
}

/// The error for something that cannot be read as a table. Errors of the caller's own reader pass through.
pub fn unreadable(py: Python<'_>, error: PyErr) -> PyErr {
    let ours = py.import("qtfeat.errors").and_then(|m| m.getattr("QtfeatError"));
    let foreign = error.get_type(py).is(py.get_type::<PyException>())
        || error.is_instance_of::<PyTypeError>(py)
        || error.is_instance_of::<PyValueError>(py);
    if !foreign || ours.is_ok_and(|t| error.matches(py, t).unwrap_or(false)) {
        return error;
    }
    let refused = schema_error(py, format!("this cannot be read as a table of bars: {}", error.value(py)));
    refused.set_cause(py, Some(error));
    refused
}
