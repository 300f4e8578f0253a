//! The loops over rows: one kernel per shape of instruction, shared by every mode and width.
//!
//! [`execute`] is the only place that says which arithmetic an instruction is. It is compiled for two
//! widths, a block of rows x S lanes ([`Block`]) and a single value ([`One`]), and for each CPU level.
//! The order of operations inside a series is the same in all of them.

mod hand;
mod links;
mod one;
mod slide;
mod tile;
mod wide;

use std::marker::PhantomData;

use crate::block::{Room, Slab};
use crate::graph::{Chain, Op};
use crate::plan::{EMITS, Instr, Link, Plan, Step};
use crate::primitives::recursive::ChainState;
use crate::primitives::{elementwise as el, ratio as rt, sliding as sl};
use crate::simd::{Lanes, Plain};

use one::One;
pub use tile::TILE_LANES;

/// How wide an instruction runs.
trait Width {
    fn map1(&mut self, i: &Instr, f: impl Fn(f64) -> f64);
    fn map2(&mut self, i: &Instr, f: impl Fn(f64, f64) -> f64);
    fn map3(&mut self, i: &Instr, f: impl Fn(f64, f64, f64) -> f64);
    fn map4(&mut self, i: &Instr, f: impl Fn([f64; 4]) -> f64);
    fn map6(&mut self, i: &Instr, f: impl Fn([f64; 6]) -> f64);
    fn pair2(&mut self, i: &Instr, f: impl Fn(f64, f64) -> (f64, f64));
    fn pair4(&mut self, i: &Instr, f: impl Fn([f64; 4]) -> (f64, f64));
    fn mean_abs_dev(&mut self, i: &Instr, n: u32);
    /// The mean of `n` rows, or with `share` their standard deviation (and their mean beside it).
    fn slide(&mut self, i: &Instr, n: u32, share: Option<f64>);
    /// Runs a bank; `along` is a later link with its state that may run along. True if it did.
    fn bank(&mut self, links: &[Link], states: &mut [ChainState], along: Option<Along<'_>>) -> bool;
    fn emit(&mut self, k: usize, at: u32);
    /// Between two instructions: asks for some of the memory that is read next.
    fn prefetch(&mut self);
}

/// A link of a later bank that reads the difference of this one's first two.
type Along<'a> = (&'a Link, &'a mut [ChainState]);

/// Values in a line of the cache.
const LINE: usize = 8;

/// Runs every instruction of the plan.
#[inline(always)]
fn execute(w: &mut impl Width, plan: &Plan, states: &mut [ChainState], lanes: usize) {
    // The link that already ran along with an earlier bank.
    let mut ran = usize::MAX;
    for s in &plan.steps {
        w.prefetch();
        let i = match s {
            Step::Map(i) => i,
            Step::Bank { from, to, along } => {
                let (now, later) = states.split_at_mut(to * lanes);
                let offer = along.map(|a| (&plan.links[a], &mut later[(a - to) * lanes..][..lanes]));
                // A link that ran along is the first of its bank.
                let from = from + usize::from(ran == *from);
                if from < *to && w.bank(&plan.links[from..*to], &mut now[from * lanes..], offer) {
                    ran = along.unwrap_or(usize::MAX);
                }
                continue;
            }
            Step::Emit(k, at) => {
                w.emit(*k, *at);
                continue;
            }
        };
        match i.op {
            Op::Add => w.map2(i, |a, b| a + b),
            Op::Sub => w.map2(i, |a, b| a - b),
            Op::Mul => w.map2(i, |a, b| a * b),
            Op::Div => w.map2(i, |a, b| a / b),
            Op::Min => w.map2(i, el::min),
            Op::Max => w.map2(i, el::max),
            Op::Lt => w.map2(i, el::lt),
            Op::Le => w.map2(i, el::le),
            Op::Eq => w.map2(i, el::eq),
            Op::OrElse => w.map2(i, el::or_else),
            Op::Abs => w.map1(i, f64::abs),
            Op::Sqrt => w.map1(i, el::sqrt),
            Op::Sign => w.map1(i, el::sign),
            Op::Pos => w.map1(i, el::pos),
            Op::Tame => w.map1(i, el::tame),
            Op::Log { neutral } => w.map1(i, |x| el::log(x, neutral.get())),
            Op::Sin { period } => w.map1(i, |x| el::sin_turn(x, period.get())),
            Op::Cos { period } => w.map1(i, |x| el::cos_turn(x, period.get())),
            Op::Where => w.map3(i, el::select),
            Op::Ratio { neutral, sat } => {
                let (neutral, sat) = (neutral.get(), sat.get());
                w.map3(i, |n, d, l| rt::ratio(n, d, l, neutral, sat));
            }
            Op::Half => w.map2(i, sl::half),
            Op::Merge { w: share } => {
                let share = share.get();
                w.map2(i, |a, b| sl::merge(a, b, share));
            }
            Op::M2Pair => w.map2(i, sl::m2_pair),
            Op::M2Merge { c } => {
                let c = c.get();
                w.map4(i, |[m2a, m2b, ma, mb]| sl::m2_merge(m2a, m2b, ma, mb, c));
            }
            Op::CovPair => w.map4(i, |[xa, xb, ya, yb]| sl::cov_pair(xa, xb, ya, yb)),
            Op::CovMerge { c } => {
                let c = c.get();
                w.map6(i, |[ca, cb, xa, xb, ya, yb]| sl::cov_merge(ca, cb, (xa, xb), (ya, yb), c));
            }
            Op::MeanAbsDev { n } => w.mean_abs_dev(i, n),
            Op::RatioAffine { neutral, sat, mul, add } => {
                let (neutral, sat, mul, add) = (neutral.get(), sat.get(), mul.get(), add.get());
                w.map3(i, |n, d, l| rt::affine(rt::ratio(n, d, l, neutral, sat), mul, add));
            }
            Op::StdMerge { c, share } => {
                let (c, share) = (c.get(), share.get());
                w.map4(i, |[m2a, m2b, ma, mb]| sl::std_merge(m2a, m2b, ma, mb, c, share));
            }
            Op::Level0 => w.pair2(i, |a, b| (sl::m2_pair(a, b), sl::half(a, b))),
            Op::Level { c, w: share } => {
                let (c, share) = (c.get(), share.get());
                if share == 0.0 {
                    w.pair4(i, |[m2a, m2b, a, b]| (sl::m2_merge(m2a, m2b, a, b, c), sl::half(a, b)));
                } else {
                    w.pair4(i, |[m2a, m2b, a, b]| (sl::m2_merge(m2a, m2b, a, b, c), sl::merge(a, b, share)));
                }
            }
            Op::Mean { n } => w.slide(i, n, None),
            Op::Spread { n, share } => w.slide(i, n, Some(share.get())),
            // Inputs are written by the caller, links run in banks.
            Op::Input(_) | Op::Chain(_) | Op::CumSum => {}
        }
    }
}

/// One row of a link, seeding included.
#[inline(always)]
fn advance(chain: Option<&Chain>, state: &mut ChainState, x: f64) -> f64 {
    match chain {
        Some(c) => c.advance(state, x),
        None if x != x => f64::NAN,
        None => {
            state.s += x;
            state.s
        }
    }
}

/// Which rows of a slab to compute.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// First row, counted from a slot's base.
    pub cursor: usize,
    /// Number of rows.
    pub rows: usize,
    /// Interleaved series.
    pub lanes: usize,
    /// Only what the last row needs.
    pub last_only: bool,
    /// Row 0 of every lane: nothing came before.
    pub fresh: bool,
    /// What will be read for the next span: it is fetched while this one is computed, a few lines at a time (all
    /// at once they would wait for each other, and outputs for them).
    pub next: Next<'a>,
}

