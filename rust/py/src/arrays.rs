//! NumPy arrays as columns.

use numpy::{Element, PyArray1, PyArrayMethods, PyReadonlyArray1, PyUntypedArrayMethods};
use pyo3::prelude::*;
use qtfeat_core::source::{Chunk, Column, Values};

use crate::error::column_error;

/// A 1-D NumPy array of any numeric type, borrowed (or copied once, where it is not contiguous).
pub enum Held<'py> {
    F64(PyReadonlyArray1<'py, f64>),
    F32(PyReadonlyArray1<'py, f32>),
    I64(PyReadonlyArray1<'py, i64>),
    I32(PyReadonlyArray1<'py, i32>),
    I16(PyReadonlyArray1<'py, i16>),
    I8(PyReadonlyArray1<'py, i8>),
    U64(PyReadonlyArray1<'py, u64>),
    U32(PyReadonlyArray1<'py, u32>),
    U16(PyReadonlyArray1<'py, u16>),
    U8(PyReadonlyArray1<'py, u8>),
}

fn typed<'py, T: Element>(x: &Bound<'py, PyAny>) -> Option<PyReadonlyArray1<'py, T>> {
    x.cast::<PyArray1<T>>().ok().and_then(|a| a.try_readonly().ok()).filter(|a| a.is_c_contiguous())
}

impl<'py> Held<'py> {
    /// From an array; `name` is for the message.
    pub fn new(name: &str, x: &Bound<'py, PyAny>) -> PyResult<Self> {
        macro_rules! first {
            ($($kind:ident: $t:ty),+) => {
                $(if let Some(a) = typed::<$t>(x) { return Ok(Self::$kind(a)); })+
            };
        }
        first!(F64: f64, F32: f32, I64: i64, I32: i32, I16: i16, I8: i8, U64: u64, U32: u32, U16: u16, U8: u8);
        let kind =
            x.getattr("dtype").and_then(|d| d.str()).map_or_else(|_| "no NumPy array".to_owned(), |d| d.to_string());
        Err(column_error(
            x.py(),
            name,
            format!("column {name:?} is {kind}: a contiguous 1-D numeric NumPy array is needed"),
        ))
    }

    /// The column.
    pub fn column(&self, name: &str) -> PyResult<Column<'_>> {
        macro_rules! values {
            ($($kind:ident),+) => {
                match self { $(Self::$kind(a) => a.as_slice().map(Values::$kind),)+ }
            };
        }
        let values = values!(F64, F32, I64, I32, I16, I8, U64, U32, U16, U8);
        let values = values
            .map_err(|_| pyo3::exceptions::PyValueError::new_err(format!("column {name:?} is not contiguous")))?;
        Ok(Column::new(vec![Chunk { values, valid: None }]))
    }
}
