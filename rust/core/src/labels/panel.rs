//! Rows in any order as series in time order, with the close time of every bar.

use super::{LabelError, Result, VOLATILITY_BARS, times};
use crate::bars::{OnBad, Policy, fault};
use crate::batch::{self, Series as Batch};
use crate::block::Columns;
use crate::error::{Error, Place};
use crate::features::FeatureSet;
use crate::graph::Profile;
use crate::source::{Bars, Column, OHLCV, Rows};

/// Bars of any number of symbols, rows in any order. All slices have the length of `close`.
#[derive(Debug, Clone, Copy)]
pub struct Panel<'a> {
    /// A number per row that tells symbols apart, from 0; one symbol without.
    pub symbols: Option<&'a [i64]>,
    /// Open times, ns.
    pub open_time: &'a [i64],
    /// Close times, ns, where the bars carry them.
    pub close_time: Option<&'a [i64]>,
    /// Length of a bar, ns; else the most common distance between bars. Not used with close times.
    pub interval: Option<i64>,
    /// Open, high and low, where the label reads them; NaN for null.
    pub prices: Option<[&'a [f64]; 3]>,
    /// Close; NaN for null.
    pub close: &'a [f64],
}

/// A panel whose rows are series by series, each in time order.
#[derive(Debug)]
pub(super) struct Sorted {
    /// The caller's row of each row here.
    order: Vec<u32>,
    /// First row of each series, and the end.
    starts: Vec<usize>,
    /// Close times.
    t: Vec<i64>,
    prices: Option<[Vec<f64>; 3]>,
    close: Vec<f64>,
}

/// One symbol in time order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Series<'a> {
    /// The caller's rows.
    pub rows: &'a [u32],
    /// Close times, ns.
    pub t: &'a [i64],
    /// Opens; empty where the label does not read them, as are highs, lows and scales.
    pub open: &'a [f64],
    /// Highs.
    pub high: &'a [f64],
    /// Lows.
    pub low: &'a [f64],
    /// Closes.
    pub close: &'a [f64],
    /// Volatilities.
    pub scale: &'a [f64],
}

impl Panel<'_> {
    fn check(&self) -> Result<usize> {
        let n = self.close.len();
        let lengths = [Some(self.open_time.len()), self.symbols.map(<[_]>::len), self.close_time.map(<[_]>::len)];
        let prices = self.prices.iter().flatten().map(|p| p.len());
        if n > u32::MAX as usize || lengths.into_iter().flatten().chain(prices).any(|len| len != n) {
            return Err(LabelError::Setting(format!("all columns must have {n} rows, and fewer than 2^32")));
        }
        Ok(n)
    }

    pub(super) fn sort(&self) -> Result<Sorted> {
        let n = self.check()?;
        let (mut order, starts) = self.group(n)?;
        for series in starts.windows(2) {
            self.sort_by_time(&mut order[series[0]..series[1]])?;
        }
        let t = times::close_times(self, &order, &starts)?;
        let gather = |column: &[f64]| order.iter().map(|&row| column[row as usize]).collect::<Vec<f64>>();
        let prices = self.prices.map(|p| p.map(&gather));
        let close = gather(self.close);
        Ok(Sorted { order, starts, t, prices, close })
    }

    /// Rows series by series, and where each begins: a counting sort.
    fn group(&self, n: usize) -> Result<(Vec<u32>, Vec<usize>)> {
        let Some(symbols) = self.symbols else { return Ok(((0..n as u32).collect(), vec![0, n])) };
        let top = symbols.iter().copied().max().unwrap_or(0);
        if let Some(row) = symbols.iter().position(|&s| s < 0).or((top >= n.max(1) as i64).then_some(0)) {
            return Err(LabelError::Setting(format!("row {row}: symbols must be numbered from 0")));
        }
        let mut starts = vec![0; top as usize + 2];
        symbols.iter().for_each(|&s| starts[s as usize + 1] += 1);
        for s in 1..starts.len() {
            starts[s] += starts[s - 1];
        }
        let (mut next, mut order) = (starts.clone(), vec![0; n]);
        for (row, &s) in symbols.iter().enumerate() {
            order[next[s as usize]] = row as u32;
            next[s as usize] += 1;
        }
        Ok((order, starts))
    }

    fn sort_by_time(&self, rows: &mut [u32]) -> Result<()> {
        let time = |row: u32| self.open_time[row as usize];
        if !rows.is_sorted_by_key(|&row| time(row)) {
            rows.sort_by_key(|&row| time(row));
        }
        match rows.windows(2).find(|pair| time(pair[0]) == time(pair[1])) {
            Some(twice) => Err(self.unsorted(twice[0], twice[1])),
            None => Ok(()),
        }
    }

    fn unsorted(&self, before: u32, row: u32) -> LabelError {
        let (value, previous) = (self.open_time[row as usize], self.open_time[before as usize]);
        let place = Place { row: row as usize, window: None, symbol: None, time_ns: Some(value) };
        Error::Unsorted { column: "open_time".to_owned(), value, previous, place }.into()
    }
}

