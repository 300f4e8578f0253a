//! Memory: the slab that a plan computes in, and the arena that outputs go to.
//!
//! `unsafe` stands here, in `block/arena.rs`, in `simd.rs`, in `simd/` and in the dispatch (`cpu.rs`); `batch.rs` and
//! `windows.rs` only make the promise that no two threads write the same rows. Each place says what it relies on.

mod arena;

use std::marker::PhantomData;
use std::ops::Range;

pub use arena::Arena;

use crate::simd::Lanes;

/// A line of the cache: where a slab starts. A register of eight values that straddles two is loaded twice.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f64; 8]);

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
    ) -> ([&mut [f64]; K], [&[f64]; N], [&[f64]; M]) {
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

/// Outputs of this many bytes are written past the caches.
const PAST_CACHE: usize = 16 << 20;
/// An output element: f64, or f32 with saturation.
pub trait Element: Copy + Send + Sync + 'static {
    /// From the engine's value; NaN becomes the one canonical NaN.
    fn from_value(x: f64) -> Self;

    /// The place, where this is f64.
    fn as_f64(place: *mut Self) -> Option<*mut f64> {
        let _ = place;
        None
    }

    /// Writes values; true if there is a null among them. With `past_cache` the memory is not expected to be
    /// read soon.
    ///
    /// # Safety
    /// `dst` must be valid for `values.len()` writes.
    unsafe fn store(dst: *mut Self, values: &[f64], past_cache: bool) -> bool {
        let _ = past_cache;
        let mut null = false;
        for (i, &x) in values.iter().enumerate() {
            // SAFETY: i < values.len().
            unsafe { dst.add(i).write(Self::from_value(x)) };
            null |= x != x;
        }
        null
    }
}

impl Element for f64 {
    #[inline(always)]
    fn from_value(x: f64) -> Self {
        if x == x { x } else { f64::NAN }
    }

    fn as_f64(place: *mut Self) -> Option<*mut f64> {
        Some(place)
    }

    unsafe fn store(dst: *mut Self, values: &[f64], past_cache: bool) -> bool {
        // SAFETY: the caller's promise.
        unsafe { crate::cpu::store(dst, values, past_cache) }
    }
}

/// Copies values and makes NaN canonical; true if there is any.
///
/// # Safety
/// `dst` must be valid for `values.len()` writes.
#[inline(always)]
pub(crate) unsafe fn store_f64(dst: *mut f64, values: &[f64]) -> bool {
    let mut null = 0_u64;
    for (i, &x) in values.iter().enumerate() {
        // SAFETY: i < values.len().
        unsafe { dst.add(i).write(if x == x { x } else { f64::NAN }) };
        null |= u64::from(x != x);
    }
    null != 0
}

/// As [`store_f64`], past the caches: large outputs would only push each other out of them, and reading a
/// line before it is overwritten costs as much as writing it.
///
/// # Safety
/// As [`store_f64`]; the CPU must have AVX.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
pub(crate) unsafe fn store_f64_past_cache(dst: *mut f64, values: &[f64]) -> bool {
    use std::arch::x86_64::{
        _CMP_UNORD_Q, _mm256_blendv_pd, _mm256_cmp_pd, _mm256_loadu_pd, _mm256_movemask_pd, _mm256_or_pd,
        _mm256_set1_pd, _mm256_setzero_pd, _mm256_stream_pd,
    };
    let head = dst.align_offset(32).min(values.len());
    let (first, rest) = values.split_at(head);
    let (four, tail) = rest.as_chunks::<4>();
    // SAFETY: all writes are inside `values.len()` elements from dst; the middle ones are 32-byte aligned.
    unsafe {
        let mut null = store_f64(dst, first) | store_f64(dst.add(head + four.len() * 4), tail);
        let (nan, mut any) = (_mm256_set1_pd(f64::NAN), _mm256_setzero_pd());
        for (i, x) in four.iter().enumerate() {
            let x = _mm256_loadu_pd(x.as_ptr());
            let is_nan = _mm256_cmp_pd::<_CMP_UNORD_Q>(x, x);
            any = _mm256_or_pd(any, is_nan);
            _mm256_stream_pd(dst.add(head + i * 4), _mm256_blendv_pd(x, nan, is_nan));
        }
        null |= _mm256_movemask_pd(any) != 0;
        null
    }
}

