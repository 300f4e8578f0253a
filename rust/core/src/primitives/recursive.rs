//! Recursive primitives: `ema`, `rma` (Wilder) and `cumsum`. One state per series. A null input gives a
//! null output, leaves the state as it is and does not count towards the seed.

use crate::graph::{Chain, Expr, Graph, Num, Op, Seed};

/// The step of `ema` and `rma`; keeps a constant exactly.
#[inline(always)]
pub fn step(s: f64, x: f64, coef: f64) -> f64 {
    s + coef * (x - s)
}

/// State of one recursive step of one series.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[repr(C)]
pub struct ChainState {
    /// Current value; while the seed is gathered, the mean so far.
    pub s: f64,
    /// Non-null inputs seen, counted up to the end of the seed.
    pub seen: u32,
}

impl Chain {
    /// Inputs after which the value is valid.
    #[inline(always)]
    pub fn ready_at(&self) -> u32 {
        self.skip + self.n
    }

    /// One row, seeding included: the whole definition of a recursive step. The fast loops in
    /// `kernels.rs` are this with everything that only matters before the seed is complete left out.
    #[inline(always)]
    pub fn advance(&self, state: &mut ChainState, x: f64) -> f64 {
        if x != x {
            return f64::NAN;
        }
        if state.seen >= self.ready_at() {
            state.s = step(state.s, x, self.coef.get());
            return state.s;
        }
        state.seen += 1;
        state.s = self.seed_step(state.s, x, self.gain(state.seen));
        if state.seen == self.ready_at() { state.s } else { f64::NAN }
    }

    /// How much of the `seen`-th input's distance goes into the state while the seed is gathered; negative for
    /// an input that is added as a part of a sum.
    #[inline(always)]
    pub fn gain(&self, seen: u32) -> f64 {
        if seen <= self.skip {
            return 0.0;
        }
        let k = seen - self.skip;
        match self.seed {
            // A running mean: like the step itself it keeps a constant exactly.
            Seed::Mean | Seed::First => 1.0 / f64::from(k),
            Seed::Partial if k < self.n => -self.coef.get(),
            Seed::Partial => self.coef.get(),
        }
    }

    /// One input of the seed.
    #[inline(always)]
    pub fn seed_step(&self, s: f64, x: f64, gain: f64) -> f64 {
        if gain < 0.0 { s - x * gain } else { step(s, x, gain) }
    }
}

impl Graph {
    /// Exponential mean, k = 2 / (n + 1).
    pub fn ema(&mut self, x: impl Into<Expr>, n: u32, seed: Seed) -> Expr {
        self.chain(x.into(), n, 2.0 / (f64::from(n) + 1.0), seed, 0)
    }

    /// Exponential mean whose seed starts after `skip` inputs.
    pub fn ema_late(&mut self, x: impl Into<Expr>, n: u32, skip: u32) -> Expr {
        self.chain(x.into(), n, 2.0 / (f64::from(n) + 1.0), Seed::Mean, skip)
    }

    /// Wilder's mean, k = 1 / n.
    pub fn rma(&mut self, x: impl Into<Expr>, n: u32, seed: Seed) -> Expr {
        self.chain(x.into(), n, 1.0 / f64::from(n), seed, 0)
    }

    /// The first value of the series, in every row from there on.
    pub fn first(&mut self, x: impl Into<Expr>) -> Expr {
        let chain = Chain { coef: Num::new(0.0), n: 1, skip: 0, seed: Seed::First };
        self.push(Op::Chain(chain), vec![x.into()])
    }

    /// Running sum from the start of the series.
    pub fn cumsum(&mut self, x: impl Into<Expr>) -> Expr {
        self.push(Op::CumSum, vec![x.into()])
    }

    fn chain(&mut self, x: Expr, n: u32, coef: f64, seed: Seed, skip: u32) -> Expr {
        if n == 0 || n > crate::primitives::sliding::MAX_WINDOW {
            return self.fail(format!("the period must be 1..{}, not {n}", crate::primitives::sliding::MAX_WINDOW));
        }
        if n == 1 && skip == 0 {
            // s + 1 * (x - s) would round; the mean of one row is the row.
            return x;
        }
        let n = if seed == Seed::First { 1 } else { n };
        self.push(Op::Chain(Chain { coef: Num::new(coef), n, skip, seed }), vec![x])
    }
}
