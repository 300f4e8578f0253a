//! The computation of whole tables.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_schema::{FieldRef, Schema};
use numpy::{PyArray2, PyArrayMethods, PyReadonlyArray1, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use qtfeat_core::bars::{OnGap, Policy};
use qtfeat_core::batch::{self, Nulls, Series};
use qtfeat_core::block::{Arena, Columns, Element};
use qtfeat_core::features as core;
use qtfeat_core::source::{Bars, OHLCV, Rows, Times};

use crate::args::{Bad, Gap, policy};
use crate::arrays::Held;
use crate::arrow;
use crate::error::{OrRaise, column_error, schema_error};
use crate::features::{FeatureSet, Labels};
use crate::output::{Kind, Output};
use crate::split::{self, Split};

/// What all table calls are told, besides the table.
pub struct Options {
    pub time_unit_ns: Option<i64>,
    pub policy: Policy,
    pub threads: usize,
    pub kind: Kind,
}

impl<'py> FromPyObject<'_, 'py> for Options {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let (py, on_bad) = (given.py(), given.get_item("on_bad")?.extract::<Bad>()?);
        let on_gap = given.get_item("on_gap")?.extract::<Gap>()?;
        Ok(Self {
            time_unit_ns: given.get_item("time_unit_ns")?.extract()?,
            policy: policy(py, on_bad, on_gap, given.get_item("interval_ns")?.extract()?)?,
            threads: given.get_item("threads")?.extract()?,
            kind: given.get_item("dtype")?.extract()?,
        })
    }
}

/// Columns that come along, batch by batch.
#[derive(Default)]
pub struct Carried {
    pub fields: Vec<FieldRef>,
    pub batches: Vec<RecordBatch>,
}

impl Carried {
    /// The named columns of a table.
    pub fn of(py: Python<'_>, batches: &[RecordBatch], schema: &Schema, names: &[String]) -> PyResult<Self> {
        if names.is_empty() {
            return Ok(Self::default());
        }
        let at = names.iter().map(|n| arrow::index_of(py, schema, n)).collect::<PyResult<Vec<_>>>()?;
        let fields = at.iter().map(|&i| Arc::clone(&schema.fields()[i])).collect();
        let cut = |b: &RecordBatch| b.project(&at).map_err(|e| schema_error(py, e.to_string()));
        Ok(Self { fields, batches: batches.iter().map(cut).collect::<PyResult<_>>()? })
    }
}

/// Features of an Arrow table. `carry` names the columns that come along.
#[pyfunction]
#[pyo3(signature = (fs, table, by, time, carry, options, out=None))]
#[allow(clippy::too_many_arguments, clippy::needless_pass_by_value, reason = "the arguments of the Python function")]
pub fn compute_table(
    py: Python<'_>,
    fs: &FeatureSet,
    table: &Bound<'_, PyAny>,
    by: Option<&str>,
    time: Option<&str>,
    carry: Vec<String>,
    options: Options,
    out: Option<Bound<'_, PyAny>>,
) -> PyResult<Output> {
    let (batches, schema) = arrow::read(table)?;
    let carried = Carried::of(py, &batches, &schema, &carry)?;
    let (batches, schema) = arrow::singles(&batches, &schema)?.unwrap_or((batches, schema));
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let mut store = Vec::new();
    let bars = bars_of(py, &fs.inner, &batches, &schema, time, options.time_unit_ns, &mut store)?;
    let series = match by {
        Some(by) => split::groups(py, &batches, &schema, by, options.threads)?,
        None => vec![Series { rows: Rows::Range(0..rows), symbol: None }],
    };
    if let Some(out) = &out {
        apart(out, &batches, &schema)?;
    }
    Call::new(fs, options).run(py, &bars, &series, rows, carried, out.as_ref())
}

/// Refuses an output array that lies in the memory of the table.
fn apart(out: &Bound<'_, PyAny>, batches: &[RecordBatch], schema: &Schema) -> PyResult<()> {
    let Ok(array) = out.cast::<numpy::PyUntypedArray>() else { return Ok(()) };
    let from: usize = array.getattr("ctypes")?.getattr("data")?.extract()?;
    let until = from + array.getattr("nbytes")?.extract::<usize>()?;
    for batch in batches {
        for (column, field) in batch.columns().iter().zip(schema.fields()) {
            let data = column.to_data();
            let meets = |b: &arrow_buffer::Buffer| {
                let start = b.as_ptr() as usize;
                start < until && from < start + b.len()
            };
            if data.buffers().iter().any(meets) {
                let name = field.name();
                return Err(column_error(out.py(), name, format!("out is in use: column {name:?} lies in its memory")));
            }
        }
    }
    Ok(())
}