/// Memory that will be read soon, in up to five pieces: one for each column of bars.
pub type Next<'a> = [&'a [f64]; 5];

/// Takes the outputs of a run. Rows are counted from its start.
pub trait Take {
    /// Values of output `k` from `row` on.
    fn take(&mut self, k: usize, row: usize, values: &[f64]);

    /// Room for `rows` values of each of some outputs, from `row` on, which they are put into while others are
    /// computed; without it they are taken afterwards.
    fn rooms(&mut self, outputs: [Option<usize>; EMITS], row: usize, rows: usize) -> [Option<Room<'_>>; EMITS] {
        let _ = (outputs, row, rows);
        [const { None }; EMITS]
    }

    /// As [`Take::take`], for values that are in their room already, with nulls among them.
    fn note(&mut self, k: usize, row: usize, values: &[f64]) {
        let _ = (k, row, values);
    }
}

impl<F: FnMut(usize, usize, &[f64])> Take for F {
    fn take(&mut self, k: usize, row: usize, values: &[f64]) {
        self(k, row, values);
    }
}

/// Who takes the outputs.
pub type Sink<'a> = &'a mut dyn Take;

/// A block of rows x lanes.
struct Block<'a, 's, 'n, V> {
    slab: &'a mut Slab,
    span: Span<'n>,
    /// Values to ask for between two instructions: none where a bank of recursions asks.
    share: usize,
    /// Rows of the run before this tile.
    before: usize,
    sink: &'s mut dyn Take,
    /// A recursion met a null where only the last row is wanted.
    torn: bool,
    lanes: PhantomData<V>,
}

