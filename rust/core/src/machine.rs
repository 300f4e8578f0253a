//! A plan with its memory: the thing that every mode drives.

use std::sync::Arc;

use crate::block::Slab;
use crate::kernels::{Next, Sink, Span, run_block, run_one};
use crate::plan::{Plan, Slot, row_of};
use crate::primitives::recursive::ChainState;

/// What a series must remember between blocks: the history rows of each slot, and the recursive states.
/// Its bytes are a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// History rows, slot after slot, lanes interleaved.
    pub history: Vec<f64>,
    /// Recursive states, link after link, lanes interleaved.
    pub links: Vec<ChainState>,
}

/// A plan, its slab and its recursive states.
#[derive(Debug, Clone)]
pub struct Machine {
    plan: Arc<Plan>,
    lanes: usize,
    slab: Slab,
    states: Vec<ChainState>,
    cursor: usize,
}

impl Machine {
    /// A machine for `lanes` interleaved series, at the start of each.
    pub fn new(plan: Arc<Plan>, lanes: usize) -> Self {
        let mut slab = Slab::new(plan.rows * lanes);
        for &(slot, value) in &plan.constants {
            let base = row_of(slot.base, 0);
            slab.values_mut()[(base - plan.front) * lanes..(base + plan.tile) * lanes].fill(value);
        }
        let states = vec![ChainState::default(); plan.links.len() * lanes];
        Self { plan, lanes, slab, states, cursor: 0 }
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Interleaved series.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// Rows that fit before the history has to move to the front.
    pub fn room(&self) -> usize {
        self.plan.capacity - self.cursor
    }

    /// The next `rows` rows of the k-th input, to write.
    #[inline(always)]
    pub fn input(&mut self, k: usize, rows: usize) -> &mut [f64] {
        let at = (self.plan.inputs[k].base as usize + self.cursor) * self.lanes;
        &mut self.slab.values_mut()[at..at + rows * self.lanes]
    }

    /// The next `rows` rows of the k-th input, to read.
    #[inline(always)]
    pub fn input_view(&self, k: usize, rows: usize) -> &[f64] {
        let at = (self.plan.inputs[k].base as usize + self.cursor) * self.lanes;
        &self.slab.values()[at..at + rows * self.lanes]
    }

    /// The next `rows` rows of the k-th output, after [`Machine::run`].
    #[inline(always)]
    pub fn output(&self, k: usize, rows: usize) -> &[f64] {
        let at = row_of(self.plan.outputs[k], self.cursor) * self.lanes;
        &self.slab.values()[at..at + rows * self.lanes]
    }

    /// Value of the k-th output of one series, in the row just computed.
    #[inline(always)]
    pub fn value(&self, k: usize) -> f64 {
        self.slab.values()[row_of(self.plan.outputs[k], self.cursor)]
    }

    /// Computes the next `rows` rows from the inputs written. The outputs of a plan that emits them go to
    /// `sink`; with `last_only`, only the last row is computed, as far as possible, and emitted.
    pub fn run(&mut self, rows: usize, last_only: bool, sink: Sink<'_>) {
        let _ = self.run_span(rows, last_only, false, (Next::default(), sink));
    }

    /// As [`Machine::run`] for all rows; `next` will be read soon.
    pub fn run_ahead(&mut self, rows: usize, next: Next<'_>, sink: Sink<'_>) {
        let _ = self.run_span(rows, false, false, (next, sink));
    }

    /// As [`Machine::run`] for a tile of windows: the first row is row 0 of every lane.
    /// `next` will be read soon. False if what was emitted is of no use: a recursion met a null where only the last row is wanted.
    #[must_use]
    pub fn run_fresh(&mut self, rows: usize, last_only: bool, next: &[f64], sink: Sink<'_>) -> bool {
        self.states.fill(ChainState::default());
        self.run_span(rows, last_only, true, ([next, &[], &[], &[], &[]], sink))
    }

    /// As [`Machine::run`] for all rows, with the kernels of one level.
    #[cfg(test)]
    pub(crate) fn run_at(&mut self, level: crate::cpu::Level, rows: usize, sink: Sink<'_>) {
        let next = Next::default();
        let span = Span { cursor: self.cursor, rows, lanes: self.lanes, last_only: false, fresh: false, next };
        assert!(level <= crate::cpu::best());
        // SAFETY: the CPU has the level (asserted).
        let _ = unsafe { crate::cpu::dispatch_to(level, &self.plan, &mut self.slab, &mut self.states, span, sink) };
    }

    fn run_span(&mut self, rows: usize, last_only: bool, fresh: bool, (next, sink): (Next<'_>, Sink<'_>)) -> bool {
        let span = Span { cursor: self.cursor, rows, lanes: self.lanes, last_only, fresh, next };
        run_block(&self.plan, &mut self.slab, &mut self.states, span, sink)
    }

    /// The trailing rows, as many as are asked for, of each of five inputs, to write; nothing for `None`.
    pub fn inputs(&mut self, which: [Option<(usize, usize)>; 5], rows: usize) -> [&mut [f64]; 5] {
        let (cursor, lanes) = (self.cursor, self.lanes);
        let place = |(k, n): (usize, usize)| (self.plan.inputs[k].base as usize + cursor + rows - n) * lanes;
        let ranges = which.map(|w| w.map_or(0..0, |w| place(w)..place(w) + w.1 * lanes));
        self.slab.pieces(ranges)
    }

    /// Computes one row of one series.
    #[inline]
    pub fn run_one(&mut self) {
        run_one(&self.plan, &mut self.slab, &mut self.states, self.cursor);
    }

    /// Makes `rows` computed rows history.
    #[inline]
    pub fn advance(&mut self, rows: usize) {
        self.cursor += rows;
    }

    /// Moves the history to the front, where no row is left.
    #[inline]
    pub fn wrap(&mut self) {
        if self.room() == 0 {
            self.rewind();
        }
    }

    fn rewind(&mut self) {
        let (cursor, lanes) = (self.cursor, self.lanes);
        for slot in &self.plan.slots {
            let from = history(slot, cursor, lanes);
            let to = history(slot, 0, lanes).start;
            self.slab.values_mut().copy_within(from, to);
        }
        self.cursor = 0;
    }

    /// The next row is row 0 of a new series, in every lane.
    pub fn restart(&mut self) {
        for slot in &self.plan.slots {
            self.slab.values_mut()[history(slot, self.cursor, self.lanes)].fill(f64::NAN);
        }
        self.states.fill(ChainState::default());
    }

    /// The next row is row 0 of a new series, in one lane.
    pub fn restart_lane(&mut self, lane: usize) {
        for slot in &self.plan.slots {
            let range = history(slot, self.cursor, self.lanes);
            self.slab.values_mut()[range].iter_mut().skip(lane).step_by(self.lanes).for_each(|x| *x = f64::NAN);
        }
        self.set_lane(lane, |_| ChainState::default());
    }

    /// The states of one lane, link after link.
    pub fn lane_states(&self, lane: usize) -> impl Iterator<Item = ChainState> + '_ {
        self.states.iter().skip(lane).step_by(self.lanes).copied()
    }

