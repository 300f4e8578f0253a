//! A seeded market simulator: OHLCV bars of several correlated symbols with a planted signal of known size.
//!
//! It exists so that demos, tests and gates can run on data whose truth is known. It is no model of any
//! real market: nothing learnt on it says anything about trading.
//!
//! * Volatility: a three-state regime shared by all symbols, times a slow log-volatility of the market and
//!   one of the symbol; mean square per bar is `volatility`^2.
//! * Returns: a market factor, the symbol's own noise and rare jumps in both; symmetric about zero.
//! * Bars: open a hair off the last close, high and low from the Brownian bridge between open and close,
//!   volume log-normal and rising with |return|.
//! * Signal: short moves revert and longer ones continue, by exponential sums of past log returns as in `ema(10)`
//!   and `ema(50)`. They are functions of past closes alone and their future has a closed-form expectation, so
//!   the oracle is the best forecast there is.
//!
//! Every symbol draws from its own random stream and all share one market stream, so a symbol does not change
//! when others are added, a longer run begins with the shorter one, and threads cannot matter. Only IEEE
//! arithmetic and the `libm` crate are used: the same bits on every platform.

mod random;
mod signal;
#[cfg(test)]
mod tests;
pub mod windows;

use std::fmt;

use random::Random;
use signal::{Past, Signal};

/// What to simulate. Start from [`MarketConfig::default`].
#[derive(Debug, Clone, PartialEq)]
pub struct MarketConfig {
    /// Number of symbols, 1..=10,000.
    pub symbols: usize,
    /// Bars per symbol, at least 1.
    pub bars: usize,
    /// Seed of all random streams.
    pub seed: u64,
    /// Bar length in milliseconds, at least 1.
    pub interval_ms: i64,
    /// Open time of the first bar, milliseconds since 1970.
    pub start_ms: i64,
    /// Share of the variance of the `horizon`-bar forward return that the oracle explains, 0..=0.3.
    pub signal_r2: f64,
    /// Bars ahead that `signal_r2` and the oracle refer to, 1..=1,000.
    pub horizon: usize,
    /// Root mean square of the log return of one bar, above 0 and at most 0.1.
    pub volatility: f64,
    /// Share of each symbol's variance that comes from the market factor, 0..=0.95.
    pub market_share: f64,
}

impl Default for MarketConfig {
    fn default() -> Self {
        Self {
            symbols: 8,
            bars: 20_000,
            seed: 0,
            interval_ms: 3_600_000,
            start_ms: 1_672_531_200_000,
            signal_r2: 0.03,
            horizon: 5,
            volatility: 0.008,
            market_share: 0.4,
        }
    }
}

/// A setting outside its range; the text names it and the range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Simulated bars: `time_ms` is shared by all symbols, every other column is indexed `[symbol][bar]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Market {
    /// `SIM000`, `SIM001`, ...
    pub names: Vec<String>,
    /// Open time of each bar, milliseconds since 1970.
    pub time_ms: Vec<i64>,
    /// First price of the bar.
    pub open: Vec<Vec<f64>>,
    /// Highest price of the bar.
    pub high: Vec<Vec<f64>>,
    /// Lowest price of the bar.
    pub low: Vec<Vec<f64>>,
    /// Last price of the bar.
    pub close: Vec<Vec<f64>>,
    /// Traded volume in units of the symbol.
    pub volume: Vec<Vec<f64>>,
    /// Expected log return over the next `horizon` bars given the bars so far; all zero without a signal.
    pub oracle: Vec<Vec<f64>>,
}

// Volatility: multiplier and chance of leaving, per regime (calm, normal, storm).
const REGIME_VOL: [f64; 3] = [0.6, 1.0, 1.8];
const REGIME_EXIT: [f64; 3] = [1.0 / 400.0, 1.0 / 300.0, 1.0 / 120.0];
const LOG_VOL_KEEP: f64 = 0.98;
const MARKET_LOG_VOL_SD: f64 = 0.30;
const OWN_LOG_VOL_SD: f64 = 0.20;
// Jumps: chance per bar and size in units of the current volatility.
const MARKET_JUMP: (f64, f64) = (1.0 / 2_000.0, 6.0);
const OWN_JUMP: (f64, f64) = (1.0 / 1_000.0, 8.0);