/// As [`store_f64`], a line of the cache at a time; with `past_cache` as [`store_f64_past_cache`].
///
/// # Safety
/// As [`store_f64`]; the CPU must have AVX-512 F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn store_f64_lines(dst: *mut f64, values: &[f64], past_cache: bool) -> bool {
    use std::arch::x86_64::{
        _CMP_UNORD_Q, _mm512_cmp_pd_mask, _mm512_loadu_pd, _mm512_mask_mov_pd, _mm512_set1_pd, _mm512_store_pd,
        _mm512_stream_pd,
    };
    let head = dst.align_offset(64).min(values.len());
    let (first, rest) = values.split_at(head);
    let (lines, tail) = rest.as_chunks::<8>();
    // SAFETY: all writes are inside `values.len()` elements from dst; the middle ones are 64-byte aligned.
    unsafe {
        let null = store_f64(dst, first) | store_f64(dst.add(head + lines.len() * 8), tail);
        let (nan, mut any) = (_mm512_set1_pd(f64::NAN), 0);
        for (i, x) in lines.iter().enumerate() {
            let x = _mm512_loadu_pd(x.as_ptr());
            let is_nan = _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(x, x);
            any |= is_nan;
            let x = _mm512_mask_mov_pd(x, is_nan, nan);
            let line = dst.add(head + i * 8);
            if past_cache { _mm512_stream_pd(line, x) } else { _mm512_store_pd(line, x) }
        }
        null | (any != 0)
    }
}

impl Element for f32 {
    #[inline(always)]
    fn from_value(x: f64) -> Self {
        let top = f64::from(f32::MAX);
        let x = if x > top { top } else { x };
        let x = if x < -top { -top } else { x };
        if x == x { x as Self } else { Self::NAN }
    }
}

/// Room for the values of one output.
#[derive(Debug)]
pub struct Room<'a> {
    dst: *mut f64,
    len: usize,
    /// Elements before the first whole line of the cache.
    head: usize,
    /// Lines that are there.
    lines: usize,
    past_cache: bool,
    null: bool,
    owner: PhantomData<&'a mut [f64]>,
}

impl Room<'_> {
    /// Puts the whole lines of memory that `values`, all that are there from the first row on, fill by now, NaN made
    /// canonical.
    #[inline(always)]
    pub(crate) fn lines<V: Lanes>(&mut self, values: &[f64]) {
        let values = &values[..values.len().min(self.len)];
        let from = self.head + self.lines * 8;
        let (lines, _) = values.get(from..).unwrap_or(&[]).as_chunks::<8>();
        let mut null = false;
        for (i, x) in lines.iter().enumerate() {
            // SAFETY: inside the room, and aligned by the choice of `head`.
            null |= unsafe { V::line(self.dst.add(from + i * 8), x, self.past_cache) };
        }
        self.null |= null;
        self.lines += lines.len();
    }

    /// Puts what is not there yet of `values`, all of them; true if there was a null among them.
    ///
    /// # Panics
    /// If there are not as many values as there is room.
    pub(crate) fn finish<V: Lanes>(&mut self, values: &[f64]) -> bool {
        assert!(values.len() == self.len);
        let (head, done) = (self.head.min(self.len), (self.head + self.lines * 8).min(self.len));
        // SAFETY: the ranges are inside the room.
        unsafe {
            self.null |= V::copy(self.dst, &values[..head], false);
            self.null |= V::copy(self.dst.add(done), &values[done..], self.past_cache);
        }
        self.null
    }
}

/// Where outputs are written: `columns` columns of `rows` elements, each `stride` elements apart.
/// Several threads write disjoint rows of it.
#[derive(Debug)]
pub struct Columns<'a, T> {
    ptr: *mut T,
    rows: usize,
    columns: usize,
    stride: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: a `Columns` is a set of places to write; `claim` hands every row to one writer.
unsafe impl<T: Send> Send for Columns<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Columns<'_, T> {}

impl<'a, T: Element> Columns<'a, T> {
    /// Over memory that is already initialised.
    ///
    /// # Panics
    /// If the memory is too small.
    pub fn over(memory: &'a mut [T], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(rows <= stride && columns.checked_mul(stride).is_some_and(|n| n <= memory.len()));
        Self { ptr: memory.as_mut_ptr(), rows, columns, stride, owner: PhantomData }
    }

