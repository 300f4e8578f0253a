//! Rows by symbol.

use std::collections::HashMap;
use std::hash::Hash;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, GenericStringArray, OffsetSizeTrait, RecordBatch};
use arrow_schema::{DataType, Schema};
use pyo3::prelude::*;
use qtfeat_core::batch::Series;
use qtfeat_core::source::Rows;

use crate::arrow::{first_null, index_of};
use crate::error::{column_error, row_error};

/// Splits rows by symbol: in order of first appearance, as ranges where a symbol's rows stand together. The column is
/// read on up to `threads` threads.
pub fn groups(
    py: Python<'_>,
    batches: &[RecordBatch],
    schema: &Schema,
    by: &str,
    threads: usize,
) -> PyResult<Vec<Series>> {
    let at = index_of(py, schema, by)?;
    let mut split = Split::new(threads);
    for b in batches {
        let array = b.column(at);
        let start = split.row;
        if let Err(bad) = py.detach(|| split.array(array)) {
            return Err(match bad {
                BadSymbol::Null(i) => {
                    let row = start + i;
                    row_error(py, by, row, format!("column {by:?}, row {row}: the symbol is null"))
                }
                BadSymbol::Type => {
                    let kind = array.data_type();
                    let message =
                        format!("column {by:?} has type {kind}: a text, categorical or integer column is needed");
                    column_error(py, by, message)
                }
            });
        }
    }
    Ok(split.finish())
}

/// Why a column cannot tell symbols apart.
enum BadSymbol {
    /// A null at this position.
    Null(usize),
    Type,
}

/// Rows that are worth a thread of their own.
const ROWS_A_THREAD: usize = 1 << 18;

