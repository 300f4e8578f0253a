//! The loops over rows: one kernel per shape of instruction, shared by every mode and width.
//!
//! [`execute`] is the only place that says which arithmetic an instruction is. It is compiled for two
//! widths, a block of rows x S lanes ([`Block`]) and a single value ([`One`]), and for each CPU level.
//! The order of operations inside a series is the same in all of them.

use std::marker::PhantomData;

use crate::block::Slab;
use crate::graph::{Chain, Op};
use crate::plan::{Instr, Link, Plan, Step, row_of};
use crate::primitives::recursive::{ChainState, step};
use crate::primitives::{elementwise as el, ratio as rt, sliding as sl};
use crate::simd::{Eight, Plain};

/// How wide an instruction runs.
trait Width {
    fn map1(&mut self, i: &Instr, f: impl Fn(f64) -> f64);
    fn map2(&mut self, i: &Instr, f: impl Fn(f64, f64) -> f64);
    fn map3(&mut self, i: &Instr, f: impl Fn(f64, f64, f64) -> f64);
    fn map4(&mut self, i: &Instr, f: impl Fn([f64; 4]) -> f64);
    fn map6(&mut self, i: &Instr, f: impl Fn([f64; 6]) -> f64);
    fn pair2(&mut self, i: &Instr, f: impl Fn(f64, f64) -> (f64, f64));
    fn pair4(&mut self, i: &Instr, f: impl Fn([f64; 4]) -> (f64, f64));
    fn mean_abs_dev(&mut self, i: &Instr, n: u32);
    /// Runs a bank; `along` is a later link with its state that may run along. True if it did.
    fn bank(&mut self, links: &[Link], states: &mut [ChainState], along: Option<Along<'_>>) -> bool;
    fn emit(&mut self, k: usize, at: u32);
}

/// A link of a later bank that reads the difference of this one's first two.
type Along<'a> = (&'a Link, &'a mut ChainState);

/// Runs every instruction of the plan.
#[inline(always)]
fn execute(w: &mut impl Width, plan: &Plan, states: &mut [ChainState], lanes: usize) {
    // The link that already ran along with an earlier bank.
    let mut ran = usize::MAX;
    for s in &plan.steps {
        let i = match s {
            Step::Map(i) => i,
            Step::Bank { from, to, along } => {
                let (now, later) = states.split_at_mut(to * lanes);
                let offer = along.filter(|_| lanes == 1).map(|a| (&plan.links[a], &mut later[a - to]));
                // A link that ran along is the first of its bank.
                let from = from + usize::from(ran == *from);
                if from < *to && w.bank(&plan.links[from..*to], &mut now[from * lanes..], offer) {
                    ran = along.unwrap_or(usize::MAX);
                }
                continue;
            }
            Step::Emit(k, at) => {
                w.emit(*k, *at);
                continue;
            }
        };
        match i.op {
            Op::Add => w.map2(i, |a, b| a + b),
            Op::Sub => w.map2(i, |a, b| a - b),
            Op::Mul => w.map2(i, |a, b| a * b),
            Op::Div => w.map2(i, |a, b| a / b),
            Op::Min => w.map2(i, el::min),
            Op::Max => w.map2(i, el::max),
            Op::Lt => w.map2(i, el::lt),
            Op::Le => w.map2(i, el::le),
            Op::Eq => w.map2(i, el::eq),
            Op::OrElse => w.map2(i, el::or_else),
            Op::Abs => w.map1(i, f64::abs),
            Op::Sqrt => w.map1(i, el::sqrt),
            Op::Sign => w.map1(i, el::sign),
            Op::Pos => w.map1(i, el::pos),
            Op::Tame => w.map1(i, el::tame),
            Op::Log { neutral } => w.map1(i, |x| el::log(x, neutral.get())),
            Op::Sin { period } => w.map1(i, |x| el::sin_turn(x, period.get())),
            Op::Cos { period } => w.map1(i, |x| el::cos_turn(x, period.get())),
            Op::Where => w.map3(i, el::select),
            Op::Ratio { neutral, sat } => {
                let (neutral, sat) = (neutral.get(), sat.get());
                w.map3(i, |n, d, l| rt::ratio(n, d, l, neutral, sat));
            }
            Op::Half => w.map2(i, sl::half),
            Op::Merge { w: share } => {
                let share = share.get();
                w.map2(i, |a, b| sl::merge(a, b, share));
            }
            Op::M2Pair => w.map2(i, sl::m2_pair),
            Op::M2Merge { c } => {
                let c = c.get();
                w.map4(i, |[m2a, m2b, ma, mb]| sl::m2_merge(m2a, m2b, ma, mb, c));
            }
            Op::CovPair => w.map4(i, |[xa, xb, ya, yb]| sl::cov_pair(xa, xb, ya, yb)),
            Op::CovMerge { c } => {
                let c = c.get();
                w.map6(i, |[ca, cb, xa, xb, ya, yb]| sl::cov_merge(ca, cb, (xa, xb), (ya, yb), c));
            }
            Op::MeanAbsDev { n } => w.mean_abs_dev(i, n),
            Op::RatioAffine { neutral, sat, mul, add } => {
                let (neutral, sat, mul, add) = (neutral.get(), sat.get(), mul.get(), add.get());
                w.map3(i, |n, d, l| rt::affine(rt::ratio(n, d, l, neutral, sat), mul, add));
            }
            Op::StdMerge { c, share } => {
                let (c, share) = (c.get(), share.get());
                w.map4(i, |[m2a, m2b, ma, mb]| sl::std_merge(m2a, m2b, ma, mb, c, share));
            }
            Op::Level0 => w.pair2(i, |a, b| (sl::m2_pair(a, b), sl::half(a, b))),
            Op::Level { c, w: share } => {
                let (c, share) = (c.get(), share.get());
                if share == 0.0 {
                    w.pair4(i, |[m2a, m2b, a, b]| (sl::m2_merge(m2a, m2b, a, b, c), sl::half(a, b)));
                } else {
                    w.pair4(i, |[m2a, m2b, a, b]| (sl::m2_merge(m2a, m2b, a, b, c), sl::merge(a, b, share)));
                }
            }
            // Inputs are written by the caller, links run in banks.
            Op::Input(_) | Op::Chain(_) | Op::CumSum => {}
        }
    }
}

/// One row of a link, seeding included.
#[inline(always)]
fn advance(chain: Option<&Chain>, state: &mut ChainState, x: f64) -> f64 {
    match chain {
        Some(c) => c.advance(state, x),
        None if x != x => f64::NAN,
        None => {
            state.s += x;
            state.s
        }
    }
}

/// Which rows of a slab to compute.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// First row, counted from a slot's base.
    pub cursor: usize,
    /// Number of rows.
    pub rows: usize,
    /// Interleaved series.
    pub lanes: usize,
    /// Only what the last row needs.
    pub last_only: bool,
    /// Row 0 of every lane: nothing came before.
    pub fresh: bool,
}