/// Simulates a market.
///
/// # Errors
/// [`ConfigError`] when a setting is outside its range.
pub fn simulate(config: &MarketConfig) -> Result<Market, ConfigError> {
    check(config)?;
    let signal = Signal::new(config.signal_r2, config.horizon)?;
    let factor = Factor::simulate(config);
    let mut time_ms = Vec::with_capacity(config.bars);
    let mut time = config.start_ms;
    for _ in 0..config.bars {
        time_ms.push(time);
        time = time.saturating_add(config.interval_ms);
    }
    let mut market = Market { time_ms, ..Market::default() };
    for symbol in 0..config.symbols {
        market.names.push(format!("SIM{symbol:03}"));
        let series = Series::simulate(config, &factor, &signal, symbol);
        market.open.push(series.open);
        market.high.push(series.high);
        market.low.push(series.low);
        market.close.push(series.close);
        market.volume.push(series.volume);
        market.oracle.push(series.oracle);
    }
    Ok(market)
}

fn check(c: &MarketConfig) -> Result<(), ConfigError> {
    let span = i64::try_from(c.bars).ok().and_then(|n| n.checked_mul(c.interval_ms));
    // A log price that can wander further than this could leave the accepted price range (1e-110..1e110).
    let wander = c.volatility * c.volatility * c.bars as f64;
    let rules = [
        ((1..=10_000).contains(&c.symbols), "symbols must be in 1..=10000", c.symbols.to_string()),
        (c.bars >= 1, "bars must be at least 1", c.bars.to_string()),
        (c.interval_ms >= 1, "interval_ms must be at least 1", c.interval_ms.to_string()),
        ((0.0..=0.3).contains(&c.signal_r2), "signal_r2 must be in 0..=0.3", c.signal_r2.to_string()),
        ((1..=1_000).contains(&c.horizon), "horizon must be in 1..=1000", c.horizon.to_string()),
        (c.volatility > 0.0 && c.volatility <= 0.1, "volatility must be in (0, 0.1]", c.volatility.to_string()),
        ((0.0..=0.95).contains(&c.market_share), "market_share must be in 0..=0.95", c.market_share.to_string()),
        (wander <= 900.0, "volatility^2 * bars must be at most 900", wander.to_string()),
        (
            span.and_then(|s| s.checked_add(c.start_ms)).is_some(),
            "start_ms + bars * interval_ms must fit in 64 bits",
            c.start_ms.to_string(),
        ),
    ];
    match rules.into_iter().find(|rule| !rule.0) {
        Some((_, text, value)) => Err(ConfigError(format!("{text}, got {value}"))),
        None => Ok(()),
    }
}

/// What all symbols share, per bar: volatility multiplier, its logarithm and the return factor in units of it.
struct Factor {
    regime_vol: Vec<f64>,
    log_vol: Vec<f64>,
    shock: Vec<f64>,
}

impl Factor {
    fn simulate(config: &MarketConfig) -> Self {
        let mut random = Random::new(config.seed, 0);
        let mut out = Self {
            regime_vol: Vec::with_capacity(config.bars),
            log_vol: Vec::with_capacity(config.bars),
            shock: Vec::with_capacity(config.bars),
        };
        let norm = 1.0 / libm::sqrt(mean_square_regime());
        let step = MARKET_LOG_VOL_SD * libm::sqrt(1.0 - LOG_VOL_KEEP * LOG_VOL_KEEP);
        let (mut regime, mut log_vol) = (1_usize, 0.0);
        for _ in 0..config.bars {
            if random.uniform() < REGIME_EXIT[regime] {
                // From a side state back to normal; from normal to either side.
                regime = if regime == 1 { if random.uniform() < 0.5 { 0 } else { 2 } } else { 1 };
            }
            let (a, b) = random.normals();
            log_vol = LOG_VOL_KEEP * log_vol + step * a;
            let shock = b + jump(&mut random, MARKET_JUMP);
            out.regime_vol.push(REGIME_VOL[regime] * norm);
            out.log_vol.push(log_vol);
            out.shock.push(shock);
        }
        out
    }
}

/// Mean square of the regime multiplier in the long run.
fn mean_square_regime() -> f64 {
    // Flows balance: calm is entered at half of normal's exits, and so is storm.
    let calm = 0.5 * REGIME_EXIT[1] / REGIME_EXIT[0];
    let storm = 0.5 * REGIME_EXIT[1] / REGIME_EXIT[2];
    let square = |i: usize| REGIME_VOL[i] * REGIME_VOL[i];
    (calm * square(0) + square(1) + storm * square(2)) / (calm + 1.0 + storm)
}

fn jump(random: &mut Random, (chance, size): (f64, f64)) -> f64 {
    if random.uniform() < chance { size * random.normals().0 } else { 0.0 }
}

/// The columns of one symbol.
#[derive(Default)]
struct Series {
    open: Vec<f64>,
    high: Vec<f64>,
    low: Vec<f64>,
    close: Vec<f64>,
    volume: Vec<f64>,
    oracle: Vec<f64>,
}

