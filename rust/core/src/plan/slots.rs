//! Hands out the places of a slab.

use super::{PAD, SCRATCH, Slot};

/// Hands out slots. Those without history hold one tile, and are used again.
pub(super) struct Slots {
    pub(super) next: usize,
    pub(super) free: Vec<Slot>,
    pub(super) capacity: usize,
    pub(super) tile: usize,
    /// Rows in front of a tile.
    pub(super) front: usize,
    /// False where rows come one by one: all places count from the block then, which is one addition each.
    pub(super) scratch: bool,
}

impl Slots {
    pub(super) fn take(&mut self, history: u32) -> Slot {
        match self.free.pop_if(|_| history == 0) {
            Some(slot) => slot,
            None => self.fresh(history),
        }
    }

    /// A slot that was never used before.
    pub(super) fn fresh(&mut self, history: u32) -> Slot {
        if history > 0 || !self.scratch {
            return self.whole(history);
        }
        let base = self.room(self.front, self.tile);
        Slot { base: base | SCRATCH, history }
    }

    /// A slot for the rows of a whole block.
    pub(super) fn whole(&mut self, history: u32) -> Slot {
        Slot { base: self.room(history as usize, self.capacity), history }
    }

    pub(super) fn room(&mut self, history: usize, rows: usize) -> u32 {
        let base = self.next + history;
        // 8-row steps keep slots 64-byte aligned at S = 1; the odd padding spreads them over cache sets.
        self.next = (base + rows).next_multiple_of(8) + if rows > 64 { PAD } else { 0 };
        base as u32
    }
}
