//! Sliding primitives by doubling: the aggregate of the last 2w rows merges the aggregate of the w rows
//! that end w rows ago with that of the last w rows. So a window's value depends on its contents alone,
//! costs O(log n), and needs no kernel but the merge. A window of n takes the bits of n from low to
//! high, older part first; this order is part of the numerics version.

use crate::graph::{Expr, Graph, Num, Op};
use crate::simd::Real;

/// Mean of two equally long parts.
#[inline(always)]
pub fn half<X: Real>(a: X, b: X) -> X {
    a.plus(b).times(X::of(0.5))
}

/// Mean of two parts; `w` is the newer part's share. Keeps a constant exactly.
#[inline(always)]
pub fn merge<X: Real>(a: X, b: X, w: X) -> X {
    a.plus(b.less(a).times(w))
}

/// Sum of squared deviations of two values.
#[inline(always)]
pub fn m2_pair<X: Real>(a: X, b: X) -> X {
    let d = b.less(a);
    d.times(d).times(X::of(0.5))
}

/// Chan's merge of squared deviations; `c` = na nb / (na + nb). Never negative, 0 on a constant.
#[inline(always)]
pub fn m2_merge<X: Real>(m2a: X, m2b: X, ma: X, mb: X, c: X) -> X {
    let d = mb.less(ma);
    m2a.plus(m2b).plus(d.times(d).times(c))
}

/// The last merge of a standard deviation.
#[inline(always)]
pub fn std_merge(m2a: f64, m2b: f64, ma: f64, mb: f64, c: f64, share: f64) -> f64 {
    super::elementwise::sqrt(m2_merge(m2a, m2b, ma, mb, c) * share)
}

/// Sum of products of deviations of two pairs.
#[inline(always)]
pub fn cov_pair(xa: f64, xb: f64, ya: f64, yb: f64) -> f64 {
    (xb - xa) * (yb - ya) * 0.5
}

/// Merge of sums of products of deviations.
#[inline(always)]
pub fn cov_merge(ca: f64, cb: f64, x: (f64, f64), y: (f64, f64), c: f64) -> f64 {
    ca + cb + (x.1 - x.0) * (y.1 - y.0) * c
}

/// Largest window of a sliding primitive.
pub const MAX_WINDOW: u32 = 1_000_000;

/// A part of a window: rows it covers and its aggregate.
type Part<T> = (u32, T);

impl Graph {
    /// Merges the levels of a window of `n` rows: `level(g, k)` is the aggregate of 2^k rows, `join(g, older,
    /// newer)` merges two parts.
    fn window<T: Copy>(
        &mut self,
        n: u32,
        mut level: impl FnMut(&mut Self, u32) -> T,
        shift: impl Fn(&mut Self, T, u32) -> T,
        mut join: impl FnMut(&mut Self, Part<T>, Part<T>) -> T,
    ) -> Option<T> {
        if n == 0 || n > MAX_WINDOW {
            self.fail(format!("the window must be 1..{MAX_WINDOW} rows, not {n}"));
            return None;
        }
        let mut done: Option<Part<T>> = None;
        for k in (0..32).filter(|k| n >> k & 1 == 1) {
            let part = level(self, k);
            done = Some(match done {
                None => (1 << k, part),
                Some((rows, newer)) => {
                    let older = shift(self, part, rows);
                    (rows + (1 << k), join(self, (1 << k, older), (rows, newer)))
                }
            });
        }
        done.map(|d| d.1)
    }

    /// Sum over the last `n` rows, pairwise.
    pub fn sum(&mut self, x: impl Into<Expr>, n: u32) -> Expr {
        let x = x.into();
        let level = |g: &mut Self, k: u32| (0..k).fold(x, |s, i| g.join_lagged(Op::Add, s, 1 << i));
        self.window(n, level, super::super::graph::Graph::lag, |g, a, b| g.add(a.1, b.1)).unwrap_or(x)
    }

    /// Mean over the last `n` rows. A constant keeps its bits.
    pub fn mean(&mut self, x: impl Into<Expr>, n: u32) -> Expr {
        let x = x.into();
        let level = |g: &mut Self, k: u32| g.mean_level(x, k);
        let mean = self.window(n, level, super::super::graph::Graph::lag, super::super::graph::Graph::mean_join);
        self.note(mean.unwrap_or(x), x, n)
    }

    /// Variance over the last `n` rows; `ddof` 0 is the population's, 1 the sample's.
    pub fn var(&mut self, x: impl Into<Expr>, n: u32, ddof: u32) -> Expr {
        let x = x.into();
        if n <= ddof || n < 2 {
            return self.fail(format!("a variance with ddof={ddof} needs more than {} rows", ddof.max(1)));
        }
        let zero = Expr::from(0.0);
        let level = |g: &mut Self, k: u32| {
            let mut m2 = zero;
            for i in 0..k {
                let mean = g.mean_level(x, i);
                let (older, older_m2) = (g.lag(mean, 1 << i), g.lag(m2, 1 << i));
                m2 = if i == 0 {
                    g.push(Op::M2Pair, vec![older, mean])
                } else {
                    let c = Num::new(f64::from(1_u32 << i) * 0.5);
                    g.push(Op::M2Merge { c }, vec![older_m2, m2, older, mean])
                };
            }
            (g.mean_level(x, k), m2)
        };
        let shift = |g: &mut Self, p: (Expr, Expr), r: u32| (g.lag(p.0, r), g.lag(p.1, r));
        let join = |g: &mut Self, a: Part<(Expr, Expr)>, b: Part<(Expr, Expr)>| {
            let c = Num::new(weight(a.0, b.0));
            let m2 = g.push(Op::M2Merge { c }, vec![a.1.1, b.1.1, a.1.0, b.1.0]);
            (g.mean_join((a.0, a.1.0), (b.0, b.1.0)), m2)
        };
        match self.window(n, level, shift, join) {
            Some((_, m2)) => {
                self.note(m2, x, n);
                self.mul(m2, 1.0 / f64::from(n - ddof))
            }
            None => zero,
        }
    }

