//! Lag needs no kernel: an operand carries how many rows back it is read, and the block keeps that many
//! rows of history in front of the current ones, NaN before the start. See [`Graph::lag`].

use crate::graph::{Expr, Graph};

impl Graph {
    /// `x - lag(x, n)`.
    pub fn diff(&mut self, x: impl Into<Expr>, n: u32) -> Expr {
        let x = x.into();
        let before = self.lag(x, n);
        self.sub(x, before)
    }

    /// `x / lag(x, n) - 1`, neutral 0: a fraction.
    pub fn change(&mut self, x: impl Into<Expr>, n: u32) -> Expr {
        let x = x.into();
        let before = self.lag(x, n);
        let r = self.ratio(x, before, 1.0);
        self.sub(r, 1.0)
    }
}
