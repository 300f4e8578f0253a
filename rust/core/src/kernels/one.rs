//! The instructions over one row of one series.

use super::{Along, Width, advance};
use crate::plan::{Instr, Link};
use crate::primitives::recursive::ChainState;

/// One row of one series, of a plan without scratch places.
pub(super) struct One<'a> {
    pub(super) values: &'a mut [f64],
    pub(super) cursor: usize,
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

    /// Plans for single rows do their windows merge by merge.
    #[inline(always)]
    fn slide(&mut self, _: &Instr, _: u32, _: Option<f64>) {
        debug_assert!(false, "a step of blocks");
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
    fn prefetch(&mut self) {}

    #[inline(always)]
    fn emit(&mut self, _: usize, _: u32) {}
}
