//! Sixty-four rows at a time, without walking. A value matters only through its *rank* among the thresholds of its
//! column, one byte. Every split of a tree is then decided for all rows at once (one compare of bytes), and from the
//! bottom up each split picks between the leaf numbers of its two sides (one blend). No step depends on a value, and
//! all of them are plain loops over 64 lanes, which vectorise at every CPU level.

use super::forest::{Forest, Real, Tree};
use super::lanes::Lanes;

/// Rows of a block.
pub const LANES: usize = 64;
/// One byte per row.
pub type Bytes = [u8; LANES];
/// Thresholds, or leaves.
pub type Table<T> = [T; BYTE_LEAVES];
/// Thresholds that a byte tells apart. A column with more has several ranks, each over a part of them.
const PART: usize = 255;
/// Leaves that a byte tells apart; a forest with a larger tree is walked instead.
pub const BYTE_LEAVES: usize = 256;
/// Leaf numbers that are on the way; a tree of 256 leaves, larger side first, needs 8.
const SLOTS: usize = 16;

/// A part of the thresholds of a column, ascending, padded with the highest value.
#[derive(Debug, Clone)]
struct Ranks<T> {
    column: u32,
    thresholds: Box<Table<T>>,
    /// Largest power of two in the count.
    step: u8,
}

/// `scratch[to] = if scratch[rank] <= limit { scratch[left] } else { scratch[right] }`, per row.
#[derive(Debug, Clone, Copy)]
struct Pick {
    rank: u32,
    left: u16,
    right: u16,
    to: u16,
    limit: u8,
}

/// Picks of one tree, up to `picks`; its leaves start at `leaves`.
#[derive(Debug, Clone, Copy)]
struct Part {
    picks: u32,
    leaves: u32,
    output: u32,
    count: u32,
}

/// All trees, ready for blocks of rows.
#[derive(Debug, Clone)]
pub(crate) struct Blocks<T> {
    ranks: Vec<Ranks<T>>,
    picks: Vec<Pick>,
    trees: Vec<Part>,
    /// Leaves of tree after tree, and room behind for a whole table.
    leaves: Vec<T>,
    base: Vec<T>,
}

/// Leaf numbers 0..256 in all lanes, then slots, then two ranks per entry of `ranks`: one with NaN as the highest
/// (goes right), one with NaN as the lowest (goes left).
pub(crate) struct Scratch<T> {
    bytes: Vec<Bytes>,
    values: [T; LANES],
    /// Sums of output after output.
    pub(crate) sums: Vec<[T; LANES]>,
}

const FIRST_SLOT: usize = BYTE_LEAVES;
const FIRST_RANK: usize = BYTE_LEAVES + SLOTS;

impl<T: Real> Blocks<T> {
    /// Lays out a checked forest; `None` where it has a tree with more leaves than a byte can number.
    pub(crate) fn new(forest: &Forest<T>) -> Option<Self> {
        if forest.trees.iter().any(|t| t.leaves.len() > BYTE_LEAVES) {
            return None;
        }
        let columns = thresholds(forest);
        let mut first = Vec::with_capacity(columns.len());
        let mut ranks = Vec::new();
        for (column, sorted) in &columns {
            first.push(ranks.len());
            ranks.extend(sorted.chunks(PART).map(|part| Ranks::new(*column, part)));
        }
        let find = |feature: u32, threshold: T| {
            let c = columns.partition_point(|(column, _)| *column < feature);
            let r = columns[c].1.partition_point(|t| *t < threshold);
            (first[c] + r / PART, (r % PART) as u8)
        };
        let (mut picks, mut trees, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
        for tree in &forest.trees {
            let start = leaves.len() as u32;
            leaves.extend_from_slice(&tree.leaves);
            Emit { tree, needs: needs(tree), find: &find, picks: &mut picks }.tree();
            let count = tree.leaves.len() as u32;
            trees.push(Part { picks: picks.len() as u32, leaves: start, output: tree.output, count });
        }
        leaves.resize(leaves.len() + BYTE_LEAVES, T::ZERO);
        Some(Self { ranks, picks, trees, leaves, base: forest.base.clone() })
    }

    pub(crate) fn scratch(&self) -> Scratch<T> {
        let mut bytes: Vec<Bytes> = (0..=255).map(|leaf| [leaf; LANES]).collect();
        bytes.resize(FIRST_RANK + 2 * self.ranks.len(), [0; LANES]);
        Scratch { bytes, values: [T::ZERO; LANES], sums: vec![[T::ZERO; LANES]; self.base.len()] }
    }

    /// The raw outputs of up to 64 rows, into `scratch.sums`. `get(row, column)` gives a value.
    #[inline(always)]
    pub(crate) fn eval<L: Lanes<T>>(&self, scratch: &mut Scratch<T>, rows: usize, get: impl Fn(usize, usize) -> T) {
        for (i, ranks) in self.ranks.iter().enumerate() {
            if i == 0 || self.ranks[i - 1].column != ranks.column {
                for (row, value) in scratch.values[..rows].iter_mut().enumerate() {
                    *value = get(row, ranks.column as usize);
                }
            }
            let at = FIRST_RANK + 2 * i;
            let [right, left] = &mut scratch.bytes[at..at + 2] else { unreachable!("two ranks per entry") };
            ranks.of::<L>(&scratch.values, right, left);
        }
        for (sums, &base) in scratch.sums.iter_mut().zip(&self.base) {
            *sums = [base; LANES];
        }
        let mut from = 0;
        for tree in &self.trees {
            for pick in &self.picks[from..tree.picks as usize] {
                let bytes = &mut scratch.bytes;
                let (rank, left, right) =
                    (&bytes[pick.rank as usize], &bytes[usize::from(pick.left)], &bytes[usize::from(pick.right)]);
                bytes[usize::from(pick.to)] = L::pick(rank, pick.limit, left, right);
            }
            let sums = &mut scratch.sums[tree.output as usize];
            let Some(table) = self.leaves[tree.leaves as usize..].first_chunk() else {
                unreachable!("the last table is padded")
            };
            let leaf = if tree.count == 1 { &scratch.bytes[0] } else { &scratch.bytes[FIRST_SLOT] };
            L::add(sums, leaf, table, tree.count);
            from = tree.picks as usize;
        }
    }
}

/// The thresholds of every column that is read, ascending, each once.
fn thresholds<T: Real>(forest: &Forest<T>) -> Vec<(u32, Vec<T>)> {
    let splits = forest.trees.iter().flat_map(|t| &t.splits);
    let mut all: Vec<(u32, T)> = splits.map(|s| (s.feature, s.threshold)).collect();
    all.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.order(b.1)));
    all.dedup_by(|a, b| a.0 == b.0 && a.1 == b.1);
    let columns = all.chunk_by(|a, b| a.0 == b.0);
    columns.map(|column| (column[0].0, column.iter().map(|x| x.1).collect())).collect()
}

