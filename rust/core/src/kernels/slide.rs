//! Means and standard deviations over short windows of one series, in registers: the merges of the steps of the graph
//! that they stand for, in the same order, without a trip to memory after each.

use super::hand::{Handing, PIECE};
use super::{Block, LINE, Span};
use crate::plan::{Instr, lead};
use crate::primitives::sliding as sl;
use crate::simd::Lanes;

/// Levels of the longest window: 1, 2, 4, 8 and 16 rows.
const LEVELS: usize = 5;
/// Registers of the past that a level keeps: 16 rows of the narrowest.
const PAST: usize = 8;

/// The merges of a window of `n` rows, whose highest level is `K`; with `SPREAD` those of squared deviations too.
struct Slide<V, const K: usize, const SPREAD: bool> {
    n: u32,
    /// Means of each level, latest first; and sums of squared deviations.
    mean: [[V; PAST]; LEVELS],
    m2: [[V; PAST]; LEVELS],
    /// For the merge of each level's part with the newer ones: the weight of the deviation, the newer one's share.
    weight: [f64; LEVELS],
    share: [f64; LEVELS],
}

/// Registers that level `k` keeps.
#[inline(always)]
fn kept(k: usize, width: usize) -> usize {
    ((1 << k) / width).clamp(1, PAST)
}

/// The values `rows` rows before `now`, of which the first `kept` of `past` are the registers before.
#[inline(always)]
fn lagged<V: Lanes>(now: V, past: &[V; PAST], kept: usize, rows: usize) -> V {
    let (whole, part) = (rows / V::WIDTH, rows % V::WIDTH);
    // Constant places, so that all stay in registers.
    let (mut newer, mut older) = (now, past[0]);
    for w in 1..PAST {
        if w < kept && whole == w {
            (newer, older) = (past[w - 1], past[w]);
        }
    }
    if whole == kept {
        newer = past[kept - 1];
    }
    if part == 0 { newer } else { newer.lagged(older, part) }
}

impl<V: Lanes, const K: usize, const SPREAD: bool> Slide<V, K, SPREAD> {
    fn new(n: u32) -> Self {
        let newer = |k: usize| n & ((1 << k) - 1);
        let of = |k: usize, f: fn(u32, u32) -> f64| if newer(k) == 0 { 0.0 } else { f(1 << k, newer(k)) };
        Self {
            n,
            mean: [[V::of(f64::NAN); PAST]; LEVELS],
            m2: [[V::of(f64::NAN); PAST]; LEVELS],
            weight: std::array::from_fn(|k| of(k, sl::weight)),
            share: std::array::from_fn(|k| of(k, sl::share)),
        }
    }

    /// Mean and sum of squared deviations of the windows that end in the rows of `x`.
    #[inline(always)]
    fn next(&mut self, x: V) -> (V, V) {
        let mut done = (x, V::of(0.0));
        let one = done;
        let two = self.level::<0>(one, &mut done);
        let four = self.level::<1>(two, &mut done);
        let eight = if K >= 2 { self.level::<2>(four, &mut done) } else { four };
        let sixteen = if K >= 3 { self.level::<3>(eight, &mut done) } else { eight };
        if K >= 4 {
            self.level::<4>(sixteen, &mut done);
        }
        done
    }

    /// Merges level `L` into what is `done`, where the window has it, and makes the next level.
    #[inline(always)]
    fn level<const L: usize>(&mut self, (mean, m2): (V, V), done: &mut (V, V)) -> (V, V) {
        let (newer, kept) = ((self.n & ((1 << L) - 1)) as usize, kept(L, V::WIDTH));
        if self.n >> L & 1 == 1 {
            *done = if newer == 0 { (mean, m2) } else { self.join::<L>(newer, (mean, m2), *done) };
        }
        let mut next = (mean, m2);
        if L < K {
            let older = lagged(mean, &self.mean[L], kept, 1 << L);
            next.0 = sl::half(older, mean);
            if SPREAD && L == 0 {
                next.1 = sl::m2_pair(older, mean);
            } else if SPREAD {
                let weight = V::of(f64::from(1_u32 << L) * 0.5);
                next.1 = sl::m2_merge(lagged(m2, &self.m2[L], kept, 1 << L), m2, older, mean, weight);
            }
        }
        for p in (1..PAST).rev() {
            if p < kept {
                self.mean[L][p] = self.mean[L][p - 1];
                self.m2[L][p] = self.m2[L][p - 1];
            }
        }
        (self.mean[L][0], self.m2[L][0]) = (mean, m2);
        next
    }

