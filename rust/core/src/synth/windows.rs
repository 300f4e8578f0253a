//! Seeded windows of bars for trades whose real bars are gone: many short paths, one random stream each.
//!
//! * `Outcome`: the path runs from the entry to the exit, so it ends exactly at the profit or loss. It *is* the outcome:
//!   whatever is computed from it knows the label.
//! * `Context`: the path before the entry. The log return over its last `signal_bars` bars has correlation `rho` with
//!   the standardised outcome, and with `rho` 0 nothing in the window has to do with it.
//!
//! Either is a random walk of one volatility. The first price is log-uniform over nine decades and the volume over
//! eight, so that no level can tell one window from another. Only IEEE arithmetic and the `libm` crate are used.
//!
//! A window depends on the seed, its number and its own target alone. So threads cannot matter, and windows that are
//! handed to the feature executor tile by tile have the bits of those that are written out.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};

use super::random::{Random, Ziggurat};
use crate::bars::is_good;
use crate::block::Shared;
use crate::kernels::TILE_LANES;
use crate::windows::Windows;

/// First price of a window, as exponents of 10.
const PRICE: (f64, f64) = (-4.0, 5.0);
/// Volume of a window, as exponents of 10.
const VOLUME: (f64, f64) = (0.0, 8.0);
/// Largest gap between close and open, either side, and largest wick, in units of the volatility.
const GAP: f64 = 0.1;
const WICK: f64 = 0.8;
/// Volatility of a bar, where none is given.
const VOLATILITY: f64 = 0.01;
/// Keeps these streams apart from those of the market simulator.
const STREAMS: u64 = 0x7769_6E64_6F77_7300;
/// Windows that a thread takes at a time.
const BATCH: usize = 64;

/// What the windows have to do with the outcome.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// They end at it.
    Outcome,
    /// They lead up to the entry.
    Context {
        /// Correlation of the return over the last `signal_bars` with the standardised outcome, -1..=1.
        rho: f64,
        /// Bars that carry it, at least 1 and fewer than `bars`.
        signal_bars: usize,
    },
}

/// What to generate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Rows of a window, 1..=100,000.
    pub bars: usize,
    /// Seed of all windows.
    pub seed: u64,
    /// What the windows have to do with the outcome.
    pub kind: Kind,
    /// Standard deviation of the log return of a bar, 1e-6..=0.1. None is 0.01 for `Context`; for `Outcome` it makes
    /// the noise of a whole path half as large as the outcomes are.
    pub volatility: Option<f64>,
    /// Prices are multiples of this share of the window's first price, 0..=0.1; 0 for any price.
    pub tick: f64,
}