    /// Standard deviation over the last `n` rows.
    pub fn std(&mut self, x: impl Into<Expr>, n: u32, ddof: u32) -> Expr {
        let v = self.var(x, n, ddof);
        self.sqrt(v)
    }

    /// Covariance over the last `n` rows.
    pub fn cov(&mut self, x: impl Into<Expr>, y: impl Into<Expr>, n: u32, ddof: u32) -> Expr {
        let (x, y) = (x.into(), y.into());
        if n <= ddof || n < 2 {
            return self.fail(format!("a covariance with ddof={ddof} needs more than {} rows", ddof.max(1)));
        }
        let zero = Expr::from(0.0);
        let level = |g: &mut Self, k: u32| {
            let mut c = zero;
            for i in 0..k {
                let (mx, my) = (g.mean_level(x, i), g.mean_level(y, i));
                let (ox, oy, oc) = (g.lag(mx, 1 << i), g.lag(my, 1 << i), g.lag(c, 1 << i));
                c = if i == 0 {
                    g.push(Op::CovPair, vec![ox, mx, oy, my])
                } else {
                    let w = Num::new(f64::from(1_u32 << i) * 0.5);
                    g.push(Op::CovMerge { c: w }, vec![oc, c, ox, mx, oy, my])
                };
            }
            [g.mean_level(x, k), g.mean_level(y, k), c]
        };
        let shift = |g: &mut Self, p: [Expr; 3], r: u32| p.map(|e| g.lag(e, r));
        let join = |g: &mut Self, a: Part<[Expr; 3]>, b: Part<[Expr; 3]>| {
            let ([ax, ay, ac], [bx, by, bc]) = (a.1, b.1);
            let c = g.push(Op::CovMerge { c: Num::new(weight(a.0, b.0)) }, vec![ac, bc, ax, bx, ay, by]);
            [g.mean_join((a.0, ax), (b.0, bx)), g.mean_join((a.0, ay), (b.0, by)), c]
        };
        match self.window(n, level, shift, join) {
            Some([_, _, c]) => self.mul(c, 1.0 / f64::from(n - ddof)),
            None => zero,
        }
    }

    /// Smallest value of the last `n` rows.
    pub fn min_over(&mut self, x: impl Into<Expr>, n: u32) -> Expr {
        self.extreme(Op::Min, x.into(), n)
    }

    /// Largest value of the last `n` rows.
    pub fn max_over(&mut self, x: impl Into<Expr>, n: u32) -> Expr {
        self.extreme(Op::Max, x.into(), n)
    }

    /// Mean distance from the mean over the last `n` rows: a fold from the oldest row to the newest.
    pub fn mean_abs_dev(&mut self, x: impl Into<Expr>, n: u32) -> Expr {
        let x = x.into();
        if n < 2 {
            return self.fail("mean_abs_dev needs at least 2 rows");
        }
        let mean = self.mean(x, n);
        self.push(Op::MeanAbsDev { n }, vec![x, mean])
    }

    fn extreme(&mut self, op: Op, x: Expr, n: u32) -> Expr {
        if n == 0 || n > MAX_WINDOW {
            return self.fail(format!("the window must be 1..{MAX_WINDOW} rows, not {n}"));
        }
        let top = n.ilog2();
        let level = (0..top).fold(x, |s, i| self.join_lagged(op, s, 1 << i));
        // Two overlapping parts cover any n: counting a row twice does not change an extreme.
        let rest = n - (1 << top);
        if rest == 0 { level } else { self.join_lagged(op, level, rest) }
    }

    /// `op(x rows rows ago, x)`.
    fn join_lagged(&mut self, op: Op, x: Expr, rows: u32) -> Expr {
        let older = self.lag(x, rows);
        self.push(op, vec![older, x])
    }

    fn mean_level(&mut self, x: Expr, k: u32) -> Expr {
        (0..k).fold(x, |m, i| self.join_lagged(Op::Half, m, 1 << i))
    }

    /// Notes that `of` is an aggregate of `n` rows of `x`.
    fn note(&mut self, of: Expr, x: Expr, n: u32) -> Expr {
        if let (Expr::Node { id, lag: 0 }, true) = (of, n > 1) {
            self.windows.insert(id, (x, n));
        }
        of
    }

    fn mean_join(&mut self, older: Part<Expr>, newer: Part<Expr>) -> Expr {
        let w = Num::new(share(older.0, newer.0));
        self.push(Op::Merge { w }, vec![older.1, newer.1])
    }
}

/// The newer part's share of all rows.
pub fn share(older: u32, newer: u32) -> f64 {
    f64::from(newer) / f64::from(older + newer)
}

/// na nb / (na + nb).
pub fn weight(na: u32, nb: u32) -> f64 {
    f64::from(na) * f64::from(nb) / f64::from(na + nb)
}