/// Takes an output: its number, the first row (counted from the start of the run), and the values from
/// there on.
pub type Sink<'a> = &'a mut dyn FnMut(usize, usize, &[f64]);

/// A block of rows x lanes.
struct Block<'a, 's, V> {
    slab: &'a mut Slab,
    span: Span,
    /// Rows of the run before this tile.
    before: usize,
    sink: &'s mut dyn FnMut(usize, usize, &[f64]),
    lanes: PhantomData<V>,
}

/// Applies `f` to rows of equal length.
macro_rules! zip {
    ($d:expr, $f:expr, $($x:expr),+) => {{
        let d: &mut [f64] = $d;
        let n = d.len();
        for i in 0..n {
            d[i] = $f($($x[i]),+);
        }
    }};
}

impl<V: Eight> Block<'_, '_, V> {
    /// (place of the result, places of the operands, values): what to read and write for `i`.
    #[inline(always)]
    fn places<const N: usize>(&self, i: &Instr) -> (usize, [usize; N], usize) {
        let Span { cursor, rows, lanes, last_only, .. } = self.span;
        let skip = if last_only { rows.saturating_sub(i.demand as usize) } else { 0 };
        let at = |place: u32| (row_of(place, cursor) + skip) * lanes;
        let mut src = [0; N];
        for (k, s) in src.iter_mut().enumerate() {
            *s = at(i.src[k]);
        }
        (at(i.dst), src, (rows - skip) * lanes)
    }

    /// Row of the slab for a place.
    #[inline(always)]
    fn row(&self, place: u32) -> usize {
        row_of(place, self.span.cursor)
    }

