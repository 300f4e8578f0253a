//! Turns a graph into instructions over a slab: order, banks of recursive chains, slots, demand.

use crate::graph::{Chain, Expr, Graph, Input, Op};

/// Most operands of an instruction.
pub const MAX_ARGS: usize = 6;
/// Most recursive chains that run in one loop.
pub const MAX_BANK: usize = 8;
/// Rows a slot is padded by, so that slots do not start on the same cache sets.
const PAD: usize = 24;

/// One elementwise, merge or fold instruction. Places are rows of the slab at cursor 0, lags taken off.
#[derive(Debug, Clone)]
pub struct Instr {
    /// What to compute.
    pub op: Op,
    /// Where the result goes.
    pub dst: u32,
    /// Where the operands are.
    pub src: [u32; MAX_ARGS],
    /// The operand that is a constant, and its value. (Its slot holds the value too.)
    pub konst: Option<(u8, f64)>,
    /// Trailing rows that anyone reads when only the last row is wanted.
    pub demand: u32,
}

/// One recursive instruction.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// Coefficient and seed; `None` is a running sum.
    pub chain: Option<Chain>,
    /// Where the input is.
    pub src: u32,
    /// Where the result goes.
    pub dst: u32,
}

/// An instruction, or a bank of recursive ones that run in one loop.
#[derive(Debug, Clone)]
pub enum Step {
    /// An elementwise, merge or fold instruction.
    Map(Instr),
    /// Links `.0` up to `.1` of the plan: none reads another.
    Bank(usize, usize),
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
    /// Inputs read from bars, and their places.
    pub inputs: Vec<(Input, u32)>,
    /// Where each output is read.
    pub outputs: Vec<u32>,
    /// Constants and their slots.
    pub constants: Vec<(Slot, f64)>,
    /// Slots that keep history.
    pub slots: Vec<Slot>,
    /// Most rows in a block.
    pub capacity: usize,
    /// Rows of the whole slab.
    pub rows: usize,
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
    /// Plans `outputs` for blocks of up to `capacity` rows.
    pub fn new(graph: &Graph, outputs: &[Expr], capacity: usize) -> Self {
        Planner::new(graph, outputs, capacity).finish()
    }

    /// Rows of history over all slots: what a state keeps per series, beside the links.
    pub fn history_rows(&self) -> usize {
        self.slots.iter().map(|s| s.history as usize).sum()
    }
}

struct Planner<'a> {
    graph: &'a Graph,
    outputs: &'a [Expr],
    uses: Vec<Use>,
    /// Node ids in execution order, a bank being several.
    order: Vec<Vec<u32>>,
    capacity: usize,
}

/// Hands out slots; those without history are used again.
struct Slots {
    next: usize,
    free: Vec<Slot>,
    capacity: usize,
}

impl Slots {
    fn take(&mut self, history: u32) -> Slot {
        if history == 0 {
            if let Some(slot) = self.free.pop() {
                return slot;
            }
        }
        let base = self.next + history as usize;
        // 8-row steps keep slots 64-byte aligned at S = 1; the odd padding spreads them over cache sets.
        self.next = (base + self.capacity).next_multiple_of(8) + PAD;
        Slot { base: base as u32, history }
    }
}