    /// Merges level `L` of the rows before the last `newer` with these.
    #[inline(always)]
    fn join<const L: usize>(&self, newer: usize, (mean, m2): (V, V), done: (V, V)) -> (V, V) {
        let kept = kept(L, V::WIDTH);
        let older = lagged(mean, &self.mean[L], kept, newer);
        let joined = sl::merge(older, done.0, V::of(self.share[L]));
        if !SPREAD {
            return (joined, done.1);
        }
        let older_m2 = lagged(m2, &self.m2[L], kept, newer);
        (joined, sl::m2_merge(older_m2, done.1, older, done.0, V::of(self.weight[L])))
    }
}

impl<V: Lanes> Block<'_, '_, '_, V> {
    /// The mean of `n` rows of one series, or with `share` their standard deviation, and their mean beside it.
    #[inline(always)]
    pub(super) fn slide_any(&mut self, i: &Instr, n: u32, share: Option<f64>) {
        match (n.ilog2(), share) {
            (0 | 1, None) => self.slide_of::<1, false>(i, n, 0.0),
            (2, None) => self.slide_of::<2, false>(i, n, 0.0),
            (3, None) => self.slide_of::<3, false>(i, n, 0.0),
            (_, None) => self.slide_of::<4, false>(i, n, 0.0),
            (0 | 1, Some(share)) => self.slide_of::<1, true>(i, n, share),
            (2, Some(share)) => self.slide_of::<2, true>(i, n, share),
            (3, Some(share)) => self.slide_of::<3, true>(i, n, share),
            (_, Some(share)) => self.slide_of::<4, true>(i, n, share),
        }
    }

    #[allow(clippy::single_range_in_vec_init, reason = "one of several ranges")]
    #[inline(always)]
    fn slide_of<const K: usize, const SPREAD: bool>(&mut self, i: &Instr, n: u32, share: f64) {
        let Span { rows, cursor, .. } = self.span;
        let (dst, [src], len) = self.places(i);
        let (ahead, again) = (lead(i.op) as usize, len - rows);
        // Whole registers: the room behind a slot is there for that.
        let all = len.next_multiple_of(LINE);
        let beside = if i.twin { self.row(i.dst2) + dst - self.row(i.dst) } else { 0 };
        let write = [dst..dst + all, beside..beside + if i.twin { all } else { 0 }];
        let mut hand = Handing::new(self.sink, i, cursor, self.before, rows);
        let ([out, means], [x], finished) = self.slab.views(write, [src - ahead..src + all], hand.finished());
        let (x, out) = (x.as_chunks::<LINE>().0, out.as_chunks_mut::<LINE>().0);
        let means = means.as_chunks_mut::<LINE>().0;
        let mut slide = Slide::<V, K, SPREAD>::new(n);
        let (first, x) = x.split_at(ahead / LINE);
        for x in first {
            for lane in (0..LINE).step_by(V::WIDTH) {
                let _ = slide.next(V::load(x, lane));
            }
        }
        let share = V::of(share);
        for (r, x) in x.iter().enumerate() {
            for lane in (0..LINE).step_by(V::WIDTH) {
                let (mean, m2) = slide.next(V::load(x, lane));
                let value = if SPREAD { m2.times(share).root() } else { mean };
                value.store(&mut out[r], lane);
                if SPREAD && let Some(means) = means.get_mut(r) {
                    mean.store(means, lane);
                }
            }
            if (r + 1) % (PIECE / LINE) == 0 && (r + 1) * LINE >= again {
                let before = &out[again / LINE..(r + 1 - PIECE / LINE).max(again / LINE)];
                hand.piece::<V>(finished, before.as_flattened());
            }
        }
        let done = hand.finish::<V>(self.slab);
        done.tell(self.sink, self.slab, self.before);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use crate::cpu::{Level, best};
    use crate::expr;
    use crate::graph::{Expr, Graph, Op, Profile};
    use crate::machine::Machine;
    use crate::plan::{Plan, Step};

    const SETS: [&[&str]; 4] = [
        &["sma(2)", "sma(3)", "volatility(5)", "bb(7,2).pct", "sma(10)"],
        &["sma(11)", "bb(16,2).pct", "volatility(20)", "bb(20,2).width", "volume_ratio(20)", "parkinson(15)"],
        &["bb(31,2).pct", "sma(30)", "volatility(27,ddof=1)", "a = lag(sma(13), 100)", "b = lag(sma(14), 20)"],
        // A longer window of the same values: none is short then.
        &["sma(20)", "sma(50)", "bb(20,2).pct"],
    ];

    pub(in crate::kernels) fn plan(specs: &[&str], short: bool) -> Arc<Plan> {
        let specs: Vec<String> = specs.iter().map(|s| (*s).to_owned()).collect();
        let mut graph = Graph::new(Profile::Safe);
        let features = expr::build(&mut graph, &specs).unwrap_or_else(|e| panic!("{specs:?}: {e}"));
        let outputs: Vec<Expr> = features.iter().map(|f| f.expr).collect();
        Arc::new(Plan::emitting_with(&graph, &outputs, (192, 96), short))
    }

    /// Bits of all outputs, output after output, of `total` rows in runs of `part`.
    pub(in crate::kernels) fn run(plan: &Arc<Plan>, level: Level, total: usize, part: usize) -> Vec<Vec<u64>> {
        let mut machine = Machine::new(Arc::clone(plan), 1);
        let mut out = vec![Vec::new(); plan.outputs.len()];
        let mut at = 0;
        while at < total {
            machine.wrap();
            let n = part.min(total - at).min(machine.room());
            for k in 0..plan.inputs.len() {
                let input = machine.input(k, n);
                for (i, x) in input.iter_mut().enumerate() {
                    let r = (at + i) as f64;
                    let price = 100.0 + 7.0 * libm::sin(r * 0.37) + 3.0 * libm::cos(r * 1.9) + k as f64;
                    let frozen = (220..300).contains(&(at + i));
                    let null = (at + i) % 171 == 150;
                    *x = if null {
                        f64::NAN
                    } else if frozen {
                        100.1
                    } else {
                        price
                    };
                }
            }
            machine.run_at(level, n, &mut |k: usize, _: usize, values: &[f64]| {
                out[k].extend(values.iter().map(|x| if x == x { x.to_bits() } else { 0 }));
            });
            machine.advance(n);
            at += n;
        }
        out
    }

    #[test]
    fn short_windows_have_the_bits_of_their_merges() {
        for specs in SETS {
            let [long, short] = [false, true].map(|short| plan(specs, short));
            let oracle = run(&long, Level::Baseline, 700, 192);
            for level in [Level::Baseline, Level::Avx2, Level::Avx512].into_iter().filter(|l| *l <= best()) {
                for part in [1, 7, 64, 96, 100, 192] {
                    assert_eq!(run(&long, level, 700, part), oracle, "{specs:?} {level:?} {part}");
                    assert_eq!(run(&short, level, 700, part), oracle, "short, {specs:?} {level:?} {part}");
                }
            }
        }
    }

    #[test]
    fn the_state_is_the_same_either_way() {
        for specs in SETS {
            let [long, short] = [false, true].map(|short| plan(specs, short));
            let kept = |plan: &Plan| plan.slots.iter().map(|s| s.history).collect::<Vec<_>>();
            assert_eq!(kept(&long), kept(&short), "{specs:?}");
            let slides = |s: &Step| matches!(s, Step::Map(i) if matches!(i.op, Op::Mean { .. } | Op::Spread { .. }));
            assert!(!long.steps.iter().any(slides));
            assert_eq!(short.steps.iter().any(slides), specs != SETS[3], "{specs:?}");
        }
    }
}
