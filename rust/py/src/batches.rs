//! Record batches that follow each other, in constant memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use arrow_array::RecordBatch;
use pyo3::prelude::*;
use pyo3_arrow::input::AnyRecordBatch;
use qtfeat_core::batch::{self, Nulls, Running, Series};
use qtfeat_core::block::{Columns, Element};
use qtfeat_core::source::{Bars, Rows};

use crate::arrow;
use crate::error::{OrRaise, schema_error};
use crate::features::{Call, FeatureSet, Options, bars_of, carried, check};
use crate::output::{Kind, Output};

/// Features of one record batch after the other; each symbol's series goes on.
#[pyclass(frozen, module = "qtfeat._core")]
pub struct Batches {
    fs: Py<FeatureSet>,
    by: Option<String>,
    time: Option<String>,
    carry: Vec<String>,
    options: Mutex<Options>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    series: HashMap<String, Running>,
    rows: usize,
}

#[pymethods]
impl Batches {
    #[new]
    fn new(fs: Py<FeatureSet>, by: Option<String>, time: Option<String>, carry: Vec<String>, options: Options) -> Self {
        Self { fs, by, time, carry, options: Mutex::new(options), state: Mutex::default() }
    }

    /// The features of the next batch.
    fn push(&self, py: Python<'_>, batch: AnyRecordBatch) -> PyResult<Output> {
        let Ok(mut state) = self.state.try_lock() else {
            return Err(schema_error(py, "two threads push into one compute_batches at the same time"));
        };
        let options = self.options.lock().unwrap_or_else(PoisonError::into_inner);
        let (batches, schema) = batch.into_table()?.into_inner();
        let call = Call::new(py, self.fs.get(), &options)?;
        let carried = carried(py, &batches, &schema, &self.carry)?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let mut store = Vec::new();
        let bars = bars_of(&call.fs, &batches, &schema, self.time.as_deref(), options.time_unit_ns, &mut store)
            .or_raise(py)?;
        check(py, &call.fs, &bars, rows, call.policy)?;
        let series = match &self.by {
            Some(by) => arrow::groups(&batches, &schema, by).or_raise(py)?,
            None => vec![Series { rows: Rows::Range(0..rows), symbol: None }],
        };
        let state = &mut *state;
        let output = match call.kind {
            Kind::F64 => call.output::<f64>(py, rows, carried, None, |out| resume(&call, &bars, &series, state, out)),
            Kind::F32 => call.output::<f32>(py, rows, carried, None, |out| resume(&call, &bars, &series, state, out)),
        };
        if output.is_ok() {
            state.rows += rows;
        }
        output
    }
}

fn resume<T: Element>(
    call: &Call,
    bars: &Bars<'_>,
    series: &[Series],
    state: &mut State,
    out: &Columns<'_, T>,
) -> qtfeat_core::Result<Nulls> {
    let mut all = Nulls::new();
    for s in series {
        let running = state.series.entry(s.symbol.clone().unwrap_or_default()).or_default();
        let nulls = batch::resume(&call.fs, bars, s, &call.policy, running, out).map_err(|mut e| {
            // Rows of messages count from the start of the stream of batches.
            if let Some(place) = e.place_mut() {
                place.row += state.rows;
            }
            e
        })?;
        all.extend(nulls);
    }
    Ok(all)
}
