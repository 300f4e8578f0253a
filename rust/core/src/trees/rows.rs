//! One row at a time: every tree is walked from its root, eight trees side by side so that their loads overlap.
//! There is no branch on a value: a leaf leads to itself, and trees of about the same depth go together.

use super::forest::{Forest, MAX_USED, Real, Tree};
use super::source::refused;
use crate::error::Result;

/// Trees that are walked side by side.
const SIDE: usize = 8;
/// The entry of a row that holds NaN: a leaf reads it.
const NOWHERE: u16 = 0;

/// A split, or a leaf. The right child is the one after the left.
#[derive(Debug, Clone, Copy)]
struct Node<T> {
    /// The value of a leaf stands here, too.
    threshold: T,
    /// Entry of the row.
    entry: u16,
    /// Left child, counted from the tree's first node. A leaf always goes right: it has itself less 1.
    left: u16,
}

/// Eight trees.
#[derive(Debug, Clone)]
struct Walk {
    /// First nodes.
    start: [u32; SIDE],
    /// Numbers of the trees.
    tree: [u32; SIDE],
    levels: u32,
}

/// All trees, ready to be walked.
#[derive(Debug, Clone)]
pub(crate) struct Rows<T> {
    nodes: Vec<Node<T>>,
    walks: Vec<Walk>,
    /// Columns of the input that any tree reads. Entry 1 + 2k of a row is column `used[k]`, and entry 2 + 2k the
    /// same with NaN made smaller than all thresholds, for splits that send it left.
    pub(crate) used: Vec<u32>,
    /// Output of each tree.
    outputs: Vec<u32>,
    base: Vec<T>,
}

/// What walking a row needs besides the trees.
pub(crate) struct Scratch<T> {
    row: Vec<T>,
    leaves: Vec<T>,
}

impl<T: Real> Rows<T> {
    /// Lays out a checked forest.
    pub(crate) fn new(forest: &Forest<T>) -> Result<Self> {
        let mut used: Vec<u32> = forest.trees.iter().flat_map(|t| t.splits.iter().map(|s| s.feature)).collect();
        used.sort_unstable();
        used.dedup();
        if used.len() > MAX_USED {
            return Err(refused(format!("{} columns are read: at most {MAX_USED} are supported", used.len())));
        }
        let (mut nodes, mut starts) = (Vec::new(), Vec::new());
        for tree in &forest.trees {
            starts.push(u32::try_from(nodes.len()).map_err(|_| refused("more than 4 billion nodes"))?);
            lay_out(tree, &used, &mut nodes);
        }
        let mut order: Vec<(usize, u32)> = forest.trees.iter().map(Tree::levels).zip(0..).collect();
        order.sort_unstable();
        let walk = |chunk: &[(usize, u32)]| {
            // The last walk takes its last tree several times.
            let tree: [u32; SIDE] = std::array::from_fn(|k| chunk[k.min(chunk.len() - 1)].1);
            let levels = chunk[chunk.len() - 1].0 as u32;
            Walk { start: tree.map(|t| starts[t as usize]), tree, levels }
        };
        let walks = order.chunks(SIDE).map(walk).collect();
        let outputs = forest.trees.iter().map(|t| t.output).collect();
        Ok(Self { nodes, walks, used, outputs, base: forest.base.clone() })
    }

    pub(crate) fn scratch(&self) -> Scratch<T> {
        Scratch { row: vec![T::NAN; 1 + 2 * self.used.len()], leaves: vec![T::ZERO; self.outputs.len()] }
    }

    /// The raw outputs of the row whose columns `get` gives.
    #[inline(always)]
    pub(crate) fn eval(&self, scratch: &mut Scratch<T>, get: impl Fn(usize) -> T, out: &mut [T]) {
        for (&column, pair) in self.used.iter().zip(scratch.row[1..].as_chunks_mut::<2>().0) {
            let x = get(column as usize);
            *pair = [x, if x != x { T::LOWEST } else { x }];
        }
        for walk in &self.walks {
            let mut at = [0_u16; SIDE];
            for _ in 0..walk.levels {
                for k in 0..SIDE {
                    let node = &self.nodes[walk.start[k] as usize + usize::from(at[k])];
                    let right = !scratch.row[usize::from(node.entry)].left(node.threshold);
                    at[k] = node.left.wrapping_add(u16::from(right));
                }
            }
            for k in 0..SIDE {
                let node = &self.nodes[walk.start[k] as usize + usize::from(at[k])];
                scratch.leaves[walk.tree[k] as usize] = node.threshold;
            }
        }
        out.copy_from_slice(&self.base);
        if let [only] = out {
            *only = scratch.leaves.iter().fold(*only, |sum, &leaf| sum.plus(leaf));
            return;
        }
        for (&output, &leaf) in self.outputs.iter().zip(&scratch.leaves) {
            let sum = &mut out[output as usize];
            *sum = sum.plus(leaf);
        }
    }
}

/// Appends a tree, breadth first, so that two children stand side by side.
fn lay_out<T: Real>(tree: &Tree<T>, used: &[u32], nodes: &mut Vec<Node<T>>) {
    let root = if tree.splits.is_empty() { !0 } else { 0 };
    let mut order: Vec<i32> = vec![root];
    let mut i = 0;
    while let Some(&at) = order.get(i) {
        if at < 0 {
            let left = (i as u16).wrapping_sub(1);
            nodes.push(Node { threshold: tree.leaves[!at as usize], entry: NOWHERE, left });
        } else {
            let split = &tree.splits[at as usize];
            let k = used.partition_point(|&u| u < split.feature) as u16;
            let entry = 1 + 2 * k + u16::from(split.nan_left);
            nodes.push(Node { threshold: split.threshold, entry, left: order.len() as u16 });
            order.extend([split.left, split.right]);
        }
        i += 1;
    }
}