/// What is wrong with the input of [`Synthetic::new`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WindowError {
    /// A setting outside its range; the text names it and the range.
    #[error("{0}")]
    Setting(String),
    /// An outcome that no path can end at.
    #[error("row {row}: the outcome {value} (as a fraction) {reason}")]
    Outcome {
        /// Row, from 0.
        row: usize,
        /// The outcome as a fraction.
        value: f64,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Windows for given outcomes; a source for [`crate::windows::compute`].
pub struct Synthetic {
    config: Config,
    volatility: f64,
    /// Per window: the outcome (`Outcome`), or the part of the standardised signal that it sets (`Context`).
    targets: Vec<f64>,
    layers: &'static Ziggurat,
}

impl Synthetic {
    /// Windows for `outcomes`, profits and losses as fractions.
    ///
    /// # Errors
    /// [`WindowError`] for a setting outside its range, or an outcome that is not finite or that no price can reach.
    pub fn new(outcomes: &[f64], config: Config) -> Result<Self, WindowError> {
        let volatility = config.volatility.unwrap_or_else(|| default_volatility(outcomes, &config));
        check(&config, volatility)?;
        let targets = match config.kind {
            Kind::Outcome => ends(outcomes)?,
            Kind::Context { rho, signal_bars } => {
                // Further than this a price would leave the range that the engine accepts.
                let most = 100.0 / (volatility * libm::sqrt(signal_bars as f64));
                signals(outcomes, rho, most)?
            }
        };
        Ok(Self { config, volatility, targets, layers: Ziggurat::get() })
    }

    /// Writes all windows as (n, bars, 5): open, high, low, close, volume.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn write(&self, threads: usize, out: &mut [f64]) {
        let (n, size) = (self.targets.len(), self.config.bars * 5);
        assert_eq!(out.len(), n * size);
        let out = Shared::new(out);
        let next = AtomicUsize::new(0);
        let work = || {
            let mut scratch = vec![0.0; self.config.bars];
            loop {
                let first = next.fetch_add(BATCH, Ordering::Relaxed);
                if first >= n {
                    return;
                }
                for w in first..n.min(first + BATCH) {
                    // SAFETY: window w is this thread's alone: `next` hands each out once.
                    let bars = unsafe { out.part(w * size, size) }.as_chunks_mut::<5>().0;
                    self.window(w, &mut scratch, |row, bar| bars[row] = bar);
                }
            }
        };
        let threads = threads.clamp(1, n.div_ceil(BATCH).max(1));
        if threads == 1 {
            work();
        } else {
            std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        }
    }

    /// Draws window `w` and hands its bars to `put`, in order.
    #[inline]
    fn window(&self, w: usize, returns: &mut [f64], mut put: impl FnMut(usize, [f64; 5])) {
        let (volatility, tick) = (self.volatility, self.config.tick);
        let mut random = Random::new(self.config.seed ^ STREAMS, w as u64);
        let base = decades(PRICE, random.uniform());
        let volume = decades(VOLUME, random.uniform());
        for r in returns.iter_mut() {
            *r = random.normal(self.layers);
        }
        self.aim(w, returns);
        let (grid, per_volatility) = (tick * base, 1.0 / volatility);
        let round = |price: f64| if tick > 0.0 { on_grid(price, grid) } else { price };
        let (mut level, mut before) = (0.0, base);
        let last = returns.len() - 1;
        for (row, &r) in returns.iter().enumerate() {
            let [gap, up, down, size] = sixteenths(random.bits());
            level += r;
            let close = match self.config.kind {
                Kind::Outcome if row == last => base * (1.0 + self.targets[w]),
                _ => base * libm::exp(level),
            };
            let open = if row == 0 { base } else { before * (1.0 + GAP * volatility * (2.0 * gap - 1.0)) };
            let (top, bottom) = if open > close { (open, close) } else { (close, open) };
            let high = top * (1.0 + WICK * volatility * (up * up));
            let low = bottom * (1.0 - WICK * volatility * (down * down));
            let traded = volume * (0.5 + size) * (0.5 + r.abs() * per_volatility);
            put(row, [round(open), round(high), round(low), round(close), traded]);
            before = close;
        }
    }

    /// Turns independent normals into log returns that lead where the window is to lead.
    #[inline]
    fn aim(&self, w: usize, returns: &mut [f64]) {
        let (volatility, target) = (self.volatility, self.targets[w]);
        match self.config.kind {
            Kind::Outcome => {
                let shift = (libm::log1p(target) / volatility - returns.iter().sum::<f64>()) / returns.len() as f64;
                returns.iter_mut().for_each(|r| *r = volatility * (*r + shift));
            }
            Kind::Context { rho, signal_bars } => {
                let from = returns.len() - signal_bars;
                let sum: f64 = returns[from..].iter().sum();
                // The sum has variance `signal_bars` before and after; each return keeps its own variance too.
                let wanted = libm::sqrt(signal_bars as f64) * target + libm::sqrt(1.0 - rho * rho) * sum;
                let shift = (wanted - sum) / signal_bars as f64;
                returns[from..].iter_mut().for_each(|r| *r += shift);
                returns.iter_mut().for_each(|r| *r *= volatility);
            }
        }
    }
}

impl Windows for Synthetic {
    fn count(&self) -> usize {
        self.targets.len()
    }

    fn rows(&self) -> usize {
        self.config.bars
    }

    fn bars(&self, first: usize, mut dst: [&mut [[f64; TILE_LANES]]; 5]) -> bool {
        let mut scratch = vec![0.0; self.config.bars];
        let skipped = dst.each_ref().map(|d| self.config.bars - d.len());
        let mut good = true;
        for lane in 0..TILE_LANES {
            let w = (first + lane).min(self.count() - 1);
            self.window(w, &mut scratch, |row, bar| {
                good &= is_good(&bar);
                for ((column, x), from) in dst.iter_mut().zip(bar).zip(skipped) {
                    if row >= from {
                        column[row - from][lane] = x;
                    }
                }
            });
        }
        good
    }

    fn memory(&self, _: usize) -> &[f64] {
        &[]
    }

    fn extra(&self, _: usize, _: usize, _: usize) -> f64 {
        f64::NAN
    }

