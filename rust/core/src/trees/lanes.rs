//! The three steps of a block that the vectoriser does not find by itself, for each CPU level. Each type is used only
//! inside kernels compiled for its level. All give the same bits: only bytes and whole sums are handled.

use super::blocks::{BYTE_LEAVES, Bytes, LANES, Table};
use super::forest::Real;

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};
#[cfg(not(target_arch = "x86_64"))]
pub use {Plain as Avx2, Plain as Avx512};

/// The steps, for element type `T`.
pub trait Lanes<T> {
    /// Per row, `left` where `rank <= limit`, else `right`.
    fn pick(rank: &Bytes, limit: u8, left: &Bytes, right: &Bytes) -> Bytes;
    /// How many of the ascending thresholds send each value right. The table has `2 * step - 1` of them at least.
    fn rank(values: &[T; LANES], thresholds: &Table<T>, step: u8) -> Bytes;
    /// Adds to each sum the entry of the table that `leaf` names; no entry past `count` is named.
    fn add(sums: &mut [T; LANES], leaf: &Bytes, table: &Table<T>, count: u32);
}

/// For targets without an implementation of their own.
pub struct Plain;

impl<T: Real> Lanes<T> for Plain {
    #[inline(always)]
    fn pick(rank: &Bytes, limit: u8, left: &Bytes, right: &Bytes) -> Bytes {
        let mut to = [0; LANES];
        for l in 0..LANES {
            let mask = u8::from(rank[l] <= limit).wrapping_neg();
            to[l] = (left[l] & mask) | (right[l] & !mask);
        }
        to
    }

    #[inline(always)]
    fn rank(values: &[T; LANES], thresholds: &Table<T>, step: u8) -> Bytes {
        let mut rank = [0_u8; LANES];
        let mut step = step;
        while step > 0 {
            for l in 0..LANES {
                // At most 2 * the first step - 1, so that it stays within a byte.
                let next = rank[l] + step;
                let left = values[l].left(thresholds[usize::from(next - 1)]);
                rank[l] += step * u8::from(!left);
            }
            step /= 2;
        }
        rank
    }

    #[inline(always)]
    fn add(sums: &mut [T; LANES], leaf: &Bytes, table: &Table<T>, _count: u32) {
        for l in 0..LANES {
            sums[l] = sums[l].plus(table[usize::from(leaf[l])]);
        }
    }
}

