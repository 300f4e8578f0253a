//! The recursive instructions over a block: banks of one series, and panels. (Tiles of windows: `tile.rs`.)

use super::{Along, Block, Span, TILE_LANES, advance};
use crate::graph::Chain;
use crate::plan::{Link, row_of};
use crate::primitives::recursive::{ChainState, step};
use crate::simd::{Lanes, Quad};

/// Chains in one register, and rows that pass through it before they are stored.
const QUAD: usize = 4;
/// Rows of a careful piece while a seed is being gathered.
const PIECE: usize = 32;

/// True when the step of a seeded chain is all that is left to do.
#[inline(always)]
fn seeded(link: &Link, state: &ChainState) -> bool {
    link.chain.is_none_or(|c| state.seen >= c.ready_at())
}

/// One row of a link, as many times eight lanes as there are; returns their number.
#[inline(always)]
fn whole_steps<V: Lanes>(out: &mut [f64], input: &[f64], states: &mut [ChainState], chain: &Chain) -> usize {
    let (k, null, ready) = (V::splat(chain.coef.get()), V::splat(f64::NAN), chain.ready_at());
    let (out, input, states) = (out.as_chunks_mut().0, input.as_chunks().0, states.as_chunks_mut().0);
    for ((y, x), state) in out.iter_mut().zip(input).zip(states) {
        if !V::seeded(state, ready) {
            for lane in 0..8 {
                y[lane] = chain.advance(&mut state[lane], x[lane]);
            }
            continue;
        }
        for lane in (0..8).step_by(V::WIDTH) {
            let (x, s) = (V::load(x, lane), V::states(state, lane));
            let now = V::step(s, x, k);
            V::known(x, now, s).store_states(state, lane);
            V::known(x, now, null).store(y, lane);
        }
    }
    out.len() * 8
}

