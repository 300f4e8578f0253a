//! What a computation gives back: one arena, seen as NumPy arrays or as Arrow columns, without a copy.

use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, Float32Type, Float64Type};
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch, StructArray};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer, bit_util};
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use numpy::ndarray::{ArrayView2, ShapeBuilder};
use numpy::{Element, PyArray2};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};
use pyo3_arrow::PyTable;
use pyo3_arrow::ffi::to_array_pycapsules;
use qtfeat_core::batch::Nulls;
use qtfeat_core::block::Arena;

use crate::compute::Carried;
use crate::error::schema_error;
use crate::features::Labels;

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
    /// Bytes of an element.
    pub fn size(self) -> usize {
        if self == Self::F64 { 8 } else { 4 }
    }
}

impl<'py> FromPyObject<'_, 'py> for Kind {
    type Error = PyErr;

    fn extract(dtype: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match dtype.extract::<&str>() {
            Ok("float64") => Ok(Self::F64),
            Ok("float32") => Ok(Self::F32),
            _ => Err(schema_error(dtype.py(), format!("dtype must be \"float64\" or \"float32\", not {dtype:?}"))),
        }
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
    pub labels: Arc<Labels>,
    /// The fill that was done after the graph.
    pub fill: Option<String>,
    /// Columns of the caller that come along.
    pub carried: Arc<Carried>,
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

    /// The same memory after a fill, which left no null.
    fn filled(&self, fill: String) -> Self {
        Self {
            arena: Arc::clone(&self.arena),
            labels: Arc::clone(&self.labels),
            carried: Arc::clone(&self.carried),
            nulls: Nulls::new(),
            fill: Some(fill),
            ..*self
        }
    }

    /// One batch for a library that keeps no metadata; None where the caller's table has several batches.
    fn frame(&self) -> Option<Frame> {
        let one = self.carried.fields.is_empty() || self.carried.batches.len() == 1;
        one.then(|| {
            let mut columns = self.carried.batches.first().map_or_else(Vec::new, |b| b.columns().to_vec());
            let mut fields = self.carried.fields.clone();
            columns.extend(self.features());
            fields.extend(self.labels.bare(self.kind).iter().cloned());
            Frame { fields, columns, rows: self.rows }
        })
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
        let shape = (self.fields().len(), self.rows).strides((self.stride, 1));
        // SAFETY: the arena holds one column per field of `stride` elements, all rows written; it lives as long as
        // the array, whose base is the owner.
        let array = unsafe {
            let view = ArrayView2::from_shape_ptr(shape, self.arena.as_ptr().as_ptr().cast::<T>().cast_const());
            PyArray2::borrow_from_array(&view, owner.into_any())
        };
        Ok(array.into_any())
    }

    fn fields(&self) -> &[FieldRef] {
        &self.labels.fields[usize::from(self.kind == Kind::F32)]
    }

    fn features(&self) -> Vec<ArrayRef> {
        match self.kind {
            Kind::F64 => self.arrays::<Float64Type>(),
            Kind::F32 => self.arrays::<Float32Type>(),
        }
    }

    /// Carried columns and features, cut where the caller's batches were.
    fn table(&self, py: Python<'_>) -> PyResult<PyTable> {
        let fields: Vec<FieldRef> = self.carried.fields.iter().chain(self.fields()).cloned().collect();
        let mut metadata = self.labels.metadata.clone();
        metadata.extend(self.fill.iter().map(|fill| ("qtfeat.fill".to_owned(), fill.clone())));
        let schema: SchemaRef = Arc::new(Schema::new_with_metadata(fields, metadata));
        let features = self.features();
        if self.carried.fields.is_empty() {
            let batch = RecordBatch::try_new(Arc::clone(&schema), features);
            return PyTable::try_new(vec![batch.map_err(|e| schema_error(py, e.to_string()))?], schema);
        }
        let (mut batches, mut at) = (Vec::new(), 0);
        for carried in &self.carried.batches {
            let mut columns = carried.columns().to_vec();
            columns.extend(features.iter().map(|f| f.slice(at, carried.num_rows())));
            at += carried.num_rows();
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns);
            batches.push(batch.map_err(|e| schema_error(py, e.to_string()))?);
        }
        PyTable::try_new(batches, schema)
    }

    fn arrays<T: ArrowPrimitiveType>(&self) -> Vec<ArrayRef> {
        let mut by_column: Vec<Vec<(u32, u32)>> = vec![Vec::new(); self.fields().len()];
        for &(k, row, n) in &self.nulls {
            by_column[k as usize].push((row, n));
        }
        let validity = validities(self.rows, &by_column);
        let size = self.kind.size();
        let owner = Shared::of(Arc::clone(&self.arena));
        let array = |(k, valid): (usize, Option<NullBuffer>)| -> ArrayRef {
            // SAFETY: column k lies inside the arena, its rows are written, and `owner` keeps it alive.
            let buffer = unsafe {
                let start = self.arena.as_ptr().as_ptr().add(k * self.stride * size);
                Buffer::from_custom_allocation(NonNull::new_unchecked(start), self.rows * size, Arc::clone(&owner))
            };
            let values = ScalarBuffer::<T::Native>::new(buffer, 0, self.rows);
            Arc::new(PrimitiveArray::<T>::new(values, valid))
        };
        validity.into_iter().enumerate().map(array).collect()
    }
}

