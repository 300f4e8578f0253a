//! Where outputs go: the caller's columns, shared by threads that write disjoint rows.

use std::marker::PhantomData;
use std::ops::Range;

use super::{Arena, fits};
use crate::simd::Lanes;

/// Outputs of this many bytes are written past the caches.
const PAST_CACHE: usize = 16 << 20;
/// An output element: f64, or f32 with saturation.
pub trait Element: Copy + Send + Sync + 'static {
    /// From the engine's value; NaN becomes the one canonical NaN.
    fn from_value(x: f64) -> Self;

    /// As [`Element::from_value`], for what is no NaN.
    #[inline(always)]
    fn from_number(x: f64) -> Self {
        Self::from_value(x)
    }

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

    #[inline(always)]
    fn from_number(x: f64) -> Self {
        x
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
    /// Puts the next four lines of memory, if `values`, all that are there from the first row on, fill them by now; NaN
    /// is made canonical.
    #[inline(always)]
    pub(crate) fn four<V: Lanes>(&mut self, values: &[f64]) {
        let from = self.head + self.lines * 8;
        if let Some((lines, _)) = values[..values.len().min(self.len)].get(from..).and_then(<[f64]>::split_first_chunk)
        {
            // SAFETY: inside the room, and aligned by the choice of `head`.
            self.null |= unsafe { V::four_lines(self.dst.add(from), lines, self.past_cache) };
            self.lines += 4;
        }
    }

    /// Puts what is not there yet of `values`, all of them; true if there was a null among them.
    ///
    /// # Panics
    /// If there are not as many values as there is room.
    #[inline(always)]
    pub(crate) fn finish<V: Lanes>(&mut self, values: &[f64]) -> bool {
        assert!(values.len() == self.len);
        let (lines, _) = values.get(self.head + self.lines * 8..).unwrap_or(&[]).as_chunks::<8>();
        for x in lines {
            // SAFETY: inside the room, and aligned by the choice of `head`.
            self.null |= unsafe { V::line(self.dst.add(self.head + self.lines * 8), x, self.past_cache) };
            self.lines += 1;
        }
        let (head, done) = (self.head.min(self.len), (self.head + self.lines * 8).min(self.len));
        // SAFETY: the ranges are inside the room.
        unsafe { self.null | store_f64(self.dst, &values[..head]) | store_f64(self.dst.add(done), &values[done..]) }
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
        assert!(index.iter().fold(true, |inside, &row| inside & ((row as usize) < self.rows)));
        let null = values.iter().fold(false, |any, x| any | (x != x));
        let base = self.ptr.wrapping_add(column * self.stride);
        for (&row, &x) in index.iter().zip(values) {
            let x = if null { T::from_value(x) } else { T::from_number(x) };
            // SAFETY: inside the memory (asserted); exclusive by the contract.
            unsafe { base.add(row as usize).write(x) };
        }
        null
    }
}

impl<T: Element> Columns<'_, T> {
    /// Writes the first `width` of each eight `values` into neighbouring rows of `column`, from the row in `first` on;
    /// true if there is a null.
    ///
    /// # Safety
    /// No other thread may write these rows at the same time.
    ///
    /// # Panics
    /// If a place is outside.
    pub unsafe fn write_beside(&self, column: usize, first: &[u32], width: usize, values: &[[f64; 8]]) -> bool {
        assert!(column < self.columns && width <= 8 && values.len() == first.len());
        assert!(first.iter().fold(true, |inside, &row| inside & (row as usize + width <= self.rows)));
        let null = values.as_flattened().iter().fold(false, |any, x| any | (x != x));
        let base = self.ptr.wrapping_add(column * self.stride);
        if width == 8 && self.past_cache() && base.align_offset(64) == 0 && first.iter().all(|row| row % 8 == 0) {
            // SAFETY: inside the memory (asserted); exclusive by the contract.
            first.iter().zip(values).for_each(|(&row, x)| unsafe {
                T::store(base.add(row as usize), x, true);
            });
            return null;
        }
        for (&row, x) in first.iter().zip(values) {
            // SAFETY: inside the memory (asserted); exclusive by the contract.
            unsafe {
                let dst = base.add(row as usize);
                match (null, width) {
                    (false, 8) => (0..8).for_each(|i| dst.add(i).write(T::from_number(x[i]))),
                    (false, _) => (0..width).for_each(|i| dst.add(i).write(T::from_number(x[i]))),
                    _ => (0..width).for_each(|i| dst.add(i).write(T::from_value(x[i]))),
                }
            }
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
    fn columns_write_and_saturate() {
        let mut memory = vec![0.0_f32; 8];
        let columns = Columns::over(&mut memory, 3, 2, 4);
        // SAFETY: one thread.
        assert!(unsafe { columns.write(1, 0..3, &[1e300, f64::NAN, -1e300]) });
        assert_eq!((memory[4], memory[6]), (f32::MAX, -f32::MAX));
        assert!(memory[5].is_nan());
    }
}
