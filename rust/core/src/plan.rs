//! Turns a graph into instructions over a slab: order, banks of recursive chains, slots, demand.

use crate::fuse::{Step as Fused, fuse};
use crate::graph::{Chain, Expr, Graph, Input, Op, Seed};

/// Most operands of an instruction.
pub const MAX_ARGS: usize = 6;
/// Most recursive chains that run in one loop.
pub const MAX_BANK: usize = 8;
/// Marks a place that is counted from the start of the tile at hand, not of the block: a value that nobody
/// reads back in time. Such places are few, and stay in the first-level cache.
pub const SCRATCH: u32 = 1 << 31;
/// Rows a slot is padded by, so that slots do not start on the same cache sets.
const PAD: usize = 24;

/// One elementwise, merge or fold instruction. Places are rows of the slab at cursor 0, lags taken off.
#[derive(Debug, Clone)]
pub struct Instr {
    /// What to compute.
    pub op: Op,
    /// Where the result goes.
    pub dst: u32,
    /// Where the second result of a `Level` goes.
    pub dst2: u32,
    /// Where the operands are.
    pub src: [u32; MAX_ARGS],
    /// The operand that is a constant, and its value. (Its slot holds the value too.)
    pub konst: Option<(u8, f64)>,
    /// Trailing rows that anyone reads when only the last row is wanted.
    pub demand: u32,
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
}

impl Plan {
    /// Plans `outputs` for rows that come one by one, `capacity` of them before the history moves.
    pub fn new(graph: &Graph, outputs: &[Expr], capacity: usize) -> Self {
        Planner::new(graph, outputs, (capacity, capacity), true).finish(false)
    }

    /// As [`Plan::new`] for many lanes: values that nobody reads back in time share one row, and stay in the
    /// caches.
    pub fn wide(graph: &Graph, outputs: &[Expr], capacity: usize) -> Self {
        Planner::new(graph, outputs, (capacity, 1), true).finish(true)
    }

    /// Plans `outputs` for blocks of up to `capacity` rows, computed in tiles of `tile`, for callers that take
    /// every output as it is emitted: its memory is used again at once, and [`Plan::outputs`] says nothing.
    pub fn emitting(graph: &Graph, outputs: &[Expr], capacity: usize, tile: usize) -> Self {
        Planner::new(graph, outputs, (capacity, tile), false).finish(true)
    }

    /// Rows of history over all slots: what a state keeps per series, beside the links.
    pub fn history_rows(&self) -> usize {
        self.slots.iter().map(|s| s.history as usize).sum()
    }
}

/// One entry of the schedule.
enum Work {
    Node(u32),
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
}

/// Hands out slots. Those without history hold one tile, and are used again.
struct Slots {
    next: usize,
    free: Vec<Slot>,
    capacity: usize,
    tile: usize,
    /// False where rows come one by one: all places count from the block then, which is one addition each.
    scratch: bool,
}

impl Slots {
    fn take(&mut self, history: u32) -> Slot {
        match self.free.pop_if(|_| history == 0) {
            Some(slot) => slot,
            None => self.fresh(history),
        }
    }

    /// A slot that was never used before.
    fn fresh(&mut self, history: u32) -> Slot {
        if history > 0 || !self.scratch {
            return self.whole(history);
        }
        let base = self.room(0, self.tile);
        Slot { base: base | SCRATCH, history }
    }

    /// A slot for the rows of a whole block.
    fn whole(&mut self, history: u32) -> Slot {
        Slot { base: self.room(history as usize, self.capacity), history }
    }

    fn room(&mut self, history: usize, rows: usize) -> u32 {
        let base = self.next + history;
        // 8-row steps keep slots 64-byte aligned at S = 1; the odd padding spreads them over cache sets.
        self.next = (base + rows).next_multiple_of(8) + if rows > 64 { PAD } else { 0 };
        base as u32
    }
}

