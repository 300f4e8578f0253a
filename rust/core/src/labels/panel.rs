//! Rows in any order as series in time order, with the close time of every bar.

use std::borrow::Cow;
use std::ops::Range;

use super::{LabelError, Result, VOLATILITY_BARS, times};
use crate::bars::{OnBad, Policy, fault, is_good};
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

/// Rows series by series, each in time order.
#[derive(Debug)]
pub(super) struct Order {
    /// The caller's row of each row here; None where the caller's order is this one.
    rows: Option<Vec<u32>>,
    /// First row of each series, and the end.
    starts: Vec<usize>,
}

impl Order {
    /// The caller's row of row `i` here.
    #[inline(always)]
    pub(super) fn row(&self, i: usize) -> usize {
        self.rows.as_ref().map_or(i, |rows| rows[i] as usize)
    }

    /// The series, as ranges of rows here.
    pub(super) fn series(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.starts.windows(2).map(|bounds| bounds[0]..bounds[1])
    }

    /// A column in this order.
    fn of<'a>(&self, column: &'a [f64]) -> Cow<'a, [f64]> {
        match &self.rows {
            None => Cow::Borrowed(column),
            Some(rows) => Cow::Owned(rows.iter().map(|&row| column[row as usize]).collect()),
        }
    }
}

/// A panel whose rows are series by series, each in time order.
#[derive(Debug)]
pub(super) struct Sorted<'a> {
    /// Where the rows come from.
    pub order: Order,
    /// Close times.
    t: Vec<i64>,
    prices: Option<[Cow<'a, [f64]>; 3]>,
    close: Cow<'a, [f64]>,
}