    /// Over an arena, whose contents need not be initialised: elements are only written.
    ///
    /// # Panics
    /// If the arena is too small.
    pub fn in_arena(arena: &'a mut Arena, rows: usize, columns: usize, stride: usize) -> Self {
        let need = columns.checked_mul(stride).and_then(|n| n.checked_mul(size_of::<T>()));
        assert!(rows <= stride && need.is_some_and(|n| n <= arena.len()));
        Self { ptr: arena.as_ptr().as_ptr().cast(), rows, columns, stride, owner: PhantomData }
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Writes `values` into rows `rows` of `column`; true if there is a null among them.
    ///
    /// # Safety
    /// No other thread may write these rows at the same time.
    ///
    /// # Panics
    /// If the place is outside.
    #[inline(always)]
    pub unsafe fn write(&self, column: usize, rows: Range<usize>, values: &[f64]) -> bool {
        assert!(column < self.columns && rows.end <= self.rows && rows.start <= rows.end && values.len() == rows.len());
        // SAFETY: inside the memory (asserted here and in the constructors); exclusive by the contract.
        let dst = unsafe { self.ptr.add(column * self.stride + rows.start) };
        // SAFETY: as above.
        unsafe { T::store(dst, values, self.past_cache()) }
    }

    /// Room for rows `rows` of `column`; `None` for elements that are not f64.
    ///
    /// # Safety
    /// No other thread may write these rows at the same time, nor anybody a second time while the room is there.
    ///
    /// # Panics
    /// If the place is outside.
    pub unsafe fn room(&self, column: usize, rows: Range<usize>) -> Option<Room<'_>> {
        assert!(column < self.columns && rows.end <= self.rows && rows.start <= rows.end);
        // SAFETY: inside the memory (asserted here and in the constructors).
        let dst = T::as_f64(unsafe { self.ptr.add(column * self.stride + rows.start) })?;
        let past_cache = self.past_cache();
        let head = dst.align_offset(64);
        Some(Room { dst, len: rows.len(), head, lines: 0, past_cache, null: false, owner: PhantomData })
    }

    fn past_cache(&self) -> bool {
        self.columns * self.stride * size_of::<T>() >= PAST_CACHE
    }

    /// Writes `values` into the rows of `column` that `index` lists; true if there is a null.
    ///
    /// # Safety
    /// No other thread may write these rows at the same time.
    ///
    /// # Panics
    /// If a place is outside.
    pub unsafe fn scatter(&self, column: usize, index: &[u32], values: &[f64]) -> bool {
        assert!(column < self.columns && values.len() == index.len());
        let mut null = false;
        for (&row, &x) in index.iter().zip(values) {
            assert!((row as usize) < self.rows);
            // SAFETY: inside the memory (asserted); exclusive by the contract.
            unsafe { self.ptr.add(column * self.stride + row as usize).write(T::from_value(x)) };
            null |= x != x;
        }
        null
    }
}

/// A slice of which several threads write disjoint parts.
#[derive(Debug)]
pub struct Shared<'a, T> {
    ptr: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: parts are handed out under the contract of `part`.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Over a slice.
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { ptr: slice.as_mut_ptr(), len: slice.len(), owner: PhantomData }
    }

    /// `len` elements from `at` on.
    ///
    /// # Safety
    /// No two parts that live at the same time may overlap.
    ///
    /// # Panics
    /// If the part is outside.
    #[allow(clippy::mut_from_ref, reason = "the contract makes the parts disjoint")]
    pub unsafe fn part(&self, at: usize, len: usize) -> &mut [T] {
        assert!(fits(at, len, self.len));
        // SAFETY: inside the slice (asserted), and disjoint by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(at), len) }
    }
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

    #[test]
    fn columns_write_and_saturate() {
        let mut memory = vec![0.0_f32; 8];
        let columns = Columns::over(&mut memory, 3, 2, 4);
        // SAFETY: one thread.
        assert!(unsafe { columns.write(1, 0..3, &[1e300, f64::NAN, -1e300]) });
        assert_eq!((memory[4], memory[6]), (f32::MAX, -f32::MAX));
        assert!(memory[5].is_nan());
    }
}
