//! Hands out the places of a slab.

use super::{PAD, SCRATCH, Slot};

/// Sets of a first-level cache of lines of 64 bytes: what lies as many lines apart falls on the same one.
const SETS: usize = 64;

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
        let end = (base + rows).next_multiple_of(8);
        self.next = end + if rows > SETS { self.pad(end - self.next) } else { 0 };
        base as u32
    }

    /// Rows between a slot of `size` rows and the next. A row of a tile of windows is a line of the cache, and only
    /// the last ones of most slots are in use: those of one slot and the next have to fall on different sets.
    fn pad(&self, size: usize) -> usize {
        let windows = self.scratch && self.tile == self.capacity;
        if windows { (SETS + PAD - size % SETS) % SETS } else { PAD }
    }
}
