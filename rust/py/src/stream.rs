//! `Stream` and `PanelStream`. State is behind a lock; a concurrent push is an error, never a race.

use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, MutexGuard};

use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyString};
use qtfeat_core::features as core;
use qtfeat_core::source::OHLCV;
use qtfeat_core::stream::{self as run, Bar};

use crate::args::{Bad, Gap, Interval, Symbols, Unit, extra_values, number, plain_array, policy, time_ns};
use crate::error::{OrRaise, column_error, schema_error, to_py_snapshot};
use crate::features::FeatureSet;

/// The compiled set of a `qtfeat.FeatureSet`, of the name of a shipped one, or of specs.
fn compiled(fs: &Bound<'_, PyAny>) -> PyResult<Arc<core::FeatureSet>> {
    let inner = if fs.is_instance_of::<FeatureSet>() {
        fs.clone()
    } else {
        fs.py().import("qtfeat.features")?.call_method1("as_feature_set", (fs,))?.getattr("_core")?
    };
    let set = inner.cast::<FeatureSet>().map_err(|_| schema_error(fs.py(), "a FeatureSet is needed"))?;
    let set = Arc::clone(&set.get().inner);
    if set.is_filled() {
        let message = "fill=\"ffill_bfill_zero\" needs the whole table: a stream takes FeatureSet(..., fill=None)";
        return Err(schema_error(fs.py(), message));
    }
    Ok(set)
}

/// A float64 array (S, columns) of whatever array there is.
fn matrix<'py>(x: &Bound<'py, PyAny>, shape: [usize; 2], name: &str) -> PyResult<PyReadonlyArray2<'py, f64>> {
    if plain_array(x)
        && let Ok(array) = x.cast::<PyArray2<f64>>()
        && array.shape() == shape
        && array.is_c_contiguous()
    {
        return array.try_readonly().map_err(|_| column_error(x.py(), name, format!("{name} is being written")));
    }
    let array = x.py().import("qtfeat._columns")?.call_method1("matrix", (x, (shape[0], shape[1]), name))?;
    array.extract()
}

