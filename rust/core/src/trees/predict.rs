//! From a matrix to raw outputs: blocks of rows where there are enough, else row by row. Both give the same bits.

use super::blocks::{Blocks, LANES};
use super::forest::{Forest, Real};
use super::lanes::{Lanes, Plain};
use super::rows::Rows;
use crate::cpu::{Level, level};
use crate::error::Result;

/// From so many rows on, a block is faster than walking each of them.
const BLOCK_FROM: usize = 12;

/// Element type of an input.
pub trait Input: Copy + Sync {
    /// As the library whose arithmetic `T` is takes it.
    fn to<T: Real>(self) -> T;
}

impl Input for f32 {
    #[inline(always)]
    fn to<T: Real>(self) -> T {
        T::from_f32(self)
    }
}

impl Input for f64 {
    #[inline(always)]
    fn to<T: Real>(self) -> T {
        T::from_f64(self)
    }
}

/// A borrowed matrix, row after row or column after column.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, E> {
    values: &'a [E],
    rows: usize,
    columns: usize,
    row_step: usize,
    column_step: usize,
}

impl<'a, E> Matrix<'a, E> {
    /// Row after row.
    ///
    /// # Panics
    /// Where `values` is not rows x columns long.
    pub fn by_row(values: &'a [E], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "elements of the matrix");
        Self { values, rows, columns, row_step: columns, column_step: 1 }
    }

    /// Column after column.
    ///
    /// # Panics
    /// Where `values` is not rows x columns long.
    pub fn by_column(values: &'a [E], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "elements of the matrix");
        Self { values, rows, columns, row_step: 1, column_step: rows }
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

/// A forest, laid out for both ways.
#[derive(Debug, Clone)]
pub(crate) struct Plan<T> {
    rows: Rows<T>,
    blocks: Option<Blocks<T>>,
    outputs: usize,
}

impl<T: Real> Plan<T> {
    pub(crate) fn new(forest: &Forest<T>) -> Result<Self> {
        forest.check()?;
        Ok(Self { rows: Rows::new(forest)?, blocks: Blocks::new(forest), outputs: forest.base.len() })
    }

    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    pub(crate) fn eval<E: Input>(&self, x: Matrix<'_, E>) -> Vec<T> {
        let mut out = vec![T::ZERO; x.rows * self.outputs];
        let mut from = 0;
        if let Some(blocks) = self.blocks.as_ref().filter(|_| x.rows >= BLOCK_FROM) {
            let whole = if x.rows % LANES >= BLOCK_FROM { x.rows } else { x.rows / LANES * LANES };
            from = whole;
            dispatch(blocks, x, &mut out[..whole * self.outputs]);
        }
        let mut scratch = self.rows.scratch();
        for (row, out) in (from..x.rows).zip(out[from * self.outputs..].chunks_exact_mut(self.outputs)) {
            let values = &x.values[row * x.row_step..];
            self.rows.eval(&mut scratch, |column| values[column * x.column_step].to(), out);
        }
        out
    }
}

#[inline(always)]
fn by_blocks<T: Real, E: Input, L: Lanes<T>>(blocks: &Blocks<T>, x: Matrix<'_, E>, out: &mut [T]) {
    let mut scratch = blocks.scratch();
    let outputs = scratch.sums.len();
    for (number, out) in out.chunks_mut(LANES * outputs).enumerate() {
        let rows = out.len() / outputs;
        let values = &x.values[number * LANES * x.row_step..];
        blocks.eval::<L>(&mut scratch, rows, |row, column| values[row * x.row_step + column * x.column_step].to());
        for (k, sums) in scratch.sums.iter().enumerate() {
            for row in 0..rows {
                out[row * outputs + k] = sums[row];
            }
        }
    }
}

/// The same steps for every CPU level.
fn dispatch<T: Real, E: Input>(blocks: &Blocks<T>, x: Matrix<'_, E>, out: &mut [T]) {
    match level() {
        // SAFETY: `level` never passes what the CPU has.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { by_blocks_avx512(blocks, x, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { by_blocks_avx2(blocks, x, out) },
        _ => by_blocks::<T, E, Plain>(blocks, x, out),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
fn by_blocks_avx512<T: Real, E: Input>(blocks: &Blocks<T>, x: Matrix<'_, E>, out: &mut [T]) {
    by_blocks::<T, E, T::Avx512>(blocks, x, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn by_blocks_avx2<T: Real, E: Input>(blocks: &Blocks<T>, x: Matrix<'_, E>, out: &mut [T]) {
    by_blocks::<T, E, T::Avx2>(blocks, x, out);
}
