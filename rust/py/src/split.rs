//! Rows by symbol.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// True if each of the values at..at + n is as the one `back` before it.
fn repeats<T: PartialEq>(values: &[T], back: usize, at: usize, n: usize) -> bool {
    match n {
        1 => values[at] == values[at - back],
        // Two slices are compared as bytes: what the memory gives is the limit.
        _ => values[at..at + n] == values[at - back..at - back + n],
    }
}

/// Most symbols of a moment that are looked for, and moments of the same symbols that are worth it.
const MOMENT: usize = 1 << 16;
const MOMENTS: usize = 4;
/// Times in a row that a table may disappoint before its moments are no longer looked for.
const PATIENCE: usize = 8;

/// Rows, of `total`, from the first on for which `holds(at, n)` says so, found on up to `threads` threads.
fn prefix(total: usize, threads: usize, holds: impl Fn(usize, usize) -> bool + Sync) -> usize {
    const STEP: usize = 1 << 12;
    let part = total.div_ceil(threads.min(total / ROWS_A_THREAD).max(1)).max(1);
    // The first row known to be another: what lies behind it is of no use.
    let stop = AtomicUsize::new(total);
    let some = |from: usize| {
        let (mut at, end, mut step) = (from, total.min(from + part), STEP);
        while at < end && step > 0 && at < stop.load(Ordering::Relaxed) {
            let n = step.min(end - at);
            if holds(at, n) { at += n } else { step = n / 2 }
        }
        if at < end {
            stop.fetch_min(at, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let some = &some;
        (part..total).step_by(part).for_each(|from| drop(scope.spawn(move || some(from))));
        some(0);
    });
    stop.into_inner()
}

/// Rows of a symbol, `step` apart.
#[derive(Clone, Copy)]
struct Run {
    from: usize,
    rows: usize,
    step: usize,
}

/// What is known of the values of one array.
struct Seen<T> {
    /// A value, its symbol, and which of these came after it the last time: symbols side by side keep an order.
    values: Vec<(T, usize, usize)>,
    places: HashMap<T, usize>,
    last: usize,
}

impl<T: Eq + Hash + Copy> Seen<T> {
    /// The symbol of the next value; `new` is asked for that of one that was not seen yet.
    fn symbol<E>(&mut self, now: T, new: impl FnOnce() -> Result<usize, E>) -> Result<usize, E> {
        let guess = self.values.get(self.last).map_or(0, |s| s.2);
        let place = if self.values.get(guess).is_some_and(|s| s.0 == now) {
            guess
        } else if let Some(&place) = self.places.get(&now) {
            place
        } else {
            self.values.push((now, new()?, 0));
            self.places.insert(now, self.values.len() - 1);
            self.values.len() - 1
        };
        self.values[self.last].2 = place;
        self.last = place;
        Ok(self.values[place].1)
    }
}

/// Runs of equal symbols, gathered into series.
#[derive(Default)]
pub struct Split {
    ids: HashMap<String, usize>,
    names: Vec<String>,
    /// Runs of each symbol.
    runs: Vec<Vec<Run>>,
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
            Some(run) if run.step == 1 && run.from + run.rows == self.row => run.rows += rows,
            _ => self.runs[id].push(Run { from: self.row, rows, step: 1 }),
        }
        self.row += rows;
    }

    /// Adds one row for each of `total` values. `same(back, at, n)` says whether each of the rows at..at + n is as the
    /// one `back` before it; `text` is asked once for each different value, with the first row that has it.
    fn each<T: Eq + Hash + Copy, S: AsRef<str>, E>(
        &mut self,
        total: usize,
        same: impl Fn(usize, usize, usize) -> bool + Sync,
        value: impl Fn(usize) -> T,
        text: impl Fn(usize, T) -> Result<S, E>,
    ) -> Result<(), E> {
        let mut seen = Seen { values: Vec::new(), places: HashMap::new(), last: 0 };
        let (mut at, mut patience) = (0, PATIENCE);
        while at < total {
            // A table in order of time: the same symbols moment after moment, until one is listed or leaves.
            let (first, most) = (value(at), MOMENT.min((total - at) / MOMENTS));
            let mut ahead = 1..if patience > 0 { most } else { 0 };
            let width = ahead.find(|&i| value(at + i) == first).filter(|&width| width > 1);
            if let Some(width) = width {
                let left = total - at - width;
                let moments = 1 + prefix(left, self.threads, |i, n| same(width, at + width + i, n)) / width;
                let rows = at..at + if moments < MOMENTS { 0 } else { width };
                let ids = rows.map(|i| seen.symbol(value(i), || Ok(self.id(text(i, value(i))?.as_ref()))));
                let ids = ids.collect::<Result<Vec<usize>, E>>()?;
                if self.moments(&ids, moments) {
                    at += width * moments;
                    patience = PATIENCE;
                    continue;
                }
                patience -= 1;
            }
            let rows = width.filter(|_| patience > 0).map_or(total, |width| MOMENTS * width).min(total - at);
            let start = at;
            for rows in lengths(rows, self.threads, |i, n| same(1, start + i, n)) {
                let id = seen.symbol(value(at), || Ok(self.id(text(at, value(at))?.as_ref())))?;
                self.run(id, rows);
                at += rows;
            }
        }
        Ok(())
    }

    /// Adds as many moments of the same symbols; false if there are none, or one has several rows in each.
    fn moments(&mut self, ids: &[usize], moments: usize) -> bool {
        let mut sorted = ids.to_vec();
        sorted.sort_unstable();
        if ids.is_empty() || sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return false;
        }
        for (i, &id) in ids.iter().enumerate() {
            self.runs[id].push(Run { from: self.row + i, rows: moments, step: ids.len() });
        }
        self.row += ids.len() * moments;
        true
    }

    /// Adds one row for each value; `text` is asked once for each different one, with the first row that has it.
    pub fn runs<T: Eq + Hash + Copy + Sync, S: AsRef<str>, E>(
        &mut self,
        values: &[T],
        text: impl Fn(usize, T) -> Result<S, E>,
    ) -> Result<(), E> {
        self.each(values.len(), |back, at, n| repeats(values, back, at, n), |at| values[at], text)
    }

    /// As [`Split::runs`], for text: equal rows are bytes that repeat, under offsets of equal distance.
    fn texts<O: OffsetSizeTrait>(&mut self, texts: &GenericStringArray<O>) -> Result<(), BadSymbol> {
        let (offsets, bytes) = (texts.value_offsets(), texts.value_data());
        let same = |back: usize, at: usize, n: usize| {
            let (before, now) = (&offsets[at - back..=at - back + n], &offsets[at..=at + n]);
            let far = now[0] - before[0];
            let even = now.iter().zip(before).fold(true, |all, (&b, &a)| all & (b - a == far));
            let part = |o: &[O]| &bytes[o[0].as_usize()..o[n].as_usize()];
            even && part(before) == part(now)
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
                let same = |back: usize, at: usize, n: usize| repeats(texts.views(), back, at, n);
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
        let index = |runs: &[Run]| {
            let mut index = Vec::with_capacity(runs.iter().map(|run| run.rows).sum());
            for run in runs {
                index.extend((0..run.rows).map(|i| (run.from + i * run.step) as u32));
            }
            index
        };
        let series = |(symbol, runs): (String, Vec<Run>)| {
            let rows = match runs.as_slice() {
                [Run { from, rows, step: 1 }] => Rows::Range(*from..*from + *rows),
                runs => Rows::Index(index(runs)),
            };
            Series { rows, symbol: Some(symbol) }
        };
        self.names.into_iter().zip(self.runs).map(series).collect()
    }
}
