//! The order of the steps, and which links run in one loop.

use std::collections::VecDeque;

use super::{EMITS, MAX_BANK, Planner, Work, is_link, tabled};
use crate::graph::{Expr, Op};

impl Planner<'_> {
    /// Order: for each recursion depth d, the outputs that need no more, then what the links of depth d + 1
    /// read, then those links in banks; for a block of one series all links, then the outputs, last those that wait
    /// for the divider: the others go out meanwhile. Within that, operands stand right before their reader, so that
    /// most values are still in the first-level cache when they are read.
    pub(super) fn schedule(&mut self) {
        let n = self.nodes.len();
        let mut depth = vec![0_usize; n];
        for (id, node) in self.nodes.iter().enumerate() {
            let below = node.args.iter().map(|a| if let Expr::Node { id, .. } = a { depth[*id as usize] } else { 0 });
            depth[id] = below.max().unwrap_or(0) + usize::from(is_link(node.op));
        }
        let live: Vec<u32> = (0..n as u32).filter(|&id| self.uses[id as usize].live).collect();
        let deepest = live.iter().map(|&id| depth[id as usize]).max().unwrap_or(0);
        let mut done = vec![false; n];
        let block = self.front > 0;
        for d in 0..=deepest {
            if !block {
                self.outputs_where(&mut done, |_, id| depth[id] == d);
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
        if block {
            self.outputs_where(&mut done, |p, id| !slow(p.nodes[id].op));
            self.outputs_where(&mut done, |p, id| slow(p.nodes[id].op));
        }
    }

    /// Schedules the outputs whose node is wanted now.
    fn outputs_where(&mut self, done: &mut [bool], wanted: impl Fn(&Self, usize) -> bool) {
        for (k, &x) in self.outputs.iter().enumerate() {
            if let Expr::Node { id, .. } = x
                && wanted(self, id as usize)
            {
                self.visit(id, done);
                self.order.push(Work::Emit(k));
            }
        }
    }

    /// Schedules a node after its operands; banks are scheduled by depth.
    pub(super) fn visit(&mut self, id: u32, done: &mut [bool]) {
        if done[id as usize] {
            return;
        }
        let id = self.nodes.iter().position(|n| n.twin == Some(id)).map_or(id, |owner| owner as u32);
        done[id as usize] = true;
        if let Some(twin) = self.nodes[id as usize].twin {
            done[twin as usize] = true;
        }
        self.operands(id, done);
        self.order.push(Work::Node(id, Vec::new()));
    }

    pub(super) fn operands(&mut self, id: u32, done: &mut [bool]) {
        for i in 0..self.nodes[id as usize].args.len() {
            if let Expr::Node { id, .. } = self.nodes[id as usize].args[i] {
                self.visit(id, done);
            }
        }
    }

    /// Lets steps that wait for the divider hand out what is finished meanwhile, their own result first.
    pub(super) fn attach(&mut self) {
        let mut waiting = VecDeque::new();
        for work in std::mem::take(&mut self.order) {
            match work {
                Work::Emit(k) => match self.order.last_mut() {
                    Some(Work::Node(id, emits)) if slow(self.nodes[*id as usize].op) && now(self.outputs[k], *id) => {
                        if emits.len() == EMITS {
                            waiting.extend(emits.pop());
                        }
                        emits.push(k);
                    }
                    _ => waiting.push_back(k),
                },
                Work::Node(id, mut emits) if slow(self.nodes[id as usize].op) => {
                    emits.extend(waiting.drain(..EMITS.min(waiting.len())));
                    self.order.push(Work::Node(id, emits));
                }
                other => self.order.push(other),
            }
        }
        self.order.extend(waiting.into_iter().map(Work::Emit));
    }

    /// The two links whose difference this one reads, if it does.
    pub(super) fn difference(&self, id: u32) -> Option<(u32, u32)> {
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
    pub(super) fn along_first(&self, links: Vec<u32>, live: &[u32]) -> Vec<u32> {
        let wanted =
            live.iter().find_map(|&id| self.difference(id).filter(|(a, b)| links.contains(a) && links.contains(b)));
        let front: Vec<u32> = match wanted {
            Some((a, b)) => vec![a, b],
            None => links.iter().copied().find(|&id| self.difference(id).is_some()).into_iter().collect(),
        };
        let rest = links.into_iter().filter(|id| !front.contains(id)).collect::<Vec<_>>();
        front.into_iter().chain(rest).collect()
    }

    pub(super) fn banks(&self) -> Vec<&Vec<u32>> {
        self.order.iter().filter_map(|w| if let Work::Bank(ids) = w { Some(ids) } else { None }).collect()
    }

    /// Which links may run along with which earlier bank: (its number, the later bank's first link).
    pub(super) fn pairs(&self) -> Vec<(usize, u32)> {
        let banks = self.banks();
        let later = |i: usize| {
            let mine = |l: &&&Vec<u32>| self.difference(l[0]).is_some_and(|(a, b)| banks[i].starts_with(&[a, b]));
            banks[i + 1..].iter().find(mine).map(|l| (i, l[0]))
        };
        (0..banks.len()).filter_map(later).collect()
    }

    /// `link`, if it can run along with the bank in a tile of windows: all start from a table of gains, the two it
    /// reads from the same row, and it starts when all of the bank have.
    pub(super) fn tiled(&self, bank: usize, link: u32) -> Option<u32> {
        let start = |id: u32| self.graph.facts(self.nodes[id as usize].args[0]).3;
        let table = |id: u32| matches!(self.nodes[id as usize].op, Op::Chain(c) if tabled(c));
        let ids = self.banks()[bank];
        let all = ids.iter().all(|&id| table(id) && start(id) <= start(link));
        (all && table(link) && start(ids[0]) == start(ids[1])).then_some(link)
    }
}

/// True for a step whose time is the divider's.
fn slow(op: Op) -> bool {
    matches!(op, Op::Ratio { .. } | Op::RatioAffine { .. } | Op::StdMerge { .. } | Op::Spread { .. })
}

/// True if an output is the row just computed of node `id`.
fn now(output: Expr, id: u32) -> bool {
    matches!(output, Expr::Node { id: other, lag: 0 } if other == id)
}
