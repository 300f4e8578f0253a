//! Columns as rows: of outputs, which are computed column by column.

use std::mem::MaybeUninit;

/// `out[i * F + k]` gets value i of column k, NaN canonical. True if there is any.
///
/// # Panics
/// If a column is shorter than the rows of `out`.
pub(crate) fn rows_of(columns: &[impl AsRef<[f64]>], out: &mut [f64]) -> bool {
    // SAFETY: nothing but numbers is written there.
    let out = unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast(), out.len()) };
    new_rows_of(columns, out).1
}

/// As [`rows_of`], into fresh memory: what is there now, and true if there is any NaN.
pub(crate) fn new_rows_of<'a>(columns: &[impl AsRef<[f64]>], out: &'a mut [MaybeUninit<f64>]) -> (&'a mut [f64], bool) {
    let rows = out.len() / columns.len();
    assert!(columns.iter().all(|c| c.as_ref().len() >= rows) && out.len() == rows * columns.len());
    let null = write(columns, out, rows);
    // SAFETY: every value of every row was written.
    let out: &mut [f64] = unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast(), out.len()) };
    if null {
        out.iter_mut().for_each(|y| *y = if *y == *y { *y } else { f64::NAN });
    }
    (out, null)
}

/// Writes all values as they are; true if there is a NaN.
fn write(columns: &[impl AsRef<[f64]>], out: &mut [MaybeUninit<f64>], rows: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    if crate::cpu::level() != crate::cpu::Level::Baseline && columns.len() >= 4 {
        // SAFETY: every level above the baseline has AVX2.
        return unsafe { x86::write(columns, out, rows) };
    }
    write_from(columns, out, 0)
}

/// Rows from `row` on, value by value.
#[inline(always)]
fn write_from(columns: &[impl AsRef<[f64]>], out: &mut [MaybeUninit<f64>], row: usize) -> bool {
    let mut null = false;
    for (i, values) in out.chunks_exact_mut(columns.len()).enumerate().skip(row) {
        for (y, column) in values.iter_mut().zip(columns) {
            let x = column.as_ref()[i];
            y.write(x);
            null |= x != x;
        }
    }
    null
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256d, _CMP_UNORD_Q, _mm256_cmp_pd, _mm256_loadu_pd, _mm256_movemask_pd, _mm256_or_pd,
        _mm256_permute2f128_pd, _mm256_setzero_pd, _mm256_storeu_pd, _mm256_unpackhi_pd, _mm256_unpacklo_pd,
    };
    use std::mem::MaybeUninit;

    /// See [`super::rows_of`], of at least four columns with `rows` values. Four rows of four columns at a time, in
    /// registers; the last four columns may be written again.
    #[target_feature(enable = "avx2")]
    pub(super) fn write(columns: &[impl AsRef<[f64]>], out: &mut [MaybeUninit<f64>], rows: usize) -> bool {
        let (f, whole) = (columns.len(), rows - rows % 4);
        let mut null = _mm256_setzero_pd();
        for i in (0..whole).step_by(4) {
            for k in (0..f).step_by(4) {
                let k = k.min(f - 4);
                let four = [&columns[k], &columns[k + 1], &columns[k + 2], &columns[k + 3]];
                // SAFETY: i + 4 <= rows, which every column has; row i + 3 of `out` is inside, and so is column k + 3.
                unsafe {
                    let at = [four[0].as_ref(), four[1].as_ref(), four[2].as_ref(), four[3].as_ref()];
                    null = _mm256_or_pd(null, square(at, i, out.as_mut_ptr().cast::<f64>().add(i * f + k), f));
                }
            }
        }
        super::write_from(columns, out, whole) | (_mm256_movemask_pd(null) != 0)
    }

    /// Four rows from row `i` on of four columns, to `to` and each `f` values on. Set where there is a NaN.
    ///
    /// # Safety
    /// The columns must have these rows, and there must be room for them.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn square(columns: [&[f64]; 4], i: usize, to: *mut f64, f: usize) -> __m256d {
        let mut x = [_mm256_setzero_pd(); 4];
        for (x, column) in x.iter_mut().zip(columns) {
            // SAFETY: the caller's promise.
            *x = unsafe { _mm256_loadu_pd(column.as_ptr().add(i)) };
        }
        let (even, odd) = (_mm256_unpacklo_pd(x[0], x[1]), _mm256_unpackhi_pd(x[0], x[1]));
        let (even2, odd2) = (_mm256_unpacklo_pd(x[2], x[3]), _mm256_unpackhi_pd(x[2], x[3]));
        // SAFETY: as above.
        unsafe {
            _mm256_storeu_pd(to, _mm256_permute2f128_pd::<0x20>(even, even2));
            _mm256_storeu_pd(to.add(f), _mm256_permute2f128_pd::<0x20>(odd, odd2));
            _mm256_storeu_pd(to.add(2 * f), _mm256_permute2f128_pd::<0x31>(even, even2));
            _mm256_storeu_pd(to.add(3 * f), _mm256_permute2f128_pd::<0x31>(odd, odd2));
        }
        _mm256_or_pd(_mm256_cmp_pd::<_CMP_UNORD_Q>(x[0], x[1]), _mm256_cmp_pd::<_CMP_UNORD_Q>(x[2], x[3]))
    }
}