/// The bar, extra and time columns of a table.
pub fn bars_of<'a>(
    py: Python<'_>,
    fs: &core::FeatureSet,
    batches: &'a [RecordBatch],
    schema: &Schema,
    time: Option<&str>,
    unit_ns: Option<i64>,
    store: &'a mut Vec<Vec<i64>>,
) -> PyResult<Bars<'a>> {
    let mut bars = Bars { time_name: time.unwrap_or("time").to_owned(), ..Bars::default() };
    for (slot, name) in bars.ohlcv.iter_mut().zip(OHLCV) {
        if schema.column_with_name(name).is_some() {
            *slot = Some(arrow::column(py, batches, schema, name)?);
        }
    }
    bars.extras = fs.extras().iter().map(|name| arrow::column(py, batches, schema, name)).collect::<PyResult<_>>()?;
    if let Some(time) = time {
        bars.times = Some(arrow::times(py, batches, schema, time, unit_ns, store)?);
    }
    Ok(bars)
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
    let mut held: Vec<(String, Held<'_>)> = Vec::with_capacity(columns.len());
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
    for name in fs.inner.extras() {
        let missing = || column_error(py, name, format!("column {name:?} is missing: the feature set reads it"));
        bars.extras.push(find(name)?.ok_or_else(missing)?);
    }
    if let Some(t) = &times {
        bars.times = Some(Times::new(time_name, vec![t.as_slice()?], 1).or_raise(py)?);
    }
    let rows = bars.ohlcv.iter().flatten().chain(&bars.extras).map(qtfeat_core::source::Column::len).next();
    let rows = rows.or(bars.times.as_ref().map(Times::len)).unwrap_or(0);
    let series = match &symbols {
        Some((codes, names)) => by_codes(py, codes.as_slice()?, names, rows, options.threads)?,
        None => vec![Series { rows: Rows::Range(0..rows), symbol: None }],
    };
    Call::new(fs, options).run(py, &bars, &series, rows, Carried::default(), out.as_ref())
}

fn by_codes(py: Python<'_>, codes: &[i64], names: &[String], rows: usize, threads: usize) -> PyResult<Vec<Series>> {
    if codes.len() != rows {
        return Err(schema_error(py, format!("the symbol column has {} rows, the others {rows}", codes.len())));
    }
    let mut split = Split::new(threads);
    let known = 0..names.len() as i64;
    if let Some(row) = codes.iter().position(|c| !known.contains(c)) {
        return Err(schema_error(py, format!("row {row}: the symbol is null")));
    }
    split.runs(codes, |_, c| Ok::<_, PyErr>(names[c as usize].as_str()))?;
    Ok(split.finish())
}

/// One computation: the set, the policy, and where the result goes.
pub struct Call {
    pub fs: Arc<core::FeatureSet>,
    pub policy: Policy,
    pub kind: Kind,
    labels: Arc<Labels>,
    threads: usize,
}

impl Call {
    #[allow(clippy::needless_pass_by_value, reason = "the options of this call and no other")]
    pub fn new(fs: &FeatureSet, o: Options) -> Self {
        Self { fs: Arc::clone(&fs.inner), policy: o.policy, kind: o.kind, labels: fs.labels(), threads: o.threads }
    }

    fn run(
        &self,
        py: Python<'_>,
        bars: &Bars<'_>,
        series: &[Series],
        rows: usize,
        carried: Carried,
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
        carried: Carried,
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
            labels: Arc::clone(&self.labels),
            fill: None,
            carried: Arc::new(carried),
        })
    }
}

/// Checks that the columns are there and of one length.
pub fn check(py: Python<'_>, fs: &core::FeatureSet, bars: &Bars<'_>, rows: usize, policy: Policy) -> PyResult<()> {
    batch::fit(fs, bars, rows).or_raise(py)?;
    if let Some(times) = &bars.times {
        if times.len() != rows {
            let name = &bars.time_name;
            return Err(column_error(py, name, format!("column {name:?} has {} rows, the table {rows}", times.len())));
        }
    } else if policy.on_gap != OnGap::Ignore {
        return Err(schema_error(py, "on_gap needs the time column: pass time="));
    }
    Ok(())
}
