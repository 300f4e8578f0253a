//! What the simulator promises: valid bars, fixed bits, independent streams, and a signal of the size asked for.

use super::signal::{Past, Signal};
use super::*;

fn small(seed: u64) -> MarketConfig {
    MarketConfig { symbols: 3, bars: 3_000, seed, ..MarketConfig::default() }
}

/// Pooled R2 of the oracle on the simple forward return.
fn oracle_r2(market: &Market, horizon: usize) -> f64 {
    let (mut left, mut total, mut sum, mut n) = (0.0, 0.0, 0.0, 0.0);
    for (close, oracle) in market.close.iter().zip(&market.oracle) {
        for ((now, then), forecast) in close.iter().zip(&close[horizon..]).zip(oracle) {
            let ret = then / now - 1.0;
            left += (ret - forecast) * (ret - forecast);
            total += ret * ret;
            sum += ret;
            n += 1.0;
        }
    }
    1.0 - left / (total - sum * sum / n)
}

#[test]
fn bars_are_valid() {
    let market = simulate(&MarketConfig { symbols: 20, ..small(7) }).unwrap();
    for s in 0..20 {
        for t in 0..market.time_ms.len() {
            let (o, h, l, c) = (market.open[s][t], market.high[s][t], market.low[s][t], market.close[s][t]);
            assert!(l > 0.0 && l <= o && l <= c && o <= h && c <= h && h.is_finite(), "{s} {t}: {o} {h} {l} {c}");
            assert!(market.volume[s][t] > 0.0 && market.volume[s][t] < 1e20);
        }
    }
    assert!(market.time_ms.windows(2).all(|w| w[1] - w[0] == 3_600_000));
    let first: Vec<f64> = market.open.iter().map(|o| o[0]).collect();
    assert!(first.iter().any(|p| *p < 0.1) && first.iter().any(|p| *p > 1e4), "{first:?}");
}

#[test]
fn planted_r2_is_reached() {
    for (r2, seed) in [(0.03, 0), (0.03, 1), (0.03, 2), (0.1, 0), (0.2, 0), (0.3, 1)] {
        let config = MarketConfig { symbols: 15, bars: 20_000, seed, signal_r2: r2, ..MarketConfig::default() };
        let found = oracle_r2(&simulate(&config).unwrap(), config.horizon);
        assert!((found / r2 - 1.0).abs() < 0.2, "asked {r2}, found {found}, seed {seed}");
    }
}

#[test]
fn no_signal_is_none_at_all() {
    let market = simulate(&MarketConfig { signal_r2: 0.0, ..small(1) }).unwrap();
    assert!(market.oracle.iter().flatten().all(|o| *o == 0.0));
}

#[test]
fn oracle_needs_closes_only() {
    let config = MarketConfig { signal_r2: 0.1, ..small(3) };
    let market = simulate(&config).unwrap();
    let signal = Signal::new(config.signal_r2, config.horizon).unwrap();
    for (close, oracle) in market.close.iter().zip(&market.oracle) {
        let mut past = Past::new(config.volatility);
        for t in 1..close.len() {
            past.observe(libm::log(close[t] / close[t - 1]));
            let again = signal.oracle(&past);
            assert!((again - oracle[t]).abs() < 1e-12, "row {t}: {again} {}", oracle[t]);
        }
    }
}

#[test]
fn streams_are_independent() {
    let market = simulate(&small(5)).unwrap();
    let wider = simulate(&MarketConfig { symbols: 6, ..small(5) }).unwrap();
    let longer = simulate(&MarketConfig { bars: 4_000, ..small(5) }).unwrap();
    for s in 0..3 {
        assert_eq!(market.close[s], wider.close[s]);
        assert_eq!(market.volume[s], wider.volume[s]);
        assert_eq!(market.high[s], longer.high[s][..3_000]);
        assert_eq!(market.oracle[s], longer.oracle[s][..3_000]);
    }
    assert_ne!(market.close, simulate(&small(6)).unwrap().close);
}

/// FNV-1a over the bits of every column: the same on every platform and in every release.
#[test]
fn golden_bits() {
    let market = simulate(&MarketConfig { symbols: 4, bars: 5_000, seed: 42, ..MarketConfig::default() }).unwrap();
    let columns = [&market.open, &market.high, &market.low, &market.close, &market.volume, &market.oracle];
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for value in columns.into_iter().flatten().flatten() {
        hash = (hash ^ value.to_bits()).wrapping_mul(0x0100_0000_01b3);
    }
    assert_eq!(hash, 0x46e8_f004_4478_0710, "{hash:#018x}");
}

#[test]
fn looks_like_a_market() {
    let config = MarketConfig { symbols: 6, bars: 20_000, ..MarketConfig::default() };
    let market = simulate(&config).unwrap();
    let returns: Vec<Vec<f64>> =
        market.close.iter().map(|c| c.windows(2).map(|w| libm::log(w[1] / w[0])).collect()).collect();
    let size: Vec<f64> = returns[0].iter().map(|r| r.abs()).collect();
    let volume: Vec<f64> = market.volume[0][1..].iter().map(|v| libm::log(*v)).collect();
    // Returns of one symbol hardly follow each other, their sizes do; symbols move together; volume rises with size.
    assert!(correlation(&returns[0][1..], &returns[0]).abs() < 0.15);
    assert!(correlation(&size[1..], &size) > 0.15);
    assert!(correlation(&returns[0], &returns[1]) > 0.2);
    assert!(correlation(&volume, &size) > 0.3);
    let all: Vec<f64> = returns.concat();
    let square = all.iter().map(|r| r * r).sum::<f64>() / all.len() as f64;
    let fourth = all.iter().map(|r| r * r * r * r).sum::<f64>() / all.len() as f64;
    assert!((libm::sqrt(square) / config.volatility - 1.0).abs() < 0.2, "{}", libm::sqrt(square));
    assert!(fourth / (square * square) > 5.0, "jumps and regimes make fat tails");
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len()) as f64;
    let mean = |x: &[f64]| x.iter().take(a.len()).sum::<f64>() / n;
    let (ma, mb) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        ab += (x - ma) * (y - mb);
        aa += (x - ma) * (x - ma);
        bb += (y - mb) * (y - mb);
    }
    ab / libm::sqrt(aa * bb)
}

#[test]
fn settings_out_of_range_are_refused() {
    let d = MarketConfig::default;
    let bad = [
        MarketConfig { symbols: 0, ..d() },
        MarketConfig { bars: 0, ..d() },
        MarketConfig { interval_ms: 0, ..d() },
        MarketConfig { start_ms: i64::MAX, ..d() },
        MarketConfig { signal_r2: 0.31, ..d() },
        MarketConfig { signal_r2: f64::NAN, ..d() },
        MarketConfig { signal_r2: -0.01, ..d() },
        MarketConfig { signal_r2: 0.3, horizon: 500, ..d() },
        MarketConfig { horizon: 0, ..d() },
        MarketConfig { volatility: 0.0, ..d() },
        MarketConfig { volatility: f64::INFINITY, ..d() },
        MarketConfig { volatility: 0.1, bars: 1_000_000, ..d() },
        MarketConfig { market_share: 1.0, ..d() },
    ];
    for config in bad {
        let error = simulate(&config).unwrap_err();
        assert!(error.to_string().contains("must"), "{error}");
    }
}
