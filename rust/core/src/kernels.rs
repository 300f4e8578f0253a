//! The loops over rows: one kernel per shape of instruction, shared by every mode and width.
//!
//! [`execute`] is the only place that says which arithmetic an instruction is. It is compiled for two
//! widths, a block of rows x S lanes ([`Block`]) and a single value ([`One`]), and for each CPU level.
//! The order of operations inside a series is the same in all of them.

use crate::block::Slab;
use crate::graph::{Chain, Op};
use crate::plan::{Instr, Link, Plan, Step};
use crate::primitives::recursive::{ChainState, step};
use crate::primitives::{elementwise as el, ratio as rt, sliding as sl};

/// How wide an instruction runs.
trait Width {
    fn map1(&mut self, i: &Instr, f: impl Fn(f64) -> f64);
    fn map2(&mut self, i: &Instr, f: impl Fn(f64, f64) -> f64);
    fn map3(&mut self, i: &Instr, f: impl Fn(f64, f64, f64) -> f64);
    fn map4(&mut self, i: &Instr, f: impl Fn([f64; 4]) -> f64);
    fn map6(&mut self, i: &Instr, f: impl Fn([f64; 6]) -> f64);
    fn mean_abs_dev(&mut self, i: &Instr, n: u32);
    fn bank(&mut self, links: &[Link], states: &mut [ChainState]);
}

