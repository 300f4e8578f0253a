//! Four recursive steps of one series side by side: a row of them is one register, a row of its output a lane.

use crate::primitives::recursive::step;

/// Four values, of which each is the state of another recursive step.
pub(crate) trait Quad: Copy {
    /// The same value four times.
    fn of(x: f64) -> Self;
    /// From memory.
    fn load(x: &[f64; 4]) -> Self;
    /// To memory.
    fn store(self, y: &mut [f64; 4]);
    /// [`step`] of each.
    fn step(self, x: Self, coef: Self) -> Self;
    /// The first less the second.
    fn difference(self) -> f64;
    /// Rows for columns.
    fn transposed(rows: [Self; 4]) -> [Self; 4];
}

/// For targets without an implementation of their own.
#[derive(Clone, Copy)]
pub(crate) struct Four([f64; 4]);

impl Quad for Four {
    #[inline(always)]
    fn of(x: f64) -> Self {
        Self([x; 4])
    }

    #[inline(always)]
    fn load(x: &[f64; 4]) -> Self {
        Self(*x)
    }

    #[inline(always)]
    fn store(self, y: &mut [f64; 4]) {
        *y = self.0;
    }

    #[inline(always)]
    fn step(self, x: Self, coef: Self) -> Self {
        Self(std::array::from_fn(|k| step(self.0[k], x.0[k], coef.0[k])))
    }

    #[inline(always)]
    fn difference(self) -> f64 {
        self.0[0] - self.0[1]
    }

    #[inline(always)]
    fn transposed(rows: [Self; 4]) -> [Self; 4] {
        std::array::from_fn(|k| Self(std::array::from_fn(|r| rows[r].0[k])))
    }
}
