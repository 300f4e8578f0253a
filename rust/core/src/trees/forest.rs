//! A checked ensemble: whatever file it came from, each tree is a tree, and all numbers are in range.

use super::lanes::{Avx2, Avx512, Lanes};
use super::source::refused;
use crate::error::Result;

/// Columns of an input at most.
pub const MAX_FEATURES: usize = 1 << 20;
/// Columns that the trees of one model may really read.
pub const MAX_USED: usize = 30_000;
/// Raw outputs per row at most.
pub const MAX_OUTPUTS: usize = 4_096;
/// Leaves of one tree at most.
pub const MAX_LEAVES: usize = 32_000;
/// Levels of one tree at most.
pub const MAX_LEVELS: usize = 1_000;

/// The arithmetic of one library: its element type, and which way a value goes at a threshold.
pub trait Real: Copy + PartialOrd + Send + Sync + 'static {
    /// The steps of a block, by CPU level.
    type Avx2: Lanes<Self>;
    /// As above.
    type Avx512: Lanes<Self>;
    /// Zero.
    const ZERO: Self;
    /// Not a number: a missing value.
    const NAN: Self;
    /// Smaller than all thresholds.
    const LOWEST: Self;
    /// Larger than all thresholds, or as large.
    const HIGHEST: Self;
    /// Whether `self` goes left at `threshold`; false for NaN.
    fn left(self, threshold: Self) -> bool;
    /// `self + other`.
    fn plus(self, other: Self) -> Self;
    /// From an f32 input, as the library takes it.
    fn from_f32(x: f32) -> Self;
    /// From an f64 input, as the library takes it.
    fn from_f64(x: f64) -> Self;
    /// Widened, for transformations.
    fn to_f64(self) -> f64;
    /// Order of two thresholds.
    fn order(self, other: Self) -> std::cmp::Ordering;
}

/// XGBoost: everything in f32, `x < t` goes left.
impl Real for f32 {
    type Avx2 = Avx2;
    type Avx512 = Avx512;
    const ZERO: Self = 0.0;
    const NAN: Self = f32::NAN;
    const LOWEST: Self = f32::NEG_INFINITY;
    const HIGHEST: Self = f32::INFINITY;

    #[inline(always)]
    fn left(self, threshold: Self) -> bool {
        self < threshold
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }

    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x as f32
    }

    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn order(self, other: Self) -> std::cmp::Ordering {
        self.total_cmp(&other)
    }
}

/// LightGBM: everything in f64, `x <= t` goes left.
impl Real for f64 {
    type Avx2 = Avx2;
    type Avx512 = Avx512;
    const ZERO: Self = 0.0;
    const NAN: Self = f64::NAN;
    const LOWEST: Self = f64::NEG_INFINITY;
    const HIGHEST: Self = f64::INFINITY;

    #[inline(always)]
    fn left(self, threshold: Self) -> bool {
        self <= threshold
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        Self::from_f64(f64::from(x))
    }

    /// LightGBM's `predict` takes a row as sparse: what is this near to zero is zero.
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        const ZERO_THRESHOLD: f64 = 1e-35_f32 as f64;
        if x.abs() <= ZERO_THRESHOLD { 0.0 } else { x }
    }

    fn to_f64(self) -> f64 {
        self
    }

    fn order(self, other: Self) -> std::cmp::Ordering {
        self.total_cmp(&other)
    }
}

/// An inner node. A child `c >= 0` is a split, `c < 0` the leaf `!c`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Split<T> {
    /// Column of the input.
    pub(crate) feature: u32,
    pub(crate) threshold: T,
    /// Where a missing value goes.
    pub(crate) nan_left: bool,
    pub(crate) left: i32,
    pub(crate) right: i32,
}

/// A tree. The root is split 0, or the only leaf where there is no split.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tree<T> {
    pub(crate) splits: Vec<Split<T>>,
    pub(crate) leaves: Vec<T>,
    /// Raw output that the tree adds to.
    pub(crate) output: u32,
}

