//! Any bytes are a snapshot or an error, never a panic; also bytes that pass the checksum.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use qtfeat_core::bars::Policy;
use qtfeat_core::features::FeatureSet;
use qtfeat_core::graph::Profile;
use qtfeat_core::running::Ledger;
use qtfeat_core::stream::{Bar, PanelStream, Stream};
use sha2::{Digest, Sha256};

const CHECKSUM: usize = 16;

static SET: LazyLock<Arc<FeatureSet>> = LazyLock::new(|| {
    let specs = ["rsi(14)", "macd(12,26,9)", "bb(20,2)", "obv", "hour_sin"].map(str::to_owned);
    Arc::new(FeatureSet::new(&specs, Profile::Safe).expect("a valid set"))
});

static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut stream = Stream::new(Arc::clone(&SET), Policy::default());
    let mut out = vec![0.0; SET.columns().len()];
    for row in 0..60 {
        stream.push(&bar(row), &mut out).expect("a valid bar");
    }
    stream.snapshot()
});

fn bar(row: i64) -> Bar<'static> {
    let close = 100.0 + (row % 7) as f64;
    Bar { ohlcv: [close, close + 1.0, close - 1.0, close, 5.0], time: Some((row + 1) * 3_600_000_000_000), extras: &[] }
}

fn decode(bytes: &[u8]) {
    if let Ok(mut stream) = Stream::restore(Arc::clone(&SET), bytes) {
        let mut out = vec![0.0; SET.columns().len()];
        let _ = stream.push(&bar(1 << 20), &mut out);
        assert_eq!(stream.snapshot().is_empty(), false);
    }
    let _ = PanelStream::restore(Arc::clone(&SET), bytes);
    let _ = Ledger::restore(&SET, &Policy::default(), bytes);
}

fuzz_target!(|data: &[u8]| {
    decode(data);
    // Edits of a sound snapshot: (position, byte) triples after a length, and a checksum that fits again.
    let Some((head, edits)) = data.split_first_chunk::<2>() else { return };
    let mut body = SOUND[..SOUND.len() - CHECKSUM].to_vec();
    let cut = usize::from(u16::from_le_bytes(*head));
    if cut < body.len() {
        body.truncate(body.len() - cut);
    }
    for edit in edits.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]]));
        if let Some(byte) = body.get_mut(at) {
            *byte = edit[2];
        }
    }
    let sum = Sha256::digest(&body);
    body.extend(&sum[..CHECKSUM]);
    decode(&body);
});