impl Sorted {
    /// Close times by the caller's rows.
    pub(super) fn close_times_of_rows(&self) -> Vec<i64> {
        let mut times = vec![0; self.t.len()];
        self.order.iter().zip(&self.t).for_each(|(&row, &t)| times[row as usize] = t);
        times
    }

    /// The caller's rows and the close times of one symbol, in time order; none of an unknown one.
    pub(super) fn of_symbol(&self, symbol: i64) -> (&[u32], &[i64]) {
        let bounds = usize::try_from(symbol).ok().and_then(|s| Some((*self.starts.get(s)?, *self.starts.get(s + 1)?)));
        bounds.map_or((&[], &[]), |(from, to)| (&self.order[from..to], &self.t[from..to]))
    }

    /// The series, each with its part of `scale`.
    pub(super) fn series<'a>(&'a self, scale: Option<&'a [f64]>) -> impl Iterator<Item = Series<'a>> {
        self.starts.windows(2).map(move |bounds| {
            let range = bounds[0]..bounds[1];
            let price = |k: usize| self.prices.as_ref().map_or(&[][..], |p| &p[k][range.clone()]);
            Series {
                rows: &self.order[range.clone()],
                t: &self.t[range.clone()],
                open: price(0),
                high: price(1),
                low: price(2),
                close: &self.close[range.clone()],
                scale: scale.map_or(&[][..], |s| &s[range.clone()]),
            }
        })
    }

    /// Refuses prices that no bar can have; the error is that of the caller's first such row.
    pub(super) fn check_prices(&self) -> Result<()> {
        let mut worst: Option<(usize, usize, f64, &'static str)> = None;
        for (i, &row) in self.order.iter().enumerate() {
            let [open, high, low] = self.prices.as_ref().map_or([None; 3], |p| [0, 1, 2].map(|k| Some(p[k][i])));
            let bar = [open, high, low, Some(self.close[i]), None].map(|x| x.filter(|x| x == x));
            let found = fault(bar);
            if let Some((column, value, reason)) = found
                && worst.is_none_or(|w| (row as usize) < w.0)
            {
                worst = Some((row as usize, column, value, reason));
            }
        }
        worst.map_or(Ok(()), |(row, column, value, reason)| {
            Err(LabelError::Value { column: OHLCV[column], row, value, reason: reason.to_owned() })
        })
    }

    /// The engine's `volatility(20)` of every row here.
    pub(super) fn volatility(&self) -> Result<Vec<f64>> {
        let fs = FeatureSet::new(&[format!("volatility({VOLATILITY_BARS})")], Profile::Safe)?;
        let mut bars = Bars::default();
        bars.ohlcv[3] = Some(Column::of(&self.close));
        let rows = |bounds: &[usize]| Batch { rows: Rows::Range(bounds[0]..bounds[1]), symbol: None };
        let series: Vec<Batch> = self.starts.windows(2).map(rows).collect();
        let n = self.close.len();
        let mut out = vec![f64::NAN; n];
        let policy = Policy { on_bad: OnBad::Null, ..Policy::default() };
        batch::compute(&fs, &bars, &series, &policy, 1, &Columns::over(&mut out, n, 1, n))?;
        Ok(out)
    }
}
