//! What a graph is made of: operations, operands, and what is known of a node.

use crate::dim::Dim;

/// A finite f64 that can be hashed and compared by its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Num(u64);

impl Num {
    /// Wraps a number; -0 becomes 0, so that equal constants are one constant.
    pub fn new(x: f64) -> Self {
        Self((x + 0.0).to_bits())
    }

    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// What an expression reads from a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Input {
    /// Opening price.
    Open,
    /// Highest price.
    High,
    /// Lowest price.
    Low,
    /// Closing price.
    Close,
    /// Traded volume.
    Volume,
    /// Extra column, by its index in [`Graph::extras`].
    Extra(u16),
    /// Hour of day (UTC, 0..=23) from the timestamp.
    Hour,
    /// Day of week (UTC, Monday = 0) from the timestamp.
    Weekday,
}

/// How a recursive step finds its first value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seed {
    /// The mean of the first n inputs, at the n-th.
    Mean,
    /// The first input.
    First,
    /// TA-Lib's directional movement: the sum of the first n - 1 inputs over n, then one step at the n-th.
    Partial,
}

/// One recursive step `s + coef * (x - s)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chain {
    /// Smoothing coefficient.
    pub coef: Num,
    /// Inputs that the seed takes.
    pub n: u32,
    /// Inputs passed over before the seed (TA-Lib's late MACD seed).
    pub skip: u32,
    /// Kind of seed.
    pub seed: Seed,
}

/// One step of the graph. Operands are in the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the operation of its name; the arithmetic is in primitives/")]
pub enum Op {
    Input(Input),
    Add,
    Sub,
    Mul,
    Min,
    Max,
    Lt,
    Le,
    Eq,
    Abs,
    Sqrt,
    Sign,
    Log {
        neutral: Num,
    },
    Sin {
        period: Num,
    },
    Cos {
        period: Num,
    },
    Where,
    Ratio {
        neutral: Num,
        sat: Num,
    },
    /// IEEE division, for the `legacy` profile only.
    Div,
    /// x where x > 0, else 0, also for null: the `legacy` profile's gain and loss.
    Pos,
    /// The second where the first is null: `tr0`, the first row of `obv`.
    OrElse,
    /// ±1e6 and no infinity: the last step of every `legacy` output.
    Tame,
    Half,
    Merge {
        w: Num,
    },
    M2Pair,
    M2Merge {
        c: Num,
    },
    CovPair,
    CovMerge {
        c: Num,
    },
    MeanAbsDev {
        n: u32,
    },
    Chain(Chain),
    CumSum,
    /// Made by `fuse.rs` only: `ratio * mul + add`, each rounded, in one pass.
    RatioAffine {
        neutral: Num,
        sat: Num,
        mul: Num,
        add: Num,
    },
    /// Made by `fuse.rs` only: the last merge of a standard deviation, `sqrt(m2 * share)`.
    StdMerge {
        c: Num,
        share: Num,
    },
    /// Made by `fuse.rs` only: `M2Merge` and `Merge` (or, with a share of 0, `Half`) of the same parts.
    Level {
        c: Num,
        w: Num,
    },
    /// Made by `fuse.rs` only: `M2Pair` and `Half` of the same two values in one pass.
    Level0,
    /// Made by `fuse.rs` only: all merges of a mean over a short window in one pass.
    Mean {
        n: u32,
    },
    /// Made by `fuse.rs` only: all merges of a standard deviation over a short window in one pass.
    Spread {
        n: u32,
        share: Num,
    },
}

/// An operand: a constant, or a node read some rows back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expr {
    /// The same value in every row.
    Const(Num),
    /// The value of node `id`, `lag` rows ago.
    Node {
        /// Index in [`Graph::nodes`].
        id: u32,
        /// Rows back.
        lag: u32,
    },
}

impl From<f64> for Expr {
    fn from(x: f64) -> Self {
        Self::Const(Num::new(x))
    }
}

/// How far back a value depends on the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Rows read, the current one included, by the non-recursive part.
    pub rows: u32,
    /// An exponentially forgetting step is on the way.
    pub recursive: bool,
    /// A step that never forgets (`cumsum`) is on the way.
    pub anchored: bool,
}

/// A node with what was derived for it.
#[derive(Debug, Clone)]
pub struct Node {
    /// The step.
    pub op: Op,
    /// Its operands.
    pub args: Vec<Expr>,
    /// Dimension of the value.
    pub dim: Dim,
    /// Smallest and largest possible value.
    pub range: (f64, f64),
    /// No literal, logarithm or extra column has tied the value to a price or volume level.
    pub level_free: bool,
    /// Leading null rows of a series of valid bars.
    pub warmup: u32,
    /// How far back it depends on the past.
    pub memory: Memory,
}

/// Arithmetic profile (part of the fingerprint).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Finite by construction.
    Safe,
    /// Seeds and warm-up as TA-Lib 0.8.
    Talib,
    /// The formulas of the engine that this one replaces, with its epsilon.
    Legacy {
        /// Added to denominators.
        eps: Num,
    },
}