/// One symbol in time order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Series<'a> {
    /// Where the rows come from, and the first of them.
    pub order: (&'a Order, usize),
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

impl<'a> Panel<'a> {
    fn check(&self) -> Result<usize> {
        let n = self.close.len();
        let lengths = [Some(self.open_time.len()), self.symbols.map(<[_]>::len), self.close_time.map(<[_]>::len)];
        let prices = self.prices.iter().flatten().map(|p| p.len());
        if n > u32::MAX as usize || lengths.into_iter().flatten().chain(prices).any(|len| len != n) {
            return Err(LabelError::Setting(format!("all columns must have {n} rows, and fewer than 2^32")));
        }
        Ok(n)
    }

    pub(super) fn sort(&self) -> Result<Sorted<'a>> {
        let n = self.check()?;
        let order = match self.in_order(n) {
            Some(order) => order,
            None => self.group(n)?,
        };
        let t = times::close_times(self, &order)?;
        let prices = self.prices.map(|p| p.map(|column| order.of(column)));
        let close = order.of(self.close);
        Ok(Sorted { order, t, prices, close })
    }

    /// The order of rows that are series by series and in time order already.
    fn in_order(&self, n: usize) -> Option<Order> {
        let mut starts = vec![0];
        let time = self.open_time;
        match self.symbols {
            None => {
                starts.push(n);
                time.windows(2).all(|pair| pair[0] < pair[1]).then_some(Order { rows: None, starts })
            }
            Some(symbols) => {
                // Numbered as they first appear, so that each symbol is one run and none is left out.
                for row in 0..n {
                    let next = row > 0 && symbols[row] != symbols[row - 1];
                    if next {
                        starts.push(row);
                    }
                    let fits = symbols[row] == starts.len() as i64 - 1;
                    if !fits || (row > 0 && !next && time[row] <= time[row - 1]) {
                        return None;
                    }
                }
                starts.push(n);
                Some(Order { rows: None, starts })
            }
        }
    }

    /// Rows series by series (a counting sort), each sorted by time.
    fn group(&self, n: usize) -> Result<Order> {
        let (mut rows, starts) = match self.symbols {
            None => ((0..n as u32).collect(), vec![0, n]),
            Some(symbols) => by_symbol(symbols)?,
        };
        for series in starts.windows(2) {
            self.sort_by_time(&mut rows[series[0]..series[1]])?;
        }
        Ok(Order { rows: Some(rows), starts })
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

/// Rows symbol by symbol, and where each begins.
fn by_symbol(symbols: &[i64]) -> Result<(Vec<u32>, Vec<usize>)> {
    let n = symbols.len();
    let top = symbols.iter().copied().max().unwrap_or(0);
    if let Some(row) = symbols.iter().position(|&s| s < 0).or((top >= n.max(1) as i64).then_some(0)) {
        return Err(LabelError::Setting(format!("row {row}: symbols must be numbered from 0")));
    }
    let mut starts = vec![0; top as usize + 2];
    symbols.iter().for_each(|&s| starts[s as usize + 1] += 1);
    for s in 1..starts.len() {
        starts[s] += starts[s - 1];
    }
    let (mut next, mut rows) = (starts.clone(), vec![0; n]);
    for (row, &s) in symbols.iter().enumerate() {
        rows[next[s as usize]] = row as u32;
        next[s as usize] += 1;
    }
    Ok((rows, starts))
}

impl Sorted<'_> {
    /// Close times by the caller's rows.
    pub(super) fn close_times_of_rows(&self) -> Vec<i64> {
        let Some(rows) = &self.order.rows else { return self.t.clone() };
        let mut times = vec![0; self.t.len()];
        rows.iter().zip(&self.t).for_each(|(&row, &t)| times[row as usize] = t);
        times
    }

    /// The rows here and the close times of one symbol, in time order; none of an unknown one.
    pub(super) fn of_symbol(&self, symbol: i64) -> (usize, &[i64]) {
        let starts = &self.order.starts;
        let bounds = usize::try_from(symbol).ok().and_then(|s| Some((*starts.get(s)?, *starts.get(s + 1)?)));
        bounds.map_or((0, &[]), |(from, to)| (from, &self.t[from..to]))
    }

    /// The series, each with its part of `scale`.
    pub(super) fn series<'a>(&'a self, scale: Option<&'a [f64]>) -> impl Iterator<Item = Series<'a>> {
        self.order.series().map(move |range| {
            let price = |k: usize| self.prices.as_ref().map_or(&[][..], |p| &p[k][range.clone()]);
            Series {
                order: (&self.order, range.start),
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
        let good = match &self.prices {
            None => self.close.iter().all(|&c| c != c || is_good(&[c, c, c, c, 1.0])),
            Some([o, h, l]) => (0..self.close.len()).all(|i| is_good(&[o[i], h[i], l[i], self.close[i], 1.0])),
        };
        if good { Ok(()) } else { self.first_fault() }
    }

    fn first_fault(&self) -> Result<()> {
        let mut first: Option<(usize, usize, f64, &'static str)> = None;
        for i in 0..self.close.len() {
            let [open, high, low] = self.prices.as_ref().map_or([None; 3], |p| [0, 1, 2].map(|k| Some(p[k][i])));
            let found = fault([open, high, low, Some(self.close[i]), None].map(|x| x.filter(|x| x == x)));
            if let Some((column, value, reason)) = found {
                let row = self.order.row(i);
                first = first.filter(|f| f.0 < row).or(Some((row, column, value, reason)));
            }
        }
        first.map_or(Ok(()), |(row, column, value, reason)| {
            Err(LabelError::Value { column: OHLCV[column], row, value, reason: reason.to_owned() })
        })
    }

    /// The engine's `volatility(20)` of every row here.
    pub(super) fn volatility(&self) -> Result<Vec<f64>> {
        let fs = FeatureSet::new(&[format!("volatility({VOLATILITY_BARS})")], Profile::Safe)?;
        let mut bars = Bars::default();
        bars.ohlcv[3] = Some(Column::of(&self.close));
        let series: Vec<Batch> = self.order.series().map(|r| Batch { rows: Rows::Range(r), symbol: None }).collect();
        let n = self.close.len();
        let mut out = vec![f64::NAN; n];
        let policy = Policy { on_bad: OnBad::Null, ..Policy::default() };
        batch::compute(&fs, &bars, &series, &policy, 1, &Columns::over(&mut out, n, 1, n))?;
        Ok(out)
    }
}