/// Runs every instruction of the plan.
#[inline(always)]
fn execute(w: &mut impl Width, plan: &Plan, states: &mut [ChainState], lanes: usize) {
    for s in &plan.steps {
        let i = match s {
            Step::Map(i) => i,
            Step::Bank(from, to) => {
                w.bank(&plan.links[*from..*to], &mut states[from * lanes..to * lanes]);
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
}

/// A block of rows x lanes.
struct Block<'a> {
    slab: &'a mut Slab,
    span: Span,
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

impl Block<'_> {
    /// (place of the result, places of the operands, values): what to read and write for `i`.
    #[inline(always)]
    fn places<const N: usize>(&self, i: &Instr) -> (usize, [usize; N], usize) {
        let Span { cursor, rows, lanes, last_only } = self.span;
        let skip = if last_only { rows.saturating_sub(i.demand as usize) } else { 0 };
        let from = cursor + skip;
        let at = |row: u32| (row as usize + from) * lanes;
        let mut src = [0; N];
        for (k, s) in src.iter_mut().enumerate() {
            *s = at(i.src[k]);
        }
        (at(i.dst), src, (rows - skip) * lanes)
    }

    #[inline(always)]
    fn views<const N: usize>(&mut self, i: &Instr) -> (&mut [f64], [&[f64]; N]) {
        let (dst, src, len) = self.places(i);
        self.slab.split(dst, src, len)
    }
}

impl Width for Block<'_> {
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
    fn bank(&mut self, links: &[Link], states: &mut [ChainState]) {
        if self.span.lanes == 1 {
            match links.len() {
                1 => self.series_bank::<1>(links, states),
                2 => self.series_bank::<2>(links, states),
                3 => self.series_bank::<3>(links, states),
                4 => self.series_bank::<4>(links, states),
                5 => self.series_bank::<5>(links, states),
                6 => self.series_bank::<6>(links, states),
                7 => self.series_bank::<7>(links, states),
                _ => self.series_bank::<8>(links, states),
            }
        } else {
            let lanes = self.span.lanes;
            for (link, states) in links.iter().zip(states.chunks_mut(lanes)) {
                if lanes == TILE_LANES { self.tile_link(link, states) } else { self.lanes_link(link, states) }
            }
        }
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

impl Block<'_> {
    /// K chains of one series in one loop: the latencies of a multiply and two adds overlap.
    #[inline(always)]
    fn series_bank<const K: usize>(&mut self, links: &[Link], states: &mut [ChainState]) {
        let Span { cursor, rows, .. } = self.span;
        let mut at = 0;
        while at < rows && !links.iter().zip(states.iter()).all(|(l, s)| seeded(l, s)) {
            let part = PIECE.min(rows - at);
            for (link, state) in links.iter().zip(states.iter_mut()) {
                self.careful(link, state, cursor + at, part);
            }
            at += part;
        }
        if at == rows {
            return;
        }
        // Optimistic: a null makes its chain NaN to the end; such a chain is run again, with care.
        let before: [ChainState; K] = std::array::from_fn(|k| states[k]);
        if links.iter().all(|l| l.chain.is_some()) {
            self.fast_bank::<K>(links, states, cursor + at, rows - at);
        } else {
            for (link, state) in links.iter().zip(states.iter_mut()) {
                match link.chain {
                    Some(_) => {
                        self.fast_bank::<1>(
                            std::slice::from_ref(link),
                            std::slice::from_mut(state),
                            cursor + at,
                            rows - at,
                        );
                    }
                    None => self.careful(link, state, cursor + at, rows - at),
                }
            }
        }
        for k in 0..K {
            if states[k].s != states[k].s {
                states[k] = before[k];
                self.careful(&links[k], &mut states[k], cursor + at, rows - at);
            }
        }
    }

    #[inline(always)]
    fn fast_bank<const K: usize>(&mut self, links: &[Link], states: &mut [ChainState], cursor: usize, rows: usize) {
        const TILE: usize = 64;
        let dst: [usize; K] = std::array::from_fn(|k| links[k].dst as usize + cursor);
        let src: [usize; K] = std::array::from_fn(|k| links[k].src as usize + cursor);
        let coef: [f64; K] = std::array::from_fn(|k| links[k].chain.map_or(0.0, |c| c.coef.get()));
        let mut s: [f64; K] = std::array::from_fn(|k| states[k].s);
        let (mut out, input) = self.slab.split_many(dst, src, rows);
        let whole = rows / TILE * TILE;
        for at in (0..whole).step_by(TILE) {
            // Arrays of constant length need no bounds checks inside the loop.
            let x: [&[f64; TILE]; K] = input.map(|x| x[at..].first_chunk().unwrap_or(&[0.0; TILE]));
            let mut y = out.each_mut().map(|y| y[at..].first_chunk_mut::<TILE>());
            for r in 0..TILE {
                for k in 0..K {
                    s[k] = step(s[k], x[k][r], coef[k]);
                    if let Some(y) = &mut y[k] {
                        y[r] = s[k];
                    }
                }
            }
        }
        for r in whole..rows {
            for k in 0..K {
                s[k] = step(s[k], input[k][r], coef[k]);
                out[k][r] = s[k];
            }
        }
        for k in 0..K {
            states[k].s = s[k];
        }
    }

    /// One link of one series, row by row.
    #[inline(never)]
    fn careful(&mut self, link: &Link, state: &mut ChainState, cursor: usize, rows: usize) {
        let (out, [input]) = self.slab.split(link.dst as usize + cursor, [link.src as usize + cursor], rows);
        for (y, &x) in out.iter_mut().zip(input) {
            *y = advance(link.chain.as_ref(), state, x);
        }
    }

    /// One link of a tile of windows, the states in registers.
    #[inline(always)]
    fn tile_link(&mut self, link: &Link, states: &mut [ChainState]) {
        const L: usize = TILE_LANES;
        let Span { cursor, rows, .. } = self.span;
        let before: [ChainState; L] = std::array::from_fn(|l| states[l]);
        let at = |place: u32| (place as usize + cursor) * L;
        let mut done = 0;
        // Windows start together, so as a rule their seeds end together: gather them lane by lane.
        while done < rows && !states.iter().all(|s| seeded(link, s)) {
            let (out, [input]) = self.slab.split(at(link.dst) + done * L, [at(link.src) + done * L], L);
            for l in 0..L {
                out[l] = advance(link.chain.as_ref(), &mut states[l], input[l]);
            }
            done += 1;
        }
        let after_seed: [ChainState; L] = std::array::from_fn(|l| states[l]);
        let coef = link.chain.map(|c| c.coef.get());
        let mut s: [f64; L] = std::array::from_fn(|l| states[l].s);
        let (out, [input]) = self.slab.split(at(link.dst) + done * L, [at(link.src) + done * L], (rows - done) * L);
        for (y, x) in out.as_chunks_mut::<L>().0.iter_mut().zip(input.as_chunks::<L>().0) {
            for l in 0..L {
                s[l] = fast(coef, s[l], x[l]);
                y[l] = s[l];
            }
        }
        for l in 0..L {
            states[l].s = s[l];
            if s[l] != s[l] && before[l].s == before[l].s {
                states[l] = after_seed[l];
                self.careful_lane(link, &mut states[l], l, done);
            }
        }
    }

    /// One lane of a link, row by row, from row `from` of the span.
    #[inline(never)]
    fn careful_lane(&mut self, link: &Link, state: &mut ChainState, lane: usize, from: usize) {
        let Span { cursor, rows, lanes, .. } = self.span;
        let values = self.slab.values_mut();
        for r in from..rows {
            let at = |place: u32| (place as usize + cursor + r) * lanes + lane;
            values[at(link.dst)] = advance(link.chain.as_ref(), state, values[at(link.src)]);
        }
    }

    /// One link of any number of lanes: a panel of streams, one row at a time.
    #[inline(always)]
    fn lanes_link(&mut self, link: &Link, states: &mut [ChainState]) {
        let Span { cursor, rows, lanes, .. } = self.span;
        for r in 0..rows {
            let at = |place: u32| (place as usize + cursor + r) * lanes;
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

/// One row of one series.
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
    fn mean_abs_dev(&mut self, i: &Instr, n: u32) {
        let (n, at, mean) = (n as usize, i.src[0] as usize + self.cursor, self.get(i, 1));
        let mut sum = 0.0;
        for &x in &self.values[at + 1 - n..=at] {
            sum += (x - mean).abs();
        }
        self.set(i, sum * (1.0 / n as f64));
    }

    #[inline(always)]
    fn bank(&mut self, links: &[Link], states: &mut [ChainState]) {
        for (link, state) in links.iter().zip(states) {
            let x = self.values[link.src as usize + self.cursor];
            self.values[link.dst as usize + self.cursor] = advance(link.chain.as_ref(), state, x);
        }
    }
}

#[inline(always)]
fn block(plan: &Plan, slab: &mut Slab, states: &mut [ChainState], span: Span) {
    execute(&mut Block { slab, span }, plan, states, span.lanes);
}

/// Runs the plan over a block with the kernels of the best CPU level.
pub fn run_block(plan: &Plan, slab: &mut Slab, states: &mut [ChainState], span: Span) {
    if span.rows > 0 {
        crate::cpu::dispatch(plan, slab, states, span);
    }
}

/// Runs the plan over one row of one series.
pub fn run_one(plan: &Plan, slab: &mut Slab, states: &mut [ChainState], cursor: usize) {
    execute(&mut One { values: slab.values_mut(), cursor }, plan, states, 1);
}

/// The kernels at the level that every CPU of the target has.
pub(crate) fn block_baseline(plan: &Plan, slab: &mut Slab, states: &mut [ChainState], span: Span) {
    block(plan, slab, states, span);
}

/// The kernels compiled for AVX2. FMA is not enabled, and would change nothing: only `mul_add` fuses.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
pub(crate) fn block_avx2(plan: &Plan, slab: &mut Slab, states: &mut [ChainState], span: Span) {
    block(plan, slab, states, span);
}

/// The kernels compiled for AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
pub(crate) fn block_avx512(plan: &Plan, slab: &mut Slab, states: &mut [ChainState], span: Span) {
    block(plan, slab, states, span);
}
