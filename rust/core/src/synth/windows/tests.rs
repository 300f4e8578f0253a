//! Tests of synthetic windows.

use super::*;
use crate::bars::Policy;
use crate::features::FeatureSet;
use crate::graph::Profile;
use crate::windows::{Cube, compute};

const CONTEXT: Config =
    Config { bars: 40, seed: 7, kind: Kind::Context { rho: 0.7, signal_bars: 10 }, volatility: Some(0.01), tick: 0.0 };

fn outcomes(n: usize) -> Vec<f64> {
    let mut random = Random::new(1, 1);
    (0..n).map(|_| 0.02 * random.normals().0).collect()
}

fn write(outcomes: &[f64], config: Config, threads: usize) -> Vec<f64> {
    let mut out = vec![0.0; outcomes.len() * config.bars * 5];
    Synthetic::new(outcomes, config).unwrap().write(threads, &mut out);
    out
}

#[test]
fn bars_are_accepted_and_fixed() {
    for tick in [0.0, 1e-4, 0.1] {
        for kind in [Kind::Outcome, CONTEXT.kind] {
            let bars = write(&outcomes(200), Config { kind, tick, ..CONTEXT }, 1);
            assert!(bars.as_chunks::<5>().0.iter().all(is_good));
        }
    }
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for value in write(&outcomes(50), CONTEXT, 1) {
        hash = (hash ^ value.to_bits()).wrapping_mul(0x0100_0000_01b3);
    }
    assert_eq!(hash, 0x6229_5d49_2771_e300, "{hash:#018x}");
}

#[test]
fn threads_and_tiles_keep_the_bits() {
    let (outcomes, config) = (outcomes(301), CONTEXT);
    let bars = write(&outcomes, config, 1);
    assert_eq!(bars, write(&outcomes, config, 3));
    let specs = ["rsi(14)", "volume_ratio(20)", "range_hl"].map(str::to_owned);
    let fs = FeatureSet::new(&specs, Profile::Safe).unwrap();
    let (mut fused, mut apart) = (vec![0.0; 301 * 3], vec![0.0; 301 * 3]);
    let cube = Cube { bars: &bars, rows: config.bars, extras: None, times: None };
    compute(&fs, &cube, &Policy::default(), false, 1, &mut apart).unwrap();
    let source = Synthetic::new(&outcomes, config).unwrap();
    compute(&fs, &source, &Policy::default(), false, 2, &mut fused).unwrap();
    assert_eq!(fused, apart);
}

#[test]
fn normals_are_normal() {
    let (mut random, layers) = (Random::new(3, 9), Ziggurat::get());
    let n = 400_000;
    let (mut second, mut fourth, mut tail, mut below) = (0.0, 0.0, 0, 0);
    for _ in 0..n {
        let x = random.normal(layers);
        second += x * x;
        fourth += x * x * x * x;
        tail += i32::from(x.abs() > 3.7);
        below += i32::from(x < 0.674_489_750_196_081_7);
    }
    let n = f64::from(n);
    assert!((second / n - 1.0).abs() < 0.01 && (fourth / n - 3.0).abs() < 0.1, "{second} {fourth}");
    // 2 * (1 - Phi(3.7)) = 2.156e-4: 86 expected; the quartile splits 3 to 1.
    assert!((50..130).contains(&tail), "{tail}");
    assert!((f64::from(below) / n - 0.75).abs() < 0.004);
}

#[test]
fn settings_out_of_range_are_refused() {
    let context = |rho, signal_bars| Kind::Context { rho, signal_bars };
    let bad = [
        Config { bars: 0, ..CONTEXT },
        Config { bars: 200_000, ..CONTEXT },
        Config { volatility: Some(0.0), ..CONTEXT },
        Config { volatility: Some(f64::NAN), ..CONTEXT },
        Config { volatility: Some(0.1), bars: 20_000, ..CONTEXT },
        Config { tick: -0.1, ..CONTEXT },
        Config { tick: f64::INFINITY, ..CONTEXT },
        Config { kind: context(1.1, 10), ..CONTEXT },
        Config { kind: context(f64::NAN, 10), ..CONTEXT },
        Config { kind: context(0.0, 0), ..CONTEXT },
        Config { kind: context(0.0, 40), ..CONTEXT },
    ];
    for config in bad {
        assert!(matches!(Synthetic::new(&[0.0], config), Err(WindowError::Setting(_))), "{config:?}");
    }
    for outcome in [-1.0, -2.0, f64::NAN, f64::INFINITY, 1e7] {
        let config = Config { kind: Kind::Outcome, ..CONTEXT };
        assert!(matches!(Synthetic::new(&[0.0, outcome], config), Err(WindowError::Outcome { row: 1, .. })));
    }
    assert!(Synthetic::new(&[0.0, f64::NAN], CONTEXT).is_err());
    let mut far = vec![0.0; 1_000_000];
    far[3] = 1.0;
    assert!(Synthetic::new(&far, CONTEXT).is_ok());
    let config = Config { volatility: Some(0.1), ..CONTEXT };
    assert!(matches!(Synthetic::new(&far, config), Err(WindowError::Outcome { row: 3, .. })));
}
