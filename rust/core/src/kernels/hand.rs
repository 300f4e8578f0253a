//! Outputs on their way to the caller while an instruction runs.

use super::Take;
use crate::block::{Room, Slab};
use crate::plan::{EMITS, Instr, row_of};
use crate::simd::Lanes;

/// Rows that are computed between two pieces of output.
pub(super) const PIECE: usize = 32;

/// What goes out while an instruction runs.
pub(super) struct Handing<'r> {
    rooms: [Option<Room<'r>>; EMITS],
    out: Out,
}

/// Which outputs, and where they are read.
#[derive(Clone, Copy)]
struct Out {
    outputs: [Option<usize>; EMITS],
    /// True for the result of the instruction itself.
    own: [bool; EMITS],
    from: [usize; EMITS],
    rows: usize,
}

/// What went out: for each output, whether there was a null among it; `None` where it had no room.
pub(super) struct Done {
    nulls: [Option<bool>; EMITS],
    out: Out,
}

impl<'r> Handing<'r> {
    /// Asks for the room of the outputs that go out while `i` runs over `rows` rows, `before` rows into the run.
    pub(super) fn new(sink: &'r mut dyn Take, i: &Instr, cursor: usize, before: usize, rows: usize) -> Self {
        let out = Out {
            outputs: i.emits.map(|e| e.map(|e| e.0)),
            own: i.emits.map(|e| e.is_some_and(|e| e.1 == i.dst)),
            from: i.emits.map(|e| e.map_or(0, |e| row_of(e.1, cursor))),
            rows,
        };
        Self { rooms: sink.rooms(out.outputs, before, rows), out }
    }

    /// Where the outputs are read that are finished.
    #[inline(always)]
    pub(super) fn finished(&self) -> [std::ops::Range<usize>; EMITS] {
        let Out { own, from, rows, .. } = self.out;
        std::array::from_fn(|k| from[k]..from[k] + if own[k] || self.rooms[k].is_none() { 0 } else { rows })
    }

    /// Hands out another piece of each: of what is `finished`, and of the instruction's own result
    /// what was there `before` that piece: it is in the cache by now.
    #[inline(always)]
    pub(super) fn piece<V: Lanes>(&mut self, finished: [&[f64]; EMITS], before: &[f64]) {
        for k in 0..EMITS {
            if let Some(room) = &mut self.rooms[k] {
                room.four::<V>(if self.out.own[k] { before } else { finished[k] });
            }
        }
    }

    /// Hands out what is not there yet. (Inlined, or the registers of the CPU level would be function calls.)
    #[inline(always)]
    pub(super) fn finish<V: Lanes>(self, slab: &Slab) -> Done {
        let Out { from, rows, .. } = self.out;
        let (mut rooms, mut nulls) = (self.rooms, [None; EMITS]);
        for k in 0..EMITS {
            // No closure here: it would be compiled for the baseline.
            if let Some(room) = &mut rooms[k] {
                nulls[k] = Some(room.finish::<V>(&slab.values()[from[k]..from[k] + rows]));
            }
        }
        Done { nulls, out: self.out }
    }
}

impl Done {
    /// Lets the sink know of nulls, and gives it what had no room.
    pub(super) fn tell(self, sink: &mut dyn Take, slab: &Slab, before: usize) {
        let Out { outputs, from, rows, .. } = self.out;
        for ((output, from), null) in outputs.into_iter().zip(from).zip(self.nulls) {
            let Some(k) = output else { continue };
            let values = &slab.values()[from..from + rows];
            match null {
                Some(false) => {}
                Some(true) => sink.note(k, before, values),
                None => sink.take(k, before, values),
            }
        }
    }
}
