//! What is read of each step: which are live, how far back, and how many trailing rows.

use super::{Planner, Use};
use crate::fuse::fuse;
use crate::graph::{Expr, Op};

impl Planner<'_> {
    /// Which nodes are live, how much history each keeps, and how many trailing rows are wanted of it.
    pub(super) fn mark(&mut self) {
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
                let again = self.again(id);
                self.uses[id].again = again;
                for (i, &arg) in node.args.iter().enumerate() {
                    let (id, lag) = if let Expr::Node { id, lag } = arg { (id as usize, lag) } else { continue };
                    let deep = lag + again + if i == 0 { lead(node.op) } else { 0 };
                    self.uses[id].history = self.uses[id].history.max(deep);
                }
                for (i, &arg) in node.args.iter().enumerate() {
                    match node.op {
                        Op::Chain(_) if self.beside.contains(&(id as u32)) => read(&mut self.uses, arg, 0, 0),
                        // A recursive step reads every row of its input, whatever is wanted of it.
                        Op::Chain(_) | Op::CumSum => read(&mut self.uses, arg, u32::MAX, 0),
                        op if i == 0 => read(&mut self.uses, arg, u.demand, lead(op)),
                        _ => read(&mut self.uses, arg, u.demand, 0),
                    }
                }
            }
            again = false;
            for id in 0..self.nodes.len() {
                let Some(twin) = self.nodes[id].twin.map(|t| t as usize) else { continue };
                let (a, b) = (self.uses[id], self.uses[twin]);
                let (demand, history) = (a.demand.max(b.demand), a.history.max(b.history));
                again |= a.demand != b.demand || a.history != b.history;
                for id in [id, twin] {
                    (self.uses[id].demand, self.uses[id].history) = (demand, history);
                }
            }
        }
    }

    /// Does short windows in one step each, if `wanted`. Either way the same history is kept, so that a state can be
    /// taken up by a CPU that does the other.
    pub(super) fn shorten(&mut self, wanted: bool) {
        let mut other = fuse(self.graph, self.outputs, true);
        let mut now = false;
        loop {
            std::mem::swap(&mut self.nodes, &mut other);
            now = !now;
            let before = std::mem::replace(&mut self.uses, vec![Use::default(); self.nodes.len()]);
            for (u, b) in self.uses.iter_mut().zip(&before) {
                u.history = b.history;
            }
            self.mark();
            let same = self.uses.iter().zip(&before).all(|(u, b)| u.history == b.history);
            if same && now == wanted {
                return;
            }
        }
    }

    /// Rows of a step before a tile that are computed again rather than kept.
    pub(super) fn again(&self, id: usize) -> u32 {
        let rows = self.uses[id].history.next_multiple_of(8);
        // These two make a value of none, and so would before the start of a series.
        let strict = !matches!(self.nodes[id].op, Op::Input(_) | Op::Chain(_) | Op::CumSum | Op::Pos | Op::OrElse);
        if strict && rows <= self.front { rows } else { 0 }
    }

    /// History that a step keeps.
    pub(super) fn kept(&self, id: u32) -> u32 {
        let u = self.uses[id as usize];
        if u.again > 0 { 0 } else { u.history }
    }
}

/// Rows before its own that a step reads of its first operand.
pub(crate) fn lead(op: Op) -> u32 {
    match op {
        Op::MeanAbsDev { n } => n - 1,
        // It starts at a whole register.
        Op::Mean { n } | Op::Spread { n, .. } => (n - 1).next_multiple_of(8),
        _ => 0,
    }
}
