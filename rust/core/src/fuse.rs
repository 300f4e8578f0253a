//! Joins steps of a graph that one pass over the rows can do: fewer passes, the same operations in the
//! same order. The graph keeps its nodes; what nothing reads any more is simply not planned.

use crate::graph::{Expr, Graph, Num, Op};

/// A step to plan.
#[derive(Debug, Clone)]
pub struct Step {
    /// What to compute.
    pub op: Op,
    /// Its operands.
    pub args: Vec<Expr>,
    /// Another step with the same operands that this one computes along (`Level`: the mean beside the squared
    /// deviations).
    pub twin: Option<u32>,
}

/// Rows of the longest window that one step does as a whole.
pub const SHORT: u32 = 31;

/// The steps of a graph, joined where that is possible; with `short`, short windows too, which only the kernels for
/// blocks of one series can do.
pub fn fuse(graph: &Graph, outputs: &[Expr], short: bool) -> Vec<Step> {
    let mut steps: Vec<Step> =
        graph.nodes.iter().map(|n| Step { op: n.op, args: n.args.clone(), twin: None }).collect();
    let mut readers = count_readers(&steps, outputs);
    for id in 0..steps.len() {
        let single = |x: Expr| match x {
            Expr::Node { id, lag: 0 } if readers[id as usize] == 1 => Some(id as usize),
            _ => None,
        };
        let window = |id: usize| if short { window(graph, id) } else { None };
        let found = affine(&steps, id, single)
            .or_else(|| deviation(&steps, id, single, window))
            .or_else(|| mean(&steps, id, window));
        if let Some((op, args)) = found {
            for x in &args {
                if let Expr::Node { id, .. } = *x {
                    readers[id as usize] += 1;
                }
            }
            for x in &steps[id].args {
                if let Expr::Node { id, .. } = *x {
                    readers[id as usize] -= 1;
                }
            }
            steps[id] = Step { op, args, twin: None };
        }
    }
    twins(&mut steps, outputs);
    steps
}

/// Live readers of each step (an output is one).
fn count_readers(steps: &[Step], outputs: &[Expr]) -> Vec<u32> {
    let mut readers = vec![0_u32; steps.len()];
    let read = |readers: &mut Vec<u32>, x: &Expr| {
        if let Expr::Node { id, .. } = *x {
            readers[id as usize] += 1;
        }
    };
    outputs.iter().for_each(|x| read(&mut readers, x));
    for id in (0..steps.len()).rev() {
        if readers[id] > 0 {
            steps[id].args.iter().for_each(|x| read(&mut readers, x));
        }
    }
    readers
}

/// `ratio(..) * m`, `+ a` or `- a`, where nothing else reads the ratio.
fn affine(steps: &[Step], id: usize, single: impl Fn(Expr) -> Option<usize>) -> Option<(Op, Vec<Expr>)> {
    let step = &steps[id];
    let (x, mul, add) = match (step.op, step.args.as_slice()) {
        (Op::Mul, &[x, Expr::Const(c)] | &[Expr::Const(c), x]) => (x, c.get(), 0.0),
        (Op::Add, &[x, Expr::Const(c)] | &[Expr::Const(c), x]) => (x, 1.0, c.get()),
        (Op::Sub, &[x, Expr::Const(c)]) => (x, 1.0, -c.get()),
        _ => return None,
    };
    let from = &steps[single(x)?];
    let Op::Ratio { neutral, sat } = from.op else { return None };
    Some((Op::RatioAffine { neutral, sat, mul: Num::new(mul), add: Num::new(add) }, from.args.clone()))
}

/// `sqrt(m2 * share)` where nothing else reads the variance.
fn deviation(
    steps: &[Step],
    id: usize,
    single: impl Fn(Expr) -> Option<usize>,
    window: impl Fn(usize) -> Option<(Expr, u32)>,
) -> Option<(Op, Vec<Expr>)> {
    let (Op::Sqrt, &[x]) = (steps[id].op, steps[id].args.as_slice()) else { return None };
    let var = &steps[single(x)?];
    let (Op::Mul, &[m2, Expr::Const(share)]) = (var.op, var.args.as_slice()) else { return None };
    let m2 = single(m2)?;
    let merge = &steps[m2];
    if let (Op::M2Pair | Op::M2Merge { .. }, Some((x, n))) = (merge.op, window(m2)) {
        return Some((Op::Spread { n, share }, vec![x]));
    }
    let Op::M2Merge { c } = merge.op else { return None };
    Some((Op::StdMerge { c, share }, merge.args.clone()))
}

/// A mean over a short window.
fn mean(steps: &[Step], id: usize, window: impl Fn(usize) -> Option<(Expr, u32)>) -> Option<(Op, Vec<Expr>)> {
    let (Op::Half | Op::Merge { .. }, Some((x, n))) = (steps[id].op, window(id)) else { return None };
    Some((Op::Mean { n }, vec![x]))
}

/// What node `id` is an aggregate of, if that is a short window. Where longer windows of the same values share their
/// merges with it, none is done as a whole.
fn window(graph: &Graph, id: usize) -> Option<(Expr, u32)> {
    let &(x, n) = graph.windows.get(&(id as u32))?;
    graph.windows.values().all(|&(other, n)| other != x || n <= SHORT).then_some((x, n))
}

/// Lets the merge of squared deviations compute the merge of means of the same parts along.
fn twins(steps: &mut [Step], outputs: &[Expr]) {
    let readers = count_readers(steps, outputs);
    for id in 0..steps.len() {
        if readers[id] == 0 {
            continue;
        }
        if let Op::Spread { n, .. } = steps[id].op {
            let mean = |k: &usize| steps[*k].op == Op::Mean { n } && steps[*k].args == steps[id].args;
            steps[id].twin = (0..steps.len()).filter(|&k| readers[k] > 0).find(mean).map(|k| k as u32);
            continue;
        }
        let ((Op::M2Pair, &[older, newer]) | (Op::M2Merge { .. }, &[_, _, older, newer])) =
            (steps[id].op, steps[id].args.as_slice())
        else {
            continue;
        };
        let mean = (0..steps.len()).find(|&k| {
            readers[k] > 0 && matches!(steps[k].op, Op::Half | Op::Merge { .. }) && steps[k].args == [older, newer]
        });
        let Some(mean) = mean else { continue };
        steps[id].op = match (steps[id].op, steps[mean].op) {
            (Op::M2Pair, Op::Half) => Op::Level0,
            // A half is a merge with equal parts, but rounds otherwise: marked by a share of 0.
            (Op::M2Merge { c }, Op::Half) => Op::Level { c, w: Num::new(0.0) },
            (Op::M2Merge { c }, Op::Merge { w }) => Op::Level { c, w },
            (op, _) => op,
        };
        if matches!(steps[id].op, Op::Level0 | Op::Level { .. }) {
            steps[id].twin = Some(mean as u32);
        }
    }
}
