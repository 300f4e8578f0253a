//! The instructions over a block of rows x lanes.

use super::hand::{Handing, PIECE};
use super::tile::TILE_LANES;
use super::{Along, Block, LINE, Span, Width};
use crate::plan::{EMITS, Instr, Link, row_of};
use crate::primitives::recursive::ChainState;
use crate::simd::Lanes;

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

impl<V: Lanes> Block<'_, '_, '_, V> {
    /// (place of the result, places of the operands, values): what to read and write for `i`.
    #[inline(always)]
    pub(super) fn places<const N: usize>(&self, i: &Instr) -> (usize, [usize; N], usize) {
        let Span { cursor, rows, lanes, last_only, .. } = self.span;
        let skip = if last_only { rows.saturating_sub(i.demand as usize) } else { 0 };
        let at = |place: u32| (row_of(place, cursor) + skip - i.again as usize) * lanes;
        let mut src = [0; N];
        for (k, s) in src.iter_mut().enumerate() {
            *s = at(i.src[k]);
        }
        (at(i.dst), src, (rows - skip + i.again as usize) * lanes)
    }

    /// Row of the slab for a place.
    #[inline(always)]
    pub(super) fn row(&self, place: u32) -> usize {
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

impl<V: Lanes> Block<'_, '_, '_, V> {
    /// Runs an instruction that waits for the divider, and hands out finished values line by line in between: the
    /// memory is busy meanwhile.
    #[allow(clippy::single_range_in_vec_init, reason = "one of several ranges")]
    #[inline(always)]
    fn slow<const N: usize>(&mut self, i: &Instr, f: impl Fn(&mut [f64], [&[f64]; N])) {
        let (dst, src, len) = self.places(i);
        if i.emits == [None; EMITS] {
            let (d, s) = self.slab.split(dst, src, len);
            return f(d, s);
        }
        let again = len - self.span.rows;
        let (d, s) = self.slab.split(dst, src, again);
        f(d, s);
        let (dst, rows) = (dst + again, self.span.rows);
        let mut hand = Handing::new(self.sink, i, self.span.cursor, self.before, rows);
        let read = src.map(|s| s + again..s + again + rows);
        let ([d], s, finished) = self.slab.views([dst..dst + rows], read, hand.finished());
        let pieces = rows / PIECE;
        for piece in 0..pieces {
            let (before, now) = d.as_chunks_mut::<PIECE>().0.split_at_mut(piece);
            f(&mut now[0], s.map(|x| &x.as_chunks::<PIECE>().0[piece][..]));
            hand.piece::<V>(finished, before.as_flattened());
        }
        f(&mut d[pieces * PIECE..], s.map(|x| &x[pieces * PIECE..]));
        let done = hand.finish::<V>(self.slab);
        done.tell(self.sink, self.slab, self.before);
    }
}

impl<V: Lanes> Width for Block<'_, '_, '_, V> {
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
            self.slow(i, |d, [a, b]| zip!(d, |x, y| f(x, y, c), a, b));
        } else {
            self.slow(i, |d, [a, b, c]| zip!(d, f, a, b, c));
        }
    }

    #[inline(always)]
    fn map4(&mut self, i: &Instr, f: impl Fn([f64; 4]) -> f64) {
        self.slow(i, |out, [a, b, c, d]| zip!(out, |a, b, c, d| f([a, b, c, d]), a, b, c, d));
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
    fn slide(&mut self, i: &Instr, n: u32, share: Option<f64>) {
        self.slide_any(i, n, share);
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
            return match links.len() {
                1 => self.tile_bank::<1>(links, states, along),
                2 => self.tile_bank::<2>(links, states, along),
                3 => self.tile_bank::<3>(links, states, along),
                4 => self.tile_bank::<4>(links, states, along),
                5 => self.tile_bank::<5>(links, states, along),
                6 => self.tile_bank::<6>(links, states, along),
                7 => self.tile_bank::<7>(links, states, along),
                _ => self.tile_bank::<8>(links, states, along),
            };
        }
        let left = if lanes == TILE_LANES && self.span.rows > 1 {
            match links.len() {
                1 => self.lanes_bank::<1>(links, states),
                2 => self.lanes_bank::<2>(links, states),
                3 => self.lanes_bank::<3>(links, states),
                4 => self.lanes_bank::<4>(links, states),
                5 => self.lanes_bank::<5>(links, states),
                6 => self.lanes_bank::<6>(links, states),
                7 => self.lanes_bank::<7>(links, states),
                _ => self.lanes_bank::<8>(links, states),
            }
        } else {
            u32::MAX
        };
        for (k, (link, states)) in links.iter().zip(states.chunks_mut(lanes)).enumerate() {
            if left >> k & 1 == 1 {
                self.lanes_link(link, states);
            }
        }
        false
    }

    #[inline(always)]
    fn prefetch(&mut self) {
        if self.share == 0 {
            return;
        }
        let Some(piece) = self.span.next.iter_mut().find(|piece| !piece.is_empty()) else { return };
        let (now, rest) = piece.split_at(self.share.min(piece.len()));
        now.iter().step_by(LINE).for_each(|line| crate::cpu::prefetch(line));
        *piece = rest;
    }

    #[inline(always)]
    fn emit(&mut self, k: usize, at: u32) {
        let Span { cursor, rows, lanes, last_only, .. } = self.span;
        let skip = if last_only { rows - 1 } else { 0 };
        let from = (row_of(at, cursor) + skip) * lanes;
        let values = &self.slab.values()[from..from + (rows - skip) * lanes];
        self.sink.take(k, self.before + skip, values);
    }
}