impl<T: Real> Ranks<T> {
    fn new(column: u32, part: &[T]) -> Self {
        let mut thresholds = Box::new([T::HIGHEST; BYTE_LEAVES]);
        thresholds[..part.len()].copy_from_slice(part);
        Self { column, thresholds, step: 1 << part.len().ilog2() }
    }

    /// Both ranks of each value.
    #[inline(always)]
    fn of<L: Lanes<T>>(&self, values: &[T; LANES], right: &mut Bytes, left: &mut Bytes) {
        let rank = L::rank(values, &self.thresholds, self.step);
        for l in 0..LANES {
            let missing = u8::from(values[l] != values[l]).wrapping_neg();
            right[l] = rank[l] | missing;
            left[l] = rank[l] & !missing;
        }
    }
}

/// Slots that each split needs when its larger side goes first.
fn needs<T>(tree: &Tree<T>) -> Vec<u8> {
    let mut needs = vec![0_u8; tree.splits.len()];
    let mut order = vec![0_usize; usize::from(!tree.splits.is_empty())];
    let mut i = 0;
    while let Some(&at) = order.get(i) {
        order.extend([tree.splits[at].left, tree.splits[at].right].iter().filter(|c| **c >= 0).map(|c| *c as usize));
        i += 1;
    }
    for &at in order.iter().rev() {
        let need = |child: i32| if child < 0 { 0 } else { needs[child as usize] };
        let (l, r) = (need(tree.splits[at].left), need(tree.splits[at].right));
        needs[at] = if l == r { l + 1 } else { l.max(r) };
    }
    needs
}

/// Writes the picks of a tree. It has at most 255 splits, so recursion is safe.
struct Emit<'a, T, F> {
    tree: &'a Tree<T>,
    needs: Vec<u8>,
    find: &'a F,
    picks: &'a mut Vec<Pick>,
}

impl<T: Real, F: Fn(u32, T) -> (usize, u8)> Emit<'_, T, F> {
    fn tree(&mut self) {
        if !self.tree.splits.is_empty() {
            self.node(0, FIRST_SLOT);
        }
    }

    /// Where the leaf numbers of a side will stand; `slot` and those behind it are free.
    fn node(&mut self, at: i32, slot: usize) -> usize {
        if at < 0 {
            return !at as usize;
        }
        let split = self.tree.splits[at as usize];
        let need = |child: i32| if child < 0 { 0 } else { self.needs[child as usize] };
        let left_first = need(split.left) >= need(split.right);
        let (first, second) = if left_first { (split.left, split.right) } else { (split.right, split.left) };
        let a = self.node(first, slot);
        let b = self.node(second, slot + usize::from(first >= 0));
        let (left, right) = if left_first { (a, b) } else { (b, a) };
        let (ranks, limit) = (self.find)(split.feature, split.threshold);
        let rank = (FIRST_RANK + 2 * ranks + usize::from(split.nan_left)) as u32;
        self.picks.push(Pick { rank, left: left as u16, right: right as u16, to: slot as u16, limit });
        slot
    }
}
