//! The hash-consed expression graph. Every node is one elementwise, merge or recursive step; a lag is
//! not a node but part of how an operand is read. Equal steps on equal operands are one node, so
//! `ema(12)` inside MACD and inside a user's formula is computed once.
//!
//! Dimension, range, warm-up and memory of a node are derived here when it is made.

mod node;
mod range;

use std::collections::HashMap;

use crate::dim::Dim;
use crate::primitives::{elementwise as el, ratio as rt};
use range::range;

pub use node::{Chain, Expr, Input, Memory, Node, Num, Op, Profile, Seed};

/// Largest magnitude a node may reach.
pub const LIMIT: f64 = 1e300;

/// The graph of one feature set.
#[derive(Debug, Clone)]
pub struct Graph {
    /// Nodes; operands come before the nodes that read them.
    pub nodes: Vec<Node>,
    /// Names of the extra columns read.
    pub extras: Vec<String>,
    /// Arithmetic profile.
    pub profile: Profile,
    /// First thing that went wrong while building, if any: the builder methods do not fail, so that an
    /// indicator reads like its formula; whoever drives them takes the error out.
    pub error: Option<String>,
    /// Which nodes are the mean, or the sum of squared deviations from it, of how many rows of what.
    pub windows: HashMap<u32, (Expr, u32)>,
    index: HashMap<(Op, Vec<Expr>), u32>,
}

impl Graph {
    /// An empty graph.
    pub fn new(profile: Profile) -> Self {
        Self {
            nodes: Vec::new(),
            extras: Vec::new(),
            profile,
            error: None,
            windows: HashMap::new(),
            index: HashMap::new(),
        }
    }

    /// True in the `talib` profile.
    pub fn is_talib(&self) -> bool {
        self.profile == Profile::Talib
    }

    /// The epsilon of the `legacy` profile, in that profile only.
    pub fn legacy_eps(&self) -> Option<f64> {
        match self.profile {
            Profile::Legacy { eps } => Some(eps.get()),
            _ => None,
        }
    }

    /// Notes the first error.
    pub fn fail(&mut self, message: impl Into<String>) -> Expr {
        self.error.get_or_insert(message.into());
        Expr::from(0.0)
    }

    /// A column of the bars.
    pub fn input(&mut self, input: Input) -> Expr {
        self.push(Op::Input(input), Vec::new())
    }

    /// Closing price.
    pub fn close(&mut self) -> Expr {
        self.input(Input::Close)
    }

    /// Opening price.
    pub fn open(&mut self) -> Expr {
        self.input(Input::Open)
    }

    /// Highest price.
    pub fn high(&mut self) -> Expr {
        self.input(Input::High)
    }

    /// Lowest price.
    pub fn low(&mut self) -> Expr {
        self.input(Input::Low)
    }

    /// Volume.
    pub fn volume(&mut self) -> Expr {
        self.input(Input::Volume)
    }

    /// An extra column, by name.
    pub fn extra(&mut self, name: &str) -> Expr {
        let at = self.extras.iter().position(|e| e == name).unwrap_or_else(|| {
            self.extras.push(name.to_owned());
            self.extras.len() - 1
        });
        self.input(Input::Extra(at as u16))
    }

    /// The value `n` rows ago. A constant has no rows and stays itself.
    pub fn lag(&mut self, x: impl Into<Expr>, n: u32) -> Expr {
        match x.into() {
            Expr::Node { id, lag } => Expr::Node { id, lag: lag.saturating_add(n) },
            c @ Expr::Const(_) => c,
        }
    }

    /// Derived facts of an operand: (dimension, range, level-free, warm-up, memory).
    pub fn facts(&self, x: Expr) -> (Dim, (f64, f64), bool, u32, Memory) {
        match x {
            Expr::Const(c) => (Dim::Any, (c.get(), c.get()), true, 0, Memory::default()),
            Expr::Node { id, lag } => {
                let n = &self.nodes[id as usize];
                let memory = Memory { rows: n.memory.rows.saturating_add(lag), ..n.memory };
                (n.dim, n.range, n.level_free, n.warmup.saturating_add(lag), memory)
            }
        }
    }

    /// Dimension of an operand.
    pub fn dim(&self, x: Expr) -> Dim {
        self.facts(x).0
    }

    /// True when the value does not change if all prices, or all volumes, are multiplied by one factor.
    pub fn is_scale_free(&self, x: Expr) -> bool {
        let (dim, _, level_free, ..) = self.facts(x);
        level_free && !dim.is_dimensional()
    }

    /// Narrows what is known of a node's range (an indicator's declared bounds).
    pub fn bounded(&mut self, x: Expr, lo: Option<f64>, hi: Option<f64>) {
        if let Expr::Node { id, .. } = x {
            let r = &mut self.nodes[id as usize].range;
            r.0 = lo.map_or(r.0, |lo| el::max(r.0, lo));
            r.1 = hi.map_or(r.1, |hi| el::min(r.1, hi));
        }
    }

