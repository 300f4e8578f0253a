//! Lanes of f64 in registers, for the recursive steps of a tile of windows: the vectoriser keeps their
//! states in memory otherwise. Each type is used only inside kernels compiled for its CPU level.

mod interleave;
mod quad;
mod rows;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

use crate::primitives::recursive::ChainState;

pub(crate) use interleave::{columns_of, interleave};
pub(crate) use quad::Quad;
pub(crate) use rows::{new_rows_of, rows_of};

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
    /// Recursive steps of one series side by side.
    type Quad: Quad;
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
    /// [`crate::primitives::elementwise::sqrt`].
    fn root(self) -> Self;
    /// The values `rows` places before, where this register follows `before`; `rows` is 0..=`WIDTH`.
    fn lagged(self, before: Self, rows: usize) -> Self;
    /// Copies a line of the cache and makes NaN canonical, `past_cache` where nobody reads it soon; true if there is any.
    ///
    /// # Safety
    /// `dst` must be valid for eight writes and 64-byte aligned, and the CPU have the level of the type.
    unsafe fn line(dst: *mut f64, x: &[f64; 8], past_cache: bool) -> bool;
    /// As [`Lanes::line`], for four lines.
    ///
    /// # Safety
    /// As [`Lanes::line`], for 32 writes.
    #[inline(always)]
    unsafe fn four_lines(dst: *mut f64, x: &[f64; 32], past_cache: bool) -> bool {
        let mut null = false;
        for (i, x) in x.as_chunks().0.iter().enumerate() {
            // SAFETY: the caller's promise.
            null |= unsafe { Self::line(dst.add(i * 8), x, past_cache) };
        }
        null
    }
    /// `a` where `x` is known, `b` where it is NaN.
    fn known(x: Self, a: Self, b: Self) -> Self;
    /// True where all steps have seen `ready` inputs.
    #[inline(always)]
    fn seeded(x: &[ChainState; 8], ready: u32) -> bool {
        x.iter().fold(true, |all, state| all & (state.seen >= ready))
    }
    /// Current values of recursive steps.
    fn states(x: &[ChainState; 8], lane: usize) -> Self;
    /// Back to them.
    fn store_states(self, y: &mut [ChainState; 8], lane: usize);
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
    type Quad = quad::Four;

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

    #[inline(always)]
    unsafe fn line(dst: *mut f64, x: &[f64; 8], _: bool) -> bool {
        // SAFETY: the caller's promise.
        unsafe { crate::block::store_f64(dst, x) }
    }

    #[inline(always)]
    fn known(x: Self, a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|l| if x.0[l] == x.0[l] { a.0[l] } else { b.0[l] }))
    }

    #[inline(always)]
    fn states(x: &[ChainState; 8], lane: usize) -> Self {
        Self(x.as_chunks::<2>().0[lane / 2 % 4].map(|state| state.s))
    }

    #[inline(always)]
    fn store_states(self, y: &mut [ChainState; 8], lane: usize) {
        y.as_chunks_mut::<2>().0[lane / 2 % 4].iter_mut().zip(self.0).for_each(|(state, s)| state.s = s);
    }
}
