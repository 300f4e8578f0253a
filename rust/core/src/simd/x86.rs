//! The lanes of x86-64.

use super::{ChainState, Lanes, Quad, Real};
use std::arch::x86_64::{
    __m256d, __m512d, _CMP_UNORD_Q, _mm_cvtsd_f64, _mm_storeh_pd, _mm_storel_pd, _mm_sub_sd, _mm_unpackhi_pd,
    _mm256_add_pd, _mm256_blendv_pd, _mm256_castpd256_pd128, _mm256_cmp_pd, _mm256_extractf128_pd, _mm256_loadu_pd,
    _mm256_max_pd, _mm256_movemask_pd, _mm256_mul_pd, _mm256_permute2f128_pd, _mm256_set1_pd, _mm256_setr_pd,
    _mm256_setzero_pd, _mm256_shuffle_pd, _mm256_sqrt_pd, _mm256_storeu_pd, _mm256_stream_pd, _mm256_sub_pd,
    _mm256_unpackhi_pd, _mm256_unpacklo_pd, _mm512_add_epi64, _mm512_add_pd, _mm512_cmp_pd_mask, _mm512_loadu_pd,
    _mm512_mask_blend_pd, _mm512_mask_cmplt_epu32_mask, _mm512_mask_mov_pd, _mm512_mask_storeu_pd,
    _mm512_maskz_loadu_epi32, _mm512_maskz_loadu_pd, _mm512_max_pd, _mm512_min_epu32, _mm512_mul_pd,
    _mm512_permutex2var_pd, _mm512_permutexvar_pd, _mm512_set_epi64, _mm512_set1_epi32, _mm512_set1_epi64,
    _mm512_set1_pd, _mm512_setr_epi64, _mm512_setzero_pd, _mm512_sqrt_pd, _mm512_storeu_pd, _mm512_stream_pd,
    _mm512_sub_pd,
};

/// One AVX-512 register.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512d);

