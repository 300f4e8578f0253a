//! `Stream` and `PanelStream`. State is behind a lock; a concurrent push is an error, never a race.

use std::sync::{Arc, Mutex, MutexGuard};

use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyInt};
use qtfeat_core::features as core;
use qtfeat_core::stream::{self as run, Bar};

use crate::error::{OrRaise, column_error, schema_error, to_py_snapshot};
use crate::features::{FeatureSet, policy};

/// The compiled set of a `qtfeat.FeatureSet` (or of this module's own class).
fn compiled(fs: &Bound<'_, PyAny>) -> PyResult<Arc<core::FeatureSet>> {
    let inner = if fs.is_instance_of::<FeatureSet>() { fs.clone() } else { fs.getattr("_core")? };
    let set = inner.cast::<FeatureSet>().map_err(|_| schema_error(fs.py(), "a FeatureSet is needed"))?;
    let set = Arc::clone(&set.get().inner);
    if set.is_filled() {
        let message = "fill=\"ffill_bfill_zero\" needs the whole table: a stream takes FeatureSet(..., fill=None)";
        return Err(schema_error(fs.py(), message));
    }
    Ok(set)
}

/// Nanoseconds of a time given as an integer (in `unit_ns`), datetime64, datetime or pandas Timestamp.
fn time_ns(time: Option<&Bound<'_, PyAny>>, unit_ns: Option<i64>) -> PyResult<Option<i64>> {
    let Some(t) = time.filter(|t| !t.is_none()) else { return Ok(None) };
    if t.is_instance_of::<PyInt>() {
        let raw: i64 = t.extract()?;
        let unit = unit_ns.ok_or_else(|| {
            column_error(t.py(), "time", "time is a whole number: say its unit with time_unit=\"ms\" or the like")
        })?;
        return raw.checked_mul(unit).map(Some).ok_or_else(|| {
            column_error(
                t.py(),
                "time",
                format!("time {raw} is no time between 1677 and 2262; is the time unit right?"),
            )
        });
    }
    t.py().import("qtfeat._times")?.call_method1("to_ns", (t,))?.extract().map(Some)
}

/// Extra values: a mapping by name, or a sequence in the set's order.
fn extra_values(fs: &core::FeatureSet, extra: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<f64>> {
    let Some(extra) = extra.filter(|e| !e.is_none()) else { return Ok(Vec::new()) };
    if let Ok(d) = extra.cast::<PyDict>() {
        let value = |name: &String| {
            let x = d.get_item(name)?.ok_or_else(|| {
                column_error(d.py(), name, format!("extra has no {name:?}, which the feature set reads"))
            })?;
            x.extract::<f64>()
        };
        return fs.extras().iter().map(value).collect();
    }
    extra.extract()
}

fn busy() -> PyErr {
    PyRuntimeError::new_err("this stream is in use by another thread: give each thread its own, or lock around push")
}

/// Features of one symbol, one closed bar at a time.
#[pyclass(frozen, module = "qtfeat")]
pub struct Stream {
    fs: Arc<core::FeatureSet>,
    inner: Mutex<run::Stream>,
    unit_ns: Option<i64>,
}

impl Stream {
    fn lock(&self) -> PyResult<MutexGuard<'_, run::Stream>> {
        self.inner.try_lock().map_err(|_| busy())
    }

    #[allow(clippy::too_many_arguments, reason = "a bar, as Python gives it")]
    fn take<'py>(
        &self,
        py: Python<'py>,
        ohlcv: [f64; 5],
        time: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyAny>>,
        step: impl FnOnce(&mut run::Stream, &Bar<'_>, &mut [f64]) -> qtfeat_core::Result<()>,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let extras = extra_values(&self.fs, extra)?;
        let bar = Bar { ohlcv, time: time_ns(time, self.unit_ns)?, extras: &extras };
        let out = PyArray1::zeros(py, self.fs.columns().len(), false);
        // SAFETY: the array was made here, so nothing else sees it yet.
        let slice = unsafe { out.as_slice_mut()? };
        step(&mut *self.lock()?, &bar, slice).or_raise(py)?;
        Ok(out)
    }
}

#[pymethods]
#[allow(clippy::too_many_arguments, reason = "a bar, as Python gives it")]
impl Stream {
    #[new]
    #[pyo3(signature = (fs, *, on_bad="raise", on_gap="ignore", interval=None, time_unit=None))]
    fn new(
        fs: &Bound<'_, PyAny>,
        on_bad: &str,
        on_gap: &str,
        interval: Option<Bound<'_, PyAny>>,
        time_unit: Option<&str>,
    ) -> PyResult<Self> {
        let (py, set) = (fs.py(), compiled(fs)?);
        let policy = policy(py, on_bad, on_gap, interval_ns(py, interval)?)?;
        let inner = Mutex::new(run::Stream::new(Arc::clone(&set), policy));
        Ok(Self { fs: set, inner, unit_ns: unit(py, time_unit)? })
    }