impl<'a> Planner<'a> {
    fn new(graph: &'a Graph, outputs: &'a [Expr], (capacity, tile): (usize, usize), keep_outputs: bool) -> Self {
        let nodes = fuse(graph, outputs);
        let uses = vec![Use::default(); nodes.len()];
        let mut p = Self { graph, nodes, outputs, uses, order: Vec::new(), beside: Vec::new(), capacity, tile, keep_outputs };
        p.mark();
        p.schedule();
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

    /// Which nodes are live, how much history each keeps, and how many trailing rows are wanted of it.
    fn mark(&mut self) {
        let read = |uses: &mut Vec<Use>, x: Expr, rows: u32, more: u32| {
            if let Expr::Node { id, lag } = x {
                let u = &mut uses[id as usize];
                u.live = true;
                u.history = u.history.max(lag + more);
                u.demand = u.demand.max(rows.saturating_add(lag + more));
            }
        };
        for &x in self.outputs {
            read(&mut self.uses, x, 1, 0);
            if let Expr::Node { id, .. } = x {
                self.uses[id as usize].output = true;
            }
        }
        // Twins are computed together, as far back as either is wanted; that may ask more of what they read.
        let mut again = true;
        while again {
            for id in (0..self.nodes.len()).rev() {
                let (node, u) = (&self.nodes[id], self.uses[id]);
                if !u.live {
                    continue;
                }
                for (i, &arg) in node.args.iter().enumerate() {
                    match node.op {
                        Op::Chain(_) if self.beside.contains(&(id as u32)) => read(&mut self.uses, arg, 0, 0),
                        // A recursive step reads every row of its input, whatever is wanted of it.
                        Op::Chain(_) | Op::CumSum => read(&mut self.uses, arg, u32::MAX, 0),
                        Op::MeanAbsDev { n } if i == 0 => read(&mut self.uses, arg, u.demand, n - 1),
                        _ => read(&mut self.uses, arg, u.demand, 0),
                    }
                }
            }
            again = false;
            for id in 0..self.nodes.len() {
                let Some(twin) = self.nodes[id].twin.map(|t| t as usize) else { continue };
                let (a, b) = (self.uses[id].demand, self.uses[twin].demand);
                again |= a != b;
                (self.uses[id].demand, self.uses[twin].demand) = (a.max(b), a.max(b));
            }
        }
    }

    /// Order: for each recursion depth d, the outputs that need no more, then what the links of depth d + 1
    /// read, then those links in banks. Within that, operands stand right before their reader, so that most
    /// values are still in the first-level cache when they are read.
    fn schedule(&mut self) {
        let n = self.nodes.len();
        let mut depth = vec![0_usize; n];
        for (id, node) in self.nodes.iter().enumerate() {
            let below = node.args.iter().map(|a| if let Expr::Node { id, .. } = a { depth[*id as usize] } else { 0 });
            depth[id] = below.max().unwrap_or(0) + usize::from(is_link(node.op));
        }
        let live: Vec<u32> = (0..n as u32).filter(|&id| self.uses[id as usize].live).collect();
        let deepest = live.iter().map(|&id| depth[id as usize]).max().unwrap_or(0);
        let mut done = vec![false; n];
        for d in 0..=deepest {
            for (k, &x) in self.outputs.iter().enumerate() {
                if let Expr::Node { id, .. } = x
                    && depth[id as usize] == d
                {
                    self.visit(id, &mut done);
                    self.order.push(Work::Emit(k));
                }
            }
            let links: Vec<u32> = live
                .iter()
                .copied()
                .filter(|&id| depth[id as usize] == d + 1 && is_link(self.nodes[id as usize].op))
                .collect();
            for &link in &links {
                self.operands(link, &mut done);
                done[link as usize] = true;
            }
            let links = self.along_first(links, &live);
            self.order.extend(links.chunks(MAX_BANK).map(|ids| Work::Bank(ids.to_vec())));
        }
    }

    /// Schedules a node after its operands; banks are scheduled by depth.
    fn visit(&mut self, id: u32, done: &mut [bool]) {
        if done[id as usize] {
            return;
        }
        let id = self.nodes.iter().position(|n| n.twin == Some(id)).map_or(id, |owner| owner as u32);
        done[id as usize] = true;
        if let Some(twin) = self.nodes[id as usize].twin {
            done[twin as usize] = true;
        }
        self.operands(id, done);
        self.order.push(Work::Node(id));
    }

    fn operands(&mut self, id: u32, done: &mut [bool]) {
        for i in 0..self.nodes[id as usize].args.len() {
            if let Expr::Node { id, .. } = self.nodes[id as usize].args[i] {
                self.visit(id, done);
            }
        }
    }

    /// `scratch`: values without history are placed by the tile, not by the block.
    fn finish(self, scratch: bool) -> Plan {
        let mut slots = Slots { next: 0, free: Vec::new(), capacity: self.capacity, tile: self.tile, scratch };
        let mut plan = Plan {
            steps: Vec::new(),
            links: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            constants: Vec::new(),
            slots: Vec::new(),
            capacity: self.capacity,
            tile: self.tile,
            rows: 0,
        };
        let mut place: Vec<Slot> = vec![Slot { base: 0, history: 0 }; self.nodes.len()];
        // Inputs are written for a whole block before the first tile runs.
        for (id, node) in self.nodes.iter().enumerate() {
            if let (Op::Input(input), true) = (node.op, self.uses[id].live) {
                place[id] = slots.whole(self.uses[id].history);
                plan.inputs.push(Read { input, base: place[id].base, demand: self.uses[id].demand });
            }
        }
        for (at, work) in self.order.iter().enumerate() {
            match work {
                Work::Node(id) => {
                    let node = &self.nodes[*id as usize];
                    if !matches!(node.op, Op::Input(_)) {
                        let (dst, src) = self.place(*id, &mut plan, &mut slots, &mut place);
                        let dst2 = node.twin.map_or(0, |t| {
                            place[t as usize] = slots.take(self.uses[t as usize].history);
                            place[t as usize].base
                        });
                        let demand = self.uses[*id as usize].demand;
                        plan.steps.push(Step::Map(instr(node.op, (dst, dst2), &src, &node.args, demand)));
                    }
                }
                Work::Bank(ids) => {
                    let from = plan.links.len();
                    for &id in ids {
                        let (dst, src) = self.place(id, &mut plan, &mut slots, &mut place);
                        let chain = if let Op::Chain(c) = self.nodes[id as usize].op { Some(c) } else { None };
                        plan.links.push(self.link(id, chain, src[0], dst));
                    }
                    plan.steps.push(Step::Bank { from, to: plan.links.len(), along: None });
                }
                Work::Emit(_) if self.keep_outputs => {}
                Work::Emit(k) => {
                    let src = source(&mut plan, &mut slots, &place, self.outputs[*k]);
                    plan.steps.push(Step::Emit(*k, src));
                }
            }
            self.free_read(at, &place, &mut slots);
        }
        self.mark_along(&mut plan);
        plan.outputs = self.outputs.iter().map(|&x| source(&mut plan, &mut slots, &place, x)).collect();
        plan.slots = (0..self.nodes.len())
            .filter(|&id| self.uses[id].live && place[id].history > 0)
            .map(|id| place[id])
            .collect();
        plan.rows = slots.next;
        plan
    }

    fn link(&self, id: u32, chain: Option<Chain>, src: u32, dst: u32) -> Link {
        let start = self.graph.facts(self.nodes[id as usize].args[0]).3;
        let gains = match chain {
            Some(c) if tabled(c) => {
                (1..=self.capacity as u32).map(|k| if k <= c.n { c.gain(k) } else { c.coef.get() }).collect()
            }
            _ => Vec::new(),
        };
        let (demand, beside) = (self.uses[id as usize].demand, self.beside.contains(&id));
        Link { chain, src, dst, start, gains, demand, beside }
    }

    /// Gives a node its slot: (place of the result, places of the operands).
    fn place(&self, id: u32, plan: &mut Plan, slots: &mut Slots, place: &mut [Slot]) -> (u32, Vec<u32>) {
        let history = self.uses[id as usize].history;
        // A link that may run along with an earlier bank is written before its turn: no slot used before.
        let early = self.difference(id).is_some();
        let slot = if early { slots.fresh(history) } else { slots.take(history) };
        place[id as usize] = slot;
        let args = &self.nodes[id as usize].args;
        (slot.base, args.iter().map(|&a| source(plan, slots, place, a)).collect())
    }

    /// Nodes that entry `at` of the schedule reads.
    fn reads(&self, at: usize) -> Vec<u32> {
        let args = |id: &u32| self.nodes[*id as usize].args.clone();
        let exprs: Vec<Expr> = match &self.order[at] {
            Work::Node(id) => args(id),
            Work::Bank(ids) => ids.iter().flat_map(args).collect(),
            Work::Emit(k) => vec![self.outputs[*k]],
        };
        let id = |x: Expr| if let Expr::Node { id, .. } = x { Some(id) } else { None };
        let mut ids: Vec<u32> = exprs.into_iter().filter_map(id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Gives back the slots that nothing after entry `at` reads.
    fn free_read(&self, at: usize, place: &[Slot], slots: &mut Slots) {
        for id in self.reads(at) {
            let u = self.uses[id as usize];
            let input = matches!(self.nodes[id as usize].op, Op::Input(_));
            if u.last_reader == at && u.history == 0 && !input && !(u.output && self.keep_outputs) {
                slots.free.push(place[id as usize]);
            }
        }
    }

    /// The two links whose difference this one reads, if it does.
    fn difference(&self, id: u32) -> Option<(u32, u32)> {
        let node = &self.nodes[id as usize];
        let (Op::Chain(_), Some(&Expr::Node { id: line, lag: 0 })) = (node.op, node.args.first()) else { return None };
        let line = &self.nodes[line as usize];
        match (line.op, line.args.as_slice()) {
            (Op::Sub, &[Expr::Node { id: a, lag: 0 }, Expr::Node { id: b, lag: 0 }]) => {
                let chain = |id: u32| matches!(self.nodes[id as usize].op, Op::Chain(_));
                (chain(a) && chain(b)).then_some((a, b))
            }
            _ => None,
        }
    }

    /// Orders the links of one depth: first one that may run along with an earlier bank, or the two that a
    /// later link wants to run along with.
    fn along_first(&self, links: Vec<u32>, live: &[u32]) -> Vec<u32> {
        let wanted =
            live.iter().find_map(|&id| self.difference(id).filter(|(a, b)| links.contains(a) && links.contains(b)));
        let front: Vec<u32> = match wanted {
            Some((a, b)) => vec![a, b],
            None => links.iter().copied().find(|&id| self.difference(id).is_some()).into_iter().collect(),
        };
        let rest = links.into_iter().filter(|id| !front.contains(id)).collect::<Vec<_>>();
        front.into_iter().chain(rest).collect()
    }

    fn banks(&self) -> Vec<&Vec<u32>> {
        self.order.iter().filter_map(|w| if let Work::Bank(ids) = w { Some(ids) } else { None }).collect()
    }

    /// Which links may run along with which earlier bank: (its number, the later bank's first link).
    fn pairs(&self) -> Vec<(usize, u32)> {
        let banks = self.banks();
        let later = |i: usize| {
            let mine = |l: &&&Vec<u32>| self.difference(l[0]).is_some_and(|(a, b)| banks[i].starts_with(&[a, b]));
            banks[i + 1..].iter().find(mine).map(|l| (i, l[0]))
        };
        (0..banks.len()).filter_map(later).collect()
    }

    /// `link`, if it can run along with the bank in a tile of windows: all start from a table of gains, the two it
    /// reads from the same row, and it starts when all of the bank have.
    fn tiled(&self, bank: usize, link: u32) -> Option<u32> {
        let start = |id: u32| self.graph.facts(self.nodes[id as usize].args[0]).3;
        let table = |id: u32| matches!(self.nodes[id as usize].op, Op::Chain(c) if tabled(c));
        let ids = self.banks()[bank];
        let all = ids.iter().all(|&id| table(id) && start(id) <= start(link));
        (all && table(link) && start(ids[0]) == start(ids[1])).then_some(link)
    }

    /// Marks the banks that a later link may run along with.
    fn mark_along(&self, plan: &mut Plan) {
        // Links are numbered bank after bank.
        let all: Vec<u32> = self.banks().into_iter().flatten().copied().collect();
        let number = |id: u32| all.iter().position(|&other| other == id);
        let mut along: Vec<Option<usize>> = vec![None; self.banks().len()];
        self.pairs().into_iter().for_each(|(bank, link)| along[bank] = number(link));
        let steps = plan.steps.iter_mut().filter_map(|s| match s {
            Step::Bank { along, .. } => Some(along),
            _ => None,
        });
        steps.zip(along).for_each(|(step, link)| *step = link);
    }
}

/// True for a chain whose inputs' coefficients can be listed from the start of a series on.
fn tabled(chain: Chain) -> bool {
    chain.skip == 0 && chain.seed != Seed::Partial
}

fn is_link(op: Op) -> bool {
    matches!(op, Op::Chain(_) | Op::CumSum)
}

/// Place of an operand; a constant gets a slot of its own.
fn source(plan: &mut Plan, slots: &mut Slots, place: &[Slot], x: Expr) -> u32 {
    match x {
        Expr::Node { id, lag } => place[id as usize].base - lag,
        Expr::Const(c) => {
            if let Some((slot, _)) = plan.constants.iter().find(|(_, v)| v.to_bits() == c.get().to_bits()) {
                return slot.base;
            }
            // Always a fresh slot: a constant is written once, before the first block.
            let slot = slots.fresh(0);
            plan.constants.push((slot, c.get()));
            slot.base
        }
    }
}

fn instr(op: Op, (dst, dst2): (u32, u32), src: &[u32], args: &[Expr], demand: u32) -> Instr {
    let mut all = [0; MAX_ARGS];
    all[..src.len()].copy_from_slice(src);
    let konst = args.iter().enumerate().find_map(|(i, a)| match a {
        Expr::Const(c) => Some((i as u8, c.get())),
        Expr::Node { .. } => None,
    });
    Instr { op, dst, dst2, src: all, konst, demand }
}
