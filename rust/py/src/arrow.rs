//! Arrow tables as columns, symbols and times; no copy, no concatenation.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, Float32Array, RecordBatch};
use arrow_schema::{DataType, FieldRef, Schema, SchemaRef, TimeUnit};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3_arrow::input::AnyRecordBatch;
use qtfeat_core::source::{Bits, Chunk, Column, Times, Values};

use crate::error::{OrRaise, column_error, row_error, unreadable};

/// Reads a table, or a batch, of any library.
pub fn read(table: &Bound<'_, PyAny>) -> PyResult<(Vec<RecordBatch>, SchemaRef)> {
    let read = || -> PyResult<_> { Ok(table.extract::<AnyRecordBatch>()?.into_table()?.into_inner()) };
    read().map_err(|e| unreadable(table.py(), e))
}

/// The same table with float16 columns as float32, where it has any.
pub fn singles(batches: &[RecordBatch], schema: &SchemaRef) -> PyResult<Option<(Vec<RecordBatch>, SchemaRef)>> {
    if schema.fields().iter().all(|f| f.data_type() != &DataType::Float16) {
        return Ok(None);
    }
    let wide = |f: &FieldRef| match f.data_type() {
        DataType::Float16 => Arc::new(f.as_ref().clone().with_data_type(DataType::Float32)),
        _ => Arc::clone(f),
    };
    let schema = Arc::new(Schema::new(schema.fields().iter().map(wide).collect::<Vec<_>>()));
    let single = |a: &ArrayRef| -> ArrayRef {
        match a.as_primitive_opt::<Float16Type>() {
            Some(half) => Arc::new(half.iter().map(|x| x.map(f32::from)).collect::<Float32Array>()),
            None => Arc::clone(a),
        }
    };
    let batch = |b: &RecordBatch| RecordBatch::try_new(Arc::clone(&schema), b.columns().iter().map(single).collect());
    let batches = batches.iter().map(batch).collect::<Result<Vec<_>, _>>();
    Ok(Some((batches.map_err(|e| PyValueError::new_err(e.to_string()))?, schema)))
}

/// Position of a column, or an error that lists what there is.
pub fn index_of(py: Python<'_>, schema: &Schema, name: &str) -> PyResult<usize> {
    let mut found = schema.fields().iter().enumerate().filter(|(_, f)| f.name() == name);
    match (found.next(), found.next()) {
        (Some((at, _)), None) => Ok(at),
        (Some(_), Some(_)) => Err(column_error(py, name, format!("the table has column {name:?} more than once"))),
        (None, _) => {
            let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            let names = names.join(", ");
            Err(column_error(py, name, format!("column {name:?} is missing; the table has: {names}")))
        }
    }
}

/// A numeric column.
pub fn column<'a>(py: Python<'_>, batches: &'a [RecordBatch], schema: &Schema, name: &str) -> PyResult<Column<'a>> {
    let at = index_of(py, schema, name)?;
    batches.iter().map(|b| chunk(py, b.column(at), name)).collect::<PyResult<Vec<_>>>().map(Column::new)
}

fn chunk<'a>(py: Python<'_>, array: &'a ArrayRef, name: &str) -> PyResult<Chunk<'a>> {
    macro_rules! values {
        ($($data:ident => $kind:ident: $t:ty),+) => {
            match array.data_type() {
                $(DataType::$data => Values::$kind(array.as_primitive::<$t>().values()),)+
                other => {
                    let message = format!("column {name:?} has type {other}: float32, float64 or integers are needed");
                    return Err(column_error(py, name, message));
                }
            }
        };
    }
    let values = values!(
        Float64 => F64: Float64Type, Float32 => F32: Float32Type,
        Int64 => I64: Int64Type, Int32 => I32: Int32Type, Int16 => I16: Int16Type, Int8 => I8: Int8Type,
        UInt64 => U64: UInt64Type, UInt32 => U32: UInt32Type, UInt16 => U16: UInt16Type, UInt8 => U8: UInt8Type
    );
    let valid = array.nulls().filter(|n| n.null_count() > 0).map(|n| Bits { bytes: n.validity(), offset: n.offset() });
    Ok(Chunk { values, valid })
}