/// Lengths of the runs of equal neighbours among `total` rows, on up to `threads` threads: a run may come in two
/// parts. `same(at, n)` says whether each of the rows at..at + n is as the one before it.
fn lengths(total: usize, threads: usize, same: impl Fn(usize, usize) -> bool + Sync) -> Vec<usize> {
    let part = total.div_ceil(threads.min(total / ROWS_A_THREAD).max(1));
    let some = |from: usize| {
        let (mut at, end, mut found) = (from, total.min(from + part), Vec::new());
        while at < end {
            let rows = leading(end - at, |i, n| same(at + i, n));
            found.push(rows);
            at += rows;
        }
        found
    };
    if part >= total {
        return some(0);
    }
    std::thread::scope(|scope| {
        let rest: Vec<_> = (part..total).step_by(part).map(|from| scope.spawn(move || some(from))).collect();
        let mut found = some(0);
        for part in rest {
            found.extend(part.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        }
        found
    })
}

/// Rows, of `total`, from the first on that are the first again; `same(at, n)` says whether each of the rows
/// at..at + n is as the one before it. The steps grow: a long run costs little, and rows that alternate a look each.
fn leading(total: usize, same: impl Fn(usize, usize) -> bool) -> usize {
    let (mut rows, mut step, mut grow) = (1, 1, true);
    while rows < total && step > 0 {
        let n = step.min(total - rows);
        if same(rows, n) {
            rows += n;
            step = if grow { (step * 2).min(256) } else { step };
        } else {
            (step, grow) = (n / 2, false);
        }
    }
    rows.min(total)
}

/// True if each of the values at..at + n is as the one before it.
fn repeats<T: PartialEq>(values: &[T], at: usize, n: usize) -> bool {
    match n {
        1 => values[at] == values[at - 1],
        // Two slices are compared as bytes: what the memory gives is the limit.
        _ => values[at..at + n] == values[at - 1..at - 1 + n],
    }
}

/// Runs of equal symbols, gathered into series.
#[derive(Default)]
pub struct Split {
    ids: HashMap<String, usize>,
    names: Vec<String>,
    /// Runs of each symbol: (first row, rows).
    runs: Vec<Vec<(usize, usize)>>,
    row: usize,
    threads: usize,
}

impl Split {
    /// Nothing yet; rows are looked at on up to `threads` threads.
    pub fn new(threads: usize) -> Self {
        Self { threads, ..Self::default() }
    }

    /// The number of a symbol.
    fn id(&mut self, symbol: &str) -> usize {
        self.ids.get(symbol).copied().unwrap_or_else(|| {
            let id = self.names.len();
            self.ids.insert(symbol.to_owned(), id);
            self.names.push(symbol.to_owned());
            self.runs.push(Vec::new());
            id
        })
    }

    /// Adds `rows` rows of a symbol.
    fn run(&mut self, id: usize, rows: usize) {
        match self.runs[id].last_mut() {
            Some((from, n)) if *from + *n == self.row => *n += rows,
            _ => self.runs[id].push((self.row, rows)),
        }
        self.row += rows;
    }

    /// Adds one row for each of `total` values. `same(at, n)` says whether each of the rows at..at + n is as the one
    /// before it; `text` is asked once for each different value, with the first row that has it.
    fn each<T: Eq + Hash + Copy, S: AsRef<str>, E>(
        &mut self,
        total: usize,
        same: impl Fn(usize, usize) -> bool + Sync,
        value: impl Fn(usize) -> T,
        text: impl Fn(usize, T) -> Result<S, E>,
    ) -> Result<(), E> {
        // A value, its symbol, and which of these came after it the last time: symbols side by side keep an order.
        let mut seen: Vec<(T, usize, usize)> = Vec::new();
        let mut places: HashMap<T, usize> = HashMap::new();
        let (mut at, mut last) = (0, 0);
        for rows in lengths(total, self.threads, same) {
            let now = value(at);
            let guess = seen.get(last).map_or(0, |s| s.2);
            let place = match seen.get(guess) {
                Some(s) if s.0 == now => guess,
                _ => {
                    if let Some(&place) = places.get(&now) {
                        place
                    } else {
                        let id = self.id(text(at, now)?.as_ref());
                        seen.push((now, id, 0));
                        places.insert(now, seen.len() - 1);
                        seen.len() - 1
                    }
                }
            };
            seen[last].2 = place;
            last = place;
            self.run(seen[place].1, rows);
            at += rows;
        }
        Ok(())
    }

    /// Adds one row for each value; `text` is asked once for each different one, with the first row that has it.
    pub fn runs<T: Eq + Hash + Copy + Sync, S: AsRef<str>, E>(
        &mut self,
        values: &[T],
        text: impl Fn(usize, T) -> Result<S, E>,
    ) -> Result<(), E> {
        self.each(values.len(), |at, n| repeats(values, at, n), |at| values[at], text)
    }

    /// As [`Split::runs`], for text: equal neighbours are bytes that repeat, under offsets of equal distance.
    fn texts<O: OffsetSizeTrait>(&mut self, texts: &GenericStringArray<O>) -> Result<(), BadSymbol> {
        let (offsets, bytes) = (texts.value_offsets(), texts.value_data());
        let same = |at: usize, n: usize| {
            let size = offsets[at] - offsets[at - 1];
            let even = offsets[at..=at + n].windows(2).fold(true, |all, o| all & (o[1] - o[0] == size));
            let (before, first, last) =
                (offsets[at - 1].as_usize(), offsets[at].as_usize(), offsets[at + n].as_usize());
            even && bytes[before..last - size.as_usize()] == bytes[first..last]
        };
        self.each(texts.len(), same, |at| texts.value(at), |_, text| Ok(text))
    }

    fn array(&mut self, array: &ArrayRef) -> Result<(), BadSymbol> {
        macro_rules! each_integer {
            ($kind:expr, $run:ident) => {
                match $kind {
                    DataType::Int8 => $run!(Int8Type),
                    DataType::Int16 => $run!(Int16Type),
                    DataType::Int32 => $run!(Int32Type),
                    DataType::Int64 => $run!(Int64Type),
                    DataType::UInt8 => $run!(UInt8Type),
                    DataType::UInt16 => $run!(UInt16Type),
                    DataType::UInt32 => $run!(UInt32Type),
                    DataType::UInt64 => $run!(UInt64Type),
                    _ => Err(BadSymbol::Type),
                }
            };
        }
        if let Some(i) = first_null(array) {
            return Err(BadSymbol::Null(i));
        }
        match array.data_type() {
            DataType::Utf8 => self.texts(array.as_string::<i32>())?,
            DataType::LargeUtf8 => self.texts(array.as_string::<i64>())?,
            DataType::Utf8View => {
                // Equal views are equal texts; equal texts may have a view each, and are looked up by what they say.
                let texts = array.as_string_view();
                let same = |at: usize, n: usize| repeats(texts.views(), at, n);
                self.each(texts.len(), same, |at| texts.value(at), |_, text| Ok::<_, BadSymbol>(text))?;
            }
            DataType::Dictionary(key, _) => {
                let values = array.as_any_dictionary().values();
                // A null among the values matters only where a row has it.
                let texts =
                    (0..values.len()).map(|i| Self::text(&values.slice(i, 1))).collect::<Result<Vec<_>, _>>()?;
                macro_rules! keys {
                    ($t:ty) => {
                        self.runs(array.as_dictionary::<$t>().keys().values(), |i, key| {
                            let text = usize::try_from(key).ok().and_then(|k| texts.get(k));
                            text.and_then(Option::as_deref).ok_or(BadSymbol::Null(i))
                        })
                    };
                }
                each_integer!(key.as_ref(), keys)?;
            }
            kind => {
                macro_rules! integers {
                    ($t:ty) => {
                        self.runs(array.as_primitive::<$t>().values(), |_, x| Ok::<_, BadSymbol>(x.to_string()))
                    };
                }
                each_integer!(kind, integers)?;
            }
        }
        Ok(())
    }

    /// The one value of an array, or none for a null.
    fn text(one: &ArrayRef) -> Result<Option<String>, BadSymbol> {
        let mut split = Self::default();
        match split.array(one) {
            Ok(()) => Ok(split.names.pop()),
            Err(BadSymbol::Null(_)) => Ok(None),
            Err(BadSymbol::Type) => Err(BadSymbol::Type),
        }
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
