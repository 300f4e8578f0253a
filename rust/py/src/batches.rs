//! Record batches that follow each other, in constant memory.

use std::sync::{Mutex, MutexGuard};

use arrow_array::RecordBatch;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use qtfeat_core::batch::{self, Nulls, Series};
use qtfeat_core::block::{Columns, Element};
use qtfeat_core::error::Error;
use qtfeat_core::running::Ledger;
use qtfeat_core::source::{Bars, Rows};

use crate::arrow;
use crate::compute::{Call, Carried, Options, bars_of, check};
use crate::error::{schema_error, to_py_snapshot};
use crate::features::FeatureSet;
use crate::output::{Kind, Output};
use crate::split;

/// Features of one record batch after the other; each symbol's series goes on.
#[pyclass(frozen, module = "qtfeat._core")]
pub struct Batches {
    call: Call,
    by: Option<String>,
    time: Option<String>,
    time_unit_ns: Option<i64>,
    carry: Vec<String>,
    state: Mutex<Ledger>,
}

impl Batches {
    fn lock(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, Ledger>> {
        let busy = |_| schema_error(py, "two threads use one compute_batches at the same time");
        self.state.try_lock().map_err(busy)
    }
}

#[pymethods]
impl Batches {
    #[new]
    fn new(
        fs: &Bound<'_, FeatureSet>,
        by: Option<String>,
        time: Option<String>,
        carry: Vec<String>,
        options: Options,
    ) -> Self {
        let time_unit_ns = options.time_unit_ns;
        Self { call: Call::new(fs.get(), options), by, time, time_unit_ns, carry, state: Mutex::default() }
    }

    /// The features of the next batch.
    fn push(&self, py: Python<'_>, batch: &Bound<'_, PyAny>) -> PyResult<Output> {
        let mut state = self.lock(py)?;
        let (batches, schema) = arrow::read(batch)?;
        let call = &self.call;
        let carried = Carried::of(py, &batches, &schema, &self.carry)?;
        let (batches, schema) = arrow::singles(&batches, &schema)?.unwrap_or((batches, schema));
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let mut store = Vec::new();
        let time = self.time.as_deref();
        let bars = bars_of(py, &call.fs, &batches, &schema, time, self.time_unit_ns, &mut store)?;
        check(py, &call.fs, &bars, rows, call.policy)?;
        let series = match &self.by {
            Some(by) => split::groups(py, &batches, &schema, by, 1)?,
            None => vec![Series { rows: Rows::Range(0..rows), symbol: None }],
        };
        let state = &mut *state;
        let output = match call.kind {
            Kind::F64 => call.output::<f64>(py, rows, carried, None, |out| resume(call, &bars, &series, state, out)),
            Kind::F32 => call.output::<f32>(py, rows, carried, None, |out| resume(call, &bars, &series, state, out)),
        };
        if output.is_ok() {
            state.rows = state.rows.saturating_add(rows);
        }
        output
    }

    /// Everything needed to go on in another process, as checksummed bytes.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.lock(py)?.snapshot(&self.call.fs, &self.call.policy);
        Ok(PyBytes::new(py, &bytes))
    }

    /// Goes on where a snapshot was taken, with the same set and policies; what was pushed before is forgotten.
    fn restore(&self, py: Python<'_>, snapshot: &[u8]) -> PyResult<()> {
        let ledger = Ledger::restore(&self.call.fs, &self.call.policy, snapshot).map_err(|e| to_py_snapshot(py, &e))?;
        *self.lock(py)? = ledger;
        Ok(())
    }
}

fn resume<T: Element>(
    call: &Call,
    bars: &Bars<'_>,
    series: &[Series],
    state: &mut Ledger,
    out: &Columns<'_, T>,
) -> qtfeat_core::Result<Nulls> {
    let (mut all, mut first) = (Nulls::new(), None::<Error>);
    for s in series {
        let running = state.series.entry(s.symbol.clone().unwrap_or_default()).or_default();
        match batch::resume(&call.fs, bars, s, &call.policy, running, out) {
            Ok(nulls) => all.extend(nulls),
            // The smallest row is reported, as in a table.
            Err(e) => {
                if first.as_ref().is_none_or(|f| row(&e) < row(f)) {
                    first = Some(e);
                }
            }
        }
    }
    let Some(mut error) = first else { return Ok(all) };
    if let Some(place) = error.place_mut() {
        // Rows of messages count from the start of the stream of batches.
        place.row = place.row.saturating_add(state.rows);
    }
    Err(error)
}

fn row(e: &Error) -> usize {
    e.place().map_or(0, |p| p.row)
}
