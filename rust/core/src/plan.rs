//! Turns a graph into instructions over a slab: order, banks of recursive chains, slots, demand.

mod demand;
mod emit;
mod order;
mod slots;

pub(crate) use demand::lead;

use crate::cpu::Level;
use crate::fuse::{Step as Fused, fuse};
use crate::graph::{Chain, Expr, Graph, Input, Op, Seed};

/// Most operands of an instruction.
pub const MAX_ARGS: usize = 6;
/// Most outputs that an instruction hands out while it runs.
pub const EMITS: usize = 2;
/// Most recursive chains that run in one loop.
pub const MAX_BANK: usize = 8;
/// Marks a place that is counted from the start of the tile at hand, not of the block: a value that nobody
/// reads back in time. Such places are few, and stay in the first-level cache.
pub const SCRATCH: u32 = 1 << 31;
/// Most rows before a tile that a step computes anew instead of keeping them: a multiple of 8.
const AGAIN: u32 = 64;
/// Rows a slot is padded by, so that slots do not start on the same cache sets.
const PAD: usize = 24;

/// One elementwise, merge or fold instruction. Places are rows of the slab at cursor 0, lags taken off.
#[derive(Debug, Clone)]
pub struct Instr {
    /// What to compute.
    pub op: Op,
    /// Where the result goes.
    pub dst: u32,
    /// Where the second result of a `Level` or a `Spread` goes, if there is one.
    pub dst2: u32,
    /// True if there is a second result.
    pub twin: bool,
    /// Where the operands are.
    pub src: [u32; MAX_ARGS],
    /// The operand that is a constant, and its value. (Its slot holds the value too.)
    pub konst: Option<(u8, f64)>,
    /// Trailing rows that anyone reads when only the last row is wanted.
    pub demand: u32,
    /// Rows before the tile that are computed again, because they are read back in time.
    pub again: u32,
    /// Outputs that are handed out while this runs, and where they are read: each is finished, or its result.
    pub emits: [Option<(usize, u32)>; EMITS],
}

/// One recursive instruction.
#[derive(Debug, Clone)]
pub struct Link {
    /// Coefficient and seed; `None` is a running sum.
    pub chain: Option<Chain>,
    /// Where the input is.
    pub src: u32,
    /// Where the result goes.
    pub dst: u32,
    /// Leading null rows of the input.
    pub start: u32,
    /// Coefficient of each input from the start of a series on, where they are all of one form.
    pub gains: Vec<f64>,
    /// Trailing rows that anyone reads when only the last row is wanted.
    pub demand: u32,
    /// True if it runs along with an earlier bank in a tile of windows too.
    pub beside: bool,
}

/// An input to be written before a block runs.
#[derive(Debug, Clone, Copy)]
pub struct Read {
    /// Which one.
    pub input: Input,
    /// Where.
    pub base: u32,
    /// Trailing rows that anyone reads when only the last row is wanted.
    pub demand: u32,
}

/// An instruction, or a bank of recursive ones that run in one loop.
#[derive(Debug, Clone)]
pub enum Step {
    /// An elementwise, merge or fold instruction.
    Map(Instr),
    /// Links `from..to` of the plan: none reads another.
    Bank {
        /// First link.
        from: usize,
        /// After the last.
        to: usize,
        /// A link of a later bank, the first there, whose input is the difference of the first two of this one
        /// (MACD's signal): once all are seeded it runs in this bank's loop, where its latency costs nothing.
        along: Option<usize>,
    },
    /// Hand out output `.0`, which is read at `.1`.
    Emit(usize, u32),
}

/// A place in the slab with the rows of history kept in front of it.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// First row after the history.
    pub base: u32,
    /// Rows of history.
    pub history: u32,
}

/// A plan for blocks of up to `capacity` rows.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Instructions, in order.
    pub steps: Vec<Step>,
    /// Recursive instructions, in the order of their states.
    pub links: Vec<Link>,
    /// Inputs read from bars.
    pub inputs: Vec<Read>,
    /// Where each output is read.
    pub outputs: Vec<u32>,
    /// Constants and their slots.
    pub constants: Vec<(Slot, f64)>,
    /// Slots that keep history.
    pub slots: Vec<Slot>,
    /// Most rows in a block.
    pub capacity: usize,
    /// Rows that pass through all instructions together.
    pub tile: usize,
    /// Rows in front of the tile in places that are counted from it.
    pub front: usize,
    /// Rows of the whole slab.
    pub rows: usize,
}

