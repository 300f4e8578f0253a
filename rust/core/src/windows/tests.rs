//! Windows against one series at a time: the same bits.

use super::{Cube, compute};
use crate::bars::{OnBad, Policy};
use crate::batch::{self, Series};
use crate::block::Columns;
use crate::error::Result;
use crate::features::FeatureSet;
use crate::graph::Profile;
use crate::source::{Bars, Column, Rows};

const ROWS: usize = 90;
/// Not a whole number of tiles.
const COUNT: usize = 21;

/// Windows of bars with flat stretches and, with `holes`, rows that are null.
fn cube(holes: bool) -> Vec<f64> {
    let bar = |i: usize| {
        let wave = if i % 70 < 12 { 0.0 } else { (i * 37 % 101) as f64 / 1e3 };
        let price = 100.0 + wave;
        let volume = if i % 90 < 5 { 0.0 } else { (i * 53 % 89) as f64 };
        let price = if holes && i % 211 == 17 { f64::NAN } else { price };
        [price, price + wave, price - wave, price, volume]
    };
    (0..COUNT * ROWS).flat_map(bar).collect()
}

/// Last row of every window, computed as a series of its own.
fn one_by_one(fs: &FeatureSet, cube: &[f64], policy: &Policy) -> Result<Vec<f64>> {
    let f = fs.columns().len();
    let mut last = Vec::new();
    for window in cube.as_chunks::<5>().0.chunks(ROWS) {
        let columns: Vec<Vec<f64>> = (0..5).map(|c| window.iter().map(|bar| bar[c]).collect()).collect();
        let bars = Bars { ohlcv: std::array::from_fn(|c| Some(Column::of(&columns[c]))), ..Bars::default() };
        let mut memory = vec![0.0; f * ROWS];
        let out = Columns::over(&mut memory, ROWS, f, ROWS);
        batch::compute(fs, &bars, &[Series { rows: Rows::Range(0..ROWS), symbol: None }], policy, 1, &out)?;
        last.extend((0..f).map(|k| memory[k * ROWS + ROWS - 1]));
    }
    Ok(last)
}

fn check(specs: &[&str], profile: Profile, holes: bool, on_bad: OnBad) -> Result<()> {
    let specs: Vec<String> = specs.iter().map(|s| (*s).to_owned()).collect();
    let fs = FeatureSet::new(&specs, profile)?;
    let (cube, policy) = (cube(holes), Policy { on_bad, ..Policy::default() });
    let expected = one_by_one(&fs, &cube, &policy)?;
    let bits = |x: &f64| x.to_bits();
    let f = fs.columns().len();
    for all_rows in [false, true] {
        let rows = if all_rows { ROWS } else { 1 };
        let mut out = vec![0.0; COUNT * rows * f];
        compute(&fs, &Cube { bars: &cube, rows: ROWS, extras: None, times: None }, &policy, all_rows, 1, &mut out)?;
        let last: Vec<u64> = out.chunks(rows * f).flat_map(|w| w[(rows - 1) * f..].iter().map(bits)).collect();
        assert_eq!(last, expected.iter().map(bits).collect::<Vec<_>>(), "{specs:?}, all rows: {all_rows}");
    }
    Ok(())
}

/// A late link, MACD's signal beside its bank, a link over a link, and steps that forget.
const SPECS: &[&str] =
    &["macd(12,26,9)", "ema(10)", "rsi(14)", "slow = ema(lag(close, 7), 20)", "adx(14)", "bb(20,2)", "obv"];

#[test]
fn last_rows_are_those_of_the_series() -> Result<()> {
    check(SPECS, Profile::Safe, false, OnBad::Raise)?;
    check(SPECS, Profile::Talib, false, OnBad::Raise)
}

#[test]
fn a_null_sends_the_tile_through_all_rows() -> Result<()> {
    check(SPECS, Profile::Safe, true, OnBad::Null)?;
    check(SPECS, Profile::Safe, true, OnBad::Reset)
}

/// In the legacy profile 0/0 is a null that no check of the bars foresees.
#[test]
fn a_null_from_good_bars_does_too() -> Result<()> {
    let legacy = Profile::Legacy { eps: crate::graph::Num::new(1e-8) };
    check(&["x = ema((close - low) / (high - low), 5)", "macd(12,26,9)"], legacy, false, OnBad::Raise)
}