#[inline(always)]
fn block<V: Lanes>(
    plan: &Plan,
    slab: &mut Slab,
    states: &mut [ChainState],
    mut span: Span<'_>,
    sink: Sink<'_>,
) -> bool {
    let (mut before, mut whole) = (0, true);
    let banked = span.lanes == 1 && plan.steps.iter().any(|s| matches!(s, Step::Bank { .. }));
    // A plan that keeps its outputs has no step where they are inputs.
    let turns = plan.steps.len().max(1) * span.rows.div_ceil(plan.tile);
    let ahead: usize = if banked { 0 } else { span.next.iter().map(|piece| piece.len()).sum() };
    let share = ahead.div_ceil(turns).next_multiple_of(LINE);
    while before < span.rows {
        let rows = plan.tile.min(span.rows - before);
        let tile = Span { cursor: span.cursor + before, rows, ..span };
        let mut tile = Block::<V> { slab, span: tile, share, before, sink, torn: false, lanes: PhantomData };
        execute(&mut tile, plan, states, span.lanes);
        whole &= !tile.torn;
        if !banked {
            span.next = tile.span.next;
        }
        before += rows;
    }
    whole
}

/// Runs the plan over a block with the kernels of the best CPU level; `sink` takes the outputs of a plan
/// that emits them. False if it has to run again without `last_only`: a recursion met a null.
pub fn run_block(plan: &Plan, slab: &mut Slab, states: &mut [ChainState], span: Span<'_>, sink: Sink<'_>) -> bool {
    span.rows == 0 || crate::cpu::dispatch(plan, slab, states, span, sink)
}

/// Runs the plan over one row of one series.
pub fn run_one(plan: &Plan, slab: &mut Slab, states: &mut [ChainState], cursor: usize) {
    execute(&mut One { values: slab.values_mut(), cursor }, plan, states, 1);
}

/// The kernels at the level that every CPU of the target has.
pub(crate) fn block_baseline(
    plan: &Plan,
    slab: &mut Slab,
    states: &mut [ChainState],
    span: Span<'_>,
    sink: Sink<'_>,
) -> bool {
    block::<Plain>(plan, slab, states, span, sink)
}

/// The kernels compiled for AVX2. FMA is not enabled, and would change nothing: only `mul_add` fuses.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
pub(crate) fn block_avx2(
    plan: &Plan,
    slab: &mut Slab,
    states: &mut [ChainState],
    span: Span<'_>,
    sink: Sink<'_>,
) -> bool {
    block::<crate::simd::x86::Avx2>(plan, slab, states, span, sink)
}

/// The kernels compiled for AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
pub(crate) fn block_avx512(
    plan: &Plan,
    slab: &mut Slab,
    states: &mut [ChainState],
    span: Span<'_>,
    sink: Sink<'_>,
) -> bool {
    block::<crate::simd::x86::Avx512>(plan, slab, states, span, sink)
}