    /// Takes a closed bar and returns the features, a float64 array of shape (F,), NaN where there is none.
    #[pyo3(signature = (open, high, low, close, volume, time=None, extra=None))]
    fn push<'py>(
        &self,
        py: Python<'py>,
        open: f64,
        high: f64,
        low: f64,
        close: f64,
        volume: f64,
        time: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        self.take(py, [open, high, low, close, volume], time, extra, run::Stream::push)
    }

    /// What `push` would return, without taking the bar.
    #[pyo3(signature = (open, high, low, close, volume, time=None, extra=None))]
    fn peek<'py>(
        &self,
        py: Python<'py>,
        open: f64,
        high: f64,
        low: f64,
        close: f64,
        volume: f64,
        time: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        self.take(py, [open, high, low, close, volume], time, extra, run::Stream::peek)
    }

    /// True when the last bar had a value for every feature.
    #[getter]
    fn ready(&self) -> PyResult<bool> {
        Ok(self.lock()?.ready())
    }

    /// Bars taken so far.
    #[getter]
    fn rows(&self) -> PyResult<u64> {
        Ok(self.lock()?.rows())
    }

    /// Names of the features, in output order.
    #[getter]
    fn columns(&self) -> Vec<String> {
        self.fs.columns().iter().map(|c| c.name.clone()).collect()
    }

    /// Everything needed to go on in another process, as checksummed bytes.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.lock()?.snapshot()))
    }

    /// A stream that goes on where `snapshot` was taken.
    #[staticmethod]
    #[pyo3(signature = (fs, snapshot, *, time_unit=None))]
    fn restore(fs: &Bound<'_, PyAny>, snapshot: &[u8], time_unit: Option<&str>) -> PyResult<Self> {
        let (py, set) = (fs.py(), compiled(fs)?);
        let stream = run::Stream::restore(Arc::clone(&set), snapshot).map_err(|e| to_py_snapshot(py, &e))?;
        Ok(Self { fs: set, inner: Mutex::new(stream), unit_ns: unit(py, time_unit)? })
    }

    /// An independent copy.
    fn clone(&self) -> PyResult<Self> {
        Ok(Self { fs: Arc::clone(&self.fs), inner: Mutex::new(self.lock()?.clone()), unit_ns: self.unit_ns })
    }
}

/// Features of a fixed universe of symbols, one bar of each at a time.
#[pyclass(frozen, module = "qtfeat")]
pub struct PanelStream {
    fs: Arc<core::FeatureSet>,
    symbols: Vec<String>,
    inner: Mutex<run::PanelStream>,
    unit_ns: Option<i64>,
}

impl PanelStream {
    fn lock(&self) -> PyResult<MutexGuard<'_, run::PanelStream>> {
        self.inner.try_lock().map_err(|_| busy())
    }

    fn times(&self, time: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Vec<i64>>> {
        let Some(t) = time.filter(|t| !t.is_none()) else { return Ok(None) };
        if t.hasattr("__len__")?
            && !t.is_instance_of::<pyo3::types::PyString>()
            && t.getattr("ndim").is_ok_and(|n| n.extract::<usize>().is_ok_and(|n| n == 1))
        {
            let ns = t.py().import("qtfeat._times")?.call_method1("array_ns", (t, self.unit_ns))?;
            let array: PyReadonlyArray1<'_, i64> = ns.extract()?;
            return Ok(Some(array.as_slice()?.to_vec()));
        }
        Ok(time_ns(Some(t), self.unit_ns)?.map(|t| vec![t; self.symbols.len()]))
    }
}

#[pymethods]
impl PanelStream {
    #[new]
    #[pyo3(signature = (fs, symbols, *, on_bad="raise", on_gap="ignore", interval=None, time_unit=None))]
    fn new(
        fs: &Bound<'_, PyAny>,
        symbols: Vec<String>,
        on_bad: &str,
        on_gap: &str,
        interval: Option<Bound<'_, PyAny>>,
        time_unit: Option<&str>,
    ) -> PyResult<Self> {
        let (py, set) = (fs.py(), compiled(fs)?);
        let policy = policy(py, on_bad, on_gap, interval_ns(py, interval)?)?;
        let inner = run::PanelStream::new(Arc::clone(&set), symbols.clone(), policy).or_raise(py)?;
        Ok(Self { fs: set, symbols, inner: Mutex::new(inner), unit_ns: unit(py, time_unit)? })
    }