/// Words of a state, of which the first is its value.
const WORDS: usize = 2;
const SEEN: u16 = 0b0100_0100_0100_0100;
const _: () = assert!(size_of::<ChainState>() == WORDS * 8 && std::mem::offset_of!(ChainState, s) == 0);
const _: () = assert!(std::mem::offset_of!(ChainState, seen) == 8);

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
    type Quad = Avx2;

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

    #[inline(always)]
    unsafe fn line(dst: *mut f64, x: &[f64; 8], past_cache: bool) -> bool {
        unsafe {
            let x = _mm512_loadu_pd(x.as_ptr());
            let null = _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(x, x);
            let x = _mm512_mask_mov_pd(x, null, _mm512_set1_pd(f64::NAN));
            if past_cache && !cfg!(miri) {
                _mm512_stream_pd(dst, x);
            } else {
                _mm512_storeu_pd(dst, x);
            }
            null != 0
        }
    }

    #[inline(always)]
    unsafe fn four_lines(dst: *mut f64, x: &[f64; 32], past_cache: bool) -> bool {
        unsafe {
            // No closure here: it would be compiled for the baseline.
            let (nan, past_cache) = (_mm512_set1_pd(f64::NAN), past_cache && !cfg!(miri));
            let mut null = [0; 4];
            for i in 0..4 {
                let (x, dst) = (_mm512_loadu_pd(x.as_ptr().add(i * 8)), dst.add(i * 8));
                null[i] = _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(x, x);
                let x = _mm512_mask_mov_pd(x, null[i], nan);
                if past_cache {
                    _mm512_stream_pd(dst, x);
                } else {
                    _mm512_storeu_pd(dst, x);
                }
            }
            null[0] | null[1] | null[2] | null[3] != 0
        }
    }

    #[inline(always)]
    fn known(x: Self, a: Self, b: Self) -> Self {
        Self(unsafe { _mm512_mask_blend_pd(_mm512_cmp_pd_mask::<_CMP_UNORD_Q>(x.0, x.0), a.0, b.0) })
    }

    #[inline(always)]
    fn seeded(x: &[ChainState; 8], ready: u32) -> bool {
        // Half words 2, 6, 10 and 14 of each four states are what they have seen.
        unsafe {
            let from = x.as_ptr().cast::<i32>();
            let (a, b) = (_mm512_maskz_loadu_epi32(SEEN, from), _mm512_maskz_loadu_epi32(SEEN, from.add(16)));
            _mm512_mask_cmplt_epu32_mask(SEEN, _mm512_min_epu32(a, b), _mm512_set1_epi32(ready.cast_signed())) == 0
        }
    }

    #[inline(always)]
    fn states(x: &[ChainState; 8], _: usize) -> Self {
        // A state is a value and a half word with its padding (`WORDS`): every other word is read.
        unsafe {
            let from = x.as_ptr().cast::<f64>();
            let (a, b) = (_mm512_maskz_loadu_pd(0b0101_0101, from), _mm512_maskz_loadu_pd(0b0101_0101, from.add(8)));
            Self(_mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), b))
        }
    }

    #[inline(always)]
    fn store_states(self, y: &mut [ChainState; 8], _: usize) {
        // As above: every other word is written.
        unsafe {
            let to = y.as_mut_ptr().cast::<f64>();
            let (a, b) = (_mm512_setr_epi64(0, 0, 1, 0, 2, 0, 3, 0), _mm512_setr_epi64(4, 0, 5, 0, 6, 0, 7, 0));
            _mm512_mask_storeu_pd(to, 0b0101_0101, _mm512_permutexvar_pd(a, self.0));
            _mm512_mask_storeu_pd(to.add(8), 0b0101_0101, _mm512_permutexvar_pd(b, self.0));
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
    type Quad = Avx2;

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

    #[inline(always)]
    unsafe fn line(dst: *mut f64, x: &[f64; 8], past_cache: bool) -> bool {
        let mut null = 0;
        for half in [0, 4] {
            unsafe {
                let x = _mm256_loadu_pd(x.as_ptr().add(half));
                let unknown = _mm256_cmp_pd::<_CMP_UNORD_Q>(x, x);
                let x = _mm256_blendv_pd(x, _mm256_set1_pd(f64::NAN), unknown);
                let dst = dst.add(half);
                if past_cache && !cfg!(miri) {
                    _mm256_stream_pd(dst, x);
                } else {
                    _mm256_storeu_pd(dst, x);
                }
                null |= _mm256_movemask_pd(unknown);
            }
        }
        null != 0
    }

    #[inline(always)]
    fn known(x: Self, a: Self, b: Self) -> Self {
        Self(unsafe { _mm256_blendv_pd(a.0, b.0, _mm256_cmp_pd::<_CMP_UNORD_Q>(x.0, x.0)) })
    }

    #[inline(always)]
    fn states(x: &[ChainState; 8], lane: usize) -> Self {
        let [a, b, c, d] = x.as_chunks::<4>().0[lane / 4 % 2].map(|state| state.s);
        Self(unsafe { _mm256_setr_pd(a, b, c, d) })
    }

    #[inline(always)]
    fn store_states(self, y: &mut [ChainState; 8], lane: usize) {
        let [a, b, c, d] = &mut y.as_chunks_mut::<4>().0[lane / 4 % 2];
        unsafe {
            let (low, high) = (_mm256_castpd256_pd128(self.0), _mm256_extractf128_pd::<1>(self.0));
            _mm_storel_pd(&raw mut a.s, low);
            _mm_storeh_pd(&raw mut b.s, low);
            _mm_storel_pd(&raw mut c.s, high);
            _mm_storeh_pd(&raw mut d.s, high);
        }
    }
}

impl Quad for Avx2 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        <Self as Real>::of(x)
    }

    #[inline(always)]
    fn load(x: &[f64; 4]) -> Self {
        Self(unsafe { _mm256_loadu_pd(x.as_ptr()) })
    }

    #[inline(always)]
    fn store(self, y: &mut [f64; 4]) {
        unsafe { _mm256_storeu_pd(y.as_mut_ptr(), self.0) }
    }

    #[inline(always)]
    fn step(self, x: Self, coef: Self) -> Self {
        <Self as Lanes>::step(self, x, coef)
    }

    #[inline(always)]
    fn difference(self) -> f64 {
        unsafe {
            let two = _mm256_castpd256_pd128(self.0);
            _mm_cvtsd_f64(_mm_sub_sd(two, _mm_unpackhi_pd(two, two)))
        }
    }

    #[inline(always)]
    fn transposed([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        unsafe {
            let (ab, cd) = (_mm256_unpacklo_pd(a.0, b.0), _mm256_unpacklo_pd(c.0, d.0));
            let (ef, gh) = (_mm256_unpackhi_pd(a.0, b.0), _mm256_unpackhi_pd(c.0, d.0));
            [
                Self(_mm256_permute2f128_pd::<0x20>(ab, cd)),
                Self(_mm256_permute2f128_pd::<0x20>(ef, gh)),
                Self(_mm256_permute2f128_pd::<0x31>(ab, cd)),
                Self(_mm256_permute2f128_pd::<0x31>(ef, gh)),
            ]
        }
    }
}