    fn time(&self, _: usize, _: usize) -> Option<i64> {
        None
    }
}

fn decades((from, to): (f64, f64), place: f64) -> f64 {
    libm::exp(std::f64::consts::LN_10 * (from + (to - from) * place))
}

/// The nearest multiple of `grid`, at least one. Order is kept, so low <= open, close <= high stays true.
#[inline]
fn on_grid(price: f64, grid: f64) -> f64 {
    let steps = libm::floor(price / grid + 0.5);
    grid * if steps < 1.0 { 1.0 } else { steps }
}

/// Four uniforms in (0, 1), 16 bits each.
#[inline]
fn sixteenths(bits: u64) -> [f64; 4] {
    [0, 16, 32, 48].map(|shift| (f64::from((bits >> shift) as u16) + 0.5) * (1.0 / 65_536.0))
}

/// Mean and standard deviation, summed in the order of rows.
fn moments(outcomes: &[f64]) -> (f64, f64) {
    let n = outcomes.len().max(1) as f64;
    let mean = outcomes.iter().map(|x| x / n).sum::<f64>();
    (mean, libm::sqrt(outcomes.iter().map(|x| (x - mean) * ((x - mean) / n)).sum::<f64>()))
}

fn default_volatility(outcomes: &[f64], config: &Config) -> f64 {
    if config.kind != Kind::Outcome {
        return VOLATILITY;
    }
    let noise = 0.5 * moments(outcomes).1 / libm::sqrt(config.bars as f64);
    // No spread, or outcomes that are refused later.
    if !(noise > 0.0 && noise.is_finite()) {
        return 0.1 * VOLATILITY;
    }
    // Inside what is accepted, also over the most bars.
    #[expect(clippy::disallowed_methods, reason = "noise is a number here")]
    noise.clamp(1e-6, 0.03)
}

fn check(c: &Config, volatility: f64) -> Result<(), WindowError> {
    let wander = volatility * volatility * c.bars as f64;
    let mut rules = vec![
        ((1..=100_000).contains(&c.bars), "bars must be in 1..=100000", c.bars.to_string()),
        ((1e-6..=0.1).contains(&volatility), "volatility must be in 1e-6..=0.1", volatility.to_string()),
        ((0.0..=0.1).contains(&c.tick), "tick must be in 0..=0.1, a share of the first price", c.tick.to_string()),
        (wander <= 100.0, "volatility^2 * bars must be at most 100", wander.to_string()),
    ];
    if let Kind::Context { rho, signal_bars } = c.kind {
        rules.push(((-1.0..=1.0).contains(&rho), "rho must be in -1..=1", rho.to_string()));
        let fits = (1..c.bars).contains(&signal_bars);
        rules.push((fits, "signal_bars must be at least 1 and fewer than bars", signal_bars.to_string()));
    }
    match rules.into_iter().find(|rule| !rule.0) {
        Some((_, text, value)) => Err(WindowError::Setting(format!("{text}, got {value}"))),
        None => Ok(()),
    }
}

fn refuse(outcomes: &[f64], good: impl Fn(f64) -> bool, reason: &'static str) -> Result<(), WindowError> {
    match outcomes.iter().position(|&x| !good(x)) {
        Some(row) => Err(WindowError::Outcome { row, value: outcomes[row], reason }),
        None => Ok(()),
    }
}

/// Where paths end: no price falls to 0, and none rises a million times.
fn ends(outcomes: &[f64]) -> Result<Vec<f64>, WindowError> {
    refuse(outcomes, |x| x > -1.0 && x <= 1e6, "must be above -1 (a loss of everything) and at most 1e6")?;
    Ok(outcomes.to_vec())
}

/// `rho` times the standardised outcomes.
fn signals(outcomes: &[f64], rho: f64, most: f64) -> Result<Vec<f64>, WindowError> {
    refuse(outcomes, |x| x.abs() <= 1e100, "must be finite and within ±1e100")?;
    let (mean, sd) = moments(outcomes);
    let standard = |x: &f64| if sd > 0.0 { rho * ((x - mean) / sd) } else { 0.0 };
    let targets: Vec<f64> = outcomes.iter().map(standard).collect();
    match targets.iter().position(|t| !(t.abs() <= most)) {
        Some(row) => Err(WindowError::Outcome {
            row,
            value: outcomes[row],
            reason: "is so far from the others that its price would leave the accepted range",
        }),
        None => Ok(targets),
    }
}