    /// Takes one bar per symbol, a float64 array (S, 5); five NaN = no bar now. Returns (S, F), NaN where none.
    #[pyo3(signature = (ohlcv, time=None, extra=None))]
    #[allow(clippy::needless_pass_by_value, reason = "the arguments of the Python method")]
    fn push<'py>(
        &self,
        py: Python<'py>,
        ohlcv: &Bound<'py, PyAny>,
        time: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let n = self.symbols.len();
        let wrong = || schema_error(py, format!("push takes a C-contiguous float64 array of shape ({n}, 5)"));
        let bars: PyReadonlyArray2<'_, f64> = ohlcv.extract().map_err(|_| wrong())?;
        if bars.shape() != [n, 5] || !bars.is_c_contiguous() {
            return Err(wrong());
        }
        let e = self.fs.extras().len();
        let extras: Option<PyReadonlyArray2<'_, f64>> = match extra.filter(|x| !x.is_none()) {
            Some(x) => {
                let array: PyReadonlyArray2<'_, f64> = x
                    .extract()
                    .map_err(|_| schema_error(py, format!("extra must be a float64 array of shape ({n}, {e})")))?;
                if array.shape() != [n, e] || !array.is_c_contiguous() {
                    return Err(schema_error(py, format!("extra must be a float64 array of shape ({n}, {e})")));
                }
                Some(array)
            }
            None => None,
        };
        let times = self.times(time)?;
        let out = PyArray2::zeros(py, [n, self.fs.columns().len()], false);
        // SAFETY: the array was made here, so nothing else sees it yet.
        let slice = unsafe { out.as_slice_mut()? };
        let mut inner = self.lock()?;
        let extras = extras.as_ref().map(|x| x.as_slice()).transpose()?.unwrap_or(&[]);
        inner.push(bars.as_slice()?, times.as_deref(), extras, slice).or_raise(py)?;
        Ok(out)
    }

    /// Per symbol: had its last bar a value for every feature?
    #[getter]
    fn ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<bool>>> {
        Ok(PyArray1::from_slice(py, self.lock()?.ready()))
    }

    /// The symbols, in row order.
    #[getter]
    fn symbols(&self) -> Vec<String> {
        self.symbols.clone()
    }

    /// Names of the features, in output order.
    #[getter]
    fn columns(&self) -> Vec<String> {
        self.fs.columns().iter().map(|c| c.name.clone()).collect()
    }

    /// Everything needed to go on in another process, as checksummed bytes.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.lock()?.snapshot()))
    }

    /// A panel that goes on where `snapshot` was taken.
    #[staticmethod]
    #[pyo3(signature = (fs, snapshot, *, time_unit=None))]
    fn restore(fs: &Bound<'_, PyAny>, snapshot: &[u8], time_unit: Option<&str>) -> PyResult<Self> {
        let (py, set) = (fs.py(), compiled(fs)?);
        let panel = run::PanelStream::restore(Arc::clone(&set), snapshot).map_err(|e| to_py_snapshot(py, &e))?;
        Ok(Self { fs: set, symbols: panel.symbols().to_vec(), inner: Mutex::new(panel), unit_ns: unit(py, time_unit)? })
    }

    /// An independent copy.
    fn clone(&self) -> PyResult<Self> {
        Ok(Self {
            fs: Arc::clone(&self.fs),
            symbols: self.symbols.clone(),
            inner: Mutex::new(self.lock()?.clone()),
            unit_ns: self.unit_ns,
        })
    }
}

fn unit(py: Python<'_>, time_unit: Option<&str>) -> PyResult<Option<i64>> {
    match time_unit {
        None => Ok(None),
        Some("s") => Ok(Some(1_000_000_000)),
        Some("ms") => Ok(Some(1_000_000)),
        Some("us") => Ok(Some(1_000)),
        Some("ns") => Ok(Some(1)),
        Some(other) => {
            Err(schema_error(py, format!("time_unit must be \"s\", \"ms\", \"us\" or \"ns\", not {other:?}")))
        }
    }
}

fn interval_ns(py: Python<'_>, interval: Option<Bound<'_, PyAny>>) -> PyResult<Option<i64>> {
    match interval {
        None => Ok(None),
        Some(x) => py.import("qtfeat._times")?.call_method1("interval_ns", (x,))?.extract(),
    }
}
