//! The recursive instructions over a tile of windows: every window from its start, its states in registers.

use super::{Along, Block, LINE, Span, advance};
use crate::plan::{Link, row_of};
use crate::primitives::recursive::ChainState;
use crate::simd::Lanes;

/// Lanes of a tile of windows.
pub const TILE_LANES: usize = 8;

impl<V: Lanes> Block<'_, '_, '_, V> {
    /// K links of a tile of windows from their start, and `along` where it may; the states are in registers. Each
    /// link runs from the first row of its own input; while its seed is gathered the step's coefficient is the
    /// seed's gain. Only rows that anyone reads are stored.
    #[inline(always)]
    pub(super) fn tile_bank<const K: usize>(
        &mut self,
        links: &[Link],
        states: &mut [ChainState],
        along: Option<Along<'_>>,
    ) -> bool {
        const L: usize = TILE_LANES;
        let Span { rows, last_only, .. } = self.span;
        let (links, along) = (&links[..K], along.filter(|(link, _)| K > 1 && link.beside));
        let kept = |l: &Link| if last_only { rows.saturating_sub(l.demand as usize) } else { 0 };
        let extra = along.as_ref().map(|(link, _)| *link);
        let store = links.iter().chain(extra).map(kept).min().unwrap_or(0);
        let place = |place: u32| row_of(place, 0) * L;
        let dst: [usize; K] = std::array::from_fn(|k| place(links[k].dst));
        let src: [usize; K] = std::array::from_fn(|k| place(links[k].src));
        let last = extra.map_or((0, 0), |l| (place(l.dst), rows * L));
        let next = &mut self.span.next[0];
        let (ahead, rest) = next.split_at(next.len().min(L / V::WIDTH * rows * LINE));
        *next = rest;
        let (out, input, last) = self.slab.split_many(dst, src, rows * L, last);
        let mut tile = TileBank::<K> {
            start: std::array::from_fn(|k| (links[k].start as usize).min(rows)),
            gains: std::array::from_fn(|k| links[k].gains.as_slice()),
            input: input.map(|x| x.as_chunks::<L>().0),
            out: out.map(|y| y.as_chunks_mut::<L>().0),
            along: extra.map_or((rows, &[]), |l| ((l.start as usize).min(rows), l.gains.as_slice())),
            last: last.as_chunks_mut::<L>().0,
            store,
            rows,
            ahead,
        };
        let (mut ends, mut end) = ([[0.0; L]; K], [0.0; L]);
        for lane in (0..L).step_by(V::WIDTH) {
            tile.run::<V>(lane, &mut ends, &mut end);
        }
        let sound = end.iter().all(|s| s == s);
        for k in 0..K {
            self.finish_tile(&links[k], &mut states[k * L..(k + 1) * L], &ends[k], store);
        }
        if let Some((link, states)) = along
            && (sound || last_only)
        {
            self.finish_tile(link, states, &end, store);
            return true;
        }
        false
    }

    /// Stores the states of a link, makes the rows before the end of its seed null, and runs lanes that met a
    /// null again with care.
    #[inline(always)]
    fn finish_tile(&mut self, link: &Link, states: &mut [ChainState], last: &[f64; TILE_LANES], store: usize) {
        const L: usize = TILE_LANES;
        let Span { rows, last_only, .. } = self.span;
        let (start, n) = ((link.start as usize).min(rows), link.chain.map_or(0, |c| c.n) as usize);
        let valid = (start + n).saturating_sub(1).min(rows);
        let dst = row_of(link.dst, 0) * L;
        self.slab.values_mut()[dst + store.min(valid) * L..dst + valid * L].fill(f64::NAN);
        for (lane, state) in states.iter_mut().enumerate() {
            if last[lane] == last[lane] {
                *state = ChainState { s: last[lane], seen: n.min(rows - start) as u32 };
            } else if last_only {
                self.torn = true;
            } else {
                self.careful_lane(link, state, lane, 0);
            }
        }
    }

    /// One lane of a link, row by row, from row `from` of the span.
    #[inline(never)]
    fn careful_lane(&mut self, link: &Link, state: &mut ChainState, lane: usize, from: usize) {
        let Span { cursor, rows, lanes, .. } = self.span;
        let values = self.slab.values_mut();
        for r in from..rows {
            let at = |place: u32| (row_of(place, cursor) + r) * lanes + lane;
            values[at(link.dst)] = advance(link.chain.as_ref(), state, values[at(link.src)]);
        }
    }
}

