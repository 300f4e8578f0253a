//! Where the values of a tile go.

use super::L;
use crate::block::Element;

/// The output of one tile.
pub(super) struct Put<'a, T> {
    pub(super) out: &'a mut [T],
    pub(super) f: usize,
    pub(super) lanes: usize,
    pub(super) rows: usize,
    pub(super) last_only: bool,
    /// A column that is NaN in rows that are null as a whole.
    pub(super) marks: Option<&'a [f64]>,
}

impl<T: Element> Put<'_, T> {
    /// Takes values of column `k` from row `from` on, or of the last row alone.
    #[inline]
    pub(super) fn take(&mut self, k: usize, from: usize, values: &[f64]) {
        let tiles = values.as_chunks::<L>().0;
        if !self.last_only {
            tiles.iter().enumerate().for_each(|(i, row)| self.row(k, from + i, from + i, row));
        } else if let Some(row) = tiles.last() {
            self.row(k, self.rows - 1, 0, row);
        }
    }

    #[inline(always)]
    fn row(&mut self, k: usize, r: usize, to: usize, row: &[f64; L]) {
        let size = if self.last_only { 1 } else { self.rows } * self.f;
        for (lane, (&x, window)) in row.iter().zip(self.out.chunks_exact_mut(size)).enumerate().take(self.lanes) {
            let null = self.marks.is_some_and(|m| m[r * L + lane] != m[r * L + lane]);
            window[to * self.f + k] = T::from_value(if null { f64::NAN } else { x });
        }
    }
}
