//! Eight windows of bars as five interleaved columns, checked on the way.

/// Interleaves eight windows of bars: column k gets the last rows of column k of the windows, as many as it has
/// room for, those of one row side by side. True if every bar of them is an accepted one.
pub(crate) fn interleave(windows: [&[[f64; 5]]; 8], mut columns: [&mut [[f64; 8]]; 5]) -> bool {
    #[cfg(target_arch = "x86_64")]
    match crate::cpu::level() {
        // SAFETY: the level's own.
        crate::cpu::Level::Avx512 => return unsafe { x86::eight(windows, columns) },
        // SAFETY: as above.
        crate::cpu::Level::Avx2 => return unsafe { x86::four(windows, columns) },
        crate::cpu::Level::Baseline => {}
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

/// The columns of bars, one of each series: as many of the five as have room get theirs. True if every bar is an
/// accepted one.
pub(crate) fn columns_of(bars: &[[f64; 5]], mut columns: [&mut [f64]; 5]) -> bool {
    assert!(columns.iter().all(|c| c.is_empty() || c.len() == bars.len()));
    let (mut whole, mut good) = (0, true);
    #[cfg(target_arch = "x86_64")]
    if crate::cpu::level() == crate::cpu::Level::Avx512 {
        whole = bars.len() / 8 * 8;
        // SAFETY: the level's own.
        good = unsafe { x86::columns_of(bars, &mut columns) };
    }
    let bars = &bars[whole..];
    for (k, column) in columns.iter_mut().enumerate().filter(|(_, c)| !c.is_empty()) {
        column[whole..].iter_mut().zip(bars).for_each(|(x, bar)| *x = bar[k]);
    }
    bars.iter().fold(good, |good, bar| good & crate::bars::is_good(bar))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256d, __m512d, __mmask8, _CMP_EQ_OQ, _CMP_GE_OQ, _CMP_NEQ_UQ, _CMP_NGE_UQ, _mm_loadu_pd, _mm256_and_pd,
        _mm256_castpd128_pd256, _mm256_castsi256_pd, _mm256_cmp_pd, _mm256_insertf128_pd, _mm256_loadu_pd,
        _mm256_max_pd, _mm256_min_pd, _mm256_movemask_pd, _mm256_or_pd, _mm256_set1_epi64x, _mm256_set1_pd,
        _mm256_setzero_pd, _mm256_storeu_pd, _mm256_unpackhi_pd, _mm256_unpacklo_pd, _mm512_castpd256_pd512,
        _mm512_cmp_pd_mask, _mm512_i64gather_pd, _mm512_insertf64x4, _mm512_mask_cmp_pd_mask, _mm512_max_pd,
        _mm512_min_pd, _mm512_set1_pd, _mm512_setr_epi64, _mm512_setzero_pd, _mm512_shuffle_f64x2, _mm512_storeu_pd,
        _mm512_unpackhi_pd, _mm512_unpacklo_pd,
    };

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

    /// Where [`super::interleave`] writes: each column, and the first row that it takes.
    struct Places {
        to: [*mut f64; 5],
        from: [usize; 5],
        rows: usize,
    }

    impl Places {
        fn new(windows: &[&[[f64; 5]]; 8], columns: [&mut [[f64; 8]]; 5]) -> Self {
            let rows = windows[0].len();
            assert!(windows.iter().all(|w| w.len() == rows) && columns.iter().all(|c| c.len() <= rows));
            let from = columns.each_ref().map(|c| rows - c.len());
            Self { to: columns.map(|c| c.as_mut_ptr().cast()), from, rows }
        }

        /// Where lane 0 of row `r` of column `k` goes, if anywhere: eight values there are inside the column.
        #[inline(always)]
        fn row(&self, k: usize, r: usize) -> Option<*mut f64> {
            // SAFETY: rows of a window from `from` on are rows of the column.
            (r >= self.from[k] && r < self.rows).then(|| unsafe { self.to[k].add((r - self.from[k]) * 8) })
        }

        /// Rows from `r` on, one by one.
        fn rest(&self, windows: &[&[[f64; 5]]; 8], r: usize) -> bool {
            let mut all = true;
            for r in r..self.rows {
                for (w, window) in windows.iter().enumerate() {
                    all &= crate::bars::is_good(&window[r]);
                    for k in 0..5 {
                        if let Some(to) = self.row(k, r) {
                            // SAFETY: w < 8.
                            unsafe { to.add(w).write(window[r][k]) };
                        }
                    }
                }
            }
            all
        }
    }

    /// See [`super::interleave`]. Four rows of four windows at a time, in registers. No closures here: they would
    /// be compiled for AVX2, and could not be inlined into `map` and its like.
    #[target_feature(enable = "avx2")]
    pub(super) fn four(windows: [&[[f64; 5]]; 8], columns: [&mut [[f64; 8]]; 5]) -> bool {
        let places = Places::new(&windows, columns);
        let whole = places.rows - places.rows % 4;
        let mut good = [_mm256_castsi256_pd(_mm256_set1_epi64x(-1)); 2];
        for r in (0..whole).step_by(4) {
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
                        if let Some(to) = places.row(k, r + i) {
                            // SAFETY: at + 3 < 8.
                            unsafe { _mm256_storeu_pd(to.add(at), bar[k]) };
                        }
                    }
                }
            }
        }
        let all = _mm256_movemask_pd(_mm256_and_pd(good[0], good[1])) == 0b1111;
        places.rest(&windows, whole) & all
    }

    /// As [`four`], for all eight windows at a time.
    #[target_feature(enable = "avx512f")]
    pub(super) fn eight(windows: [&[[f64; 5]]; 8], columns: [&mut [[f64; 8]]; 5]) -> bool {
        let places = Places::new(&windows, columns);
        let whole = places.rows - places.rows % 4;
        let mut seen = Seen::new();
        for r in (0..whole).step_by(4) {
            // The twenty values that these rows have, of each window.
            let mut values = [_mm512_setzero_pd(); 20];
            for (k, four) in values.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                // SAFETY: rows r..r + 4 are inside every window, and 4 k + 3 < 20, their values.
                *four = unsafe { four_of(&windows, r, 4 * k) };
            }
            for (i, bar) in values.as_chunks::<5>().0.iter().enumerate() {
                seen.take(bar);
                for k in 0..5 {
                    if let Some(to) = places.row(k, r + i) {
                        // SAFETY: eight values.
                        unsafe { _mm512_storeu_pd(to, bar[k]) };
                    }
                }
            }
        }
        places.rest(&windows, whole) & seen.good()
    }

    /// See [`super::columns_of`], as far as there are eight bars.
    #[target_feature(enable = "avx512f")]
    pub(super) fn columns_of(bars: &[[f64; 5]], columns: &mut [&mut [f64]; 5]) -> bool {
        let mut seen = Seen::new();
        let volumes = _mm512_setr_epi64(4, 9, 14, 19, 24, 29, 34, 39);
        for (i, bars) in bars.as_chunks::<8>().0.iter().enumerate() {
            // SAFETY: the first four values of each bar, and the fifth of all.
            let ([o, h, l, c], v) = unsafe {
                let prices = four_of(&bars.each_ref().map(std::slice::from_ref), 0, 0);
                (prices, _mm512_i64gather_pd::<8>(volumes, bars.as_ptr().cast()))
            };
            let bar = [o, h, l, c, v];
            seen.take(&bar);
            for k in 0..5 {
                if let Some(to) = columns[k].as_chunks_mut::<8>().0.get_mut(i) {
                    // SAFETY: eight values.
                    unsafe { _mm512_storeu_pd(to.as_mut_ptr(), bar[k]) };
                }
            }
        }
        seen.good()
    }

    /// Values `k..k + 4`, counted from row `r`, of eight windows.
    ///
    /// # Safety
    /// They must be inside the windows.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn four_of(windows: &[&[[f64; 5]]; 8], r: usize, k: usize) -> [__m512d; 4] {
        let mut pairs = [_mm512_setzero_pd(); 4];
        for (pair, w) in pairs.iter_mut().zip([0, 1, 4, 5]) {
            // SAFETY: the caller's promise.
            unsafe {
                let (a, b) = (windows[w].as_ptr().add(r), windows[w + 2].as_ptr().add(r));
                let (a, b) = (_mm256_loadu_pd(a.cast::<f64>().add(k)), _mm256_loadu_pd(b.cast::<f64>().add(k)));
                *pair = _mm512_insertf64x4::<1>(_mm512_castpd256_pd512(a), b);
            }
        }
        let [a, b, c, d] = pairs;
        let (even, odd) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
        let (even2, odd2) = (_mm512_unpacklo_pd(c, d), _mm512_unpackhi_pd(c, d));
        [
            _mm512_shuffle_f64x2::<0b10_00_10_00>(even, even2),
            _mm512_shuffle_f64x2::<0b10_00_10_00>(odd, odd2),
            _mm512_shuffle_f64x2::<0b11_01_11_01>(even, even2),
            _mm512_shuffle_f64x2::<0b11_01_11_01>(odd, odd2),
        ]
    }

    /// What was seen of bars, eight at a time: whether [`crate::bars::is_good`] holds for all.
    struct Seen {
        /// Open and close are not below low; not above high; the volume is of no accepted size. NaN fails each.
        above: __mmask8,
        below: __mmask8,
        bad: __mmask8,
        lowest: __m512d,
        highest: __m512d,
        largest: __m512d,
    }

    impl Seen {
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn new() -> Self {
            let zero = _mm512_setzero_pd();
            let lowest = _mm512_set1_pd(f64::INFINITY);
            Self { above: 0xff, below: 0xff, bad: 0, lowest, highest: zero, largest: zero }
        }

        #[inline]
        #[target_feature(enable = "avx512f")]
        fn take(&mut self, &[o, h, l, c, v]: &[__m512d; 5]) {
            // A minimum or maximum gives its second operand where one is NaN: each of the two lets one of open and
            // close through. Those below it may lose a NaN, which has failed a comparison then.
            self.above = _mm512_mask_cmp_pd_mask::<_CMP_GE_OQ>(self.above, _mm512_min_pd(o, c), l);
            self.below = _mm512_mask_cmp_pd_mask::<_CMP_GE_OQ>(self.below, h, _mm512_max_pd(c, o));
            let small = _mm512_cmp_pd_mask::<_CMP_NGE_UQ>(v, _mm512_set1_pd(*crate::bars::VOLUME.start()));
            self.bad |= _mm512_mask_cmp_pd_mask::<_CMP_NEQ_UQ>(small, v, _mm512_setzero_pd());
            self.lowest = _mm512_min_pd(self.lowest, l);
            self.highest = _mm512_max_pd(self.highest, h);
            self.largest = _mm512_max_pd(self.largest, v);
        }

        #[inline]
        #[target_feature(enable = "avx512f")]
        fn good(&self) -> bool {
            use crate::bars::{PRICE, VOLUME};
            let low = _mm512_cmp_pd_mask::<_CMP_GE_OQ>(self.lowest, _mm512_set1_pd(*PRICE.start()));
            let high = _mm512_cmp_pd_mask::<_CMP_GE_OQ>(_mm512_set1_pd(*PRICE.end()), self.highest);
            let volume = _mm512_cmp_pd_mask::<_CMP_GE_OQ>(_mm512_set1_pd(*VOLUME.end()), self.largest);
            self.above & self.below & !self.bad & low & high & volume == 0xff
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bars::is_good;

    const GOOD: [f64; 5] = [10.0, 11.0, 9.0, 10.5, 3.0];

    /// Bars with one value changed, some of them still accepted.
    fn changed() -> impl Iterator<Item = [f64; 5]> {
        let values =
            [f64::NAN, -f64::NAN, f64::INFINITY, -1.0, 0.0, -0.0, 1e-30, 9e-31, 1e30, 1.1e30, 8.9, 11.1, 1e-300];
        (0..5).flat_map(move |k| {
            values.map(|x| {
                let mut bar = GOOD;
                bar[k] = x;
                bar
            })
        })
    }

    #[test]
    fn columns_are_checked_as_each_bar_is() {
        for bar in changed() {
            for at in 0..19 {
                let mut bars = [GOOD; 19];
                bars[at] = bar;
                let mut columns = [[0.0; 19]; 5];
                assert_eq!(
                    columns_of(&bars, columns.each_mut().map(<[f64; 19]>::as_mut_slice)),
                    is_good(&bar),
                    "{bar:?}"
                );
                let right = |k: usize, i: usize| columns[k][i].to_bits() == bars[i][k].to_bits();
                assert!((0..5).all(|k| (0..19).all(|i| right(k, i))), "{bar:?} at {at}");
            }
        }
    }

    #[test]
    fn windows_are_checked_as_each_bar_is() {
        for bar in changed() {
            for at in 0..7 * 8 {
                let mut windows = [[GOOD; 7]; 8];
                windows[at % 8][at / 8] = bar;
                let mut columns = [[[0.0; 8]; 7]; 5];
                let [o, h, l, c, v] = &mut columns;
                let places: [&mut [[f64; 8]]; 5] = [o, &mut h[..1], &mut l[..0], c, &mut v[..5]];
                let good = interleave(windows.each_ref().map(<[[f64; 5]; 7]>::as_slice), places);
                assert_eq!(good, is_good(&bar), "{bar:?} at {at}");
                for (r, w) in (0..7).flat_map(|r| (0..8).map(move |w| (r, w))) {
                    assert_eq!(columns[3][r][w].to_bits(), windows[w][r][3].to_bits());
                    assert!(r < 2 || columns[4][r - 2][w].to_bits() == windows[w][r][4].to_bits());
                }
                assert!((0..8).all(|w| columns[1][0][w].to_bits() == windows[w][6][1].to_bits()));
            }
        }
    }
}
