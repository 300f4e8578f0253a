//! Any text is a feature set or an error, never a panic; what it computes is finite.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use qtfeat_core::bars::Policy;
use qtfeat_core::features::FeatureSet;
use qtfeat_core::graph::Profile;
use qtfeat_core::stream::{Bar, Stream};

/// Longer warm-ups only cost memory here.
const LONGEST: usize = 200;

fuzz_target!(|text: &str| {
    let specs: Vec<String> = text.lines().map(str::to_owned).collect();
    for profile in [Profile::Safe, Profile::Talib] {
        let Ok(fs) = FeatureSet::new(&specs, profile) else { continue };
        if fs.warmup() > LONGEST {
            continue;
        }
        let fs = Arc::new(fs);
        let extras = vec![1e100; fs.extras().len()];
        let mut out = vec![0.0; fs.columns().len()];
        let mut stream = Stream::new(Arc::clone(&fs), Policy::default());
        for row in 0..LONGEST + 8 {
            let close = [1e-110, 1.0, 1e110][row % 3];
            let bar = Bar {
                ohlcv: [close, close, close, close, [0.0, 1e-30, 1e30][row % 2 + row % 3 / 2]],
                time: Some(row as i64 * 3_600_000_000_000),
                extras: &extras,
            };
            stream.push(&bar, &mut out).expect("an accepted bar");
            assert!(out.iter().all(|x| !x.is_infinite()), "{specs:?} row {row}: {out:?}");
        }
    }
});