    /// Adds a step, or finds it; folds constants.
    pub fn push(&mut self, op: Op, args: Vec<Expr>) -> Expr {
        if let Some(c) = fold(op, &args) {
            return if c.abs() <= LIMIT { Expr::from(c) } else { self.fail("the constant is too large") };
        }
        if matches!(
            op,
            Op::Chain(_) | Op::CumSum | Op::MeanAbsDev { .. } | Op::Half | Op::M2Pair | Op::CovPair | Op::OrElse
        ) && args.iter().any(|a| matches!(a, Expr::Const(_)))
        {
            return self.fail("a constant has no rows: this function needs a series");
        }
        let key = (op, args);
        if let Some(&id) = self.index.get(&key) {
            return Expr::Node { id, lag: 0 };
        }
        let node = self.derive(op, &key.1);
        // The legacy formulas bound nothing on the way; every output is clipped after the graph.
        if self.legacy_eps().is_none() && !(el::max(node.range.0.abs(), node.range.1.abs()) <= LIMIT) {
            return self.fail("the value could pass 1e300; bound it with clip(x, lo, hi) or divide by a level first");
        }
        let id = self.nodes.len() as u32;
        self.nodes.push(node);
        self.index.insert(key, id);
        Expr::Node { id, lag: 0 }
    }

    fn derive(&mut self, op: Op, args: &[Expr]) -> Node {
        let facts: Vec<_> = args.iter().map(|&a| self.facts(a)).collect();
        let (dim, tied) = self.dimension(op, &facts.iter().map(|f| f.0).collect::<Vec<_>>(), args);
        let mut level_free = facts.iter().all(|f| f.2) && !tied;
        let mut warmup = facts.iter().map(|f| f.3).max().unwrap_or(0);
        let mut memory = Memory { rows: 1, ..Memory::default() };
        for f in &facts {
            memory.rows = memory.rows.max(f.4.rows);
            memory.recursive |= f.4.recursive;
            memory.anchored |= f.4.anchored;
        }
        match op {
            Op::Chain(c) => {
                memory.recursive |= c.coef.get() > 0.0;
                memory.anchored |= c.coef.get() == 0.0;
                warmup = warmup.saturating_add(c.skip).saturating_add(c.n - 1);
            }
            Op::CumSum => memory.anchored = true,
            Op::MeanAbsDev { n } => {
                warmup = warmup.max(facts[0].3.saturating_add(n - 1));
                memory.rows = memory.rows.max(facts[0].4.rows.saturating_add(n - 1));
            }
            Op::Pos => warmup = 0,
            Op::OrElse => warmup = facts[0].3.min(facts[1].3),
            Op::Log { .. } => level_free &= !facts[0].0.is_dimensional(),
            // Where a quotient saturates is a level, if it has a dimension.
            Op::Ratio { sat, .. } => level_free &= !dim.is_dimensional() || self.quotient(args) <= sat.get(),
            _ => {}
        }
        let ranges: Vec<_> = facts.iter().map(|f| f.1).collect();
        Node { op, args: args.to_vec(), dim, range: range(op, &ranges, dim), level_free, warmup, memory }
    }

