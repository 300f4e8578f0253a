//! Memory: the slab that a plan computes in, and the arena that outputs go to.
//!
//! `unsafe` stands here, in `block/`, in `simd.rs`, in `simd/` and in the dispatch (`cpu.rs`); `batch.rs` and
//! `windows.rs` only make the promise that no two threads write the same rows. Each place says what it relies on.

mod arena;
mod out;

use std::ops::Range;

pub use arena::Arena;
pub use out::{Columns, Element, Room, Shared};
pub(crate) use out::{store_f64, store_f64_past_cache};

/// A line of the cache: where a slab starts. A register of eight values that straddles two is loaded twice.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f64; 8]);

/// What is written, and twice what is read.
pub type Views<'a, const K: usize, const N: usize, const M: usize> =
    ([&'a mut [f64]; K], [&'a [f64]; N], [&'a [f64]; M]);

/// The working memory of a plan: one run of rows x S interleaved values per slot.
#[derive(Debug, Clone)]
pub struct Slab {
    data: Vec<Line>,
}

impl Slab {
    /// `len` values, all NaN ("before the start").
    pub fn new(len: usize) -> Self {
        Self { data: vec![Line([f64::NAN; 8]); len.div_ceil(8)] }
    }

    /// All values.
    #[inline(always)]
    pub fn values(&self) -> &[f64] {
        // SAFETY: a line is eight values without padding.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr().cast(), self.data.len() * 8) }
    }

    /// All values, to write.
    #[inline(always)]
    pub fn values_mut(&mut self) -> &mut [f64] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_mut_ptr().cast(), self.data.len() * 8) }
    }

    /// `len` values at `dst` to write, and at each of `src` to read.
    ///
    /// # Panics
    /// If a range leaves the slab or a source overlaps the destination: a bug in the plan.
    #[inline(always)]
    pub fn split<const N: usize>(&mut self, dst: usize, src: [usize; N], len: usize) -> (&mut [f64], [&[f64]; N]) {
        let total = self.data.len() * 8;
        assert!(fits(dst, len, total) && src.iter().all(|&s| fits(s, len, total) && apart(s, dst, len)));
        let base = self.data.as_mut_ptr().cast::<f64>();
        // SAFETY: every range lies inside the slab, and the one mutable range meets none of the shared
        // ones (both just asserted); the borrow of self outlives the slices.
        unsafe {
            (
                std::slice::from_raw_parts_mut(base.add(dst), len),
                std::array::from_fn(|k| std::slice::from_raw_parts(base.add(src[k]).cast_const(), len)),
            )
        }
    }

    /// Ranges to write and ranges to read; any may be empty.
    ///
    /// # Panics
    /// If a range leaves the slab, or one to write overlaps another: a bug in the plan.
    #[inline(always)]
    pub fn views<const K: usize, const N: usize, const M: usize>(
        &mut self,
        write: [Range<usize>; K],
        read: [Range<usize>; N],
        more: [Range<usize>; M],
    ) -> Views<'_, K, N, M> {
        let total = self.data.len() * 8;
        let inside = |r: &Range<usize>| r.start <= r.end && r.end <= total;
        let away =
            |a: &Range<usize>, b: &Range<usize>| a.is_empty() || b.is_empty() || a.end <= b.start || b.end <= a.start;
        assert!(write.iter().all(inside) & read.iter().all(inside) & more.iter().all(inside));
        for (i, w) in write.iter().enumerate() {
            let alone = |r: &Range<usize>| away(w, r);
            assert!(write[..i].iter().all(alone) & read.iter().all(alone) & more.iter().all(alone));
        }
        let base = self.data.as_mut_ptr().cast::<f64>();
        // SAFETY: every range lies inside the slab, and none of the mutable ones meets another (both just asserted);
        // the borrow of self outlives the slices.
        unsafe {
            (
                write.map(|r| std::slice::from_raw_parts_mut(base.add(r.start), r.len())),
                read.map(|r| std::slice::from_raw_parts(base.add(r.start).cast_const(), r.len())),
                more.map(|r| std::slice::from_raw_parts(base.add(r.start).cast_const(), r.len())),
            )
        }
    }

    /// `len` values at each of `dst` to write, and at each of `src` to read; and `last_len` values at `last`
    /// to write.
    ///
    /// # Panics
    /// If a range leaves the slab, or a destination overlaps anything else: a bug in the plan.
    #[inline(always)]
    pub fn split_many<const K: usize, const N: usize>(
        &mut self,
        dst: [usize; K],
        src: [usize; N],
        len: usize,
        (last, last_len): (usize, usize),
    ) -> ([&mut [f64]; K], [&[f64]; N], &mut [f64]) {
        let total = self.data.len() * 8;
        for (i, &d) in dst.iter().enumerate() {
            assert!(fits(d, len, total) && dst[..i].iter().all(|&o| apart(o, d, len)));
            assert!(src.iter().all(|&s| fits(s, len, total) && apart(s, d, len)));
        }
        assert!(last_len == 0 || last_len == len && fits(last, len, total));
        assert!(last_len == 0 || dst.iter().chain(&src).all(|&o| apart(o, last, len)));
        let base = self.data.as_mut_ptr().cast::<f64>();
        // SAFETY: as in `split`; the mutable ranges are also pairwise apart (asserted), or empty.
        unsafe {
            (
                std::array::from_fn(|k| std::slice::from_raw_parts_mut(base.add(dst[k]), len)),
                std::array::from_fn(|k| std::slice::from_raw_parts(base.add(src[k]).cast_const(), len)),
                std::slice::from_raw_parts_mut(base.add(last), last_len),
            )
        }
    }
}

impl Slab {
    /// Disjoint ranges, to write; an empty range may lie anywhere.
    ///
    /// # Panics
    /// If a range leaves the slab or two overlap.
    pub fn pieces<const N: usize>(&mut self, ranges: [Range<usize>; N]) -> [&mut [f64]; N] {
        self.values_mut().get_disjoint_mut(ranges).expect("ranges are disjoint")
    }
}

#[inline(always)]
fn fits(at: usize, len: usize, total: usize) -> bool {
    at <= total && len <= total - at
}

#[inline(always)]
fn apart(a: usize, b: usize, len: usize) -> bool {
    a.abs_diff(b) >= len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_gives_disjoint_views() {
        let mut slab = Slab::new(32);
        slab.values_mut()[..8].copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let (d, [a, b]) = slab.split(16, [0, 1], 7);
        for i in 0..7 {
            d[i] = a[i] + b[i];
        }
        assert_eq!(&slab.values()[16..23], &[3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0]);
    }

    #[test]
    #[should_panic(expected = "assertion")]
    fn split_refuses_overlap() {
        Slab::new(32).split(4, [0], 8);
    }
}
