//! Lanes of f64 in registers, for the recursive steps of a tile of windows: the vectoriser keeps their
//! states in memory otherwise. Each type is used only inside kernels compiled for its CPU level.

/// What arithmetic is written in: one value, or a register of them. Each operation rounds.
pub trait Real: Copy {
    /// A constant.
    fn of(x: f64) -> Self;
    /// Sum.
    fn plus(self, b: Self) -> Self;
    /// Difference.
    fn less(self, b: Self) -> Self;
    /// Product.
    fn times(self, b: Self) -> Self;
}

impl Real for f64 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn plus(self, b: Self) -> Self {
        self + b
    }

    #[inline(always)]
    fn less(self, b: Self) -> Self {
        self - b
    }

    #[inline(always)]
    fn times(self, b: Self) -> Self {
        self * b
    }
}

/// One register's worth of the eight lanes of a tile, or of the rows of a series.
pub(crate) trait Lanes: Real {
    /// Lanes of the register: a divisor of 8.
    const WIDTH: usize;
    /// From memory; `lane` is a multiple of the width.
    fn load(x: &[f64; 8], lane: usize) -> Self;
    /// To memory.
    fn store(self, y: &mut [f64; 8], lane: usize);
    /// The same value in every lane.
    fn splat(x: f64) -> Self;
    /// `a - b`.
    fn minus(a: Self, b: Self) -> Self;
    /// `s + k * (x - s)`, each operation rounded (never fused).
    fn step(s: Self, x: Self, k: Self) -> Self;
    /// Copies values and makes NaN canonical, `past_cache` where nobody reads them soon; true if there is any.
    ///
    /// # Safety
    /// `dst` must be valid for `values.len()` writes, and the CPU have the level of the type.
    unsafe fn copy(dst: *mut f64, values: &[f64], past_cache: bool) -> bool;
    /// [`crate::primitives::elementwise::sqrt`].
    fn root(self) -> Self;
    /// The values `rows` places before, where this register follows `before`; `rows` is 0..=`WIDTH`.
    fn lagged(self, before: Self, rows: usize) -> Self;
    /// As [`Lanes::copy`] for a line of the cache.
    ///
    /// # Safety
    /// As [`Lanes::copy`]; `dst` is 64-byte aligned.
    unsafe fn line(dst: *mut f64, x: &[f64; 8], past_cache: bool) -> bool;
}

/// For targets without an implementation of their own.
#[derive(Clone, Copy)]
pub(crate) struct Plain([f64; 2]);

impl Real for Plain {
    #[inline(always)]
    fn of(x: f64) -> Self {
        Self([x; 2])
    }

    #[inline(always)]
    fn plus(self, b: Self) -> Self {
        Self(std::array::from_fn(|l| self.0[l] + b.0[l]))
    }

    #[inline(always)]
    fn less(self, b: Self) -> Self {
        Self(std::array::from_fn(|l| self.0[l] - b.0[l]))
    }

    #[inline(always)]
    fn times(self, b: Self) -> Self {
        Self(std::array::from_fn(|l| self.0[l] * b.0[l]))
    }
}

impl Lanes for Plain {
    const WIDTH: usize = 2;

    #[inline(always)]
    fn load(x: &[f64; 8], lane: usize) -> Self {
        Self(x.as_chunks().0[lane / 2 % 4])
    }

    #[inline(always)]
    fn store(self, y: &mut [f64; 8], lane: usize) {
        y.as_chunks_mut().0[lane / 2 % 4] = self.0;
    }

    #[inline(always)]
    fn splat(x: f64) -> Self {
        Self([x; 2])
    }