    /// Dimension of a step, and whether a literal or an extra column ties it to a level.
    fn dimension(&mut self, op: Op, dims: &[Dim], args: &[Expr]) -> (Dim, bool) {
        let zero = |a: &Expr| matches!(a, Expr::Const(c) if c.get() == 0.0);
        let mut same = |i: usize, j: usize| {
            let Some(dim) = dims[i].unify(dims[j]) else {
                let what = if matches!(op, Op::Add | Op::Sub) { "add or subtract" } else { "compare" };
                let (a, b) = (dims[i], dims[j]);
                self.fail(format!("cannot {what} {a} and {b}: divide one by a value of its own kind first"));
                return (Dim::NONE, false);
            };
            let tied = dim.is_dimensional()
                && ((dims[i] == Dim::Any && !zero(&args[i])) || (dims[j] == Dim::Any && !zero(&args[j])));
            (dim, tied)
        };
        match op {
            Op::Input(Input::Open | Input::High | Input::Low | Input::Close) => (Dim::PRICE, false),
            Op::Input(Input::Volume) => (Dim::VOLUME, false),
            Op::Input(Input::Extra(_)) => (Dim::Any, false),
            Op::Add | Op::Sub | Op::Min | Op::Max | Op::OrElse | Op::Half | Op::Merge { .. } => same(0, 1),
            Op::Lt | Op::Le | Op::Eq => (Dim::NONE, same(0, 1).1),
            Op::Where => same(1, 2),
            Op::Mul => match (args[0], args[1]) {
                (Expr::Const(_), _) => (dims[1], false),
                (_, Expr::Const(_)) => (dims[0], false),
                _ => (dims[0].times(dims[1], 1), mixed(dims[0], dims[1])),
            },
            Op::Ratio { .. } | Op::Div => {
                let (dim, tied) = match (args[0], args[1]) {
                    (Expr::Const(_), _) => (Dim::NONE.times(dims[1], -1), false),
                    (_, Expr::Const(_)) => (dims[0], false),
                    _ => (dims[0].times(dims[1], -1), mixed(dims[0], dims[1])),
                };
                // A neutral value other than 0 is a level of its own.
                let level = matches!(op, Op::Ratio { neutral, .. } if neutral.get() != 0.0);
                (dim, tied || (level && dim.is_dimensional()))
            }
            Op::M2Pair => (dims[0].times(dims[0], 1), false),
            Op::M2Merge { .. } => (dims[2].times(dims[2], 1), false),
            Op::CovPair => (dims[0].times(dims[2], 1), mixed(dims[0], dims[2])),
            Op::CovMerge { .. } => (dims[2].times(dims[4], 1), mixed(dims[2], dims[4])),
            Op::Sqrt => {
                if dims[0].sqrt().is_none() {
                    self.fail("too many square roots of a price or volume");
                }
                // The root of an odd power of 2 is no power of 2: bits would change with the level.
                (dims[0].sqrt().unwrap_or(Dim::NONE), !dims[0].is_square())
            }
            Op::Abs | Op::Pos | Op::Tame | Op::MeanAbsDev { .. } | Op::Chain(_) | Op::CumSum => (dims[0], false),
            Op::RatioAffine { .. }
            | Op::StdMerge { .. }
            | Op::Level { .. }
            | Op::Level0
            | Op::Mean { .. }
            | Op::Spread { .. } => (Dim::Any, true),
            Op::Input(Input::Hour | Input::Weekday) | Op::Sign | Op::Log { .. } | Op::Sin { .. } | Op::Cos { .. } => {
                (Dim::NONE, false)
            }
        }
    }

    /// Bars until a recursive value forgets its start to `digits` digits: warm-up plus the sum, over the
    /// longest recursive path, of the bars each step needs. Steps that never forget count 0.
    pub fn bars_for(&self, x: Expr, digits: f64) -> u64 {
        let mut longest = vec![0_u64; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            let before = node.args.iter().map(|a| path(&longest, *a)).max().unwrap_or(0);
            let own = match node.op {
                // A coefficient of 0 keeps the first value, and forgets nothing.
                Op::Chain(c) if c.coef.get() > 0.0 => {
                    (digits * std::f64::consts::LN_10 / -libm::log(1.0 - c.coef.get())).ceil() as u64
                }
                _ => 0,
            };
            longest[i] = before + own;
        }
        u64::from(self.facts(x).3) + path(&longest, x)
    }
}

/// True when an extra column of unknown kind meets a price or volume.
fn mixed(a: Dim, b: Dim) -> bool {
    (a == Dim::Any && b.is_dimensional()) || (b == Dim::Any && a.is_dimensional())
}

fn path(longest: &[u64], x: Expr) -> u64 {
    match x {
        Expr::Const(_) => 0,
        Expr::Node { id, .. } => longest[id as usize],
    }
}

/// Value of a step whose operands are all constants.
fn fold(op: Op, args: &[Expr]) -> Option<f64> {
    let c: Vec<f64> = args
        .iter()
        .map(|a| match a {
            Expr::Const(c) => Some(c.get()),
            Expr::Node { .. } => None,
        })
        .collect::<Option<_>>()?;
    Some(match (op, c.as_slice()) {
        (Op::Add, &[a, b]) => a + b,
        (Op::Sub, &[a, b]) => a - b,
        (Op::Mul, &[a, b]) => a * b,
        (Op::Min, &[a, b]) => el::min(a, b),
        (Op::Max, &[a, b]) => el::max(a, b),
        (Op::Lt, &[a, b]) => el::lt(a, b),
        (Op::Le, &[a, b]) => el::le(a, b),
        (Op::Eq, &[a, b]) => el::eq(a, b),
        (Op::Abs, &[a]) => a.abs(),
        (Op::Sqrt, &[a]) => el::sqrt(a),
        (Op::Sign, &[a]) => el::sign(a),
        (Op::Log { neutral }, &[a]) => el::log(a, neutral.get()),
        (Op::Where, &[p, a, b]) => el::select(p, a, b),
        (Op::OrElse, &[a, b]) => el::or_else(a, b),
        (Op::Ratio { neutral, sat }, &[a, b, l]) => rt::ratio(a, b, l, neutral.get(), sat.get()),
        (Op::Div, &[a, b]) => a / b,
        _ => return None,
    })
}