impl<V: Lanes> Block<'_, '_, '_, V> {
    /// K chains of one series in one loop: the latencies of a multiply and two adds overlap.
    #[inline(always)]
    pub(super) fn series_bank<const K: usize>(
        &mut self,
        links: &[Link],
        states: &mut [ChainState],
        along: Option<Along<'_>>,
    ) -> bool {
        let rows = self.span.rows;
        let (links, states) = (&links[..K], &mut states[..K]);
        let mut at = 0;
        while at < rows && !links.iter().zip(states.iter()).all(|(l, s)| seeded(l, s)) {
            let part = PIECE.min(rows - at);
            for (link, state) in links.iter().zip(states.iter_mut()) {
                self.careful(link, state, at, part);
            }
            at += part;
        }
        if at == rows {
            return false;
        }
        if links.iter().any(|l| l.chain.is_none()) {
            // Running sums have a form of their own, and are rare.
            for (link, state) in links.iter().zip(states.iter_mut()) {
                self.careful(link, state, at, rows - at);
            }
            return false;
        }
        // Optimistic: a null makes its chain NaN to the end; such a chain is run again, with care.
        let before: [ChainState; K] = std::array::from_fn(|k| states[k]);
        let mut ran = false;
        let ready = |link: &Link, state: ChainState| seeded(link, &state) && state.s == state.s;
        match along.filter(|(link, state)| K > 1 && at == 0 && ready(link, state[0])) {
            Some((link, [state, ..])) => {
                let s = self.fast_bank::<K, true>(links, states, Some((link, state.s)), 0, rows);
                // If not, its own bank runs it, from its state as it was.
                ran = s == s;
                state.s = if ran { s } else { state.s };
            }
            _ => {
                self.fast_bank::<K, false>(links, states, None, at, rows - at);
            }
        }
        for k in 0..K {
            if states[k].s != states[k].s && before[k].s == before[k].s {
                states[k] = before[k];
                self.careful(&links[k], &mut states[k], at, rows - at);
            }
        }
        ran
    }

    /// The loop over seeded chains; with `ALONG`, one more chain reads the difference of the first two. Returns
    /// that one's state.
    #[inline(always)]
    fn fast_bank<const K: usize, const ALONG: bool>(
        &mut self,
        links: &[Link],
        states: &mut [ChainState],
        along: Option<(&Link, f64)>,
        from: usize,
        rows: usize,
    ) -> f64 {
        if K <= QUAD {
            self.quads::<K, 1, ALONG>(links, states, along, (from, rows))
        } else {
            self.quads::<K, 2, ALONG>(links, states, along, (from, rows))
        }
    }

    /// K chains in `Q` registers: lane `i` of register `q` is chain `4 q + i`, or nothing.
    #[inline(always)]
    fn quads<const K: usize, const Q: usize, const ALONG: bool>(
        &mut self,
        links: &[Link],
        states: &mut [ChainState],
        along: Option<(&Link, f64)>,
        (from, rows): (usize, usize),
    ) -> f64 {
        let coefficient = |l: &Link| l.chain.map_or(0.0, |c| c.coef.get());
        let dst: [usize; K] = std::array::from_fn(|k| self.row(links[k].dst) + from);
        let src: [usize; K] = std::array::from_fn(|k| self.row(links[k].src) + from);
        let (mut coef, mut s) = ([[0.0; QUAD]; Q], [[0.0; QUAD]; Q]);
        for (k, (link, state)) in links.iter().zip(&*states).enumerate() {
            (coef[k / QUAD][k % QUAD], s[k / QUAD][k % QUAD]) = (coefficient(link), state.s);
        }
        // Most chains of a set read the same prices.
        let same: [bool; Q] = std::array::from_fn(|q| {
            let src = &src[q * QUAD..K.min((q + 1) * QUAD)];
            src.iter().all(|x| *x == src[0])
        });
        // Without a link that runs along, its place is an empty run of the slab.
        let (last, c, mut t) =
            along.map_or(((0, 0), 0.0, 0.0), |(l, t)| ((self.row(l.dst) + from, rows), coefficient(l), t));
        // The same rows of the next block are asked for here: the memory is idle, and elsewhere outputs are on their
        // way. Once is enough.
        let here: *const f64 = self.slab.values().as_ptr();
        let next = std::mem::take(&mut self.span.next).map(|x| x.get(self.before..).map_or(here, <[f64]>::as_ptr));
        let (out, input, last) = self.slab.split_many(dst, src, rows, last);
        let (mut coefs, mut now) = ([V::Quad::of(0.0); Q], [V::Quad::of(0.0); Q]);
        for q in 0..Q {
            (coefs[q], now[q]) = (V::Quad::load(&coef[q]), V::Quad::load(&s[q]));
        }
        for at in 0..rows / QUAD {
            for q in 0..Q {
                let first = q * QUAD;
                let mut x = [V::Quad::of(0.0); QUAD];
                if same[q] {
                    let row = &input[first].as_chunks::<QUAD>().0[at];
                    for i in 0..QUAD {
                        x[i] = V::Quad::of(row[i]);
                    }
                } else {
                    for k in first..K.min(first + QUAD) {
                        x[k - first] = V::Quad::load(&input[k].as_chunks::<QUAD>().0[at]);
                    }
                    x = V::Quad::transposed(x);
                }
                for i in 0..QUAD {
                    now[q] = now[q].step(x[i], coefs[q]);
                    x[i] = now[q];
                }
                if ALONG && q == 0 {
                    let last = &mut last.as_chunks_mut::<QUAD>().0[at];
                    for i in 0..QUAD {
                        t = step(t, x[i].difference(), c);
                        last[i] = t;
                    }
                }
                let y = V::Quad::transposed(x);
                for k in first..K.min(first + QUAD) {
                    y[k - first].store(&mut out[k].as_chunks_mut::<QUAD>().0[at]);
                }
            }
            if at % 2 == 0 {
                for next in next {
                    crate::cpu::prefetch(next.wrapping_add(at * QUAD));
                }
            }
        }
        for q in 0..Q {
            now[q].store(&mut s[q]);
        }
        for r in rows / QUAD * QUAD..rows {
            for k in 0..K {
                let s = &mut s[k / QUAD][k % QUAD];
                *s = step(*s, input[k][r], coef[k / QUAD][k % QUAD]);
                out[k][r] = *s;
            }
            if ALONG {
                t = step(t, s[0][0] - s[0][1], c);
                last[r] = t;
            }
        }
        for k in 0..K {
            states[k].s = s[k / QUAD][k % QUAD];
        }
        t
    }

    /// One link of one series, row by row.
    #[inline(never)]
    fn careful(&mut self, link: &Link, state: &mut ChainState, from: usize, rows: usize) {
        let (dst, src) = (self.row(link.dst) + from, self.row(link.src) + from);
        let (out, [input]) = self.slab.split(dst, [src], rows);
        for (y, &x) in out.iter_mut().zip(input) {
            *y = advance(link.chain.as_ref(), state, x);
        }
    }

    /// K links of a tile of series that go on: seeded ones in one loop, their states in registers. Returns which of them
    /// are still to be run, a bit for each: there was a null, or a seed is not complete.
    #[inline(always)]
    pub(super) fn lanes_bank<const K: usize>(&mut self, links: &[Link], states: &mut [ChainState]) -> u32 {
        const L: usize = TILE_LANES;
        let Span { cursor, rows, .. } = self.span;
        let (links, states) = (&links[..K], &mut states.as_chunks_mut::<L>().0[..K]);
        // A running sum has a form of its own.
        let coefs: [Option<f64>; K] = std::array::from_fn(|k| links[k].chain.map(|c| c.coef.get()));
        let mut ready = coefs.iter().all(Option::is_some);
        for k in 0..K {
            ready &= states[k].iter().all(|state| seeded(&links[k], state));
        }
        let mut ends = [[f64::NAN; L]; K];
        if ready {
            let place = |place: u32| row_of(place, cursor) * L;
            let dst: [usize; K] = std::array::from_fn(|k| place(links[k].dst));
            let src: [usize; K] = std::array::from_fn(|k| place(links[k].src));
            let (out, input, _) = self.slab.split_many(dst, src, rows * L, (0, 0));
            let out = out.map(|y| &mut y.as_chunks_mut::<L>().0[..rows]);
            let input = input.map(|x| &x.as_chunks::<L>().0[..rows]);
            for lane in (0..L).step_by(V::WIDTH) {
                let (mut now, mut by) = ([V::splat(0.0); K], [V::splat(0.0); K]);
                for k in 0..K {
                    now[k] = V::states(&states[k], lane);
                    by[k] = V::splat(coefs[k].unwrap_or(0.0));
                }
                for r in 0..rows {
                    for k in 0..K {
                        now[k] = V::step(now[k], V::load(&input[k][r], lane), by[k]);
                        now[k].store(&mut out[k][r], lane);
                    }
                }
                for k in 0..K {
                    now[k].store(&mut ends[k], lane);
                }
            }
        }
        let mut left = 0;
        for k in 0..K {
            if ends[k].iter().all(|s| s == s) {
                states[k].iter_mut().zip(ends[k]).for_each(|(state, s)| state.s = s);
            } else {
                left |= 1 << k;
            }
        }
        left
    }

    /// One link of any number of lanes, row by row.
    #[inline(always)]
    pub(super) fn lanes_link(&mut self, link: &Link, states: &mut [ChainState]) {
        let Span { cursor, rows, lanes, .. } = self.span;
        for r in 0..rows {
            let at = |place: u32| (row_of(place, cursor) + r) * lanes;
            let (out, [input]) = self.slab.split(at(link.dst), [at(link.src)], lanes);
            // No closure here: it would be compiled for the baseline.
            let whole = match &link.chain {
                Some(chain) => whole_steps::<V>(out, input, states, chain),
                None => 0,
            };
            for ((y, &x), state) in out.iter_mut().zip(input).zip(states.iter_mut()).skip(whole) {
                *y = advance(link.chain.as_ref(), state, x);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cpu::{Level, best};
    use crate::kernels::slide::tests::{plan, run};

    /// Banks of 1 to 10 links: of one input, of several, beside each other, with one that runs along.
    const SETS: [&[&str]; 7] = [
        &["ema(5)"],
        &["rsi(6)"],
        &["ema(3)", "ema(4)", "ema(5)", "atr(6)"],
        &["ema(3)", "ema(4)", "ema(5)", "ema(6)", "ema(7)"],
        &["macd(5,9,4)", "ema(7)", "rsi(5)"],
        &["macd(12,26,9)", "ema(10)", "ema(20)", "ema(50)", "rsi(14)"],
        &["ema(3)", "atr(4)", "macd(3,8,5)", "ema(6)", "rsi(7)", "adx(5)", "a = ema(volume,4)", "b = cumsum(ret)"],
    ];

    #[test]
    fn a_bank_has_the_bits_of_single_rows() {
        for specs in SETS {
            let plan = plan(specs, false);
            // Runs of one row never fill a register.
            let oracle = run(&plan, Level::Baseline, 700, 1);
            assert!(oracle.iter().flatten().any(|bits| *bits != 0), "{specs:?}");
            for level in [Level::Baseline, Level::Avx2, Level::Avx512].into_iter().filter(|l| *l <= best()) {
                for part in [3, 4, 8, 61, 96, 192] {
                    assert_eq!(run(&plan, level, 700, part), oracle, "{specs:?} {level:?} {part}");
                }
            }
        }
    }
}