/// A whole model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Forest<T> {
    pub(crate) trees: Vec<Tree<T>>,
    /// What each raw output starts from.
    pub(crate) base: Vec<T>,
    /// Columns of an input.
    pub(crate) features: usize,
}

impl<T: Real> Forest<T> {
    /// Checks all that evaluation relies on. Errors name the tree and the node.
    pub(crate) fn check(&self) -> Result<()> {
        if self.features == 0 || self.features > MAX_FEATURES {
            return Err(refused(format!("{} features: 1 to {MAX_FEATURES} are supported", self.features)));
        }
        if self.base.is_empty() || self.base.len() > MAX_OUTPUTS {
            return Err(refused(format!("{} outputs: 1 to {MAX_OUTPUTS} are supported", self.base.len())));
        }
        for (number, tree) in self.trees.iter().enumerate() {
            tree.check(self.features, self.base.len()).map_err(|why| refused(format!("tree {number}: {why}")))?;
        }
        Ok(())
    }
}

impl<T: Real> Tree<T> {
    fn check(&self, features: usize, outputs: usize) -> std::result::Result<(), String> {
        if self.output as usize >= outputs {
            return Err(format!("adds to output {}, of {outputs}", self.output));
        }
        if self.leaves.len() != self.splits.len() + 1 || self.leaves.len() > MAX_LEAVES {
            let (leaves, splits) = (self.leaves.len(), self.splits.len());
            return Err(format!("{leaves} leaves for {splits} splits (at most {MAX_LEAVES} leaves are supported)"));
        }
        for (i, leaf) in self.leaves.iter().enumerate() {
            if !leaf.to_f64().is_finite() {
                return Err(format!("leaf {i} is {}", leaf.to_f64()));
            }
        }
        for (i, split) in self.splits.iter().enumerate() {
            if split.feature as usize >= features {
                return Err(format!("split {i} reads feature {}, of {features}", split.feature));
            }
            // No number is below -inf, so `LOWEST` could not stand for "goes left" there.
            if split.threshold.to_f64().is_nan() || !T::LOWEST.left(split.threshold) {
                return Err(format!("split {i} has the threshold {}", split.threshold.to_f64()));
            }
        }
        self.check_shape()
    }

    /// Every split and leaf has exactly one parent, and the root none: then there is no cycle.
    fn check_shape(&self) -> std::result::Result<(), String> {
        if self.splits.is_empty() {
            return Ok(());
        }
        let (mut splits, mut leaves) = (vec![false; self.splits.len()], vec![false; self.leaves.len()]);
        splits[0] = true;
        let mut todo = vec![(0_usize, 1_usize)];
        while let Some((i, level)) = todo.pop() {
            if level > MAX_LEVELS {
                return Err(format!("more than {MAX_LEVELS} levels"));
            }
            for child in [self.splits[i].left, self.splits[i].right] {
                let (seen, at) = if child < 0 { (&mut leaves, !child) } else { (&mut splits, child) };
                let at = at as usize;
                match seen.get_mut(at) {
                    None => return Err(format!("split {i} has the child {child}, which does not exist")),
                    Some(true) => return Err(format!("split {i} has the child {child}, which has a parent already")),
                    Some(new) => *new = true,
                }
                if child >= 0 {
                    todo.push((at, level + 1));
                }
            }
        }
        // As many leaves as splits + 1, each child new: with any split left out, some leaf would be, too.
        if splits.iter().chain(&leaves).all(|s| *s) { Ok(()) } else { Err("nodes that no path reaches".into()) }
    }

    /// Levels below each split, the split's own included; index 0 is the whole tree.
    pub(crate) fn levels(&self) -> usize {
        let mut deepest = 0;
        let mut todo = if self.splits.is_empty() { vec![] } else { vec![(0_usize, 1_usize)] };
        while let Some((i, level)) = todo.pop() {
            deepest = deepest.max(level);
            for child in [self.splits[i].left, self.splits[i].right] {
                if child >= 0 {
                    todo.push((child as usize, level + 1));
                }
            }
        }
        deepest
    }
}