    #[inline(always)]
    fn minus(a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|l| a.0[l] - b.0[l]))
    }

    #[inline(always)]
    fn step(s: Self, x: Self, k: Self) -> Self {
        Self(std::array::from_fn(|l| crate::primitives::recursive::step(s.0[l], x.0[l], k.0[l])))
    }

    #[inline(always)]
    fn root(self) -> Self {
        Self(self.0.map(crate::primitives::elementwise::sqrt))
    }

    #[inline(always)]
    fn lagged(self, before: Self, rows: usize) -> Self {
        match rows {
            0 => self,
            1 => Self([before.0[1], self.0[0]]),
            _ => before,
        }
    }

    unsafe fn copy(dst: *mut f64, values: &[f64], _: bool) -> bool {
        // SAFETY: the caller's promise.
        unsafe { crate::block::store_f64(dst, values) }
    }

    #[inline(always)]
    unsafe fn line(dst: *mut f64, x: &[f64; 8], _: bool) -> bool {
        // SAFETY: the caller's promise.
        unsafe { crate::block::store_f64(dst, x) }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    use super::{Lanes, Real};
    use std::arch::x86_64::{
        __m256d, __m512d, _CMP_EQ_OQ, _CMP_GE_OQ, _CMP_UNORD_Q, _mm_loadu_pd, _mm256_add_pd, _mm256_and_pd,
        _mm256_blendv_pd, _mm256_castpd128_pd256, _mm256_castsi256_pd, _mm256_cmp_pd, _mm256_insertf128_pd,
        _mm256_loadu_pd, _mm256_max_pd, _mm256_min_pd, _mm256_movemask_pd, _mm256_mul_pd, _mm256_or_pd,
        _mm256_permute2f128_pd, _mm256_set1_epi64x, _mm256_set1_pd, _mm256_setzero_pd, _mm256_shuffle_pd,
        _mm256_sqrt_pd, _mm256_storeu_pd, _mm256_stream_pd, _mm256_sub_pd, _mm256_unpackhi_pd, _mm256_unpacklo_pd,
        _mm512_add_epi64, _mm512_add_pd, _mm512_cmp_pd_mask, _mm512_loadu_pd, _mm512_mask_mov_pd, _mm512_max_pd,
        _mm512_mul_pd, _mm512_permutex2var_pd, _mm512_set_epi64, _mm512_set1_epi64, _mm512_set1_pd, _mm512_setzero_pd,
        _mm512_sqrt_pd, _mm512_storeu_pd, _mm512_stream_pd, _mm512_sub_pd,
    };

    /// One AVX-512 register.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512d);

    // SAFETY, for every block below: the types are named only by the kernels compiled for AVX-512 or AVX2, which
    // run only where `cpu::level` found those; loads and stores stay inside their arrays.
    impl Real for Avx512 {
        #[inline(always)]
        fn of(x: f64) -> Self {
            Self(unsafe { _mm512_set1_pd(x) })
        }

        #[inline(always)]
        fn plus(self, b: Self) -> Self {
            Self(unsafe { _mm512_add_pd(self.0, b.0) })
        }

        #[inline(always)]
        fn less(self, b: Self) -> Self {
            Self(unsafe { _mm512_sub_pd(self.0, b.0) })
        }

        #[inline(always)]
        fn times(self, b: Self) -> Self {
            Self(unsafe { _mm512_mul_pd(self.0, b.0) })
        }
    }

    impl Lanes for Avx512 {
        const WIDTH: usize = 8;

        #[inline(always)]
        fn load(x: &[f64; 8], _: usize) -> Self {
            Self(unsafe { _mm512_loadu_pd(x.as_ptr()) })
        }

        #[inline(always)]
        fn store(self, y: &mut [f64; 8], _: usize) {
            unsafe { _mm512_storeu_pd(y.as_mut_ptr(), self.0) }
        }

        #[inline(always)]
        fn splat(x: f64) -> Self {
            Self(unsafe { _mm512_set1_pd(x) })
        }

        #[inline(always)]
        fn minus(a: Self, b: Self) -> Self {
            Self(unsafe { _mm512_sub_pd(a.0, b.0) })
        }

        #[inline(always)]
        fn step(s: Self, x: Self, k: Self) -> Self {
            Self(unsafe { _mm512_add_pd(s.0, _mm512_mul_pd(k.0, _mm512_sub_pd(x.0, s.0))) })
        }

        #[inline(always)]
        fn root(self) -> Self {
            // The second operand where one is NaN, or both are zero.
            Self(unsafe { _mm512_sqrt_pd(_mm512_max_pd(_mm512_setzero_pd(), self.0)) })
        }

        #[inline(always)]
        fn lagged(self, before: Self, rows: usize) -> Self {
            Self(unsafe {
                let places = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
                let places = _mm512_add_epi64(places, _mm512_set1_epi64(8 - rows as i64));
                _mm512_permutex2var_pd(before.0, places, self.0)
            })
        }

        unsafe fn copy(dst: *mut f64, values: &[f64], past_cache: bool) -> bool {
            // SAFETY: the caller's promise.
            unsafe { crate::block::store_f64_lines(dst, values, past_cache && !cfg!(miri)) }
        }

        #[inline(always)]
        unsafe fn line(dst: *mut f64, x: &[f64; 8], past_cache: bool) -> bool {
            unsafe {
                let x = _mm512_loadu_pd(x.as_ptr());
                let null = _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(x, x);
                let x = _mm512_mask_mov_pd(x, null, _mm512_set1_pd(f64::NAN));
                if past_cache {
                    _mm512_stream_pd(dst, x)
                } else {
                    _mm512_storeu_pd(dst, x)
                }
                null != 0
            }
        }
    }

    /// One AVX register: the states of eight links fit into sixteen of them.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256d);

    impl Real for Avx2 {
        #[inline(always)]
        fn of(x: f64) -> Self {
            Self(unsafe { _mm256_set1_pd(x) })
        }

        #[inline(always)]
        fn plus(self, b: Self) -> Self {
            Self(unsafe { _mm256_add_pd(self.0, b.0) })
        }

        #[inline(always)]
        fn less(self, b: Self) -> Self {
            Self(unsafe { _mm256_sub_pd(self.0, b.0) })
        }

        #[inline(always)]
        fn times(self, b: Self) -> Self {
            Self(unsafe { _mm256_mul_pd(self.0, b.0) })
        }
    }

    impl Lanes for Avx2 {
        const WIDTH: usize = 4;

        #[inline(always)]
        fn load(x: &[f64; 8], lane: usize) -> Self {
            // `& 4` keeps any lane inside the row.
            Self(unsafe { _mm256_loadu_pd(x.as_ptr().add(lane & 4)) })
        }

        #[inline(always)]
        fn store(self, y: &mut [f64; 8], lane: usize) {
            unsafe { _mm256_storeu_pd(y.as_mut_ptr().add(lane & 4), self.0) }
        }

        #[inline(always)]
        fn splat(x: f64) -> Self {
            Self(unsafe { _mm256_set1_pd(x) })
        }

        #[inline(always)]
        fn minus(a: Self, b: Self) -> Self {
            Self(unsafe { _mm256_sub_pd(a.0, b.0) })
        }

        #[inline(always)]
        fn step(s: Self, x: Self, k: Self) -> Self {
            Self(unsafe { _mm256_add_pd(s.0, _mm256_mul_pd(k.0, _mm256_sub_pd(x.0, s.0))) })
        }

        #[inline(always)]
        fn root(self) -> Self {
            Self(unsafe { _mm256_sqrt_pd(_mm256_max_pd(_mm256_setzero_pd(), self.0)) })
        }

        #[inline(always)]
        fn lagged(self, before: Self, rows: usize) -> Self {
            Self(unsafe {
                let two = _mm256_permute2f128_pd::<0x21>(before.0, self.0);
                match rows {
                    0 => self.0,
                    1 => _mm256_shuffle_pd::<0b0101>(two, self.0),
                    2 => two,
                    3 => _mm256_shuffle_pd::<0b0101>(before.0, two),
                    _ => before.0,
                }
            })
        }

        unsafe fn copy(dst: *mut f64, values: &[f64], past_cache: bool) -> bool {
            // SAFETY: the caller's promise.
            unsafe { crate::cpu::store_avx2(dst, values, past_cache && !cfg!(miri)) }
        }

        #[inline(always)]
        unsafe fn line(dst: *mut f64, x: &[f64; 8], past_cache: bool) -> bool {
            let mut null = 0;
            for half in [0, 4] {
                unsafe {
                    let x = _mm256_loadu_pd(x.as_ptr().add(half));
                    let unknown = _mm256_cmp_pd::<_CMP_UNORD_Q>(x, x);
                    let x = _mm256_blendv_pd(x, _mm256_set1_pd(f64::NAN), unknown);
                    let dst = dst.add(half);
                    if past_cache {
                        _mm256_stream_pd(dst, x)
                    } else {
                        _mm256_storeu_pd(dst, x)
                    }
                    null |= _mm256_movemask_pd(unknown);
                }
            }
            null != 0
        }
    }

    /// See [`super::rows_of`]. Four rows of four columns at a time, in registers.
    #[target_feature(enable = "avx2")]
    pub(crate) fn rows_of(columns: &[&[f64]], out: &mut [f64]) -> bool {
        let f = columns.len();
        let rows = out.len() / f;
        let (whole, fours) = (rows - rows % 4, columns.as_chunks::<4>().0);
        assert!(columns.iter().all(|c| c.len() >= rows) && out.len() == rows * f);
        let mut null = _mm256_setzero_pd();
        for i in (0..whole).step_by(4) {
            for (k, four) in fours.iter().enumerate() {
                let mut x = [_mm256_setzero_pd(); 4];
                for (x, column) in x.iter_mut().zip(four) {
                    // SAFETY: i + 4 <= rows, which every column has (asserted).
                    *x = unsafe { _mm256_loadu_pd(column.as_ptr().add(i)) };
                    let unknown = _mm256_cmp_pd::<_CMP_UNORD_Q>(*x, *x);
                    null = _mm256_or_pd(null, unknown);
                    *x = _mm256_blendv_pd(*x, _mm256_set1_pd(f64::NAN), unknown);
                }
                let (even, odd) = (_mm256_unpacklo_pd(x[0], x[1]), _mm256_unpackhi_pd(x[0], x[1]));
                let (even2, odd2) = (_mm256_unpacklo_pd(x[2], x[3]), _mm256_unpackhi_pd(x[2], x[3]));
                // SAFETY: row i + 3 < rows, and column 4 k + 3 < f.
                unsafe {
                    let to = out.as_mut_ptr().add(i * f + 4 * k);
                    _mm256_storeu_pd(to, _mm256_permute2f128_pd::<0x20>(even, even2));
                    _mm256_storeu_pd(to.add(f), _mm256_permute2f128_pd::<0x20>(odd, odd2));
                    _mm256_storeu_pd(to.add(2 * f), _mm256_permute2f128_pd::<0x31>(even, even2));
                    _mm256_storeu_pd(to.add(3 * f), _mm256_permute2f128_pd::<0x31>(odd, odd2));
                }
            }
        }
        let rest = super::rows_of_part(columns, out, (f, fours.len() * 4), whole);
        rest | (_mm256_movemask_pd(null) != 0)
    }

    /// Values `k` and `k + 1`, counted from row `r`, of one window and of another.
    ///
    /// # Safety
    /// Both must be inside the windows.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn two(a: &[[f64; 5]], b: &[[f64; 5]], r: usize, k: usize) -> __m256d {
        // SAFETY: the caller's promise.
        unsafe {
            let (a, b) = (a.as_ptr().add(r).cast::<f64>().add(k), b.as_ptr().add(r).cast::<f64>().add(k));
            _mm256_insertf128_pd::<1>(_mm256_castpd128_pd256(_mm_loadu_pd(a)), _mm_loadu_pd(b))
        }
    }

    /// See [`super::interleave`]. Four rows of four windows at a time, in registers. No closures here: they would
    /// be compiled for AVX2, and could not be inlined into `map` and its like.
    #[target_feature(enable = "avx2")]
    pub(crate) fn interleave(windows: [&[[f64; 5]]; 8], columns: [&mut [[f64; 8]]; 5]) -> bool {
        let rows = windows[0].len();
        assert!(windows.iter().all(|w| w.len() == rows) && columns.iter().all(|c| c.len() <= rows));
        let mut from = [0; 5];
        for k in 0..5 {
            from[k] = rows - columns[k].len();
        }
        let [o, h, l, c, v] = columns;
        let to = [o.as_mut_ptr(), h.as_mut_ptr(), l.as_mut_ptr(), c.as_mut_ptr(), v.as_mut_ptr()];
        let to = to.map(<*mut [f64; 8]>::cast::<f64>);
        let mut good = [_mm256_castsi256_pd(_mm256_set1_epi64x(-1)); 2];
        let mut r = 0;
        while r + 4 <= rows {
            for (half, good) in good.iter_mut().enumerate() {
                let at = half * 4;
                let [w0, w1, w2, w3] = [windows[at], windows[at + 1], windows[at + 2], windows[at + 3]];
                // Values 2 k and 2 k + 1 of the twenty that these rows have, of each window.
                let mut values = [_mm256_setzero_pd(); 20];
                for k in 0..10 {
                    // SAFETY: rows r..r + 4 are inside every window, and 2 k + 1 < 20, their values.
                    let (even, odd) = unsafe { (two(w0, w2, r, 2 * k), two(w1, w3, r, 2 * k)) };
                    values[2 * k] = _mm256_unpacklo_pd(even, odd);
                    values[2 * k + 1] = _mm256_unpackhi_pd(even, odd);
                }
                for (i, bar) in values.as_chunks::<5>().0.iter().enumerate() {
                    *good = _mm256_and_pd(*good, all_good(bar));
                    for k in 0..5 {
                        if r + i >= from[k] {
                            // SAFETY: row r + i - from[k] is inside the column, and at + 3 inside its row.
                            unsafe { _mm256_storeu_pd(to[k].add((r + i - from[k]) * 8 + at), bar[k]) };
                        }
                    }
                }
            }
            r += 4;
        }
        let mut all = _mm256_movemask_pd(_mm256_and_pd(good[0], good[1])) == 0b1111;
        for r in r..rows {
            for (w, window) in windows.iter().enumerate() {
                all &= crate::bars::is_good(&window[r]);
                for k in 0..5 {
                    if r >= from[k] {
                        // SAFETY: as above.
                        unsafe { to[k].add((r - from[k]) * 8 + w).write(window[r][k]) };
                    }
                }
            }
        }
        all
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn at_least(a: __m256d, b: __m256d) -> __m256d {
        _mm256_cmp_pd::<_CMP_GE_OQ>(a, b)
    }

    /// [`crate::bars::is_good`] of four bars. Comparisons are false for NaN; a minimum or maximum gives its second
    /// operand where one is NaN, so that each of the two lets one of open and close through.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn all_good(&[o, h, l, c, v]: &[__m256d; 5]) -> __m256d {
        use crate::bars::{PRICE, VOLUME};
        let inside = _mm256_and_pd(at_least(_mm256_min_pd(o, c), l), at_least(h, _mm256_max_pd(c, o)));
        let (least, most) = (_mm256_set1_pd(*PRICE.start()), _mm256_set1_pd(*PRICE.end()));
        let price = _mm256_and_pd(at_least(l, least), at_least(most, h));
        let (least, most) = (_mm256_set1_pd(*VOLUME.start()), _mm256_set1_pd(*VOLUME.end()));
        let volume = _mm256_and_pd(at_least(v, least), at_least(most, v));
        let none = _mm256_cmp_pd::<_CMP_EQ_OQ>(v, _mm256_setzero_pd());
        _mm256_and_pd(_mm256_and_pd(inside, price), _mm256_or_pd(volume, none))
    }
}

