//! Between which values a step can lie, derived from its operands.

use std::collections::HashSet;

use super::{Expr, Graph, Input, Op};
use crate::dim::Dim;
use crate::primitives::elementwise as el;

/// Rows a running sum is assumed to have at most.
const MAX_ROWS: f64 = 1e12;

impl Graph {
    /// The largest |num / den| that a ratio of these operands (num, den, lim) can meet before it saturates.
    pub(super) fn quotient(&self, args: &[Expr]) -> f64 {
        let [num, den, lim] = [args[0], args[1], args[2]].map(|x| self.facts(x).1);
        if let Some(mean) = self.weighted(args[0], args[1]) {
            return mean;
        }
        let least = if den.0 > 0.0 || den.1 < 0.0 { el::min(den.0.abs(), den.1.abs()) } else { 0.0 };
        el::max(num.0.abs(), num.1.abs()) / el::max(least, lim.0)
    }

    /// The largest |x| if `num` is to `den` as the sum of x * w is to the sum of w, with w >= 0: their
    /// quotient is a mean of x, whatever the weights are.
    fn weighted(&self, num: Expr, den: Expr) -> Option<f64> {
        let (mut todo, mut seen, mut most) = (vec![(num, den)], HashSet::new(), 0.0);
        while let Some(pair) = todo.pop() {
            let (Expr::Node { id: a, lag: here }, Expr::Node { id: b, lag: there }) = pair else { return None };
            let (top, below) = (&self.nodes[a as usize], &self.nodes[b as usize]);
            if here != there || below.range.0 < 0.0 {
                return None;
            }
            if !seen.insert((a, b)) {
                continue;
            }
            let weight = top.args.iter().position(|x| *x == Expr::Node { id: b, lag: 0 });
            if let (Op::Mul, Some(at)) = (top.op, weight) {
                let x = self.facts(top.args[1 - at]).1;
                most = el::max(most, el::max(x.0.abs(), x.1.abs()));
                continue;
            }
            let linear = matches!(top.op, Op::Add | Op::Mul | Op::Half | Op::Merge { .. } | Op::Chain(_));
            if top.op != below.op || !linear {
                return None;
            }
            let factor = |x: &Expr| top.op == Op::Mul && matches!(x, Expr::Const(_));
            todo.extend(
                top.args.iter().copied().zip(below.args.iter().copied()).filter(|(x, w)| !(factor(x) && x == w)),
            );
        }
        Some(most)
    }
}

/// Smallest and largest value of a step, from those of its operands.
pub(super) fn range(op: Op, r: &[(f64, f64)], dim: Dim) -> (f64, f64) {
    let span = |i: usize| r[i].1 - r[i].0;
    match op {
        Op::Input(Input::Volume) => (0.0, 1e30),
        Op::Input(Input::Extra(_)) => (-1e100, 1e100),
        Op::Input(Input::Hour) => (0.0, 23.0),
        Op::Input(Input::Weekday) => (0.0, 6.0),
        Op::Input(_) => (1e-110, 1e110),
        Op::Add => (r[0].0 + r[1].0, r[0].1 + r[1].1),
        Op::Sub => (r[0].0 - r[1].1, r[0].1 - r[1].0),
        Op::Mul => corners(r[0], r[1]),
        Op::Min => (el::min(r[0].0, r[1].0), el::min(r[0].1, r[1].1)),
        Op::Max => (el::max(r[0].0, r[1].0), el::max(r[0].1, r[1].1)),
        Op::Lt | Op::Le | Op::Eq => (0.0, 1.0),
        Op::Abs => (0.0, el::max(r[0].0.abs(), r[0].1.abs())),
        Op::Sqrt => (el::sqrt(r[0].0), el::sqrt(r[0].1)),
        Op::Sign | Op::Sin { .. } | Op::Cos { .. } => (-1.0, 1.0),
        Op::Log { neutral } => {
            let n = neutral.get();
            let lo = if r[0].0 > 0.0 { libm::log(r[0].0) } else { -800.0 };
            let hi = if r[0].1 > 0.0 { libm::log(r[0].1) } else { n };
            if r[0].0 > 0.0 { (lo, hi) } else { (el::min(lo, n), el::max(hi, n)) }
        }
        Op::Where => (el::min(r[1].0, r[2].0), el::max(r[1].1, r[2].1)),
        Op::Ratio { neutral, sat } => {
            let positive = r[0].0 >= 0.0 && r[1].0 >= 0.0;
            (el::min(if positive { 0.0 } else { -sat.get() }, neutral.get()), el::max(sat.get(), neutral.get()))
        }
        // The legacy profile divides as IEEE does; what passes its ±1e6 is clipped after the graph.
        Op::Div => {
            // Two bars may lie at the two ends of the accepted range.
            let b = libm::pow(10.0, dim.bound_exponent() + 120.0);
            (-b, b)
        }
        Op::Pos => (0.0, el::max(r[0].1, 0.0)),
        Op::Tame => (el::max(r[0].0, -1e6), el::min(r[0].1, 1e6)),
        Op::OrElse | Op::Half | Op::Merge { .. } => (el::min(r[0].0, r[1].0), el::max(r[0].1, r[1].1)),
        Op::M2Pair => (0.0, 0.5 * span(0) * span(0)),
        Op::M2Merge { c } => (0.0, r[0].1 + r[1].1 + span(2) * span(2) * c.get()),
        Op::CovPair => sym(0.5 * span(0) * span(2)),
        Op::CovMerge { c } => sym(r[0].1 + r[1].1 + span(2) * span(4) * c.get()),
        Op::MeanAbsDev { .. } => (0.0, span(0)),
        Op::Chain(_)
        | Op::RatioAffine { .. }
        | Op::StdMerge { .. }
        | Op::Level { .. }
        | Op::Level0
        | Op::Mean { .. }
        | Op::Spread { .. } => r[0],
        Op::CumSum => (el::min(r[0].0 * MAX_ROWS, 0.0), el::max(r[0].1 * MAX_ROWS, 0.0)),
    }
}

fn sym(x: f64) -> (f64, f64) {
    (-x, x)
}

fn corners(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    let c = [a.0 * b.0, a.0 * b.1, a.1 * b.0, a.1 * b.1];
    c.iter().fold((c[0], c[0]), |(lo, hi), &x| (el::min(lo, x), el::max(hi, x)))
}
