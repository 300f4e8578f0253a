//! From ordered steps to instructions with places in the slab.

use super::slots::Slots;
use super::{EMITS, Instr, Link, MAX_ARGS, Plan, Planner, Read, Slot, Step, Use, Work, tabled};
use crate::fuse::Step as Fused;
use crate::graph::{Chain, Expr, Op};

impl Planner<'_> {
    /// `scratch`: values without history are placed by the tile, not by the block.
    pub(super) fn finish(self, scratch: bool) -> Plan {
        let (capacity, tile, front) = (self.capacity, self.tile, self.front as usize);
        let mut slots = Slots { next: 0, free: Vec::new(), capacity, tile, front, scratch };
        let mut plan = Plan {
            steps: Vec::new(),
            links: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            constants: Vec::new(),
            slots: Vec::new(),
            capacity: self.capacity,
            tile: self.tile,
            front,
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
                Work::Node(id, emits) => {
                    let node = &self.nodes[*id as usize];
                    if !matches!(node.op, Op::Input(_)) {
                        let (dst, src) = self.place(*id, &mut plan, &mut slots, &mut place);
                        let dst2 = node.twin.map_or(0, |t| {
                            place[t as usize] = slots.take(self.kept(t));
                            place[t as usize].base
                        });
                        let mut instr = instr(node, (dst, dst2), &src, self.uses[*id as usize]);
                        for (to, &k) in instr.emits.iter_mut().zip(emits) {
                            *to = Some((k, source(&mut plan, &mut slots, &place, self.outputs[k])));
                        }
                        plan.steps.push(Step::Map(instr));
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

    pub(super) fn link(&self, id: u32, chain: Option<Chain>, src: u32, dst: u32) -> Link {
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
    pub(super) fn place(&self, id: u32, plan: &mut Plan, slots: &mut Slots, place: &mut [Slot]) -> (u32, Vec<u32>) {
        let history = self.kept(id);
        // A link that may run along with an earlier bank is written before its turn: no slot used before.
        let early = self.difference(id).is_some();
        let slot = if early { slots.fresh(history) } else { slots.take(history) };
        place[id as usize] = slot;
        let args = &self.nodes[id as usize].args;
        (slot.base, args.iter().map(|&a| source(plan, slots, place, a)).collect())
    }

    /// Nodes that entry `at` of the schedule reads.
    pub(super) fn reads(&self, at: usize) -> Vec<u32> {
        let args = |id: &u32| self.nodes[*id as usize].args.clone();
        let exprs: Vec<Expr> = match &self.order[at] {
            Work::Node(id, emits) => args(id).into_iter().chain(emits.iter().map(|&k| self.outputs[k])).collect(),
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
    pub(super) fn free_read(&self, at: usize, place: &[Slot], slots: &mut Slots) {
        for id in self.reads(at) {
            let u = self.uses[id as usize];
            let input = matches!(self.nodes[id as usize].op, Op::Input(_));
            if u.last_reader == at && self.kept(id) == 0 && !input && !(u.output && self.keep_outputs) {
                slots.free.push(place[id as usize]);
            }
        }
    }

    /// Marks the banks that a later link may run along with.
    pub(super) fn mark_along(&self, plan: &mut Plan) {
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

fn instr(node: &Fused, (dst, dst2): (u32, u32), src: &[u32], u: Use) -> Instr {
    let mut all = [0; MAX_ARGS];
    all[..src.len()].copy_from_slice(src);
    let konst = node.args.iter().enumerate().find_map(|(i, a)| match a {
        Expr::Const(c) => Some((i as u8, c.get())),
        Expr::Node { .. } => None,
    });
    Instr {
        op: node.op,
        dst,
        dst2,
        twin: node.twin.is_some(),
        src: all,
        konst,
        demand: u.demand,
        again: u.again,
        emits: [None; EMITS],
    }
}
