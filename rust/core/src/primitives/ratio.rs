//! `ratio`: the only division. It gives the declared neutral value where the denominator is nothing
//! beside the scale it lives on, and saturates, so that it is finite by construction.

use crate::dim::Dim;
use crate::graph::{Expr, Graph, Num, Op, Profile};

/// Relative size under which a denominator counts as nothing.
pub const TINY: f64 = 1.0 / (1_u64 << 44) as f64;

/// `num / den` held inside ±sat; `neutral` where |den| <= lim; null where num or den is.
#[inline(always)]
pub fn ratio(num: f64, den: f64, lim: f64, neutral: f64, sat: f64) -> f64 {
    let q = num / den;
    let q = if q > sat { sat } else { q };
    let q = if q < -sat { -sat } else { q };
    // Not `neutral` alone: a null numerator must stay null, or warm-up would depend on values.
    let n = if num != num { num } else { neutral };
    if den.abs() <= lim { n } else { q }
}

/// `ratio * mul + add`, each step rounded.
#[inline(always)]
pub fn affine(q: f64, mul: f64, add: f64) -> f64 {
    q * mul + add
}

impl Graph {
    /// `num / den`, with the scale that follows from the dimension of `den`.
    pub fn ratio(&mut self, num: impl Into<Expr>, den: impl Into<Expr>, neutral: f64) -> Expr {
        let (num, den) = (num.into(), den.into());
        if matches!(self.profile, Profile::Legacy { .. }) {
            return self.push(Op::Div, vec![num, den]);
        }
        let limit = self.limit(den);
        self.ratio_limited(num, den, limit, neutral)
    }

    /// `num / den`, neutral where |den| <= 2^-44 |scale|.
    pub fn ratio_scaled(
        &mut self,
        num: impl Into<Expr>,
        den: impl Into<Expr>,
        scale: impl Into<Expr>,
        neutral: f64,
    ) -> Expr {
        let size = self.abs(scale);
        let limit = self.mul(size, TINY);
        self.ratio_limited(num.into(), den.into(), limit, neutral)
    }

    fn ratio_limited(&mut self, num: Expr, den: Expr, limit: Expr, neutral: f64) -> Expr {
        let dim = match (self.dim(num), self.dim(den)) {
            (Dim::Any, d) => Dim::NONE.times(d, -1),
            (d, Dim::Any) => d,
            (a, b) => a.times(b, -1),
        };
        let sat = libm::pow(10.0, dim.bound_exponent());
        self.push(Op::Ratio { neutral: Num::new(neutral), sat: Num::new(sat) }, vec![num, den, limit])
    }

    /// The largest |den| that counts as nothing.
    fn limit(&mut self, den: Expr) -> Expr {
        let Some((whole, mut rest)) = self.dim(den).price_power() else {
            return Expr::from(0.0);
        };
        if (whole, rest) == (0, 0) {
            return Expr::from(TINY);
        }
        let close = self.close();
        let unit = self.mul(close, TINY);
        let mut limit: Option<Expr> = None;
        let mut times = |g: &mut Self, x: Expr| {
            limit = Some(match limit {
                Some(l) => g.mul(l, x),
                None => x,
            });
        };
        for _ in 0..whole {
            times(self, unit);
        }
        // The rest is in 64ths: 32 is a square root, 16 a square root of one, and so on.
        let mut root = unit;
        let mut bit = 32;
        while rest > 0 {
            root = self.sqrt(root);
            if rest & bit != 0 {
                times(self, root);
                rest &= !bit;
            }
            bit >>= 1;
        }
        limit.unwrap_or(unit)
    }
}
