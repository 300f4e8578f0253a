//! The ensemble's arithmetic; see `qtfeat.train.combine`.

use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2, ndarray::Array2};
use pyo3::prelude::*;
use qtfeat_core::ensemble::{
    CLASSES, Classes, Combined as Row, Combiner as Core, Ensemble as CoreEnsemble, Map, Method, Raw, Stack,
};
use qtfeat_core::trees::Matrix;

use crate::error::{OrRaise, schema_error};

/// Probabilities before and after calibration, and the forecast.
type Combined<'py> = (Bound<'py, PyArray2<f64>>, Bound<'py, PyArray2<f64>>, Bound<'py, PyArray1<f64>>);

/// Calibrated probabilities and the forecast of one row.
type Plain = ((f64, f64, f64), f64);

/// Weights of three classes, their constants, weights of two forecasts, their constant.
type StackParts = ([[f64; 6]; 3], [f64; 3], [f64; 2], f64);

/// A method and a calibration, ready to apply.
#[pyclass(frozen, module = "qtfeat._core")]
pub struct Combiner {
    pub inner: Core,
}

#[pymethods]
impl Combiner {
    #[new]
    #[pyo3(signature = (method, xgb_weight, stack, calibration, maps))]
    fn new(
        py: Python<'_>,
        method: &str,
        xgb_weight: f64,
        stack: Option<StackParts>,
        calibration: &str,
        maps: Vec<(Vec<f64>, Vec<f64>)>,
    ) -> PyResult<Self> {
        let method = match (method, stack) {
            ("mean", None) => Method::Mean(xgb_weight),
            ("consensus", None) => Method::Consensus(xgb_weight),
            ("stack", Some((coef, intercept, reg_coef, reg_intercept))) => {
                Method::Stack(Box::new(Stack { coef, intercept, reg_coef, reg_intercept }))
            }
            (name, _) => return Err(schema_error(py, format!("no ensemble {name:?} of these parts"))),
        };
        let maps = match (calibration, <[_; CLASSES]>::try_from(maps)) {
            ("none", _) => None,
            ("platt", Ok(maps)) if maps.iter().all(|(a, b)| a.len() == 1 && b.len() == 1) => {
                Some(maps.map(|(a, b)| Map::Platt(a[0], b[0])))
            }
            ("isotonic", Ok(maps)) if maps.iter().all(|(x, y)| !x.is_empty() && x.len() == y.len()) => {
                Some(maps.map(|(x, y)| Map::Isotonic(x, y)))
            }
            (name, _) => return Err(schema_error(py, format!("no calibration {name:?} of these maps"))),
        };
        Ok(Self { inner: Core { method, maps } })
    }

    /// `p_raw`, `p` and `score` of n rows.
    #[allow(clippy::needless_pass_by_value)] // borrows that PyO3 hands over
    fn apply<'py>(
        &self,
        py: Python<'py>,
        xgb_cls: PyReadonlyArray2<'py, f64>,
        lgbm_cls: PyReadonlyArray2<'py, f64>,
        xgb_reg: PyReadonlyArray1<'py, f64>,
        lgbm_reg: PyReadonlyArray1<'py, f64>,
    ) -> PyResult<Combined<'py>> {
        let (a, b) = (classes(py, &xgb_cls)?, classes(py, &lgbm_cls)?);
        let (c, d) = (xgb_reg.as_array(), lgbm_reg.as_array());
        let n = a.len();
        if b.len() != n || c.len() != n || d.len() != n {
            return Err(schema_error(py, "the four outputs have different lengths"));
        }
        let row = |i: usize| Raw { xgb_cls: a[i], lgbm_cls: b[i], xgb_reg: c[i], lgbm_reg: d[i] };
        let out: Vec<Row> = (0..n).map(|i| self.inner.apply(&row(i))).collect();
        arrays(py, &out)
    }

    /// Calibrated probabilities of n rows.
    #[allow(clippy::needless_pass_by_value)] // a borrow that PyO3 hands over
    fn calibrate<'py>(&self, py: Python<'py>, p: PyReadonlyArray2<'py, f64>) -> PyResult<Bound<'py, PyArray2<f64>>> {
        table(py, classes(py, &p)?.into_iter().flat_map(|row| self.inner.calibrate(row)).collect())
    }
}

/// Four models and what combines them, ready to predict.
#[pyclass(frozen, module = "qtfeat._core")]
pub struct Ensemble(CoreEnsemble);

#[pymethods]
impl Ensemble {
    #[new]
    fn load(
        py: Python<'_>,
        xgb_cls: &[u8],
        lgbm_cls: &[u8],
        xgb_reg: &[u8],
        lgbm_reg: &[u8],
        combiner: &Combiner,
    ) -> PyResult<Self> {
        let combiner = combiner.inner.clone();
        py.detach(|| CoreEnsemble::load(xgb_cls, lgbm_cls, xgb_reg, lgbm_reg, combiner)).or_raise(py).map(Self)
    }

    #[getter]
    fn n_features(&self) -> usize {
        self.0.features()
    }

    /// `p_raw`, `p` and `score` of (n, F) rows.
    #[allow(clippy::needless_pass_by_value)] // a borrow that PyO3 hands over
    fn predict<'py>(&self, py: Python<'py>, x: PyReadonlyArray2<'py, f64>) -> PyResult<Combined<'py>> {
        let (rows, columns) = x.as_array().dim();
        if columns != self.0.features() {
            let features = self.0.features();
            return Err(schema_error(py, format!("the input has {columns} columns, the models read {features}")));
        }
        let values = x.as_slice()?;
        let out = py.detach(|| self.0.predict(Matrix::by_row(values, rows, columns)));
        arrays(py, &out)
    }

    /// `p` and `score` of one row (F,), with the bits of `predict`; None where it holds a NaN.
    #[allow(clippy::needless_pass_by_value)] // a borrow that PyO3 hands over
    fn predict_row(&self, py: Python<'_>, x: PyReadonlyArray1<'_, f64>) -> PyResult<Option<Plain>> {
        let values = x.as_slice()?;
        if values.len() != self.0.features() {
            let (columns, features) = (values.len(), self.0.features());
            return Err(schema_error(py, format!("the row has {columns} columns, the models read {features}")));
        }
        if values.iter().any(|v| v.is_nan()) {
            return Ok(None);
        }
        let out = self.0.predict(Matrix::by_row(values, 1, values.len()));
        Ok(out.first().map(|row| ((row.p[0], row.p[1], row.p[2]), row.score)))
    }
}

fn arrays<'py>(py: Python<'py>, rows: &[Row]) -> PyResult<Combined<'py>> {
    let raw = table(py, rows.iter().flat_map(|row| row.raw).collect())?;
    let p = table(py, rows.iter().flat_map(|row| row.p).collect())?;
    Ok((raw, p, PyArray1::from_iter(py, rows.iter().map(|row| row.score))))
}

fn classes(py: Python<'_>, values: &PyReadonlyArray2<'_, f64>) -> PyResult<Vec<Classes>> {
    let array = values.as_array();
    if array.ncols() != CLASSES {
        return Err(schema_error(py, format!("{} columns where {CLASSES} classes are expected", array.ncols())));
    }
    Ok(array.rows().into_iter().map(|row| [row[0], row[1], row[2]]).collect())
}

fn table(py: Python<'_>, values: Vec<f64>) -> PyResult<Bound<'_, PyArray2<f64>>> {
    let rows = values.len() / CLASSES;
    let array = Array2::from_shape_vec((rows, CLASSES), values).map_err(|e| schema_error(py, e.to_string()))?;
    Ok(array.into_pyarray(py))
}
