//! `FeatureSet` and the catalogue.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow_schema::FieldRef;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use qtfeat_core::block::Arena;
use qtfeat_core::fault::Fault;
use qtfeat_core::features::{self as core, NUMERICS_VERSION};
use qtfeat_core::graph::{Num, Profile};
use qtfeat_core::indicators;
use qtfeat_core::source::OHLCV;

use crate::error::{OrRaise, schema_error};
use crate::output::{Kind, field};

/// What the outputs of one set have in common, made once.
pub struct Labels {
    /// Arrow fields of the features, as float64 and as float32.
    pub fields: [Vec<FieldRef>; 2],
    /// The same without metadata.
    bare: [Vec<FieldRef>; 2],
    /// Table metadata.
    pub metadata: HashMap<String, String>,
}

impl Labels {
    fn new(fs: &core::FeatureSet) -> Self {
        let fields = |kind| fs.columns().iter().map(|c| field(c, kind)).collect::<Vec<_>>();
        let fields = [fields(Kind::F64), fields(Kind::F32)];
        let plain = |f: &FieldRef| Arc::new(f.as_ref().clone().with_metadata(HashMap::new()));
        let bare = fields.each_ref().map(|f| f.iter().map(plain).collect());
        let metadata = HashMap::from([
            ("qtfeat.fingerprint".to_owned(), fs.fingerprint()),
            ("qtfeat.numerics".to_owned(), NUMERICS_VERSION.to_string()),
        ]);
        Self { fields, bare, metadata }
    }

    /// The fields without metadata.
    pub fn bare(&self, kind: Kind) -> &[FieldRef] {
        &self.bare[usize::from(kind == Kind::F32)]
    }
}

/// A compiled feature set. `qtfeat.FeatureSet` wraps it.
#[pyclass(frozen, module = "qtfeat._core")]
pub struct FeatureSet {
    pub inner: Arc<core::FeatureSet>,
    labels: OnceLock<Arc<Labels>>,
}

impl FeatureSet {
    /// Fields and metadata of the outputs.
    pub fn labels(&self) -> Arc<Labels> {
        Arc::clone(self.labels.get_or_init(|| Arc::new(Labels::new(&self.inner))))
    }
}

#[pymethods]
impl FeatureSet {
    #[new]
    #[allow(clippy::needless_pass_by_value, reason = "the arguments of the Python class")]
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
        Ok(Self { inner: Arc::new(set), labels: OnceLock::new() })
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
