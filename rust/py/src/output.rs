//! What a computation gives back: one arena, seen as NumPy arrays or as Arrow columns, without a copy.

use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, Float32Type, Float64Type};
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch};
use arrow_buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer, ScalarBuffer, bit_util};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use numpy::ndarray::{ArrayView2, ShapeBuilder};
use numpy::{Element, PyArray2};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3_arrow::PyTable;
use qtfeat_core::batch::Nulls;
use qtfeat_core::block::Arena;

use crate::error::schema_error;

/// Keeps an arena alive behind NumPy arrays.
#[pyclass(frozen, module = "qtfeat._core")]
pub struct Owner {
    #[allow(dead_code, reason = "held, not read")]
    arena: Arc<Arena>,
}

/// Element type of the outputs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    F64,
    F32,
}

impl Kind {
    /// From the `dtype` argument.
    pub fn parse(py: Python<'_>, dtype: &str) -> PyResult<Self> {
        match dtype {
            "float64" => Ok(Self::F64),
            "float32" => Ok(Self::F32),
            other => Err(schema_error(py, format!("dtype must be \"float64\" or \"float32\", not {other:?}"))),
        }
    }

    /// Bytes of an element.
    pub fn size(self) -> usize {
        if self == Self::F64 { 8 } else { 4 }
    }
}

/// The features of one call, not yet in the caller's kind of table.
#[pyclass(frozen, module = "qtfeat._core")]
pub struct Output {
    pub arena: Arc<Arena>,
    pub rows: usize,
    pub stride: usize,
    pub kind: Kind,
    pub nulls: Nulls,
    pub fields: Vec<FieldRef>,
    pub metadata: HashMap<String, String>,
    /// Columns of the caller that come along, batch by batch.
    pub carried: Vec<RecordBatch>,
}

#[pymethods]
impl Output {
    /// Number of rows.
    fn __len__(&self) -> usize {
        self.rows
    }

    /// The features as one (F, n) array; row k is column k. A view.
    fn matrix<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.kind {
            Kind::F64 => self.view::<f64>(py),
            Kind::F32 => self.view::<f32>(py),
        }
    }

    /// The features (and the columns that come along) as an Arrow stream.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let table = Py::new(py, self.table(py)?)?;
        table.bind(py).call_method1("__arrow_c_stream__", PyTuple::new(py, [requested_schema])?)
    }

    /// The schema of the stream.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let table = Py::new(py, self.table(py)?)?;
        table.bind(py).call_method0("__arrow_c_schema__")
    }
}

impl Output {
    fn view<'py, T: Element>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let owner = Bound::new(py, Owner { arena: Arc::clone(&self.arena) })?;
        let shape = (self.fields.len(), self.rows).strides((self.stride, 1));
        // SAFETY: the arena holds `fields` columns of `stride` elements, all rows written; it lives as long as
        // the array, whose base is the owner.
        let array = unsafe {
            let view = ArrayView2::from_shape_ptr(shape, self.arena.as_ptr().as_ptr().cast::<T>().cast_const());
            PyArray2::borrow_from_array(&view, owner.into_any())
        };
        Ok(array.into_any())
    }

    /// Carried columns and features, cut where the caller's batches were.
    fn table(&self, py: Python<'_>) -> PyResult<PyTable> {
        let mut fields: Vec<FieldRef> = Vec::new();
        if let Some(first) = self.carried.first() {
            fields.extend(first.schema().fields().iter().cloned());
        }
        fields.extend(self.fields.iter().cloned());
        let schema: SchemaRef = Arc::new(Schema::new_with_metadata(fields, self.metadata.clone()));
        let features: Vec<ArrayRef> = match self.kind {
            Kind::F64 => self.arrays::<Float64Type>(),
            Kind::F32 => self.arrays::<Float32Type>(),
        };
        let mut batches = Vec::new();
        let mut at = 0;
        let sizes: Vec<usize> = if self.carried.is_empty() {
            vec![self.rows]
        } else {
            self.carried.iter().map(RecordBatch::num_rows).collect()
        };
        for (i, n) in sizes.into_iter().enumerate() {
            let mut columns: Vec<ArrayRef> = self.carried.get(i).map_or_else(Vec::new, |c| c.columns().to_vec());
            columns.extend(features.iter().map(|f| f.slice(at, n)));
            at += n;
            batches
                .push(RecordBatch::try_new(Arc::clone(&schema), columns).map_err(|e| schema_error(py, e.to_string()))?);
        }
        PyTable::try_new(batches, schema)
    }

    fn arrays<T: ArrowPrimitiveType>(&self) -> Vec<ArrayRef> {
        let mut by_column: Vec<Vec<(u32, u32)>> = vec![Vec::new(); self.fields.len()];
        for &(k, row, n) in &self.nulls {
            by_column[k as usize].push((row, n));
        }
        let size = self.kind.size();
        let owner: Arc<dyn arrow_buffer::alloc::Allocation> = Arc::new(Shared(Arc::clone(&self.arena)));
        let array = |(k, runs): (usize, Vec<(u32, u32)>)| -> ArrayRef {
            // SAFETY: column k lies inside the arena, its rows are written, and `owner` keeps it alive.
            let buffer = unsafe {
                let start = self.arena.as_ptr().as_ptr().add(k * self.stride * size);
                Buffer::from_custom_allocation(NonNull::new_unchecked(start), self.rows * size, Arc::clone(&owner))
            };
            let values = ScalarBuffer::<T::Native>::new(buffer, 0, self.rows);
            Arc::new(PrimitiveArray::<T>::new(values, validity(self.rows, &runs)))
        };
        by_column.into_iter().enumerate().map(array).collect()
    }
}

/// An arena as an Arrow allocation.
struct Shared(#[allow(dead_code, reason = "held, not read")] Arc<Arena>);

impl std::panic::RefUnwindSafe for Shared {}

fn validity(rows: usize, nulls: &[(u32, u32)]) -> Option<NullBuffer> {
    if nulls.is_empty() {
        return None;
    }
    let mut bits = MutableBuffer::from(vec![0xFF_u8; rows.div_ceil(8)]);
    for &(from, n) in nulls {
        for i in from..from + n {
            bit_util::unset_bit(&mut bits, i as usize);
        }
    }
    Some(NullBuffer::new(BooleanBuffer::new(bits.into(), 0, rows)))
}

/// The Arrow field of a feature, with what the catalogue says of it.
pub fn field(column: &qtfeat_core::features::Column, kind: Kind) -> FieldRef {
    let data = if kind == Kind::F64 { DataType::Float64 } else { DataType::Float32 };
    let mut m = HashMap::from([
        ("qtfeat.spec".to_owned(), column.canonical.clone()),
        ("qtfeat.unit".to_owned(), column.unit.clone()),
        ("qtfeat.warmup".to_owned(), column.warmup.to_string()),
    ]);
    for (key, bound) in [("qtfeat.min", column.range.0), ("qtfeat.max", column.range.1)] {
        if let Some(x) = bound {
            m.insert(key.to_owned(), x.to_string());
        }
    }
    if let Some((_, args, _)) = &column.indicator {
        let values: Vec<String> = args.0.iter().map(ToString::to_string).collect();
        m.insert("qtfeat.params".to_owned(), values.join(","));
    }
    Arc::new(Field::new(&column.name, data, true).with_metadata(m))
}
