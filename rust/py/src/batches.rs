//! Record batches that follow each other, in constant memory.

use std::collections::HashMap;
use std::sync::Mutex;

use arrow_array::RecordBatch;
use pyo3::prelude::*;
use qtfeat_core::batch::{self, Nulls, Running, Series};
use qtfeat_core::block::{Columns, Element};
use qtfeat_core::error::Error;
use qtfeat_core::source::{Bars, Rows};

use crate::arrow;
use crate::compute::{Call, Carried, Options, bars_of, check};
use crate::error::schema_error;
use crate::features::FeatureSet;
use crate::output::{Kind, Output};

/// Features of one record batch after the other; each symbol's series goes on.
#[pyclass(frozen, module = "qtfeat._core")]
pub struct Batches {
    call: Call,
    by: Option<String>,
    time: Option<String>,
    time_unit_ns: Option<i64>,
    carry: Vec<String>,
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
        let Ok(mut state) = self.state.try_lock() else {
            return Err(schema_error(py, "two threads push into one compute_batches at the same time"));
        };
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
            Some(by) => arrow::groups(py, &batches, &schema, by)?,
            None => vec![Series { rows: Rows::Range(0..rows), symbol: None }],
        };
        let state = &mut *state;
        let output = match call.kind {
            Kind::F64 => call.output::<f64>(py, rows, carried, None, |out| resume(call, &bars, &series, state, out)),
            Kind::F32 => call.output::<f32>(py, rows, carried, None, |out| resume(call, &bars, &series, state, out)),
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
        place.row += state.rows;
    }
    Err(error)
}

fn row(e: &Error) -> usize {
    e.place().map_or(0, |p| p.row)
}