impl<'a> Planner<'a> {
    fn new(graph: &'a Graph, outputs: &'a [Expr], capacity: usize) -> Self {
        let mut p = Self { graph, outputs, uses: vec![Use::default(); graph.nodes.len()], order: Vec::new(), capacity };
        p.mark();
        p.schedule();
        for (at, ids) in p.order.iter().enumerate() {
            for &id in ids {
                for arg in &graph.nodes[id as usize].args {
                    if let Expr::Node { id, .. } = *arg {
                        p.uses[id as usize].last_reader = at;
                    }
                }
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
        for id in (0..self.graph.nodes.len()).rev() {
            let (node, u) = (&self.graph.nodes[id], self.uses[id]);
            if !u.live {
                continue;
            }
            for (i, &arg) in node.args.iter().enumerate() {
                match node.op {
                    // A recursive step reads every row of its input, whatever is wanted of it.
                    Op::Chain(_) | Op::CumSum => read(&mut self.uses, arg, u32::MAX, 0),
                    Op::MeanAbsDev { n } if i == 0 => read(&mut self.uses, arg, u.demand, n - 1),
                    _ => read(&mut self.uses, arg, u.demand, 0),
                }
            }
        }
    }

    /// Order: everything of recursion depth d, then the banks of depth d + 1.
    fn schedule(&mut self) {
        let n = self.graph.nodes.len();
        let mut depth = vec![0_usize; n];
        for (id, node) in self.graph.nodes.iter().enumerate() {
            let below = node.args.iter().map(|a| if let Expr::Node { id, .. } = a { depth[*id as usize] } else { 0 });
            depth[id] = below.max().unwrap_or(0) + usize::from(is_link(node.op));
        }
        let live: Vec<u32> = (0..n as u32).filter(|&id| self.uses[id as usize].live).collect();
        let deepest = live.iter().map(|&id| depth[id as usize]).max().unwrap_or(0);
        for d in 0..=deepest {
            let (links, others): (Vec<u32>, Vec<u32>) = live
                .iter()
                .filter(|&&id| depth[id as usize] == d)
                .partition(|&&id| is_link(self.graph.nodes[id as usize].op));
            self.order.extend(links.chunks(MAX_BANK).map(<[u32]>::to_vec));
            self.order.extend(others.into_iter().map(|id| vec![id]));
        }
    }

    fn finish(self) -> Plan {
        let mut slots = Slots { next: 0, free: Vec::new(), capacity: self.capacity };
        let mut plan = Plan {
            steps: Vec::new(),
            links: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            constants: Vec::new(),
            slots: Vec::new(),
            capacity: self.capacity,
            rows: 0,
        };
        let mut place: Vec<Slot> = vec![Slot { base: 0, history: 0 }; self.graph.nodes.len()];
        // Inputs are written before the first step runs, so their slots must not be shared with any step's
        // result until their last reader has run: give them out first.
        for (id, node) in self.graph.nodes.iter().enumerate() {
            if let (Op::Input(input), true) = (node.op, self.uses[id].live) {
                place[id] = slots.take(self.uses[id].history);
                plan.inputs.push((input, place[id].base));
            }
        }
        for (at, ids) in self.order.iter().enumerate() {
            let first_link = plan.links.len();
            for &id in ids {
                let node = &self.graph.nodes[id as usize];
                if matches!(node.op, Op::Input(_)) {
                    continue;
                }
                let u = self.uses[id as usize];
                let slot = slots.take(u.history);
                place[id as usize] = slot;
                let src: Vec<u32> = node.args.iter().map(|&a| source(&mut plan, &mut slots, &place, a)).collect();
                match node.op {
                    Op::Chain(c) => plan.links.push(Link { chain: Some(c), src: src[0], dst: slot.base }),
                    Op::CumSum => plan.links.push(Link { chain: None, src: src[0], dst: slot.base }),
                    op => plan.steps.push(Step::Map(instr(op, slot.base, &src, &node.args, u.demand))),
                }
            }
            if plan.links.len() > first_link {
                plan.steps.push(Step::Bank(first_link, plan.links.len()));
            }
            self.free_read(at, ids, &place, &mut slots);
        }
        plan.outputs = self.outputs.iter().map(|&x| source(&mut plan, &mut slots, &place, x)).collect();
        plan.slots = (0..self.graph.nodes.len())
            .filter(|&id| self.uses[id].live && place[id].history > 0)
            .map(|id| place[id])
            .collect();
        plan.rows = slots.next;
        plan
    }

    /// Gives back the slots that nothing after step `at` reads.
    fn free_read(&self, at: usize, ids: &[u32], place: &[Slot], slots: &mut Slots) {
        let mut done: Vec<u32> = Vec::new();
        for &id in ids {
            for arg in &self.graph.nodes[id as usize].args {
                if let Expr::Node { id, .. } = *arg {
                    let u = self.uses[id as usize];
                    if u.last_reader == at && u.history == 0 && !u.output && !done.contains(&id) {
                        done.push(id);
                        slots.free.push(place[id as usize]);
                    }
                }
            }
        }
    }
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
            let base = slots.next as u32;
            slots.next = (slots.next + slots.capacity).next_multiple_of(8) + PAD;
            plan.constants.push((Slot { base, history: 0 }, c.get()));
            base
        }
    }
}

fn instr(op: Op, dst: u32, src: &[u32], args: &[Expr], demand: u32) -> Instr {
    let mut all = [0; MAX_ARGS];
    all[..src.len()].copy_from_slice(src);
    let konst = args.iter().enumerate().find_map(|(i, a)| match a {
        Expr::Const(c) => Some((i as u8, c.get())),
        Expr::Node { .. } => None,
    });
    Instr { op, dst, src: all, konst, demand }
}
