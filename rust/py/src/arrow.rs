//! Arrow tables as columns, symbols and times; no copy, no concatenation.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Schema, TimeUnit};
use qtfeat_core::batch::Series;
use qtfeat_core::error::{Error, Result};
use qtfeat_core::source::{Bits, Chunk, Column, Rows, Times, Values};

/// Position of a column, or an error that lists what there is.
pub fn index_of(schema: &Schema, name: &str) -> Result<usize> {
    schema.index_of(name).map_err(|_| {
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        Error::column(name, format!("column {name:?} is missing; the table has: {}", names.join(", ")))
    })
}

/// A numeric column.
pub fn column<'a>(batches: &'a [RecordBatch], schema: &Schema, name: &str) -> Result<Column<'a>> {
    let at = index_of(schema, name)?;
    batches.iter().map(|b| chunk(b.column(at), name)).collect::<Result<Vec<_>>>().map(Column::new)
}

fn chunk<'a>(array: &'a ArrayRef, name: &str) -> Result<Chunk<'a>> {
    macro_rules! values {
        ($($data:ident => $kind:ident: $t:ty),+) => {
            match array.data_type() {
                $(DataType::$data => Values::$kind(array.as_primitive::<$t>().values()),)+
                other => return Err(Error::column(name, format!("column {name:?} has type {other}: a float or integer column is needed"))),
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

/// The time column: its chunks as whole numbers, and nanoseconds per unit. Dates of 32 bits are widened
/// into `store`.
pub fn times<'a>(
    batches: &'a [RecordBatch],
    schema: &Schema,
    name: &str,
    unit_ns: Option<i64>,
    store: &'a mut Vec<Vec<i64>>,
) -> Result<Times<'a>> {
    let at = index_of(schema, name)?;
    let kind = schema.field(at).data_type().clone();
    let mut row = 0;
    for b in batches {
        let array = b.column(at);
        if let Some(nulls) = array.nulls().filter(|n| n.null_count() > 0) {
            let i = (0..nulls.len()).find(|&i| nulls.is_null(i)).unwrap_or(0);
            return Err(Error::column(name, format!("column {name:?}, row {}: the time is null", row + i)));
        }
        row += array.len();
    }
    let unit = match &kind {
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
        DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => 1_000_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => 1,
        DataType::Date32 => 86_400_000_000_000,
        DataType::Int64 | DataType::Int32 | DataType::UInt32 => unit_ns.ok_or_else(|| {
            Error::column(
                name,
                format!(
                    "column {name:?} holds whole numbers: say their unit with time_unit=\"s\", \"ms\", \"us\" or \"ns\""
                ),
            )
        })?,
        other => {
            return Err(Error::column(
                name,
                format!("column {name:?} has type {other}: a timestamp, date or integer column is needed"),
            ));
        }
    };
    *store = match &kind {
        DataType::Date32 => batches.iter().map(|b| widen(b.column(at).as_primitive::<Date32Type>().values())).collect(),
        DataType::Int32 => batches.iter().map(|b| widen(b.column(at).as_primitive::<Int32Type>().values())).collect(),
        DataType::UInt32 => batches.iter().map(|b| widen(b.column(at).as_primitive::<UInt32Type>().values())).collect(),
        _ => Vec::new(),
    };
    if !store.is_empty() {
        return Times::new(name, store.iter().map(Vec::as_slice).collect(), unit);
    }
    let raw = |b: &'a RecordBatch| -> &'a [i64] {
        let a = b.column(at);
        match &kind {
            DataType::Timestamp(TimeUnit::Second, _) => a.as_primitive::<TimestampSecondType>().values(),
            DataType::Timestamp(TimeUnit::Millisecond, _) => a.as_primitive::<TimestampMillisecondType>().values(),
            DataType::Timestamp(TimeUnit::Microsecond, _) => a.as_primitive::<TimestampMicrosecondType>().values(),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => a.as_primitive::<TimestampNanosecondType>().values(),
            DataType::Date64 => a.as_primitive::<Date64Type>().values(),
            _ => a.as_primitive::<Int64Type>().values(),
        }
    };
    Times::new(name, batches.iter().map(raw).collect(), unit)
}

fn widen<T: Copy + Into<i64>>(values: &[T]) -> Vec<i64> {
    values.iter().map(|&x| x.into()).collect()
}

/// Splits rows by symbol: in order of first appearance, as ranges where a symbol's rows stand together.
pub fn groups(batches: &[RecordBatch], schema: &Schema, by: &str) -> Result<Vec<Series>> {
    let at = index_of(schema, by)?;
    let mut split = Split::default();
    for b in batches {
        split.array(b.column(at), by)?;
    }
    Ok(split.finish())
}

/// Runs of equal symbols, gathered into series.
#[derive(Default)]
pub struct Split {
    ids: HashMap<String, usize>,
    names: Vec<String>,
    /// Runs of each symbol: (first row, rows).
    runs: Vec<Vec<(usize, usize)>>,
    row: usize,
    last: Option<usize>,
}

impl Split {
    /// Adds `rows` rows of one symbol.
    pub fn run(&mut self, symbol: &str, rows: usize) {
        let id = match self.last {
            Some(id) if self.names[id] == symbol => id,
            _ => self.ids.get(symbol).copied().unwrap_or_else(|| {
                let id = self.names.len();
                self.ids.insert(symbol.to_owned(), id);
                self.names.push(symbol.to_owned());
                self.runs.push(Vec::new());
                id
            }),
        };
        match self.runs[id].last_mut() {
            Some((from, n)) if *from + *n == self.row => *n += rows,
            _ => self.runs[id].push((self.row, rows)),
        }
        self.row += rows;
        self.last = Some(id);
    }

    fn array(&mut self, array: &ArrayRef, by: &str) -> Result<()> {
        if array.null_count() > 0 {
            let i = (0..array.len()).find(|&i| array.is_null(i)).unwrap_or(0);
            return Err(Error::column(by, format!("column {by:?}, row {}: the symbol is null", self.row + i)));
        }
        let n = array.len();
        match array.data_type() {
            DataType::Utf8 => (0..n).for_each(|i| self.run(array.as_string::<i32>().value(i), 1)),
            DataType::LargeUtf8 => (0..n).for_each(|i| self.run(array.as_string::<i64>().value(i), 1)),
            DataType::Utf8View => (0..n).for_each(|i| self.run(array.as_string_view().value(i), 1)),
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                let mut names = Self::default();
                names.array(dictionary.values(), by)?;
                let texts: Vec<String> = names.by_row();
                for key in dictionary.normalized_keys() {
                    self.run(&texts[key], 1);
                }
            }
            DataType::Int64 => {
                array.as_primitive::<Int64Type>().values().iter().for_each(|x| self.run(&x.to_string(), 1))
            }
            DataType::Int32 => {
                array.as_primitive::<Int32Type>().values().iter().for_each(|x| self.run(&x.to_string(), 1))
            }
            DataType::UInt32 => {
                array.as_primitive::<UInt32Type>().values().iter().for_each(|x| self.run(&x.to_string(), 1))
            }
            DataType::UInt64 => {
                array.as_primitive::<UInt64Type>().values().iter().for_each(|x| self.run(&x.to_string(), 1))
            }
            DataType::Int16 => {
                array.as_primitive::<Int16Type>().values().iter().for_each(|x| self.run(&x.to_string(), 1))
            }
            other => {
                return Err(Error::column(
                    by,
                    format!("column {by:?} has type {other}: a text, dictionary or integer column is needed"),
                ));
            }
        }
        Ok(())
    }

    /// The symbol of each row.
    fn by_row(&self) -> Vec<String> {
        let mut texts = vec![String::new(); self.row];
        for (name, runs) in self.names.iter().zip(&self.runs) {
            for &(from, n) in runs {
                texts[from..from + n].fill(name.clone());
            }
        }
        texts
    }

    /// The series, in order of first appearance.
    pub fn finish(self) -> Vec<Series> {
        let series = |(symbol, runs): (String, Vec<(usize, usize)>)| {
            let rows = match runs.as_slice() {
                [(from, n)] => Rows::Range(*from..*from + *n),
                _ => Rows::Index(runs.iter().flat_map(|&(from, n)| (from as u32)..((from + n) as u32)).collect()),
            };
            Series { rows, symbol: Some(symbol) }
        };
        self.names.into_iter().zip(self.runs).map(series).collect()
    }
}
