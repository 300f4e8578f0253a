//! Times the core alone: `cargo run --release -p qtfeat-core --example speed [rows] [batch|side|window|push|panel]`.

#![allow(clippy::panic, reason = "a tool for the command line")]

use std::sync::Arc;
use std::time::Instant;

use qtfeat_core::bars::Policy;
use qtfeat_core::batch::{Series, compute};
use qtfeat_core::block::{Arena, Columns};
use qtfeat_core::features::FeatureSet;
use qtfeat_core::graph::Profile;
use qtfeat_core::source::{Bars, Column, Rows};
use qtfeat_core::stream::{Bar, PanelStream, Stream};
use qtfeat_core::windows::{self, Cube};

const KLINE17: &[&str] = &[
    "ret",
    "range_hl",
    "volume_change",
    "volume_ratio(20)",
    "ema(10)",
    "ema(20)",
    "ema(50)",
    "ema_cross(10,20)",
    "ema_cross(10,50)",
    "rsi(14)",
    "macd(12,26,9)",
    "bb(20,2).pct",
    "bb(20,2).width",
    "momentum(10)",
    "volatility(20)",
];

/// CPU seconds of this thread, so that neighbours on the machine matter less.
#[cfg(unix)]
fn now() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists, and `t` is a place for its time.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

/// Seconds by the wall clock.
#[cfg(not(unix))]
fn now() -> f64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

fn best(runs: usize, mut f: impl FnMut()) -> f64 {
    (0..runs).fold(f64::INFINITY, |b, _| {
        let t = now();
        f();
        let s = now() - t;
        if s < b { s } else { b }
    })
}

fn main() {
    let n: usize = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(1_000_000);
    let only = std::env::args().nth(2);
    let wanted = |mode: &str| only.as_deref().is_none_or(|o| o == mode);
    let mut cols: [Vec<f64>; 5] = std::array::from_fn(|_| Vec::with_capacity(n));
    let (mut seed, mut p) = (88_172_645_463_325_252_u64, 100.0_f64);
    let mut rnd = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 11) as f64 / (1_u64 << 53) as f64
    };
    for _ in 0..n {
        let o = p;
        p *= 1.0 + 0.01 * (rnd() - 0.5);
        let (hi, lo) = if p > o { (p, o) } else { (o, p) };
        let bar = [o, hi * (1.0 + 0.002 * rnd()), lo * (1.0 - 0.002 * rnd()), p, 1.0 + 100.0 * rnd()];
        cols.iter_mut().zip(bar).for_each(|(c, x)| c.push(x));
    }
    let specs: Vec<String> = KLINE17.iter().map(|s| (*s).to_owned()).collect();
    let t = Instant::now();
    let fs = Arc::new(FeatureSet::new(&specs, Profile::Safe).unwrap_or_else(|e| panic!("{e}")));
    let f = fs.columns().len();
    println!(
        "{} columns, nodes/instructions {:?}, built in {:.0} us, cpu {}",
        f,
        fs.size(),
        t.elapsed().as_secs_f64() * 1e6,
        qtfeat_core::cpu::level().name()
    );
    let bars = Bars { ohlcv: std::array::from_fn(|k| Some(Column::of(&cols[k]))), ..Bars::default() };
    let series = [Series { rows: Rows::Range(0..n), symbol: None }];
    let stride = n.next_multiple_of(8);
    let mut run = || {
        let mut arena = Arena::take(f * stride * 8);
        let out = Columns::<f64>::in_arena(&mut arena, n, f, stride);
        compute(&fs, &bars, &series, &Policy::default(), 1, &out).unwrap_or_else(|e| panic!("{e}"));
    };
    if wanted("batch") {
        println!("first  {:6.2} ns/bar", best(1, &mut run) * 1e9 / n as f64);
        println!(
            "batch  {:6.2} ns/bar",
            best(std::env::var("RUNS").map_or(30, |x| x.parse().unwrap_or(30)), &mut run) * 1e9 / n as f64
        );
    }
    if wanted("side") {
        time_side(&fs, &bars);
    }
    if wanted("window") {
        time_windows(&fs, &cols);
    }
    if wanted("push") {
        time_push(&fs, &cols);
    }
    if wanted("panel") {
        time_panel(&fs, &cols);
    }
}

