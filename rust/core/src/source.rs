//! Bars as the caller has them: columns in chunks, of any numeric type, with validity bits. They are
//! widened once, on the way into a block.

use crate::error::{Error, Result};

/// Values of one chunk of a column.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "each is the type of its name")]
pub enum Values<'a> {
    F64(&'a [f64]),
    F32(&'a [f32]),
    I64(&'a [i64]),
    I32(&'a [i32]),
    I16(&'a [i16]),
    I8(&'a [i8]),
    U64(&'a [u64]),
    U32(&'a [u32]),
    U16(&'a [u16]),
    U8(&'a [u8]),
}

/// Runs `$body` with `$v` bound to the slice, whatever its type.
macro_rules! each {
    ($values:expr, $v:ident => $body:expr) => {
        match $values {
            Values::F64($v) => $body,
            Values::F32($v) => $body,
            Values::I64($v) => $body,
            Values::I32($v) => $body,
            Values::I16($v) => $body,
            Values::I8($v) => $body,
            Values::U64($v) => $body,
            Values::U32($v) => $body,
            Values::U16($v) => $body,
            Values::U8($v) => $body,
        }
    };
}

/// Conversion to the engine's number.
trait Widen: Copy {
    fn widen(self) -> f64;
}

macro_rules! widen {
    ($($t:ty),+) => { $(impl Widen for $t {
        #[inline(always)]
        #[allow(clippy::cast_lossless, reason = "one macro for lossless and 64-bit types")]
        fn widen(self) -> f64 { self as f64 }
    })+ };
}
widen!(f32, i64, i32, i16, i8, u64, u32, u16, u8);

impl Widen for f64 {
    #[inline(always)]
    fn widen(self) -> f64 {
        self
    }
}

/// Validity bits of a chunk: bit i + offset of `bytes` is 0 where value i is null.
#[derive(Debug, Clone, Copy)]
pub struct Bits<'a> {
    /// The bits, least significant first.
    pub bytes: &'a [u8],
    /// Bits to pass over.
    pub offset: usize,
}

impl Bits<'_> {
    /// True where value `i` is not null.
    #[inline(always)]
    pub fn get(&self, i: usize) -> bool {
        let bit = i + self.offset;
        self.bytes[bit / 8] >> (bit % 8) & 1 == 1
    }
}

/// One chunk of a column.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// Values.
    pub values: Values<'a>,
    /// Validity, where there are nulls.
    pub valid: Option<Bits<'a>>,
}

impl Chunk<'_> {
    fn len(&self) -> usize {
        each!(self.values, v => v.len())
    }

    fn read(&self, from: usize, dst: &mut [f64]) {
        match self.values {
            Values::F64(v) => dst.copy_from_slice(&v[from..from + dst.len()]),
            other => each!(other, v => {
                for (d, &x) in dst.iter_mut().zip(&v[from..]) {
                    *d = x.widen();
                }
            }),
        }
        if let Some(bits) = &self.valid {
            for (i, d) in dst.iter_mut().enumerate() {
                if !bits.get(from + i) {
                    *d = f64::NAN;
                }
            }
        }
    }

    #[inline(always)]
    fn get(&self, i: usize) -> f64 {
        if self.valid.is_some_and(|b| !b.get(i)) {
            return f64::NAN;
        }
        each!(self.values, v => v[i].widen())
    }
}

/// Which rows of the caller's table make one series.
#[derive(Debug, Clone)]
pub enum Rows {
    /// These, in a row.
    Range(std::ops::Range<usize>),
    /// These, increasing.
    Index(Vec<u32>),
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Range(r) => r.len(),
            Self::Index(i) => i.len(),
        }
    }

    /// True for no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The caller's row of the series' row `i`.
    pub fn at(&self, i: usize) -> usize {
        match self {
            Self::Range(r) => r.start + i,
            Self::Index(index) => index[i] as usize,
        }
    }

    /// Number of rows that lie before the caller's row `end`.
    pub fn before(&self, end: usize) -> usize {
        match self {
            Self::Range(r) => end.clamp(r.start, r.end) - r.start,
            Self::Index(index) => index.partition_point(|&row| (row as usize) < end),
        }
    }
}

/// A column in chunks.
#[derive(Debug, Clone, Default)]
pub struct Column<'a> {
    chunks: Vec<Chunk<'a>>,
    /// First row of each chunk, and the end.
    starts: Vec<usize>,
}

impl<'a> Column<'a> {
    /// From its chunks.
    pub fn new(chunks: Vec<Chunk<'a>>) -> Self {
        let mut starts = vec![0];
        let mut end = 0;
        for c in &chunks {
            end += c.len();
            starts.push(end);
        }
        Self { chunks, starts }
    }

    /// From one slice without nulls.
    pub fn of(values: &'a [f64]) -> Self {
        Self::new(vec![Chunk { values: Values::F64(values), valid: None }])
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// True for no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows `from..from + n` as they lie in memory, where they do: one chunk of f64 without nulls.
    pub fn plain(&self, rows: &Rows, from: usize, n: usize) -> Option<&'a [f64]> {
        let (Rows::Range(r), [chunk]) = (rows, self.chunks.as_slice()) else { return None };
        match (chunk.values, &chunk.valid) {
            (Values::F64(v), None) => v.get(r.start + from..r.start + from + n),
            _ => None,
        }
    }

    fn chunk_of(&self, row: usize) -> usize {
        self.starts.partition_point(|&s| s <= row) - 1
    }

    /// Series rows `from..from + dst.len()` of `rows`, as numbers, NaN for null.
    pub fn read(&self, rows: &Rows, from: usize, dst: &mut [f64]) {
        match rows {
            Rows::Range(r) => self.read_range(r.start + from, dst),
            Rows::Index(index) => {
                let index = &index[from..from + dst.len()];
                let Some(&first) = index.first() else { return };
                if let [Chunk { values, valid: None }] = self.chunks.as_slice() {
                    each!(values, v => dst.iter_mut().zip(index).for_each(|(d, &row)| *d = v[row as usize].widen()));
                    return;
                }
                let mut c = self.chunk_of(first as usize);
                for (d, &row) in dst.iter_mut().zip(index) {
                    let row = row as usize;
                    while row >= self.starts[c + 1] {
                        c += 1;
                    }
                    *d = self.chunks[c].get(row - self.starts[c]);
                }
            }
        }
    }

    /// Reads `width` neighbouring values from each of the increasing rows in `first` on, and the last of them again up to
    /// eight; false if they are not plain in one chunk.
    pub fn read_beside(&self, first: &[u32], width: usize, dst: &mut [[f64; 8]]) -> bool {
        let (Some(&from), Some(&to)) = (first.first(), first.last()) else { return true };
        let c = self.chunk_of(from as usize);
        let (start, end) = (self.starts[c], self.starts[c + 1]);
        let Chunk { values: Values::F64(values), valid: None } = self.chunks[c] else { return false };
        if width == 0 || width > 8 || to as usize + width > end {
            return false;
        }
        for (d, &row) in dst.iter_mut().zip(first) {
            let x = &values[row as usize - start..][..width];
            match x.first_chunk() {
                Some(x) => *d = *x,
                None => d.iter_mut().enumerate().for_each(|(lane, d)| *d = x[lane.min(width - 1)]),
            }
        }
        true
    }

    fn read_range(&self, mut from: usize, mut dst: &mut [f64]) {
        if dst.is_empty() {
            return;
        }
        let mut c = self.chunk_of(from);
        loop {
            let n = dst.len().min(self.starts[c + 1] - from);
            let (part, rest) = dst.split_at_mut(n);
            self.chunks[c].read(from - self.starts[c], part);
            if rest.is_empty() {
                return;
            }
            dst = rest;
            from += n;
            c += 1;
        }
    }
}

/// The time column: whole numbers of some unit since 1970, without nulls.
#[derive(Debug, Clone)]
pub struct Times<'a> {
    /// Chunks of raw values.
    chunks: Vec<&'a [i64]>,
    starts: Vec<usize>,
    /// Nanoseconds per unit.
    unit_ns: i64,
}

impl<'a> Times<'a> {
    /// From its chunks; every value must fit in nanoseconds (1677..2262).
    pub fn new(name: &str, chunks: Vec<&'a [i64]>, unit_ns: i64) -> Result<Self> {
        let limit = i64::MAX / unit_ns;
        let mut starts = vec![0];
        let mut end = 0;
        for c in &chunks {
            if let Some(i) = c.iter().position(|t| !(-limit..=limit).contains(t)) {
                let row = end + i;
                return Err(Error::column(
                    name,
                    format!(
                        "column {name:?}, row {row}: {} x {unit_ns} ns is no time between 1677 and 2262; is the time unit right?",
                        c[i]
                    ),
                ));
            }
            end += c.len();
            starts.push(end);
        }
        Ok(Self { chunks, starts, unit_ns })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// True for no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Series rows `from..from + dst.len()` of `rows`, in nanoseconds.
    pub fn read(&self, rows: &Rows, from: usize, dst: &mut [i64]) {
        let mut c = 0;
        for (i, d) in dst.iter_mut().enumerate() {
            let row = rows.at(from + i);
            if row >= self.starts[c + 1] {
                c = self.starts.partition_point(|&s| s <= row) - 1;
            }
            *d = self.chunks[c][row - self.starts[c]] * self.unit_ns;
        }
    }
}

/// The columns of one call.
#[derive(Debug, Clone, Default)]
pub struct Bars<'a> {
    /// open, high, low, close, volume; those not needed may be absent.
    pub ohlcv: [Option<Column<'a>>; 5],
    /// The extra columns the feature set reads, in its order.
    pub extras: Vec<Column<'a>>,
    /// Time, where given.
    pub times: Option<Times<'a>>,
    /// Name of the time column.
    pub time_name: String,
}

/// Names of the five bar columns.
pub const OHLCV: [&str; 5] = ["open", "high", "low", "close", "volume"];
