//! `FeatureSet`, and the computation of whole tables.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use numpy::{PyArray2, PyArrayMethods, PyReadonlyArray1, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use pyo3_arrow::input::AnyRecordBatch;
use qtfeat_core::bars::{OnBad, OnGap, Policy};
use qtfeat_core::batch::{self, Nulls, Series};
use qtfeat_core::block::{Arena, Columns, Element};
use qtfeat_core::fault::Fault;
use qtfeat_core::features::{self as core, NUMERICS_VERSION};
use qtfeat_core::graph::{Num, Profile};
use qtfeat_core::indicators;
use qtfeat_core::source::{Bars, OHLCV, Rows, Times};

use crate::arrays::Held;
use crate::arrow;
use crate::error::{OrRaise, schema_error};
use crate::output::{Kind, Output, field};

/// A compiled feature set. `qtfeat.FeatureSet` wraps it.
#[pyclass(frozen, module = "qtfeat._core")]
pub struct FeatureSet {
    pub inner: Arc<core::FeatureSet>,
}

#[pymethods]
impl FeatureSet {
    #[new]
    #[pyo3(signature = (specs, numerics="safe", eps=1e-8, filled=false, fault=None))]
    fn new(
        py: Python<'_>,
        specs: Vec<String>,
        numerics: &str,
        eps: f64,
        filled: bool,
        fault: Option<&str>,
    ) -> PyResult<Self> {
        let profile = match numerics {
            "safe" => Profile::Safe,
            "talib" => Profile::Talib,
            "legacy" if eps.is_finite() && eps >= 0.0 => Profile::Legacy { eps: Num::new(eps) },
            "legacy" => return Err(schema_error(py, format!("eps must be a number >= 0, not {eps}"))),
            other => {
                return Err(schema_error(
                    py,
                    format!("numerics must be \"safe\", \"talib\" or \"legacy\", not {other:?}"),
                ));
            }
        };
        let mut set = core::FeatureSet::new(&specs, profile).or_raise(py)?;
        if filled {
            set = set.filled();
        }
        if let Some(name) = fault {
            let fault = Fault::parse(name).ok_or_else(|| schema_error(py, format!("no such fault: {name:?}")))?;
            set = set.with_fault(fault);
        }
        Ok(Self { inner: Arc::new(set) })
    }

    #[getter]
    fn columns(&self) -> Vec<String> {
        self.inner.columns().iter().map(|c| c.name.clone()).collect()
    }

    #[getter]
    fn extras(&self) -> Vec<String> {
        self.inner.extras().to_vec()
    }

    #[getter]
    fn needs_time(&self) -> bool {
        self.inner.needs_time()
    }

    /// The bar columns that the set reads.
    #[getter]
    fn inputs(&self) -> Vec<&'static str> {
        use qtfeat_core::graph::Input;
        let named = |i: Input| match i {
            Input::Open => Some(OHLCV[0]),
            Input::High => Some(OHLCV[1]),
            Input::Low => Some(OHLCV[2]),
            Input::Close => Some(OHLCV[3]),
            Input::Volume => Some(OHLCV[4]),
            _ => None,
        };
        self.inner.inputs().filter_map(named).collect()
    }

    #[getter]
    fn fingerprint(&self) -> String {
        self.inner.fingerprint()
    }

    #[getter]
    fn warmup(&self) -> Vec<u32> {
        self.inner.columns().iter().map(|c| c.warmup).collect()
    }

    fn bars_for(&self, digits: f64) -> u64 {
        self.inner.bars_for(digits)
    }

    /// One dict per column: what was derived for it.
    fn describe<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let rows: Vec<_> = self.inner.columns().iter().map(|c| row(py, c)).collect::<PyResult<_>>()?;
        PyList::new(py, rows)
    }
}

fn row<'py>(py: Python<'py>, c: &core::Column) -> PyResult<Bound<'py, PyDict>> {
    let d = PyDict::new(py);
    d.set_item("name", &c.name)?;
    d.set_item("spec", &c.canonical)?;
    d.set_item("unit", &c.unit)?;
    d.set_item("min", c.range.0)?;
    d.set_item("max", c.range.1)?;
    d.set_item("neutral", c.neutral)?;
    d.set_item("warmup", c.warmup)?;
    d.set_item("memory", memory(c))?;
    d.set_item("finite_rows", (!c.memory.recursive && !c.memory.anchored).then_some(c.memory.rows))?;
    d.set_item("scale_free", c.scale_free)?;
    d.set_item("indicator", c.indicator.as_ref().map(|i| i.0.id))?;
    Ok(d)
}

