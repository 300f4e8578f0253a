//! Elementwise primitives. Null (NaN) in, null out, for every operand.

use crate::graph::{Expr, Graph, Num, Op};

/// Smaller of two; null if either is. The first wins a tie, and a NaN in either operand gets through:
/// `f64::min` would drop it.
#[inline(always)]
pub fn min(a: f64, b: f64) -> f64 {
    if (a < b) | (a != a) { a } else { b }
}

/// Larger of two; null if either is.
#[inline(always)]
pub fn max(a: f64, b: f64) -> f64 {
    if (a > b) | (a != a) { a } else { b }
}

#[inline(always)]
fn truth(holds: bool, a: f64, b: f64) -> f64 {
    let t = if holds { 1.0 } else { 0.0 };
    if (a != a) | (b != b) { f64::NAN } else { t }
}

/// 1 if a < b, else 0.
#[inline(always)]
pub fn lt(a: f64, b: f64) -> f64 {
    truth(a < b, a, b)
}

/// 1 if a <= b, else 0.
#[inline(always)]
pub fn le(a: f64, b: f64) -> f64 {
    truth(a <= b, a, b)
}

/// 1 if a == b, else 0.
#[inline(always)]
pub fn eq(a: f64, b: f64) -> f64 {
    truth(a == b, a, b)
}

/// Square root; 0 for x < 0.
#[inline(always)]
pub fn sqrt(x: f64) -> f64 {
    let y = if x < 0.0 { 0.0 } else { x };
    y.sqrt()
}

/// -1, 0 or 1.
#[inline(always)]
pub fn sign(x: f64) -> f64 {
    let up = if x > 0.0 { 1.0 } else { 0.0 };
    let down = if x < 0.0 { -1.0 } else { up };
    if x != x { x } else { down }
}

/// Natural logarithm; `neutral` for x <= 0.
#[inline(always)]
pub fn log(x: f64, neutral: f64) -> f64 {
    if x > 0.0 {
        libm::log(x)
    } else if x != x {
        x
    } else {
        neutral
    }
}

/// a if p is not 0, else b; null if any operand is, so that warm-up never depends on values.
#[inline(always)]
pub fn select(p: f64, a: f64, b: f64) -> f64 {
    let x = if p == 0.0 { b } else { a };
    if (p != p) | (a != a) | (b != b) { f64::NAN } else { x }
}

/// x if x > 0, else 0, also for null (`legacy` profile).
#[inline(always)]
pub fn pos(x: f64) -> f64 {
    if x > 0.0 { x } else { 0.0 }
}

/// b where a is null.
#[inline(always)]
pub fn or_else(a: f64, b: f64) -> f64 {
    if a == a { a } else { b }
}

/// 0 for an infinity, else x held inside ±1e6 (`legacy` profile).
#[inline(always)]
pub fn tame(x: f64) -> f64 {
    let y = if x.abs() == f64::INFINITY { 0.0 } else { x };
    let y = if y > 1e6 { 1e6 } else { y };
    if y < -1e6 { -1e6 } else { y }
}

/// Sine of a fraction of a circle.
#[inline(always)]
pub fn sin_turn(x: f64, period: f64) -> f64 {
    libm::sin(std::f64::consts::TAU * (x / period))
}

/// Cosine of a fraction of a circle.
#[inline(always)]
pub fn cos_turn(x: f64, period: f64) -> f64 {
    libm::cos(std::f64::consts::TAU * (x / period))
}

#[allow(missing_docs, reason = "each adds the operation of its name")]
impl Graph {
    pub fn add(&mut self, a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
        self.push(Op::Add, vec![a.into(), b.into()])
    }

    pub fn sub(&mut self, a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
        self.push(Op::Sub, vec![a.into(), b.into()])
    }

    pub fn mul(&mut self, a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
        self.push(Op::Mul, vec![a.into(), b.into()])
    }

    /// Elementwise smaller of two.
    pub fn lesser(&mut self, a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
        self.push(Op::Min, vec![a.into(), b.into()])
    }

    /// Elementwise larger of two.
    pub fn greater(&mut self, a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
        self.push(Op::Max, vec![a.into(), b.into()])
    }

    pub fn lt(&mut self, a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
        self.push(Op::Lt, vec![a.into(), b.into()])
    }

    pub fn le(&mut self, a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
        self.push(Op::Le, vec![a.into(), b.into()])
    }

    pub fn eq(&mut self, a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
        self.push(Op::Eq, vec![a.into(), b.into()])
    }

    pub fn abs(&mut self, x: impl Into<Expr>) -> Expr {
        self.push(Op::Abs, vec![x.into()])
    }

    pub fn sqrt(&mut self, x: impl Into<Expr>) -> Expr {
        self.push(Op::Sqrt, vec![x.into()])
    }

    pub fn sign(&mut self, x: impl Into<Expr>) -> Expr {
        self.push(Op::Sign, vec![x.into()])
    }

    pub fn log(&mut self, x: impl Into<Expr>, neutral: f64) -> Expr {
        self.push(Op::Log { neutral: Num::new(neutral) }, vec![x.into()])
    }

    pub fn select(&mut self, p: impl Into<Expr>, a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
        self.push(Op::Where, vec![p.into(), a.into(), b.into()])
    }

    /// x, null where `gate` is null too.
    pub fn hold_until(&mut self, x: impl Into<Expr>, gate: impl Into<Expr>) -> Expr {
        let x = x.into();
        self.select(gate, x, x)
    }

    /// Sine of x, of which `period` make a full circle.
    pub fn sin_turn(&mut self, x: impl Into<Expr>, period: f64) -> Expr {
        self.push(Op::Sin { period: Num::new(period) }, vec![x.into()])
    }

    /// Cosine of x, of which `period` make a full circle.
    pub fn cos_turn(&mut self, x: impl Into<Expr>, period: f64) -> Expr {
        self.push(Op::Cos { period: Num::new(period) }, vec![x.into()])
    }

    /// x held inside lo..hi.
    pub fn clip(&mut self, x: impl Into<Expr>, lo: impl Into<Expr>, hi: impl Into<Expr>) -> Expr {
        let low = self.greater(x, lo);
        self.lesser(low, hi)
    }

    /// `b` where `a` is null.
    pub fn or_else(&mut self, a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
        self.push(Op::OrElse, vec![a.into(), b.into()])
    }

    /// The last step of every output of the `legacy` profile.
    pub fn tame(&mut self, x: impl Into<Expr>) -> Expr {
        self.push(Op::Tame, vec![x.into()])
    }

    /// x where x > 0, else 0, also for null (`legacy` profile).
    pub fn pos(&mut self, x: impl Into<Expr>) -> Expr {
        self.push(Op::Pos, vec![x.into()])
    }
}