    #[inline(always)]
    fn views<const N: usize>(&mut self, i: &Instr) -> (&mut [f64], [&[f64]; N]) {
        let (dst, src, len) = self.places(i);
        self.slab.split(dst, src, len)
    }

    /// As `views`, for an instruction with two results.
    #[inline(always)]
    fn two_views<const N: usize>(&mut self, i: &Instr) -> ([&mut [f64]; 2], [&[f64]; N]) {
        let (dst, src, len) = self.places(i);
        let (first, second) = (self.row(i.dst), self.row(i.dst2));
        let dst2 = (second * self.span.lanes + dst) - first * self.span.lanes;
        let (dst, src, _) = self.slab.split_many([dst, dst2], src, len, (0, 0));
        (dst, src)
    }
}

impl<V: Eight> Width for Block<'_, '_, V> {
    #[inline(always)]
    fn map1(&mut self, i: &Instr, f: impl Fn(f64) -> f64) {
        let (d, [a]) = self.views(i);
        let a = &a[..d.len()];
        zip!(d, f, a);
    }

    #[inline(always)]
    fn map2(&mut self, i: &Instr, f: impl Fn(f64, f64) -> f64) {
        match i.konst {
            Some((0, c)) => {
                let (dst, [_, b], len) = self.places(i);
                let (d, [b]) = self.slab.split(dst, [b], len);
                zip!(d, |y| f(c, y), b);
            }
            Some((_, c)) => {
                let (d, [a]) = self.views(i);
                zip!(d, |x| f(x, c), a);
            }
            None => {
                let (d, [a, b]) = self.views(i);
                zip!(d, f, a, b);
            }
        }
    }

    #[inline(always)]
    fn map3(&mut self, i: &Instr, f: impl Fn(f64, f64, f64) -> f64) {
        if let Some((2, c)) = i.konst {
            let (d, [a, b]) = self.views(i);
            zip!(d, |x, y| f(x, y, c), a, b);
        } else {
            let (d, [a, b, c]) = self.views(i);
            zip!(d, f, a, b, c);
        }
    }

    #[inline(always)]
    fn map4(&mut self, i: &Instr, f: impl Fn([f64; 4]) -> f64) {
        let (out, [a, b, c, d]) = self.views(i);
        zip!(out, |a, b, c, d| f([a, b, c, d]), a, b, c, d);
    }

    #[inline(always)]
    fn map6(&mut self, i: &Instr, f: impl Fn([f64; 6]) -> f64) {
        let (out, [p, q, r, s, t, u]) = self.views(i);
        zip!(out, |p, q, r, s, t, u| f([p, q, r, s, t, u]), p, q, r, s, t, u);
    }

    #[inline(always)]
    fn pair2(&mut self, i: &Instr, f: impl Fn(f64, f64) -> (f64, f64)) {
        let ([x, y], [a, b]) = self.two_views(i);
        for r in 0..x.len() {
            (x[r], y[r]) = f(a[r], b[r]);
        }
    }

    #[inline(always)]
    fn pair4(&mut self, i: &Instr, f: impl Fn([f64; 4]) -> (f64, f64)) {
        let ([x, y], [a, b, c, d]) = self.two_views(i);
        for r in 0..x.len() {
            (x[r], y[r]) = f([a[r], b[r], c[r], d[r]]);
        }
    }

    /// A fold over the window, oldest row first, for many rows at a time.
    #[inline(always)]
    fn mean_abs_dev(&mut self, i: &Instr, n: u32) {
        const TILE: usize = 64;
        let lanes = self.span.lanes;
        let (dst, [x, mean], len) = self.places(i);
        let mut at = 0;
        while at < len {
            let part = TILE.min(len - at);
            let mut sum = [0.0; TILE];
            for back in (0..n as usize).rev() {
                let values = self.slab.values();
                let (xs, ms) = (&values[x + at - back * lanes..][..part], &values[mean + at..][..part]);
                for ((s, x), m) in sum[..part].iter_mut().zip(xs).zip(ms) {
                    *s += (x - m).abs();
                }
            }
            let share = 1.0 / f64::from(n);
            let out = &mut self.slab.values_mut()[dst + at..][..part];
            zip!(out, |s: f64| s * share, sum);
            at += part;
        }
    }

