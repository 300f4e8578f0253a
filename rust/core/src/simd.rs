//! Lanes of f64 in registers, for the recursive steps of a tile of windows: the vectoriser keeps their
//! states in memory otherwise. Each type is used only inside kernels compiled for its CPU level.

mod interleave;

pub(crate) use interleave::interleave;

/// One register's worth of the eight lanes of a tile.
pub(crate) trait Lanes: Copy {
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
}

/// For targets without an implementation of their own.
#[derive(Clone, Copy)]
pub(crate) struct Plain([f64; 2]);

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
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    use super::Lanes;
    use std::arch::x86_64::{
        __m256d, __m512d, _CMP_UNORD_Q, _mm256_add_pd, _mm256_blendv_pd, _mm256_cmp_pd, _mm256_loadu_pd,
        _mm256_movemask_pd, _mm256_mul_pd, _mm256_or_pd, _mm256_permute2f128_pd, _mm256_set1_pd, _mm256_setzero_pd,
        _mm256_storeu_pd, _mm256_sub_pd, _mm256_unpackhi_pd, _mm256_unpacklo_pd, _mm512_add_pd, _mm512_loadu_pd,
        _mm512_mul_pd, _mm512_set1_pd, _mm512_storeu_pd, _mm512_sub_pd,
    };

    /// One AVX-512 register.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512d);

    // SAFETY, for every block below: the types are named only by the kernels compiled for AVX-512 or AVX2, which
    // run only where `cpu::level` found those; loads and stores stay inside their arrays.
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
    }

    /// One AVX register: the states of eight links fit into sixteen of them.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256d);

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
    }

    /// See [`super::rows_of`]. Four rows of four columns at a time, in registers.
    #[target_feature(enable = "avx2")]
    pub(crate) fn rows_of(columns: &[impl AsRef<[f64]>], out: &mut [f64]) -> bool {
        let f = columns.len();
        let rows = out.len() / f;
        let (whole, fours) = (rows - rows % 4, columns.as_chunks::<4>().0);
        assert!(columns.iter().all(|c| c.as_ref().len() >= rows) && out.len() == rows * f);
        let mut null = _mm256_setzero_pd();
        for i in (0..whole).step_by(4) {
            for (k, four) in fours.iter().enumerate() {
                let mut x = [_mm256_setzero_pd(); 4];
                for (x, column) in x.iter_mut().zip(four) {
                    // SAFETY: i + 4 <= rows, which every column has (asserted).
                    *x = unsafe { _mm256_loadu_pd(column.as_ref().as_ptr().add(i)) };
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
}

/// Columns as rows: `out[i * F + k]` gets value i of column k, NaN canonical. True if there is any.
pub(crate) fn rows_of(columns: &[impl AsRef<[f64]>], out: &mut [f64]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if crate::cpu::level() != crate::cpu::Level::Baseline {
        // SAFETY: every level above the baseline has AVX2.
        return unsafe { x86::rows_of(columns, out) };
    }
    rows_of_part(columns, out, (columns.len(), 0), 0)
}

/// As [`rows_of`], for columns from `from` on, and in all columns for rows from `row` on.
#[inline(always)]
fn rows_of_part(columns: &[impl AsRef<[f64]>], out: &mut [f64], (f, from): (usize, usize), row: usize) -> bool {
    let mut null = false;
    for (i, values) in out.chunks_exact_mut(f).enumerate() {
        for (y, column) in values.iter_mut().zip(columns).skip(if i < row { from } else { 0 }) {
            let x = column.as_ref()[i];
            *y = if x == x { x } else { f64::NAN };
            null |= x != x;
        }
    }
    null
}