/// The bytes of a snapshot, from anything that has bytes.
fn raw(snapshot: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = snapshot.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    let view = PyMemoryView::from(snapshot);
    let bytes = view.map_err(|_| schema_error(snapshot.py(), "a snapshot is bytes, as snapshot() gave them"))?;
    Ok(bytes.call_method0("tobytes")?.cast::<PyBytes>()?.as_bytes().to_vec())
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
        given: [&Bound<'py, PyAny>; 5],
        time: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyAny>>,
        step: impl FnOnce(&mut run::Stream, &Bar<'_>, &mut [f64]) -> qtfeat_core::Result<()>,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let mut ohlcv = [0.0; 5];
        for ((x, given), name) in ohlcv.iter_mut().zip(given).zip(OHLCV) {
            *x = number(given, name)?;
        }
        let extras = extra_values(self.fs.extras(), extra)?;
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
    #[pyo3(
        signature = (fs, *, on_bad=Bad::default(), on_gap=Gap::default(), interval=None, time_unit=None),
        text_signature = "(fs, *, on_bad='raise', on_gap='ignore', interval=None, time_unit=None)"
    )]
    fn new(
        fs: &Bound<'_, PyAny>,
        on_bad: Bad,
        on_gap: Gap,
        interval: Option<Interval>,
        time_unit: Option<Unit>,
    ) -> PyResult<Self> {
        let (py, set) = (fs.py(), compiled(fs)?);
        let policy = policy(py, on_bad, on_gap, interval.map(|i| i.0))?;
        let inner = Mutex::new(run::Stream::new(Arc::clone(&set), policy));
        Ok(Self { fs: set, inner, unit_ns: time_unit.map(|u| u.0) })
    }

    /// Takes a closed bar and returns the features, a float64 array of shape (F,), NaN where there is none.
    #[pyo3(signature = (open, high, low, close, volume, time=None, extra=None))]
    fn push<'py>(
        &self,
        py: Python<'py>,
        open: &Bound<'py, PyAny>,
        high: &Bound<'py, PyAny>,
        low: &Bound<'py, PyAny>,
        close: &Bound<'py, PyAny>,
        volume: &Bound<'py, PyAny>,
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
        open: &Bound<'py, PyAny>,
        high: &Bound<'py, PyAny>,
        low: &Bound<'py, PyAny>,
        close: &Bound<'py, PyAny>,
        volume: &Bound<'py, PyAny>,
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
    fn restore(fs: &Bound<'_, PyAny>, snapshot: &Bound<'_, PyAny>, time_unit: Option<Unit>) -> PyResult<Self> {
        let (py, set) = (fs.py(), compiled(fs)?);
        let stream = run::Stream::restore(Arc::clone(&set), &raw(snapshot)?).map_err(|e| to_py_snapshot(py, &e))?;
        Ok(Self { fs: set, inner: Mutex::new(stream), unit_ns: time_unit.map(|u| u.0) })
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

    /// One time per symbol; an absent symbol (five NaN) needs none.
    fn times(&self, time: Option<&Bound<'_, PyAny>>, bars: &[f64]) -> PyResult<Option<Vec<i64>>> {
        let Some(t) = time.filter(|t| !t.is_none()) else { return Ok(None) };
        let (py, n) = (t.py(), self.symbols.len());
        if let (true, Some(unit), Ok(array)) = (plain_array(t), self.unit_ns, t.cast::<PyArray1<i64>>()) {
            let ns = |raw: &i64| raw.checked_mul(unit).filter(|&ns| ns != i64::MIN);
            let all = array.try_readonly().ok().and_then(|a| a.as_slice().ok()?.iter().map(ns).collect());
            if let Some(all) = all.filter(|all: &Vec<i64>| all.len() == n) {
                return Ok(Some(all));
            }
        }
        if t.is_instance_of::<PyString>() || t.len().is_err() {
            return Ok(time_ns(Some(t), self.unit_ns)?.map(|t| vec![t; n]));
        }
        let present = bars.as_chunks::<5>().0.iter().map(|bar| bar.iter().any(|x| x == x)).collect::<Vec<bool>>();
        let ns = py.import("qtfeat._times")?.call_method1("panel_ns", (t, self.unit_ns, present))?;
        let array: PyReadonlyArray1<'_, i64> = ns.extract()?;
        Ok(Some(array.as_slice()?.to_vec()))
    }
}

#[pymethods]
impl PanelStream {
    #[new]
    #[pyo3(
        signature = (fs, symbols, *, on_bad=Bad::default(), on_gap=Gap::default(), interval=None, time_unit=None),
        text_signature = "(fs, symbols, *, on_bad='raise', on_gap='ignore', interval=None, time_unit=None)"
    )]
    fn new(
        fs: &Bound<'_, PyAny>,
        symbols: Symbols,
        on_bad: Bad,
        on_gap: Gap,
        interval: Option<Interval>,
        time_unit: Option<Unit>,
    ) -> PyResult<Self> {
        let (py, set) = (fs.py(), compiled(fs)?);
        let policy = policy(py, on_bad, on_gap, interval.map(|i| i.0))?;
        let symbols = symbols.0;
        let inner = run::PanelStream::new(Arc::clone(&set), symbols.clone(), policy).or_raise(py)?;
        Ok(Self { fs: set, symbols, inner: Mutex::new(inner), unit_ns: time_unit.map(|u| u.0) })
    }

    /// Takes one bar per symbol, an array (S, 5) of floats or integers; five NaN = no bar now. Returns (S, F), NaN where none.
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
        let bars = matrix(ohlcv, [n, 5], "ohlcv")?;
        let extra = extra.filter(|x| !x.is_none());
        let extras = extra.map(|x| matrix(x, [n, self.fs.extras().len()], "extra")).transpose()?;
        let times = self.times(time, bars.as_slice()?)?;
        // SAFETY: the array was made here, so nothing else sees it yet; a push that is not refused writes all of it.
        let (out, fresh) = unsafe {
            let out = PyArray2::<f64>::new(py, [n, self.fs.columns().len()], false);
            let fresh = std::slice::from_raw_parts_mut(out.data().cast::<MaybeUninit<f64>>(), out.len());
            (out, fresh)
        };
        let mut inner = self.lock()?;
        let extras = extras.as_ref().map(|x| x.as_slice()).transpose()?.unwrap_or(&[]);
        inner.push_new(bars.as_slice()?, times.as_deref(), extras, fresh).or_raise(py)?;
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
    fn restore(fs: &Bound<'_, PyAny>, snapshot: &Bound<'_, PyAny>, time_unit: Option<Unit>) -> PyResult<Self> {
        let (py, set) = (fs.py(), compiled(fs)?);
        let panel = run::PanelStream::restore(Arc::clone(&set), &raw(snapshot)?).map_err(|e| to_py_snapshot(py, &e))?;
        Ok(Self {
            fs: set,
            symbols: panel.symbols().to_vec(),
            inner: Mutex::new(panel),
            unit_ns: time_unit.map(|u| u.0),
        })
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