    #[inline(always)]
    fn bank(&mut self, links: &[Link], states: &mut [ChainState], along: Option<Along<'_>>) -> bool {
        if self.span.lanes == 1 {
            return match links.len() {
                1 => self.series_bank::<1>(links, states, along),
                2 => self.series_bank::<2>(links, states, along),
                3 => self.series_bank::<3>(links, states, along),
                4 => self.series_bank::<4>(links, states, along),
                5 => self.series_bank::<5>(links, states, along),
                6 => self.series_bank::<6>(links, states, along),
                7 => self.series_bank::<7>(links, states, along),
                _ => self.series_bank::<8>(links, states, along),
            };
        }
        let lanes = self.span.lanes;
        if lanes == TILE_LANES && self.span.fresh && links.iter().all(|l| !l.gains.is_empty()) {
            match links.len() {
                1 => self.tile_bank::<1>(links, states),
                2 => self.tile_bank::<2>(links, states),
                3 => self.tile_bank::<3>(links, states),
                4 => self.tile_bank::<4>(links, states),
                5 => self.tile_bank::<5>(links, states),
                6 => self.tile_bank::<6>(links, states),
                7 => self.tile_bank::<7>(links, states),
                _ => self.tile_bank::<8>(links, states),
            }
            return false;
        }
        for (link, states) in links.iter().zip(states.chunks_mut(lanes)) {
            self.lanes_link(link, states);
        }
        false
    }

    #[inline(always)]
    fn emit(&mut self, k: usize, at: u32) {
        let Span { cursor, rows, lanes, last_only, .. } = self.span;
        let skip = if last_only { rows - 1 } else { 0 };
        let from = (row_of(at, cursor) + skip) * lanes;
        (self.sink)(k, self.before + skip, &self.slab.values()[from..from + (rows - skip) * lanes]);
    }
}

/// Lanes of a tile of windows.
pub const TILE_LANES: usize = 8;
/// Rows of a careful piece while a seed is being gathered.
const PIECE: usize = 32;

/// True when the step of a seeded chain is all that is left to do.
#[inline(always)]
fn seeded(link: &Link, state: &ChainState) -> bool {
    link.chain.is_none_or(|c| state.seen >= c.ready_at())
}

/// A running sum as a step: `s + 1 * (x - 0)` would be another arithmetic, so it has its own form.
#[inline(always)]
fn fast(coef: Option<f64>, s: f64, x: f64) -> f64 {
    match coef {
        Some(k) => step(s, x, k),
        None => s + x,
    }
}

