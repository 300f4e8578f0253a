//! The planted signal: short moves revert, longer ones continue. Drift of the next bar and the oracle's
//! forecast are both functions of past closes alone.

use super::ConfigError;

/// Decay per bar of the two sums, as in `ema(10)` and `ema(50)`.
const FAST_KEEP: f64 = 1.0 - 2.0 / 11.0;
const SLOW_KEEP: f64 = 1.0 - 2.0 / 51.0;
/// Weight of the slow sum against the fast one; at 0.2 the response to a shock adds up to about nothing,
/// so the signal leaves no lasting trend behind and stays stable at every size.
const TREND_SHARE: f64 = 0.2;
/// Returns are clipped at this many recent standard deviations, so a jump does not drive the market for days.
const CLIP: f64 = 3.0;
const VARIANCE_STEP: f64 = 1.0 / 32.0;
/// Share of the variance of a return, and of a small shift of its mean, that survives clipping; both measured
/// on simulated returns, where the test of the planted R2 holds them.
const CLIPPED_VARIANCE: f64 = 0.88;
const CLIPPED_SLOPE: f64 = 0.97;
/// Largest drift per unit of the sums.
const LARGEST: f64 = 1.0;

/// Size of the drift and the weights of the oracle on the two sums.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Signal {
    size: f64,
    oracle_fast: f64,
    oracle_slow: f64,
}

/// What an observer of the closes of one symbol knows: the two sums of clipped log returns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Past {
    fast: f64,
    slow: f64,
    variance: f64,
}

impl Signal {
    /// Finds the drift at which the oracle explains `r2`, by bisection: the share rises with the size.
    pub(super) fn new(r2: f64, horizon: usize) -> Result<Self, ConfigError> {
        let most = explained(LARGEST, horizon);
        if r2 > most {
            return Err(ConfigError(format!(
                "signal_r2 must be at most {most:.3} at a horizon of {horizon} bars, got {r2}"
            )));
        }
        let (mut low, mut high) = (0.0, LARGEST);
        for _ in 0..60 {
            let mid = 0.5 * (low + high);
            if explained(mid, horizon) < r2 {
                low = mid;
            } else {
                high = mid;
            }
        }
        let size = if r2 > 0.0 { 0.5 * (low + high) } else { 0.0 };
        Ok(Self::with_size(size, horizon))
    }

    /// Adds up the expected drift of the next `horizon` bars.
    fn with_size(size: f64, horizon: usize) -> Self {
        let (mut fast, mut slow) = (-size, size * TREND_SHARE);
        let (mut oracle_fast, mut oracle_slow) = (0.0, 0.0);
        for _ in 0..horizon {
            oracle_fast += fast;
            oracle_slow += slow;
            // One bar on: each sum decays and takes in the drift that both cause.
            let fed = CLIPPED_SLOPE * (fast + slow);
            fast = FAST_KEEP * fast - size * fed;
            slow = SLOW_KEEP * slow + size * TREND_SHARE * fed;
        }
        Self { size, oracle_fast, oracle_slow }
    }

    /// Expected log return of the next bar.
    pub(super) fn drift(&self, past: &Past) -> f64 {
        drift(self.size, past.fast, past.slow)
    }

    /// Expected log return of the next `horizon` bars.
    pub(super) fn oracle(&self, past: &Past) -> f64 {
        self.oracle_fast * past.fast + self.oracle_slow * past.slow
    }
}

impl Past {
    /// Before the first return; `volatility` is the log return's usual standard deviation.
    pub(super) fn new(volatility: f64) -> Self {
        Self { fast: 0.0, slow: 0.0, variance: volatility * volatility }
    }

    /// Takes in the log return of a bar.
    pub(super) fn observe(&mut self, log_return: f64) {
        let limit = CLIP * libm::sqrt(self.variance);
        let clipped = if log_return > limit {
            limit
        } else if log_return < -limit {
            -limit
        } else {
            log_return
        };
        self.fast = FAST_KEEP * self.fast + clipped;
        self.slow = SLOW_KEEP * self.slow + clipped;
        self.variance += VARIANCE_STEP * (log_return * log_return - self.variance);
    }
}

fn drift(size: f64, fast: f64, slow: f64) -> f64 {
    size * (TREND_SHARE * slow - fast)
}

/// R2 of the oracle at a drift of `size`: the variance that past noise gives to the next `horizon` bars,
/// beside the variance of the noise still to come, both from the path that one unit of noise sets off.
fn explained(size: f64, horizon: usize) -> f64 {
    let length = horizon + 400; // by then the slow sum has decayed to 1e-7
    let mut path = Vec::with_capacity(length + 1); // path[k]: log price k bars after the noise
    let (mut fast, mut slow, mut price) = (CLIPPED_SLOPE, CLIPPED_SLOPE, 1.0);
    path.push(price);
    for _ in 0..length {
        let step = drift(size, fast, slow);
        price += step;
        fast = FAST_KEEP * fast + CLIPPED_SLOPE * step;
        slow = SLOW_KEEP * slow + CLIPPED_SLOPE * step;
        path.push(price);
    }
    let future: f64 = path.iter().take(horizon).map(|p| p * p).sum();
    let moves = path.iter().zip(path.iter().skip(horizon)).map(|(now, then)| then - now);
    let known = moves.map(|m| m * m).sum::<f64>() * CLIPPED_VARIANCE / (CLIPPED_SLOPE * CLIPPED_SLOPE);
    known / (known + future)
}
