//! Market-neutral outcomes: what a symbol does beside the others.

use super::{Labels, MARKET, class_of};

/// Turns forward returns into returns less the equal-weighted mean of all symbols that have one at the same time. The
/// mean is known when the last of them is, and so is every label made from it.
pub(super) fn subtract_market(out: &mut Labels, threshold: f64) {
    let mut rows: Vec<(i64, u32)> =
        (0..out.t.len()).filter(|&row| out.side[row] >= 0).map(|row| (out.t[row], row as u32)).collect();
    // Stable: it merges the runs of symbols that are in order already.
    rows.sort_unstable();
    let mut returns = Vec::new();
    for market in rows.chunk_by(|a, b| a.0 == b.0) {
        if market.len() < MARKET {
            market.iter().for_each(|&(_, row)| out.clear(row as usize));
            continue;
        }
        returns.clear();
        returns.extend(market.iter().map(|&(_, row)| out.ret[row as usize]));
        // Summed by size, so that the order of rows cannot change a bit.
        returns.sort_unstable_by(f64::total_cmp);
        let mean = returns.iter().sum::<f64>() / returns.len() as f64;
        let known = market.iter().map(|&(_, row)| out.t_end[row as usize]).max();
        for &(_, row) in market {
            let row = row as usize;
            out.value[row] = out.ret[row] - mean;
            out.side[row] = class_of(out.value[row], threshold);
            out.t_end[row] = known.unwrap_or(out.t_end[row]);
        }
    }
}
