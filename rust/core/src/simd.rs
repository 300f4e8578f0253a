//! Eight lanes of f64 in registers, for the recursive steps of a tile of windows: the vectoriser keeps
//! their states in memory otherwise. Each type is used only inside kernels compiled for its CPU level.

/// Eight f64 lanes.
pub(crate) trait Eight: Copy {
    /// From memory.
    fn load(x: &[f64; 8]) -> Self;
    /// To memory.
    fn store(self, y: &mut [f64; 8]);
    /// The same value in every lane.
    fn splat(x: f64) -> Self;
    /// `s + k * (x - s)`, each operation rounded (never fused).
    fn step(s: Self, x: Self, k: Self) -> Self;
}

/// For targets without an implementation of their own.
#[derive(Clone, Copy)]
pub(crate) struct Plain([f64; 8]);

impl Eight for Plain {
    #[inline(always)]
    fn load(x: &[f64; 8]) -> Self {
        Self(*x)
    }

    #[inline(always)]
    fn store(self, y: &mut [f64; 8]) {
        *y = self.0;
    }

    #[inline(always)]
    fn splat(x: f64) -> Self {
        Self([x; 8])
    }

    #[inline(always)]
    fn step(s: Self, x: Self, k: Self) -> Self {
        Self(std::array::from_fn(|l| crate::primitives::recursive::step(s.0[l], x.0[l], k.0[l])))
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    use super::Eight;
    use std::arch::x86_64::{
        __m256d, __m512d, _mm256_add_pd, _mm256_loadu_pd, _mm256_mul_pd, _mm256_set1_pd, _mm256_storeu_pd,
        _mm256_sub_pd, _mm512_add_pd, _mm512_loadu_pd, _mm512_mul_pd, _mm512_set1_pd, _mm512_storeu_pd, _mm512_sub_pd,
    };

    /// One AVX-512 register.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512d);

    // SAFETY, for every block below: the types are named only by the kernels compiled for AVX-512 or AVX2, which
    // run only where `cpu::level` found those; loads and stores stay inside their arrays.
    impl Eight for Avx512 {
        #[inline(always)]
        fn load(x: &[f64; 8]) -> Self {
            Self(unsafe { _mm512_loadu_pd(x.as_ptr()) })
        }

        #[inline(always)]
        fn store(self, y: &mut [f64; 8]) {
            unsafe { _mm512_storeu_pd(y.as_mut_ptr(), self.0) }
        }

        #[inline(always)]
        fn splat(x: f64) -> Self {
            Self(unsafe { _mm512_set1_pd(x) })
        }

        #[inline(always)]
        fn step(s: Self, x: Self, k: Self) -> Self {
            Self(unsafe { _mm512_add_pd(s.0, _mm512_mul_pd(k.0, _mm512_sub_pd(x.0, s.0))) })
        }
    }

    /// Two AVX registers.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256d, __m256d);

    impl Eight for Avx2 {
        #[inline(always)]
        fn load(x: &[f64; 8]) -> Self {
            unsafe { Self(_mm256_loadu_pd(x.as_ptr()), _mm256_loadu_pd(x.as_ptr().add(4))) }
        }

        #[inline(always)]
        fn store(self, y: &mut [f64; 8]) {
            unsafe {
                _mm256_storeu_pd(y.as_mut_ptr(), self.0);
                _mm256_storeu_pd(y.as_mut_ptr().add(4), self.1);
            }
        }

        #[inline(always)]
        fn splat(x: f64) -> Self {
            let x = unsafe { _mm256_set1_pd(x) };
            Self(x, x)
        }

        #[inline(always)]
        fn step(s: Self, x: Self, k: Self) -> Self {
            unsafe {
                Self(
                    _mm256_add_pd(s.0, _mm256_mul_pd(k.0, _mm256_sub_pd(x.0, s.0))),
                    _mm256_add_pd(s.1, _mm256_mul_pd(k.1, _mm256_sub_pd(x.1, s.1))),
                )
            }
        }
    }

    /// See [`super::interleave`].
    #[target_feature(enable = "avx2")]
    pub(crate) fn interleave(windows: [&[[f64; 5]]; 8], columns: [&mut [[f64; 8]]; 5]) {
        use std::arch::x86_64::{_mm256_permute2f128_pd, _mm256_set_pd, _mm256_unpackhi_pd, _mm256_unpacklo_pd};
        let rows = columns[0].len();
        assert!(windows.iter().all(|w| w.len() == rows) && columns.iter().all(|c| c.len() == rows));
        let [o, h, l, c, v] = columns;
        // No closures here: they would be compiled for AVX2, and could not be inlined into `map` and its like.
        for r in 0..rows {
            for first in [0, 4] {
                // SAFETY: r is inside every window and column (asserted), first + 3 inside a row of 8 lanes; the
                // first four of a row's five values are loaded.
                unsafe {
                    let bar0 = windows[first].as_ptr().add(r).cast::<f64>();
                    let bar1 = windows[first + 1].as_ptr().add(r).cast::<f64>();
                    let bar2 = windows[first + 2].as_ptr().add(r).cast::<f64>();
                    let bar3 = windows[first + 3].as_ptr().add(r).cast::<f64>();
                    let (x0, x1) = (_mm256_loadu_pd(bar0), _mm256_loadu_pd(bar1));
                    let (x2, x3) = (_mm256_loadu_pd(bar2), _mm256_loadu_pd(bar3));
                    let (ol, hc) = (_mm256_unpacklo_pd(x0, x1), _mm256_unpackhi_pd(x0, x1));
                    let (ol2, hc2) = (_mm256_unpacklo_pd(x2, x3), _mm256_unpackhi_pd(x2, x3));
                    let (o, h) = (o.as_mut_ptr().add(r).cast::<f64>(), h.as_mut_ptr().add(r).cast::<f64>());
                    let (l, c) = (l.as_mut_ptr().add(r).cast::<f64>(), c.as_mut_ptr().add(r).cast::<f64>());
                    let v = v.as_mut_ptr().add(r).cast::<f64>();
                    _mm256_storeu_pd(o.add(first), _mm256_permute2f128_pd::<0x20>(ol, ol2));
                    _mm256_storeu_pd(h.add(first), _mm256_permute2f128_pd::<0x20>(hc, hc2));
                    _mm256_storeu_pd(l.add(first), _mm256_permute2f128_pd::<0x31>(ol, ol2));
                    _mm256_storeu_pd(c.add(first), _mm256_permute2f128_pd::<0x31>(hc, hc2));
                    let volumes = _mm256_set_pd(*bar3.add(4), *bar2.add(4), *bar1.add(4), *bar0.add(4));
                    _mm256_storeu_pd(v.add(first), volumes);
                }
            }
        }
    }
}

/// Interleaves eight windows of bars: row r of column k holds column k of row r of each window.
pub(crate) fn interleave(windows: [&[[f64; 5]]; 8], columns: [&mut [[f64; 8]]; 5]) {
    #[cfg(target_arch = "x86_64")]
    if crate::cpu::level() != crate::cpu::Level::Baseline {
        // SAFETY: every level above the baseline has AVX2.
        unsafe { x86::interleave(windows, columns) };
        return;
    }
    for (l, window) in windows.into_iter().enumerate() {
        for (r, bar) in window.iter().enumerate() {
            for k in 0..5 {
                columns[k][r][l] = bar[k];
            }
        }
    }
}