    /// Takes back the row just computed for one lane: its states become `before`, and its history moves one
    /// row on, so that the next row follows the one before this. Call before [`Machine::advance`].
    pub fn undo_lane(&mut self, lane: usize, before: &[ChainState]) {
        self.set_lane(lane, |link| before[link]);
        let lanes = self.lanes;
        for slot in &self.plan.slots {
            let now = slot.base as usize + self.cursor;
            let values = self.slab.values_mut();
            for row in (now + 1 - slot.history as usize..=now).rev() {
                values[row * lanes + lane] = values[(row - 1) * lanes + lane];
            }
        }
    }

    fn set_lane(&mut self, lane: usize, state: impl Fn(usize) -> ChainState) {
        for (link, s) in self.states.iter_mut().skip(lane).step_by(self.lanes).enumerate() {
            *s = state(link);
        }
    }

    /// The recursive states, to set aside while a row is only looked at.
    pub fn states(&self) -> &[ChainState] {
        &self.states
    }

    /// Puts recursive states back.
    pub fn set_states(&mut self, states: &[ChainState]) {
        self.states.copy_from_slice(states);
    }

    /// What the series remember.
    pub fn save(&self) -> State {
        self.save_some(0, 1)
    }

    /// What the series of one lane remembers, as a machine of one lane saves it.
    pub fn save_lane(&self, lane: usize) -> State {
        self.save_some(lane, self.lanes)
    }

    fn save_some(&self, lane: usize, step: usize) -> State {
        let mut history_rows = Vec::with_capacity(self.plan.history_rows() * self.lanes / step);
        for slot in &self.plan.slots {
            let rows = self.slab.values()[history(slot, self.cursor, self.lanes)].iter().skip(lane).step_by(step);
            // One NaN for all: its sign and payload differ between builds of the kernels.
            history_rows.extend(rows.map(|&x| if x == x { x } else { f64::NAN }));
        }
        let links = self.states.iter().skip(lane).step_by(step);
        let links = links.map(|s| ChainState { s: if s.s == s.s { s.s } else { f64::NAN }, ..*s });
        State { history: history_rows, links: links.collect() }
    }

    /// Takes up one lane where [`Machine::save_lane`] left it, in a machine at its front; false if the state is of another
    /// shape.
    pub fn load_lane(&mut self, lane: usize, state: &State) -> bool {
        if state.history.len() != self.plan.history_rows() || state.links.len() != self.plan.links.len() {
            return false;
        }
        let mut rest = state.history.as_slice();
        for slot in &self.plan.slots {
            let (now, later) = rest.split_at(slot.history as usize);
            let places = self.slab.values_mut()[history(slot, self.cursor, self.lanes)].iter_mut();
            places.skip(lane).step_by(self.lanes).zip(now).for_each(|(x, &y)| *x = y);
            rest = later;
        }
        self.set_lane(lane, |link| state.links[link]);
        true
    }

    /// Takes up where `state` was saved; false if it is of another shape.
    pub fn load(&mut self, state: &State) -> bool {
        if state.history.len() != self.plan.history_rows() * self.lanes || state.links.len() != self.states.len() {
            return false;
        }
        self.cursor = 0;
        let mut at = 0;
        for slot in &self.plan.slots {
            let range = history(slot, 0, self.lanes);
            let len = range.len();
            self.slab.values_mut()[range].copy_from_slice(&state.history[at..at + len]);
            at += len;
        }
        self.states.copy_from_slice(&state.links);
        true
    }

    /// As new: row 0 of a new series, at the front.
    pub fn reset(&mut self) {
        self.cursor = 0;
        self.restart();
    }
}

/// The history rows of a slot in front of `cursor`.
#[inline(always)]
fn history(slot: &Slot, cursor: usize, lanes: usize) -> std::ops::Range<usize> {
    let end = (slot.base as usize + cursor) * lanes;
    end - slot.history as usize * lanes..end
}
