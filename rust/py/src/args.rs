//! Arguments as Python gives them. One that does not fit is a `SchemaError`, never a bare `TypeError`.

use numpy::PyUntypedArray;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyFloat, PyInt, PyString, PyType};
use qtfeat_core::bars::{OnBad, OnGap, Policy};

use crate::error::{column_error, schema_error};

static FLOATING: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static INTEGER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static NUMBER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static SCALAR_NS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// A text, or none.
fn text(x: Borrowed<'_, '_, PyAny>) -> Option<String> {
    x.cast::<PyString>().ok().and_then(|s| s.to_str().ok().map(str::to_owned))
}

fn shown(x: Borrowed<'_, '_, PyAny>) -> String {
    x.repr().map_or_else(|_| "something else".to_owned(), |r| r.to_string())
}

/// `on_bad`.
#[derive(Clone, Copy, Default)]
pub struct Bad(pub OnBad);

impl<'py> FromPyObject<'_, 'py> for Bad {
    type Error = PyErr;

    fn extract(x: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match text(x).as_deref() {
            Some("raise") => Ok(Self(OnBad::Raise)),
            Some("null") => Ok(Self(OnBad::Null)),
            Some("reset") => Ok(Self(OnBad::Reset)),
            _ => {
                let message = format!("on_bad must be \"raise\", \"null\" or \"reset\", not {}", shown(x));
                Err(schema_error(x.py(), message))
            }
        }
    }
}

/// `on_gap`.
#[derive(Clone, Copy, Default)]
pub struct Gap(pub OnGap);

impl<'py> FromPyObject<'_, 'py> for Gap {
    type Error = PyErr;

    fn extract(x: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match text(x).as_deref() {
            Some("ignore") => Ok(Self(OnGap::Ignore)),
            Some("raise") => Ok(Self(OnGap::Raise)),
            Some("reset") => Ok(Self(OnGap::Reset)),
            _ => {
                let message = format!("on_gap must be \"raise\", \"reset\" or \"ignore\", not {}", shown(x));
                Err(schema_error(x.py(), message))
            }
        }
    }
}

/// `time_unit` in nanoseconds.
#[derive(Clone, Copy)]
pub struct Unit(pub i64);

impl<'py> FromPyObject<'_, 'py> for Unit {
    type Error = PyErr;

    fn extract(x: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        x.py().import("qtfeat._times")?.call_method1("unit_ns", (&*x,))?.extract().map(Self)
    }
}

/// `interval` in nanoseconds.
#[derive(Clone, Copy)]
pub struct Interval(pub i64);

impl<'py> FromPyObject<'_, 'py> for Interval {
    type Error = PyErr;

    fn extract(x: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        x.py().import("qtfeat._times")?.call_method1("interval_ns", (&*x,))?.extract().map(Self)
    }
}

/// The symbols of a panel: any iterable of texts.
pub struct Symbols(pub Vec<String>);

impl<'py> FromPyObject<'_, 'py> for Symbols {
    type Error = PyErr;

    fn extract(x: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let wrong = || schema_error(x.py(), format!("symbols must be a list of texts, not {}", shown(x)));
        if text(x).is_some() {
            return Err(wrong());
        }
        let symbols = x.try_iter().map_err(|_| wrong())?;
        symbols.map(|s| s?.extract::<String>().map_err(|_| wrong())).collect::<PyResult<_>>().map(Self)
    }
}

/// Puts the policy arguments together.
pub fn policy(py: Python<'_>, on_bad: Bad, on_gap: Gap, interval_ns: Option<i64>) -> PyResult<Policy> {
    if on_gap.0 != OnGap::Ignore && interval_ns.is_none() {
        return Err(schema_error(py, "on_gap needs the distance between bars: pass interval=\"1h\" or the like"));
    }
    if interval_ns.is_some_and(|i| i <= 0) {
        return Err(schema_error(py, "interval must be longer than 0"));
    }
    Ok(Policy { on_bad: on_bad.0, on_gap: on_gap.0, interval: interval_ns })
}

/// True for a NumPy array that is no subclass: a masked array has values that must not be read.
pub fn plain_array(x: &Bound<'_, PyAny>) -> bool {
    x.is_exact_instance_of::<PyUntypedArray>()
}

/// One number of a bar: Python and NumPy floats and integers; None and other nulls are NaN.
#[inline]
pub fn number(x: &Bound<'_, PyAny>, column: &str) -> PyResult<f64> {
    match x.cast::<PyFloat>() {
        Ok(x) => Ok(x.value()),
        Err(_) => other_number(x, column),
    }
}

#[cold]
fn other_number(x: &Bound<'_, PyAny>, column: &str) -> PyResult<f64> {
    let py = x.py();
    if x.is_none() {
        return Ok(f64::NAN);
    }
    if x.is_exact_instance_of::<PyInt>() {
        // An integer that no float reaches is a bad value, as infinity is.
        return x.extract().or_else(|_| Ok(if x.lt(0)? { f64::NEG_INFINITY } else { f64::INFINITY }));
    }
    if x.is_instance(FLOATING.import(py, "numpy", "floating")?)?
        || x.is_instance(INTEGER.import(py, "numpy", "integer")?)?
    {
        // Time spans are integers to NumPy, but no numbers here.
        if let Ok(x) = x.extract() {
            return Ok(x);
        }
    }
    NUMBER.import(py, "qtfeat._columns", "number")?.call1((x, column))?.extract()
}

/// Nanoseconds of a time given as a whole number (in `unit_ns`), datetime64, datetime or pandas Timestamp.
pub fn time_ns(time: Option<&Bound<'_, PyAny>>, unit_ns: Option<i64>) -> PyResult<Option<i64>> {
    let Some(t) = time.filter(|t| !t.is_none()) else { return Ok(None) };
    if let (true, Some(unit)) = (t.is_exact_instance_of::<PyInt>(), unit_ns) {
        let ns = t.extract::<i64>().ok().and_then(|raw| raw.checked_mul(unit)).filter(|&ns| ns != i64::MIN);
        if ns.is_some() {
            return Ok(ns);
        }
    }
    let convert = SCALAR_NS.import(t.py(), "qtfeat._times", "scalar_ns")?;
    convert.call1((t, unit_ns))?.extract().map(Some)
}

/// Extra values: a dict by name, or a sequence in the set's order.
pub fn extra_values(names: &[String], extra: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<f64>> {
    let Some(extra) = extra.filter(|e| !e.is_none()) else { return Ok(Vec::new()) };
    if let Ok(d) = extra.cast::<PyDict>() {
        let value = |name: &String| {
            let x = d.get_item(name)?.ok_or_else(|| {
                column_error(d.py(), name, format!("extra has no {name:?}, which the feature set reads"))
            })?;
            number(&x, name)
        };
        return names.iter().map(value).collect();
    }
    let wrong = || {
        let names = names.join(", ");
        schema_error(extra.py(), format!("extra must be a dict by name or a sequence of numbers ({names})"))
    };
    if extra.is_instance_of::<PyString>() {
        return Err(wrong());
    }
    let values = extra.try_iter().map_err(|_| wrong())?;
    values.enumerate().map(|(i, x)| number(&x?, names.get(i).map_or("extra", String::as_str))).collect()
}