fn memory(c: &core::Column) -> String {
    if c.memory.anchored {
        "anchored".to_owned()
    } else if c.memory.recursive {
        "recursive".to_owned()
    } else {
        c.memory.rows.to_string()
    }
}

/// The catalogue: one dict per output of every indicator with its default parameters.
#[pyfunction]
pub fn catalog_rows(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let mut rows = Vec::new();
    for i in indicators::all() {
        let set = core::FeatureSet::new(&[i.id.to_owned()], Profile::Safe).or_raise(py)?;
        let params: Vec<String> = i.params.iter().map(|p| format!("{}={}", p.name, p.default)).collect();
        for (output, column) in i.outputs.iter().zip(set.columns()) {
            let d = row(py, column)?;
            d.set_item("id", i.id)?;
            d.set_item("output", output.name)?;
            d.set_item("column", output.column)?;
            d.set_item("params", params.join(", "))?;
            d.set_item("formula", i.formula)?;
            d.set_item("source", i.source)?;
            rows.push(d);
        }
    }
    Ok(rows)
}

/// The CPU level in use: "sse2", "avx2", "avx512" or "baseline".
#[pyfunction]
pub fn cpu() -> &'static str {
    qtfeat_core::cpu::level().name()
}

/// Gives the output memory kept for the next call back to the system; returns its bytes.
#[pyfunction]
pub fn release_memory() -> usize {
    Arena::release()
}

/// Reads the policy arguments.
pub fn policy(py: Python<'_>, on_bad: &str, on_gap: &str, interval_ns: Option<i64>) -> PyResult<Policy> {
    let on_bad = match on_bad {
        "raise" => OnBad::Raise,
        "null" => OnBad::Null,
        "reset" => OnBad::Reset,
        other => {
            return Err(schema_error(py, format!("on_bad must be \"raise\", \"null\" or \"reset\", not {other:?}")));
        }
    };
    let on_gap = match on_gap {
        "ignore" => OnGap::Ignore,
        "raise" => OnGap::Raise,
        "reset" => OnGap::Reset,
        other => {
            return Err(schema_error(py, format!("on_gap must be \"raise\", \"reset\" or \"ignore\", not {other:?}")));
        }
    };
    if on_gap != OnGap::Ignore && interval_ns.is_none() {
        return Err(schema_error(py, "on_gap needs the distance between bars: pass interval=\"1h\" or the like"));
    }
    if interval_ns.is_some_and(|i| i <= 0) {
        return Err(schema_error(py, "interval must be longer than 0"));
    }
    Ok(Policy { on_bad, on_gap, interval: interval_ns })
}

/// What all table calls are told, besides the table.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Options {
    pub time_unit_ns: Option<i64>,
    pub on_bad: String,
    pub on_gap: String,
    pub interval_ns: Option<i64>,
    pub threads: usize,
    pub dtype: String,
}

/// Features of an Arrow table. `carry` names the columns that come along.
#[pyfunction]
#[pyo3(signature = (fs, table, by, time, carry, options, out=None))]
#[allow(clippy::too_many_arguments, clippy::needless_pass_by_value, reason = "the arguments of the Python function")]
pub fn compute_table(
    py: Python<'_>,
    fs: &FeatureSet,
    table: AnyRecordBatch,
    by: Option<&str>,
    time: Option<&str>,
    carry: Vec<String>,
    options: Options,
    out: Option<Bound<'_, PyAny>>,
) -> PyResult<Output> {
    let (batches, schema) = table.into_table()?.into_inner();
    let call = Call::new(py, fs, &options)?;
    let carried = carried(py, &batches, &schema, &carry)?;
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let mut store = Vec::new();
    let bars = bars_of(&call.fs, &batches, &schema, time, options.time_unit_ns, &mut store).or_raise(py)?;
    let series = match by {
        Some(by) => arrow::groups(&batches, &schema, by).or_raise(py)?,
        None => vec![Series { rows: Rows::Range(0..rows), symbol: None }],
    };
    call.run(py, &bars, &series, rows, carried, out.as_ref())
}

