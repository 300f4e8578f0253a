//! Tree models.

use numpy::{Element, IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyUntypedArrayMethods};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use qtfeat_core::trees::{Input, Iterations, Matrix, Raw, TreeModel as Model};

use crate::error::{OrRaise, schema_error};

/// See `qtfeat.trees`.
#[pyclass(frozen, module = "qtfeat._core")]
pub struct TreeModel(Model);

/// What a prediction is before it becomes an array.
enum Outputs {
    Raw(Raw),
    Predicted(Vec<f64>),
}

#[pymethods]
impl TreeModel {
    /// `iterations`: None for all, -1 for up to the best, else how many.
    #[new]
    #[pyo3(signature = (data, iterations=None))]
    fn load(py: Python<'_>, data: &[u8], iterations: Option<isize>) -> PyResult<Self> {
        let iterations = match iterations {
            None => Iterations::All,
            Some(-1) => Iterations::Best,
            Some(n) => Iterations::First(usize::try_from(n).unwrap_or(0)),
        };
        py.detach(|| Model::load(data, iterations)).or_raise(py).map(Self)
    }

    #[getter]
    fn library(&self) -> &'static str {
        self.0.library()
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind().name()
    }

    #[getter]
    fn n_features(&self) -> usize {
        self.0.features()
    }

    #[getter]
    fn n_outputs(&self) -> usize {
        self.0.outputs()
    }

    #[getter]
    fn n_trees(&self) -> usize {
        self.0.trees()
    }

    #[getter]
    fn n_iterations(&self) -> usize {
        self.0.iterations()
    }

    #[getter]
    fn best_iteration(&self) -> Option<usize> {
        self.0.best_iteration()
    }

    #[getter]
    fn feature_names(&self) -> Vec<String> {
        self.0.names().to_vec()
    }

    /// (n, F) float32 or float64, contiguous by row or by column -> (n,) or (n, K).
    fn matrix<'py>(&self, x: &Bound<'py, PyAny>, raw: bool) -> PyResult<Bound<'py, PyAny>> {
        let py = x.py();
        if let Ok(x) = x.cast::<PyArray2<f64>>() {
            return self.typed(x, raw);
        }
        if let Ok(x) = x.cast::<PyArray2<f32>>() {
            return self.typed(x, raw);
        }
        Err(schema_error(py, "a 2-D array of float32 or float64 is needed"))
    }

    /// (F,) float64 -> a float, or (K,) float64.
    #[allow(clippy::needless_pass_by_value)] // a borrow that PyO3 hands over
    fn row<'py>(&self, py: Python<'py>, x: PyReadonlyArray1<'py, f64>, raw: bool) -> PyResult<Bound<'py, PyAny>> {
        let x = x.as_slice()?;
        self.width(py, x.len())?;
        let row = Matrix::by_row(x, 1, x.len());
        let values = if raw { self.0.raw(row).into_f64() } else { self.0.predict(row) };
        match values[..] {
            [one] => one.into_bound_py_any(py),
            _ => Ok(PyArray1::from_vec(py, values).into_any()),
        }
    }
}

impl TreeModel {
    fn width(&self, py: Python<'_>, columns: usize) -> PyResult<()> {
        let features = self.0.features();
        if columns == features {
            return Ok(());
        }
        Err(schema_error(py, format!("the input has {columns} columns, the model reads {features}")))
    }

    fn typed<'py, E: Input + Element>(&self, x: &Bound<'py, PyArray2<E>>, raw: bool) -> PyResult<Bound<'py, PyAny>> {
        let py = x.py();
        let by_row = x.is_c_contiguous();
        if !by_row && !x.is_fortran_contiguous() {
            return Err(schema_error(py, "the array is not contiguous"));
        }
        let held = x.try_readonly()?;
        let (rows, columns) = (x.shape()[0], x.shape()[1]);
        self.width(py, columns)?;
        let values = held.as_slice()?;
        let outputs = py.detach(|| {
            let x =
                if by_row { Matrix::by_row(values, rows, columns) } else { Matrix::by_column(values, rows, columns) };
            if raw { Outputs::Raw(self.0.raw(x)) } else { Outputs::Predicted(self.0.predict(x)) }
        });
        match outputs {
            Outputs::Raw(Raw::F32(values)) => self.array(py, values),
            Outputs::Raw(Raw::F64(values)) | Outputs::Predicted(values) => self.array(py, values),
        }
    }

    fn array<'py, T: Element>(&self, py: Python<'py>, values: Vec<T>) -> PyResult<Bound<'py, PyAny>> {
        let (n, outputs) = (values.len(), self.0.outputs());
        let flat = values.into_pyarray(py);
        if outputs == 1 { Ok(flat.into_any()) } else { Ok(flat.reshape([n / outputs, outputs])?.into_any()) }
    }
}
