//! Where windows come from: one array of them, or one history with their ends.

use super::L;
use crate::bars::all_good;
use crate::simd::interleave;

/// Where windows come from.
pub trait Windows: Sync {
    /// Number of windows.
    fn count(&self) -> usize;
    /// Rows in each.
    fn rows(&self) -> usize;
    /// Copies the last rows of the bar columns of `L` windows from `first` on (the last one again past the end)
    /// into `dst`, interleaved, as many as each has room for. True if every bar of the windows is an accepted one.
    fn bars(&self, first: usize, dst: [&mut [[f64; L]]; 5]) -> bool;
    /// Memory of the `L` windows from `first` on, where it is in one piece.
    fn memory(&self, first: usize) -> &[f64];
    /// Extra column `e` of window `w`, row `r`.
    fn extra(&self, e: usize, w: usize, r: usize) -> f64;
    /// Time of window `w`, row `r`, in ns, where there are times.
    fn time(&self, w: usize, r: usize) -> Option<i64>;
    /// The row that messages name for row `r` of window `w`.
    fn row(&self, w: usize, r: usize) -> usize {
        let _ = w;
        r
    }
}

/// Windows in one array of (n, rows, 5), with extra columns (n, rows, e) and times (n, rows).
#[derive(Debug, Clone, Copy)]
pub struct Cube<'a> {
    /// open, high, low, close, volume.
    pub bars: &'a [f64],
    /// Rows of a window.
    pub rows: usize,
    /// Extra columns, with their number.
    pub extras: Option<(&'a [f64], usize)>,
    /// Times in ns.
    pub times: Option<&'a [i64]>,
}

impl Windows for Cube<'_> {
    fn count(&self) -> usize {
        self.bars.len() / (self.rows * 5)
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn bars(&self, first: usize, dst: [&mut [[f64; L]]; 5]) -> bool {
        let size = self.rows * 5;
        let last = self.count() - 1;
        let window = |l: usize| self.bars[(first + l).min(last) * size..][..size].as_chunks::<5>().0;
        interleave(std::array::from_fn(window), dst)
    }

    fn memory(&self, first: usize) -> &[f64] {
        let size = self.rows * 5;
        let from = (first * size).min(self.bars.len());
        &self.bars[from..(from + L * size).min(self.bars.len())]
    }

    fn extra(&self, e: usize, w: usize, r: usize) -> f64 {
        self.extras.map_or(f64::NAN, |(x, n)| x[(w * self.rows + r) * n + e])
    }

    fn time(&self, w: usize, r: usize) -> Option<i64> {
        self.times.map(|t| t[w * self.rows + r])
    }
}

/// Windows of one history: window `w` ends with row `ends[w]`, that row included.
#[derive(Debug, Clone)]
pub struct History<'a> {
    /// open, high, low, close, volume, whole.
    pub bars: [&'a [f64]; 5],
    /// Extra columns, whole.
    pub extras: Vec<&'a [f64]>,
    /// Times in ns, whole.
    pub times: Option<&'a [i64]>,
    /// Rows of a window.
    pub rows: usize,
    /// Last row of each window; each at least `rows - 1`.
    pub ends: &'a [usize],
}

impl History<'_> {
    fn start(&self, w: usize) -> usize {
        self.ends[w] + 1 - self.rows
    }
}

impl Windows for History<'_> {
    fn count(&self) -> usize {
        self.ends.len()
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn bars(&self, first: usize, mut dst: [&mut [[f64; L]]; 5]) -> bool {
        let mut good = true;
        for l in 0..L {
            let start = self.start((first + l).min(self.count() - 1));
            let columns = self.bars.map(|column| &column[start..start + self.rows]);
            for (column, d) in columns.iter().zip(&mut dst) {
                let from = self.rows - d.len();
                d.iter_mut().zip(&column[from..]).for_each(|(d, x)| d[l] = *x);
            }
            let [o, h, l, c, v] = columns;
            good &= all_good(o, h, l, c, v);
        }
        good
    }

    fn memory(&self, _: usize) -> &[f64] {
        &[]
    }

    fn extra(&self, e: usize, w: usize, r: usize) -> f64 {
        self.extras[e][self.start(w) + r]
    }

    fn time(&self, w: usize, r: usize) -> Option<i64> {
        self.times.map(|t| t[self.start(w) + r])
    }

    fn row(&self, w: usize, r: usize) -> usize {
        self.start(w) + r
    }
}