impl<V: Eight> Block<'_, '_, V> {
    /// K chains of one series in one loop: the latencies of a multiply and two adds overlap.
    #[inline(always)]
    fn series_bank<const K: usize>(
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
        match along.filter(|(link, state)| K > 1 && at == 0 && seeded(link, state) && state.s == state.s) {
            Some((link, state)) => {
                let s = self.fast_bank::<K, true>(links, states, Some((link, state.s)), 0, rows);
                // If not, its own bank runs it, from its state as it was.
                ran = s == s;
                state.s = if ran { s } else { state.s };
            }
            None => {
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
        let coefficient = |l: &Link| l.chain.map_or(0.0, |c| c.coef.get());
        let dst: [usize; K] = std::array::from_fn(|k| self.row(links[k].dst) + from);
        let src: [usize; K] = std::array::from_fn(|k| self.row(links[k].src) + from);
        let coef: [f64; K] = std::array::from_fn(|k| coefficient(&links[k]));
        let mut s: [f64; K] = std::array::from_fn(|k| states[k].s);
        // Without a link that runs along, its place is an empty run of the slab.
        let (last, c, mut t) =
            along.map_or(((0, 0), 0.0, 0.0), |(l, t)| ((self.row(l.dst) + from, rows), coefficient(l), t));
        let (out, input, last) = self.slab.split_many(dst, src, rows, last);
        for r in 0..rows {
            for k in 0..K {
                s[k] = step(s[k], input[k][r], coef[k]);
                out[k][r] = s[k];
            }
            if ALONG {
                t = step(t, s[0] - s[1 % K], c);
                last[r] = t;
            }
        }
        for k in 0..K {
            states[k].s = s[k];
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

    /// K links of a tile of windows from their start, the states in registers. Each link runs from the first
    /// row of its own input; while its seed is gathered the step's coefficient is the seed's gain.
    #[inline(always)]
    fn tile_bank<const K: usize>(&mut self, links: &[Link], states: &mut [ChainState]) {
        const L: usize = TILE_LANES;
        let rows = self.span.rows;
        let links = &links[..K];
        let start: [usize; K] = std::array::from_fn(|k| (links[k].start as usize).min(rows));
        let mut s = [V::splat(0.0); K];
        let together = (0..K).map(|k| rows - start[k]).min().unwrap_or(0);
        let at = |place: u32, row: usize| (row_of(place, 0) + row) * L;
        {
            let dst: [usize; K] = std::array::from_fn(|k| at(links[k].dst, start[k]));
            let src: [usize; K] = std::array::from_fn(|k| at(links[k].src, start[k]));
            let (out, input, _) = self.slab.split_many(dst, src, together * L, (0, 0));
            let input: [&[[f64; L]]; K] = std::array::from_fn(|k| &input[k].as_chunks::<L>().0[..together]);
            let gains: [&[f64]; K] = std::array::from_fn(|k| &links[k].gains[..together]);
            for i in 0..together {
                for k in 0..K {
                    s[k] = V::step(s[k], V::load(&input[k][i]), V::splat(gains[k][i]));
                    s[k].store(&mut out[k].as_chunks_mut::<L>().0[i]);
                }
            }
        }
        for k in 0..K {
            let more = rows - start[k] - together;
            let (dst, src) = (at(links[k].dst, start[k] + together), at(links[k].src, start[k] + together));
            let (out, [input]) = self.slab.split(dst, [src], more * L);
            let rows = out.as_chunks_mut::<L>().0.iter_mut().zip(input.as_chunks::<L>().0);
            for ((y, x), &gain) in rows.zip(&links[k].gains[together..]) {
                s[k] = V::step(s[k], V::load(x), V::splat(gain));
                s[k].store(y);
            }
            self.finish_tile(&links[k], &mut states[k * L..(k + 1) * L], s[k], start[k]);
        }
    }

    /// Stores the states of a link, makes the rows before the end of its seed null, and runs lanes that met a
    /// null again with care.
    #[inline(always)]
    fn finish_tile(&mut self, link: &Link, states: &mut [ChainState], s: V, start: usize) {
        const L: usize = TILE_LANES;
        let rows = self.span.rows;
        let n = link.chain.map_or(0, |c| c.n) as usize;
        let valid = (start + n).saturating_sub(1).min(rows);
        let dst = row_of(link.dst, 0) * L;
        self.slab.values_mut()[dst..dst + valid * L].fill(f64::NAN);
        let mut last = [0.0; L];
        s.store(&mut last);
        for (lane, state) in states.iter_mut().enumerate() {
            if last[lane] == last[lane] {
                *state = ChainState { s: last[lane], seen: n.min(rows - start) as u32 };
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

    /// One link of any number of lanes: a panel of streams, one row at a time.
    #[inline(always)]
    fn lanes_link(&mut self, link: &Link, states: &mut [ChainState]) {
        let Span { cursor, rows, lanes, .. } = self.span;
        for r in 0..rows {
            let at = |place: u32| (row_of(place, cursor) + r) * lanes;
            let (out, [input]) = self.slab.split(at(link.dst), [at(link.src)], lanes);
            let ready = link.chain.map_or(0, |c| c.ready_at());
            if states.iter().all(|s| s.seen >= ready) {
                let coef = link.chain.map(|c| c.coef.get());
                for ((y, &x), state) in out.iter_mut().zip(input).zip(states.iter_mut()) {
                    let s = fast(coef, state.s, x);
                    state.s = if x == x { s } else { state.s };
                    *y = if x == x { s } else { f64::NAN };
                }
            } else {
                for ((y, &x), state) in out.iter_mut().zip(input).zip(states.iter_mut()) {
                    *y = advance(link.chain.as_ref(), state, x);
                }
            }
        }
    }
}

/// One row of one series, of a plan without scratch places.
struct One<'a> {
    values: &'a mut [f64],
    cursor: usize,
}

impl One<'_> {
    #[inline(always)]
    fn get(&self, i: &Instr, k: usize) -> f64 {
        self.values[i.src[k] as usize + self.cursor]
    }

    #[inline(always)]
    fn set(&mut self, i: &Instr, y: f64) {
        self.values[i.dst as usize + self.cursor] = y;
    }
}

impl Width for One<'_> {
    #[inline(always)]
    fn map1(&mut self, i: &Instr, f: impl Fn(f64) -> f64) {
        self.set(i, f(self.get(i, 0)));
    }

    #[inline(always)]
    fn map2(&mut self, i: &Instr, f: impl Fn(f64, f64) -> f64) {
        self.set(i, f(self.get(i, 0), self.get(i, 1)));
    }

    #[inline(always)]
    fn map3(&mut self, i: &Instr, f: impl Fn(f64, f64, f64) -> f64) {
        self.set(i, f(self.get(i, 0), self.get(i, 1), self.get(i, 2)));
    }

    #[inline(always)]
    fn map4(&mut self, i: &Instr, f: impl Fn([f64; 4]) -> f64) {
        self.set(i, f(std::array::from_fn(|k| self.get(i, k))));
    }

    #[inline(always)]
    fn map6(&mut self, i: &Instr, f: impl Fn([f64; 6]) -> f64) {
        self.set(i, f(std::array::from_fn(|k| self.get(i, k))));
    }

    #[inline(always)]
    fn pair2(&mut self, i: &Instr, f: impl Fn(f64, f64) -> (f64, f64)) {
        let (x, y) = f(self.get(i, 0), self.get(i, 1));
        self.set(i, x);
        self.values[i.dst2 as usize + self.cursor] = y;
    }

    #[inline(always)]
    fn pair4(&mut self, i: &Instr, f: impl Fn([f64; 4]) -> (f64, f64)) {
        let (x, y) = f(std::array::from_fn(|k| self.get(i, k)));
        self.set(i, x);
        self.values[i.dst2 as usize + self.cursor] = y;
    }

    #[inline(always)]
    fn mean_abs_dev(&mut self, i: &Instr, n: u32) {
        let (n, at, mean) = (n as usize, i.src[0] as usize + self.cursor, self.get(i, 1));
        let mut sum = 0.0;
        for &x in &self.values[at + 1 - n..=at] {
            sum += (x - mean).abs();
        }
        self.set(i, sum * (1.0 / n as f64));
    }

    #[inline(always)]
    fn bank(&mut self, links: &[Link], states: &mut [ChainState], _: Option<Along<'_>>) -> bool {
        for (link, state) in links.iter().zip(states) {
            let x = self.values[link.src as usize + self.cursor];
            self.values[link.dst as usize + self.cursor] = advance(link.chain.as_ref(), state, x);
        }
        false
    }

    #[inline(always)]
    fn emit(&mut self, _: usize, _: u32) {}
}

#[inline(always)]
fn block<V: Eight>(plan: &Plan, slab: &mut Slab, states: &mut [ChainState], span: Span, sink: Sink<'_>) {
    let mut before = 0;
    while before < span.rows {
        let rows = plan.tile.min(span.rows - before);
        let tile = Span { cursor: span.cursor + before, rows, ..span };
        execute(&mut Block::<V> { slab, span: tile, before, sink, lanes: PhantomData }, plan, states, span.lanes);
        before += rows;
    }
}

/// Runs the plan over a block with the kernels of the best CPU level; `sink` takes the outputs of a plan
/// that emits them.
pub fn run_block(plan: &Plan, slab: &mut Slab, states: &mut [ChainState], span: Span, sink: Sink<'_>) {
    if span.rows > 0 {
        crate::cpu::dispatch(plan, slab, states, span, sink);
    }
}

/// Runs the plan over one row of one series.
pub fn run_one(plan: &Plan, slab: &mut Slab, states: &mut [ChainState], cursor: usize) {
    execute(&mut One { values: slab.values_mut(), cursor }, plan, states, 1);
}

/// The kernels at the level that every CPU of the target has.
pub(crate) fn block_baseline(plan: &Plan, slab: &mut Slab, states: &mut [ChainState], span: Span, sink: Sink<'_>) {
    block::<Plain>(plan, slab, states, span, sink);
}

/// The kernels compiled for AVX2. FMA is not enabled, and would change nothing: only `mul_add` fuses.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
pub(crate) fn block_avx2(plan: &Plan, slab: &mut Slab, states: &mut [ChainState], span: Span, sink: Sink<'_>) {
    block::<crate::simd::x86::Avx2>(plan, slab, states, span, sink);
}

/// The kernels compiled for AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
pub(crate) fn block_avx512(plan: &Plan, slab: &mut Slab, states: &mut [ChainState], span: Span, sink: Sink<'_>) {
    block::<crate::simd::x86::Avx512>(plan, slab, states, span, sink);
}