/// A bank of links over a tile of windows.
struct TileBank<'a, const K: usize> {
    /// First row of each link's input that is not null.
    start: [usize; K],
    /// Coefficient of each input from there on.
    gains: [&'a [f64]; K],
    input: [&'a [[f64; TILE_LANES]]; K],
    out: [&'a mut [[f64; TILE_LANES]]; K],
    /// First row and coefficients of a link that reads the difference of the first two.
    along: (usize, &'a [f64]),
    last: &'a mut [[f64; TILE_LANES]],
    /// First row to store.
    store: usize,
    rows: usize,
    /// What is read for the next tile: a line of it is asked for in each row of each register.
    ahead: &'a [f64],
}

impl<const K: usize> TileBank<'_, K> {
    /// Runs the lanes of one register from `lane` on; their states after the last row go to `ends` and `end`.
    #[inline(always)]
    fn run<V: Lanes>(&mut self, lane: usize, ends: &mut [[f64; TILE_LANES]; K], end: &mut [f64; TILE_LANES]) {
        let together = self.start.iter().copied().fold(0, usize::max);
        let mut s = [V::splat(0.0); K];
        for k in 0..K {
            for r in self.start[k]..together {
                s[k] = V::step(s[k], V::load(&self.input[k][r], lane), V::splat(self.gains[k][r - self.start[k]]));
                if r >= self.store {
                    s[k].store(&mut self.out[k][r], lane);
                }
            }
        }
        let (rows, store) = (self.rows, self.store.max(together));
        let along = self.along.0.max(together);
        let mut t = V::splat(0.0);
        // Nothing is stored at first, nor does the link that comes along run.
        self.rows::<V, false, false>(together..along.min(store), lane, &mut s, &mut t);
        self.rows::<V, true, false>(along..store, lane, &mut s, &mut t);
        self.rows::<V, false, true>(store..along, lane, &mut s, &mut t);
        self.rows::<V, true, true>(along.max(store)..rows, lane, &mut s, &mut t);
        (0..K).for_each(|k| s[k].store(&mut ends[k], lane));
        t.store(end, lane);
    }

    #[inline(always)]
    fn rows<V: Lanes, const ALONG: bool, const STORE: bool>(
        &mut self,
        rows: std::ops::Range<usize>,
        lane: usize,
        s: &mut [V; K],
        t: &mut V,
    ) {
        if rows.is_empty() {
            return;
        }
        let n = rows.len();
        let input: [&[[f64; TILE_LANES]]; K] = std::array::from_fn(|k| &self.input[k][rows.clone()][..n]);
        let gains: [&[f64]; K] = std::array::from_fn(|k| &self.gains[k][rows.start - self.start[k]..][..n]);
        let late = if ALONG { &self.along.1[rows.start - self.along.0..][..n] } else { &[] };
        let ahead = lane / V::WIDTH * self.rows + rows.start;
        let mut now = *s;
        for i in 0..n {
            crate::cpu::prefetch(self.ahead.as_ptr().wrapping_add((ahead + i) * LINE));
            for k in 0..K {
                now[k] = V::step(now[k], V::load(&input[k][i], lane), V::splat(gains[k][i]));
                if STORE {
                    now[k].store(&mut self.out[k][rows.start + i], lane);
                }
            }
            if ALONG {
                *t = V::step(*t, V::minus(now[0], now[1 % K]), V::splat(late[i]));
                if STORE {
                    t.store(&mut self.last[rows.start + i], lane);
                }
            }
        }
        *s = now;
    }
}