/// Tables in order of time: every symbol in each moment, and in nine of ten.
fn time_side(fs: &FeatureSet, bars: &Bars<'_>) {
    let (n, f) = (bars.ohlcv[0].as_ref().map_or(0, Column::len), fs.columns().len());
    let stride = n.next_multiple_of(8);
    for (symbols, missing) in [(2, 0), (10, 0), (16, 0), (50, 0), (500, 0), (50, 10)] {
        let mut rows = vec![Vec::new(); symbols];
        let there = (0..).filter(|i| missing == 0 || i * 7_919 % 104_729 % 100 >= missing).map(|i| i % symbols);
        (0..n as u32).zip(there).for_each(|(row, symbol)| rows[symbol].push(row));
        let series: Vec<Series> =
            rows.into_iter().map(|rows| Series { rows: Rows::Index(rows), symbol: None }).collect();
        let each = best(10, || {
            let mut arena = Arena::take(f * stride * 8);
            let out = Columns::<f64>::in_arena(&mut arena, n, f, stride);
            compute(fs, bars, &series, &Policy::default(), 1, &out).unwrap_or_else(|e| panic!("{e}"));
        });
        println!("{symbols:3} symbols side by side, {missing:2} % missing {:6.1} ns/bar", each * 1e9 / n as f64);
    }
}

fn time_windows(fs: &FeatureSet, cols: &[Vec<f64>; 5]) {
    let (n, f) = (cols[0].len(), fs.columns().len());
    let (w, rows) = (100_000.min(n / 2), 100);
    let cube: Vec<f64> = (0..w)
        .flat_map(|i| (0..rows).map(move |r| (i * 7 + r) % (n - 1)))
        .flat_map(|r| cols.each_ref().map(|c| c[r]))
        .collect();
    let mut out = vec![0.0; w * f];
    let each = best(5, || {
        let source = Cube { bars: &cube, rows, extras: None, times: None };
        windows::compute(fs, &source, &Policy::default(), false, 1, &mut out).unwrap_or_else(|e| panic!("{e}"));
    });
    println!("window {:6.1} ns each, from memory", each * 1e9 / w as f64);
    let near = 200.min(w);
    let each = best(200, || {
        let source = Cube { bars: &cube[..near * rows * 5], rows, extras: None, times: None };
        windows::compute(fs, &source, &Policy::default(), false, 1, &mut out[..near * f])
            .unwrap_or_else(|e| panic!("{e}"));
    });
    println!("window {:6.1} ns each, from cache", each * 1e9 / near as f64);
}

fn time_push(fs: &Arc<FeatureSet>, cols: &[Vec<f64>; 5]) {
    let (n, f) = (cols[0].len(), fs.columns().len());
    let m = 200_000.min(n);
    let mut row = vec![0.0; f];
    let mut stream = Stream::new(Arc::clone(fs), Policy::default());
    let each = best(3, || {
        for i in 0..m {
            let bar = Bar { ohlcv: std::array::from_fn(|k| cols[k][i]), time: None, extras: &[] };
            stream.push(&bar, &mut row).unwrap_or_else(|e| panic!("{e}"));
        }
    });
    println!("push   {:6.1} ns", each * 1e9 / m as f64);
}

fn time_panel(fs: &Arc<FeatureSet>, cols: &[Vec<f64>; 5]) {
    let (n, f) = (cols[0].len(), fs.columns().len());
    let s = 500;
    let mut panel = PanelStream::new(Arc::clone(fs), (0..s).map(|i| format!("S{i}")).collect(), Policy::default())
        .unwrap_or_else(|e| panic!("{e}"));
    let mut rows = vec![0.0; s * f];
    let frames: Vec<Vec<f64>> =
        (0..400).map(|i| (0..s).flat_map(|k| cols.each_ref().map(|c| c[(i + k * 13) % n])).collect()).collect();
    let each = best(3, || {
        for frame in &frames {
            panel.push(frame, None, &[], &mut rows).unwrap_or_else(|e| panic!("{e}"));
        }
    });
    println!("panel  {:6.2} us per push of {s}", each * 1e6 / frames.len() as f64);
}