const _: () = assert!(BYTE_LEAVES == 256, "a byte names every entry of a table");

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _CMP_NLE_UQ, _CMP_NLT_UQ, _mm_loadl_epi64, _mm_loadu_si128, _mm_storel_epi64, _mm_storeu_si128, _mm256_add_ps,
        _mm256_blendv_epi8, _mm256_cmpeq_epi8, _mm256_cvtepu8_epi32, _mm256_i32gather_ps, _mm256_loadu_ps,
        _mm256_loadu_si256, _mm256_min_epu8, _mm256_permutevar8x32_ps, _mm256_set1_epi8, _mm256_storeu_ps,
        _mm256_storeu_si256, _mm512_add_epi32, _mm512_add_epi64, _mm512_add_pd, _mm512_add_ps, _mm512_cmp_pd_mask,
        _mm512_cmp_ps_mask, _mm512_cmple_epu8_mask, _mm512_cvtepi32_epi8, _mm512_cvtepi64_epi8, _mm512_cvtepu8_epi32,
        _mm512_cvtepu8_epi64, _mm512_i32gather_ps, _mm512_i64gather_pd, _mm512_loadu_pd, _mm512_loadu_ps,
        _mm512_loadu_si512, _mm512_mask_add_epi32, _mm512_mask_add_epi64, _mm512_mask_blend_epi8,
        _mm512_permutex2var_pd, _mm512_permutex2var_ps, _mm512_permutexvar_pd, _mm512_permutexvar_ps, _mm512_set1_epi8,
        _mm512_set1_epi32, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_storeu_pd, _mm512_storeu_ps,
        _mm512_storeu_si512,
    };

    use super::{Bytes, LANES, Lanes, Plain, Table};

    // SAFETY, for every block below: the types are named only by kernels compiled for their level, which run only
    // where `cpu::level` found it. Loads and stores stay inside their arrays: groups of 8, 16 or 32 of 64 lanes, and
    // tables of 256 entries read at a byte or below it.

    /// AVX-512 F, BW.
    pub struct Avx512;

    impl Avx512 {
        #[inline(always)]
        fn pick(rank: &Bytes, limit: u8, left: &Bytes, right: &Bytes) -> Bytes {
            let mut to = [0; LANES];
            unsafe {
                let rank = _mm512_loadu_si512(rank.as_ptr().cast());
                let left_too = _mm512_cmple_epu8_mask(rank, _mm512_set1_epi8(limit.cast_signed()));
                let (left, right) =
                    (_mm512_loadu_si512(left.as_ptr().cast()), _mm512_loadu_si512(right.as_ptr().cast()));
                _mm512_storeu_si512(to.as_mut_ptr().cast(), _mm512_mask_blend_epi8(left_too, right, left));
            }
            to
        }
    }

    impl Lanes<f32> for Avx512 {
        #[inline(always)]
        fn pick(rank: &Bytes, limit: u8, left: &Bytes, right: &Bytes) -> Bytes {
            Self::pick(rank, limit, left, right)
        }

        #[inline(always)]
        fn rank(values: &[f32; LANES], thresholds: &Table<f32>, step: u8) -> Bytes {
            let mut to = [0; LANES];
            for g in (0..LANES).step_by(16) {
                unsafe {
                    let x = _mm512_loadu_ps(values.as_ptr().add(g));
                    let mut rank = _mm512_setzero_si512();
                    let mut half = i32::from(step);
                    while half > 0 {
                        let at = _mm512_add_epi32(rank, _mm512_set1_epi32(half - 1));
                        let t = _mm512_i32gather_ps::<4>(at, thresholds.as_ptr());
                        let right = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, t);
                        rank = _mm512_mask_add_epi32(rank, right, rank, _mm512_set1_epi32(half));
                        half /= 2;
                    }
                    _mm_storeu_si128(to.as_mut_ptr().add(g).cast(), _mm512_cvtepi32_epi8(rank));
                }
            }
            to
        }

        #[inline(always)]
        fn add(sums: &mut [f32; LANES], leaf: &Bytes, table: &Table<f32>, count: u32) {
            for g in (0..LANES).step_by(16) {
                unsafe {
                    let at = _mm512_cvtepu8_epi32(_mm_loadu_si128(leaf.as_ptr().add(g).cast()));
                    let low = _mm512_loadu_ps(table.as_ptr());
                    let value = if count <= 16 {
                        _mm512_permutexvar_ps(at, low)
                    } else if count <= 32 {
                        _mm512_permutex2var_ps(low, at, _mm512_loadu_ps(table.as_ptr().add(16)))
                    } else {
                        _mm512_i32gather_ps::<4>(at, table.as_ptr())
                    };
                    let to = sums.as_mut_ptr().add(g);
                    _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), value));
                }
            }
        }
    }

    impl Lanes<f64> for Avx512 {
        #[inline(always)]
        fn pick(rank: &Bytes, limit: u8, left: &Bytes, right: &Bytes) -> Bytes {
            Self::pick(rank, limit, left, right)
        }

        #[inline(always)]
        fn rank(values: &[f64; LANES], thresholds: &Table<f64>, step: u8) -> Bytes {
            let mut to = [0; LANES];
            for g in (0..LANES).step_by(8) {
                unsafe {
                    let x = _mm512_loadu_pd(values.as_ptr().add(g));
                    let mut rank = _mm512_setzero_si512();
                    let mut half = i64::from(step);
                    while half > 0 {
                        let at = _mm512_add_epi64(rank, _mm512_set1_epi64(half - 1));
                        let t = _mm512_i64gather_pd::<8>(at, thresholds.as_ptr());
                        let right = _mm512_cmp_pd_mask::<_CMP_NLE_UQ>(x, t);
                        rank = _mm512_mask_add_epi64(rank, right, rank, _mm512_set1_epi64(half));
                        half /= 2;
                    }
                    _mm_storel_epi64(to.as_mut_ptr().add(g).cast(), _mm512_cvtepi64_epi8(rank));
                }
            }
            to
        }

        #[inline(always)]
        fn add(sums: &mut [f64; LANES], leaf: &Bytes, table: &Table<f64>, count: u32) {
            for g in (0..LANES).step_by(8) {
                unsafe {
                    let at = _mm512_cvtepu8_epi64(_mm_loadl_epi64(leaf.as_ptr().add(g).cast()));
                    let low = _mm512_loadu_pd(table.as_ptr());
                    let value = if count <= 8 {
                        _mm512_permutexvar_pd(at, low)
                    } else if count <= 16 {
                        _mm512_permutex2var_pd(low, at, _mm512_loadu_pd(table.as_ptr().add(8)))
                    } else {
                        _mm512_i64gather_pd::<8>(at, table.as_ptr())
                    };
                    let to = sums.as_mut_ptr().add(g);
                    _mm512_storeu_pd(to, _mm512_add_pd(_mm512_loadu_pd(to), value));
                }
            }
        }
    }

    /// AVX2.
    pub struct Avx2;

    impl Avx2 {
        #[inline(always)]
        fn pick(rank: &Bytes, limit: u8, left: &Bytes, right: &Bytes) -> Bytes {
            let mut to = [0; LANES];
            for g in [0, 32] {
                unsafe {
                    let rank = _mm256_loadu_si256(rank.as_ptr().add(g).cast());
                    let limit = _mm256_set1_epi8(limit.cast_signed());
                    let left_too = _mm256_cmpeq_epi8(_mm256_min_epu8(rank, limit), rank);
                    let (left, right) = (
                        _mm256_loadu_si256(left.as_ptr().add(g).cast()),
                        _mm256_loadu_si256(right.as_ptr().add(g).cast()),
                    );
                    let picked = _mm256_blendv_epi8(right, left, left_too);
                    _mm256_storeu_si256(to.as_mut_ptr().add(g).cast(), picked);
                }
            }
            to
        }
    }

    impl Lanes<f32> for Avx2 {
        #[inline(always)]
        fn pick(rank: &Bytes, limit: u8, left: &Bytes, right: &Bytes) -> Bytes {
            Self::pick(rank, limit, left, right)
        }

        #[inline(always)]
        fn rank(values: &[f32; LANES], thresholds: &Table<f32>, step: u8) -> Bytes {
            <Plain as Lanes<f32>>::rank(values, thresholds, step)
        }

        #[inline(always)]
        fn add(sums: &mut [f32; LANES], leaf: &Bytes, table: &Table<f32>, count: u32) {
            for g in (0..LANES).step_by(8) {
                unsafe {
                    let at = _mm256_cvtepu8_epi32(_mm_loadl_epi64(leaf.as_ptr().add(g).cast()));
                    let value = if count <= 8 {
                        _mm256_permutevar8x32_ps(_mm256_loadu_ps(table.as_ptr()), at)
                    } else {
                        _mm256_i32gather_ps::<4>(table.as_ptr(), at)
                    };
                    let to = sums.as_mut_ptr().add(g);
                    _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), value));
                }
            }
        }
    }

    impl Lanes<f64> for Avx2 {
        #[inline(always)]
        fn pick(rank: &Bytes, limit: u8, left: &Bytes, right: &Bytes) -> Bytes {
            Self::pick(rank, limit, left, right)
        }

        #[inline(always)]
        fn rank(values: &[f64; LANES], thresholds: &Table<f64>, step: u8) -> Bytes {
            <Plain as Lanes<f64>>::rank(values, thresholds, step)
        }

        #[inline(always)]
        fn add(sums: &mut [f64; LANES], leaf: &Bytes, table: &Table<f64>, count: u32) {
            <Plain as Lanes<f64>>::add(sums, leaf, table, count);
        }
    }
}