/// One batch that speaks the array half of the PyCapsule interface: the cheapest way into a data frame.
#[pyclass(frozen, module = "qtfeat._core")]
pub struct Frame {
    fields: Vec<FieldRef>,
    columns: Vec<ArrayRef>,
    rows: usize,
}

#[pymethods]
impl Frame {
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let fields = Fields::from(self.fields.clone());
        let array = StructArray::try_new_with_length(fields.clone(), self.columns.clone(), None, self.rows)
            .map_err(|e| schema_error(py, e.to_string()))?;
        let field = Arc::new(Field::new_struct("", fields, false));
        Ok(to_array_pycapsules(py, field, &array, requested_schema)?)
    }
}

/// An arena as an Arrow allocation.
struct Shared(#[allow(dead_code, reason = "held, not read")] Arc<Arena>);

impl std::panic::RefUnwindSafe for Shared {}

impl Shared {
    fn of(arena: Arc<Arena>) -> Arc<dyn arrow_buffer::alloc::Allocation> {
        Arc::new(Self(arena))
    }
}

/// The bitmap of each column, from its null stretches. Columns with the same nulls share one, and all lie in one
/// arena: fresh pages in each call would cost more than the bits.
fn validities(rows: usize, by_column: &[Vec<(u32, u32)>]) -> Vec<Option<NullBuffer>> {
    let mut distinct: Vec<&Vec<(u32, u32)>> = Vec::new();
    let mut place = |runs| {
        distinct.iter().position(|known| *known == runs).unwrap_or_else(|| {
            distinct.push(runs);
            distinct.len() - 1
        })
    };
    let places: Vec<_> = by_column.iter().map(|runs| (!runs.is_empty()).then(|| place(runs))).collect();
    let stride = rows.div_ceil(8).next_multiple_of(64);
    let arena = Arc::new(Arena::take(stride * distinct.len()));
    let owner = Shared::of(Arc::clone(&arena));
    let bitmap = |(at, runs): (usize, &&Vec<(u32, u32)>)| {
        // SAFETY: the arena has room for `stride` bytes of each bitmap.
        let start = unsafe { arena.as_ptr().add(at * stride) };
        // SAFETY: the bytes are set, nothing else knows of them yet, and the slice ends with this block.
        let nulls = unsafe {
            start.write_bytes(0xFF, stride);
            clear(std::slice::from_raw_parts_mut(start.as_ptr(), stride), runs)
        };
        // SAFETY: the bytes are set, and `owner` keeps them alive; so many bits of them are 0.
        unsafe {
            let bits = Buffer::from_custom_allocation(start, rows.div_ceil(8), Arc::clone(&owner));
            NullBuffer::new_unchecked(BooleanBuffer::new(bits, 0, rows), nulls)
        }
    };
    let bitmaps: Vec<NullBuffer> = distinct.iter().enumerate().map(bitmap).collect();
    places.into_iter().map(|at| at.map(|at| bitmaps[at].clone())).collect()
}

/// Sets the bits of these stretches to 0; returns how many were 1.
fn clear(bits: &mut [u8], runs: &[(u32, u32)]) -> usize {
    let mut count = 0;
    for i in runs.iter().flat_map(|&(from, n)| from..from + n) {
        count += usize::from(bit_util::get_bit(bits, i as usize));
        bit_util::unset_bit(bits, i as usize);
    }
    count
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