/// Nanoseconds per unit of a time column.
fn unit(py: Python<'_>, kind: &DataType, name: &str, unit_ns: Option<i64>) -> PyResult<i64> {
    match kind {
        DataType::Timestamp(TimeUnit::Second, _) => Ok(1_000_000_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => Ok(1_000_000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(1_000),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Ok(1),
        DataType::Date32 => Ok(86_400_000_000_000),
        kind if kind.is_integer() => unit_ns.ok_or_else(|| {
            let message =
                format!("column {name:?} holds whole numbers: say their unit with time_unit='s', 'ms', 'us' or 'ns'");
            column_error(py, name, message)
        }),
        other => {
            let message = format!("column {name:?} has type {other}: a timestamp, date or integer column is needed");
            Err(column_error(py, name, message))
        }
    }
}

/// The time column: its chunks as whole numbers, and nanoseconds per unit. What is not 64 bits wide is
/// widened into `store`.
pub fn times<'a>(
    py: Python<'_>,
    batches: &'a [RecordBatch],
    schema: &Schema,
    name: &str,
    unit_ns: Option<i64>,
    store: &'a mut Vec<Vec<i64>>,
) -> PyResult<Times<'a>> {
    let at = index_of(py, schema, name)?;
    let unit = unit(py, schema.field(at).data_type(), name, unit_ns)?;
    let mut row = 0;
    for b in batches {
        let array = b.column(at);
        if let Some(i) = first_null(array) {
            return Err(row_error(py, name, row + i, format!("column {name:?}, row {}: the time is null", row + i)));
        }
        if let Some(wide) = widened(array) {
            let wide = wide.map_err(|i| {
                let message = format!("column {name:?}, row {}: the time is after 2262", row + i);
                row_error(py, name, row + i, message)
            })?;
            store.push(wide);
        }
        row += array.len();
    }
    if !store.is_empty() {
        return Times::new(name, store.iter().map(Vec::as_slice).collect(), unit).or_raise(py);
    }
    Times::new(name, batches.iter().map(|b| raw(b.column(at))).collect(), unit).or_raise(py)
}

/// Position of the first null.
pub fn first_null(array: &ArrayRef) -> Option<usize> {
    let nulls = array.nulls().filter(|n| n.null_count() > 0)?;
    (0..nulls.len()).find(|&i| nulls.is_null(i))
}

fn raw(a: &ArrayRef) -> &[i64] {
    match a.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => a.as_primitive::<TimestampSecondType>().values(),
        DataType::Timestamp(TimeUnit::Millisecond, _) => a.as_primitive::<TimestampMillisecondType>().values(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => a.as_primitive::<TimestampMicrosecondType>().values(),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => a.as_primitive::<TimestampNanosecondType>().values(),
        DataType::Date64 => a.as_primitive::<Date64Type>().values(),
        _ => a.as_primitive::<Int64Type>().values(),
    }
}

/// Whole numbers of another width as i64, or the position of the first that does not fit.
fn widened(a: &ArrayRef) -> Option<Result<Vec<i64>, usize>> {
    macro_rules! widen {
        ($($data:ident: $t:ty),+) => {
            match a.data_type() {
                $(DataType::$data => a.as_primitive::<$t>().values().iter().map(|&x| x.into()).collect(),)+
                DataType::UInt64 => {
                    let values = a.as_primitive::<UInt64Type>().values().iter().enumerate();
                    return Some(values.map(|(i, &x)| i64::try_from(x).map_err(|_| i)).collect());
                }
                _ => return None,
            }
        };
    }
    Some(Ok(widen!(
        Date32: Date32Type, Int32: Int32Type, Int16: Int16Type, Int8: Int8Type,
        UInt32: UInt32Type, UInt16: UInt16Type, UInt8: UInt8Type
    )))
}