/// Columns as rows: `out[i * F + k]` gets value i of column k, NaN canonical. True if there is any.
pub(crate) fn rows_of(columns: &[&[f64]], out: &mut [f64]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if crate::cpu::level() != crate::cpu::Level::Baseline {
        // SAFETY: every level above the baseline has AVX2.
        return unsafe { x86::rows_of(columns, out) };
    }
    rows_of_part(columns, out, (columns.len(), 0), 0)
}

/// As [`rows_of`], for columns from `from` on, and in all columns for rows from `row` on.
#[inline(always)]
fn rows_of_part(columns: &[&[f64]], out: &mut [f64], (f, from): (usize, usize), row: usize) -> bool {
    let mut null = false;
    for (i, values) in out.chunks_exact_mut(f).enumerate() {
        for (y, column) in values.iter_mut().zip(columns).skip(if i < row { from } else { 0 }) {
            let x = column[i];
            *y = if x == x { x } else { f64::NAN };
            null |= x != x;
        }
    }
    null
}

/// Interleaves eight windows of bars: column k gets the last rows of column k of the windows, as many as it has
/// room for, those of one row side by side. True if every bar of them is an accepted one.
pub(crate) fn interleave(windows: [&[[f64; 5]]; 8], mut columns: [&mut [[f64; 8]]; 5]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if crate::cpu::level() != crate::cpu::Level::Baseline {
        // SAFETY: every level above the baseline has AVX2.
        return unsafe { x86::interleave(windows, columns) };
    }
    let mut good = true;
    for (l, window) in windows.into_iter().enumerate() {
        for (k, column) in columns.iter_mut().enumerate() {
            let from = window.len() - column.len();
            column.iter_mut().zip(&window[from..]).for_each(|(row, bar)| row[l] = bar[k]);
        }
        good &= window.iter().fold(true, |good, bar| good & crate::bars::is_good(bar));
    }
    good
}