/// The bar, extra and time columns of a table.
pub fn bars_of<'a>(
    fs: &core::FeatureSet,
    batches: &'a [RecordBatch],
    schema: &Schema,
    time: Option<&str>,
    unit_ns: Option<i64>,
    store: &'a mut Vec<Vec<i64>>,
) -> qtfeat_core::Result<Bars<'a>> {
    let mut bars = Bars { time_name: time.unwrap_or("time").to_owned(), ..Bars::default() };
    for (slot, name) in bars.ohlcv.iter_mut().zip(OHLCV) {
        if schema.column_with_name(name).is_some() {
            *slot = Some(arrow::column(batches, schema, name)?);
        }
    }
    bars.extras = fs.extras().iter().map(|name| arrow::column(batches, schema, name)).collect::<Result<_, _>>()?;
    if let Some(time) = time {
        bars.times = Some(arrow::times(batches, schema, time, unit_ns, store)?);
    }
    Ok(bars)
}

/// The columns that come along, batch by batch.
pub fn carried(
    py: Python<'_>,
    batches: &[RecordBatch],
    schema: &Schema,
    names: &[String],
) -> PyResult<Vec<RecordBatch>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let at = names.iter().map(|n| arrow::index_of(schema, n)).collect::<Result<Vec<_>, _>>().or_raise(py)?;
    batches.iter().map(|b| b.project(&at).map_err(|e| schema_error(py, e.to_string()))).collect()
}