/// Row of the slab for a place, with the tile starting `cursor` rows into the block.
#[inline(always)]
pub fn row_of(place: u32, cursor: usize) -> usize {
    if place & SCRATCH == 0 { place as usize + cursor } else { (place & !SCRATCH) as usize }
}

/// What the graph says of one node before slots are given.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    live: bool,
    history: u32,
    demand: u32,
    last_reader: usize,
    output: bool,
    /// Rows before a tile that are computed again; the history is not kept then.
    again: u32,
}

impl Plan {
    /// Plans `outputs` for rows that come one by one, `capacity` of them before the history moves.
    pub fn new(graph: &Graph, outputs: &[Expr], capacity: usize) -> Self {
        Planner::new(graph, outputs, (capacity, capacity), true, false).finish(false)
    }

    /// As [`Plan::new`] for many lanes: values that nobody reads back in time share one row, and stay in the
    /// caches.
    pub fn wide(graph: &Graph, outputs: &[Expr], capacity: usize) -> Self {
        Planner::new(graph, outputs, (capacity, 1), true, false).finish(true)
    }

    /// Plans `outputs` for blocks of up to `capacity` rows, computed in tiles of `tile`, for callers that take
    /// every output as it is emitted: its memory is used again at once, and [`Plan::outputs`] says nothing.
    pub fn emitting(graph: &Graph, outputs: &[Expr], capacity: usize, tile: usize) -> Self {
        // Only these registers hold all levels of a window.
        Self::emitting_with(graph, outputs, (capacity, tile), crate::cpu::level() == Level::Avx512)
    }

    /// As [`Plan::emitting`]; with `short`, short windows are one step each. The state is the same either way.
    pub(crate) fn emitting_with(
        graph: &Graph,
        outputs: &[Expr],
        (capacity, tile): (usize, usize),
        short: bool,
    ) -> Self {
        Planner::new(graph, outputs, (capacity, tile), false, short).finish(true)
    }

    /// Rows of history over all slots: what a state keeps per series, beside the links.
    pub fn history_rows(&self) -> usize {
        self.slots.iter().map(|s| s.history as usize).sum()
    }
}

/// One entry of the schedule.
enum Work {
    /// A node, and the outputs handed out meanwhile.
    Node(u32, Vec<usize>),
    Bank(Vec<u32>),
    Emit(usize),
}

struct Planner<'a> {
    graph: &'a Graph,
    nodes: Vec<Fused>,
    outputs: &'a [Expr],
    uses: Vec<Use>,
    order: Vec<Work>,
    /// Links that run along with an earlier bank in a tile of windows, and read no row of the slab there.
    beside: Vec<u32>,
    capacity: usize,
    tile: usize,
    /// Outputs are read after the last step.
    keep_outputs: bool,
    /// Most rows that a step computes again.
    front: u32,
}

impl<'a> Planner<'a> {
    fn new(
        graph: &'a Graph,
        outputs: &'a [Expr],
        (capacity, tile): (usize, usize),
        keep_outputs: bool,
        short: bool,
    ) -> Self {
        // A tile shorter than its block has rows before it that were computed already. A value that forgets is a
        // function of the inputs, so that its last rows need not be kept: computed anew they have the same bits.
        let front = if tile < capacity && !keep_outputs { AGAIN } else { 0 };
        let nodes = fuse(graph, outputs, false);
        let uses = vec![Use::default(); nodes.len()];
        let mut p = Self {
            graph,
            nodes,
            outputs,
            uses,
            order: Vec::new(),
            beside: Vec::new(),
            capacity,
            tile,
            keep_outputs,
            front,
        };
        p.mark();
        if front > 0 {
            p.shorten(short);
        }
        p.schedule();
        if p.front > 0 {
            p.attach();
        }
        p.beside = p.pairs().into_iter().filter_map(|(bank, link)| p.tiled(bank, link)).collect();
        p.uses.iter_mut().for_each(|u| u.demand = 0);
        p.mark();
        for at in 0..p.order.len() {
            for id in p.reads(at) {
                p.uses[id as usize].last_reader = at;
            }
        }
        p
    }
}

/// True for a chain whose inputs' coefficients can be listed from the start of a series on.
fn tabled(chain: Chain) -> bool {
    chain.skip == 0 && chain.seed != Seed::Partial
}

fn is_link(op: Op) -> bool {
    matches!(op, Op::Chain(_) | Op::CumSum)
}