impl Series {
    fn simulate(config: &MarketConfig, factor: &Factor, signal: &Signal, symbol: usize) -> Self {
        let column = || Vec::with_capacity(config.bars);
        let mut out =
            Self { open: column(), high: column(), low: column(), close: column(), volume: column(), oracle: column() };
        let mut walk = Walk::new(config, signal, symbol);
        let shared = factor.regime_vol.iter().zip(&factor.log_vol).zip(&factor.shock);
        for ((&regime_vol, &log_vol), &shock) in shared {
            let bar = walk.next(regime_vol, log_vol, shock);
            out.open.push(bar.open);
            out.high.push(bar.high);
            out.low.push(bar.low);
            out.close.push(bar.close);
            out.volume.push(bar.volume);
            out.oracle.push(bar.oracle);
        }
        out
    }
}

struct Bar {
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
    oracle: f64,
}

/// One symbol's state between bars.
struct Walk {
    random: Random,
    signal: Signal,
    vol: f64,
    log_vol: f64,
    log_vol_step: f64,
    log_vol_mean: f64,
    market_weight: f64,
    own_weight: f64,
    log_price: f64,
    close: f64,
    log_base_volume: f64,
    past: Past,
    first: bool,
}

impl Walk {
    fn new(config: &MarketConfig, signal: &Signal, symbol: usize) -> Self {
        // Golden-ratio steps spread any number of symbols evenly over seven decades without knowing how many.
        let golden = symbol as f64 * 0.618_033_988_749_894_9 + 0.5;
        let place = golden - libm::floor(golden);
        let log_price = std::f64::consts::LN_10 * (7.0 * place - 2.0);
        let mut random = Random::new(config.seed, symbol as u64 + 1);
        let log_base_volume = std::f64::consts::LN_10 * (6.0 + random.uniform()) - log_price;
        let variance_share = |(chance, size): (f64, f64)| 1.0 + chance * size * size;
        Self {
            random,
            signal: *signal,
            vol: config.volatility,
            log_vol: 0.0,
            log_vol_step: OWN_LOG_VOL_SD * libm::sqrt(1.0 - LOG_VOL_KEEP * LOG_VOL_KEEP),
            log_vol_mean: MARKET_LOG_VOL_SD * MARKET_LOG_VOL_SD + OWN_LOG_VOL_SD * OWN_LOG_VOL_SD,
            market_weight: libm::sqrt(config.market_share / variance_share(MARKET_JUMP)),
            own_weight: libm::sqrt((1.0 - config.market_share) / variance_share(OWN_JUMP)),
            log_price,
            close: libm::exp(log_price),
            log_base_volume,
            past: Past::new(config.volatility),
            first: true,
        }
    }

    fn next(&mut self, regime_vol: f64, market_log_vol: f64, shock: f64) -> Bar {
        let (own, vol_noise) = self.random.normals();
        let (volume_noise, _) = self.random.normals();
        self.log_vol = LOG_VOL_KEEP * self.log_vol + self.log_vol_step * vol_noise;
        let level = libm::exp(market_log_vol + self.log_vol - self.log_vol_mean) * regime_vol;
        let vol = self.vol * level;
        let noise = self.market_weight * shock + self.own_weight * (own + jump(&mut self.random, OWN_JUMP));
        let log_return = vol * noise + self.signal.drift(&self.past);

        let gap = 0.1 * vol * (self.random.uniform() - 0.5);
        let open = self.close * (1.0 + gap);
        self.log_price += log_return;
        let close = libm::exp(self.log_price);
        let (up, down) = self.extremes(log_return - gap, vol);
        let (top, bottom) = if open > close { (open, close) } else { (close, open) };
        let (high, low) = (open * libm::exp(up), open * libm::exp(-down));
        self.close = close;
        let size = libm::fabs(log_return) / vol;
        let size = if size > 5.0 { 5.0 } else { size };
        let volume =
            libm::exp(self.log_base_volume + 0.6 * (market_log_vol + self.log_vol) + 0.4 * size + 0.4 * volume_noise);
        // The first return has no close before it, so nobody can see it.
        if !self.first {
            self.past.observe(log_return);
        }
        self.first = false;
        Bar {
            open,
            high: if high > top { high } else { top },
            low: if low < bottom { low } else { bottom },
            close,
            volume,
            oracle: self.signal.oracle(&self.past),
        }
    }

    /// How far a Brownian bridge from 0 to `body` with this volatility rises above 0 and falls below it.
    fn extremes(&mut self, body: f64, vol: f64) -> (f64, f64) {
        let reach = |u: f64, body: f64| 0.5 * (body + libm::sqrt(body * body - 2.0 * vol * vol * libm::log(u)));
        let up = reach(self.random.open_uniform(), body);
        let down = reach(self.random.open_uniform(), -body);
        (up, down)
    }
}