/// Features of NumPy columns. `symbols` is (codes, names), codes being row-wise indices into names.
#[pyfunction]
#[pyo3(signature = (fs, columns, symbols, times, time_name, options, out=None))]
#[allow(clippy::too_many_arguments, clippy::needless_pass_by_value, reason = "the arguments of the Python function")]
pub fn compute_arrays(
    py: Python<'_>,
    fs: &FeatureSet,
    columns: &Bound<'_, PyDict>,
    symbols: Option<(PyReadonlyArray1<'_, i64>, Vec<String>)>,
    times: Option<PyReadonlyArray1<'_, i64>>,
    time_name: &str,
    options: Options,
    out: Option<Bound<'_, PyAny>>,
) -> PyResult<Output> {
    let call = Call::new(py, fs, &options)?;
    let mut held: Vec<(String, Held<'_>)> = Vec::new();
    for (name, array) in columns.iter() {
        let name: String = name.extract()?;
        let array = Held::new(&name, &array)?;
        held.push((name, array));
    }
    let find = |name: &str| held.iter().find(|h| h.0 == name).map(|h| h.1.column(name)).transpose();
    let mut bars = Bars { time_name: time_name.to_owned(), ..Bars::default() };
    for (slot, name) in bars.ohlcv.iter_mut().zip(OHLCV) {
        *slot = find(name)?;
    }
    for name in call.fs.extras() {
        let column = find(name)?.ok_or_else(|| {
            crate::error::column_error(py, name, format!("column {name:?} is missing: the feature set reads it"))
        })?;
        bars.extras.push(column);
    }
    if let Some(t) = &times {
        let unit = options.time_unit_ns.unwrap_or(1);
        bars.times = Some(Times::new(time_name, vec![t.as_slice()?], unit).or_raise(py)?);
    }
    let rows = bars.ohlcv.iter().flatten().chain(&bars.extras).map(qtfeat_core::source::Column::len).next();
    let rows = rows.or(bars.times.as_ref().map(Times::len)).unwrap_or(0);
    let series = match &symbols {
        Some((codes, names)) => split(py, codes.as_slice()?, names, rows)?,
        None => vec![Series { rows: Rows::Range(0..rows), symbol: None }],
    };
    call.run(py, &bars, &series, rows, Vec::new(), out.as_ref())
}

fn split(py: Python<'_>, codes: &[i64], names: &[String], rows: usize) -> PyResult<Vec<Series>> {
    if codes.len() != rows {
        return Err(schema_error(py, format!("the symbol column has {} rows, the others {rows}", codes.len())));
    }
    let mut split = arrow::Split::default();
    for (row, &c) in codes.iter().enumerate() {
        let name = usize::try_from(c).ok().and_then(|c| names.get(c));
        let name = name.ok_or_else(|| schema_error(py, format!("row {row}: the symbol is null")))?;
        split.run(name, 1);
    }
    Ok(split.finish())
}

/// One computation: the set, the policy, and where the result goes.
pub struct Call {
    pub fs: Arc<core::FeatureSet>,
    pub policy: Policy,
    pub kind: Kind,
    threads: usize,
}

impl Call {
    pub fn new(py: Python<'_>, fs: &FeatureSet, o: &Options) -> PyResult<Self> {
        Ok(Self {
            fs: Arc::clone(&fs.inner),
            policy: policy(py, &o.on_bad, &o.on_gap, o.interval_ns)?,
            kind: Kind::parse(py, &o.dtype)?,
            threads: o.threads,
        })
    }

    fn run(
        &self,
        py: Python<'_>,
        bars: &Bars<'_>,
        series: &[Series],
        rows: usize,
        carried: Vec<RecordBatch>,
        out: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Output> {
        let compute64 =
            |out: &Columns<'_, f64>| batch::compute(&self.fs, bars, series, &self.policy, self.threads, out);
        let compute32 =
            |out: &Columns<'_, f32>| batch::compute(&self.fs, bars, series, &self.policy, self.threads, out);
        check(py, &self.fs, bars, rows, self.policy)?;
        match self.kind {
            Kind::F64 => self.output(py, rows, carried, out, compute64),
            Kind::F32 => self.output(py, rows, carried, out, compute32),
        }
    }

    /// Runs `compute` into the caller's array or a fresh arena.
    pub fn output<T: Element + numpy::Element>(
        &self,
        py: Python<'_>,
        rows: usize,
        carried: Vec<RecordBatch>,
        out: Option<&Bound<'_, PyAny>>,
        compute: impl FnOnce(&Columns<'_, T>) -> qtfeat_core::Result<Nulls> + Send,
    ) -> PyResult<Output> {
        let f = self.fs.columns().len();
        let stride = rows.next_multiple_of(8);
        let (arena, nulls, stride) = if let Some(out) = out {
            let wrong =
                || schema_error(py, format!("out must be a C-contiguous ({f}, {rows}) array of the asked dtype"));
            let array = out.cast::<PyArray2<T>>().map_err(|_| wrong())?;
            if array.shape() != [f, rows] || !array.is_c_contiguous() {
                return Err(wrong());
            }
            let mut memory = array.try_readwrite().map_err(|_| schema_error(py, "out is in use or read-only"))?;
            let memory = memory.as_slice_mut()?;
            let columns = Columns::over(memory, rows, f, rows);
            let nulls = py.detach(|| compute(&columns)).or_raise(py)?;
            (Arena::take(1), nulls, 0)
        } else {
            let mut arena = Arena::take(f * stride * size_of::<T>());
            let columns = Columns::in_arena(&mut arena, rows, f, stride);
            let nulls = py.detach(|| compute(&columns)).or_raise(py)?;
            (arena, nulls, stride)
        };
        Ok(Output {
            arena: Arc::new(arena),
            rows: if out.is_some() { 0 } else { rows },
            stride,
            kind: self.kind,
            nulls,
            fields: self.fs.columns().iter().map(|c| field(c, self.kind)).collect(),
            metadata: HashMap::from([
                ("qtfeat.fingerprint".to_owned(), self.fs.fingerprint()),
                ("qtfeat.numerics".to_owned(), NUMERICS_VERSION.to_string()),
            ]),
            carried,
        })
    }
}

/// Checks that the columns are there and of one length.
pub fn check(py: Python<'_>, fs: &core::FeatureSet, bars: &Bars<'_>, rows: usize, policy: Policy) -> PyResult<()> {
    batch::fit(fs, bars, rows).or_raise(py)?;
    if let Some(times) = &bars.times {
        if times.len() != rows {
            let name = &bars.time_name;
            return Err(crate::error::column_error(
                py,
                name,
                format!("column {name:?} has {} rows, the table {rows}", times.len()),
            ));
        }
    } else if policy.on_gap != OnGap::Ignore {
        return Err(schema_error(py, "on_gap needs the time column: pass time="));
    }
    Ok(())
}
