//! Known values; the property tests against NumPy are in Python.

use super::*;

const HOUR: i64 = 3_600_000_000_000;

fn times(n: usize) -> Vec<i64> {
    (0..n as i64).map(|i| i * HOUR).collect()
}

fn panel<'a>(open_time: &'a [i64], close: &'a [f64]) -> Panel<'a> {
    Panel { symbols: None, open_time, close_time: None, interval: Some(HOUR), prices: None, close }
}

fn with(kind: Kind, horizon: usize, threshold: f64) -> Settings {
    Settings { kind, horizon, threshold }
}

fn forward(close: &[f64], horizon: usize, threshold: f64) -> Result<Labels> {
    label(&panel(&times(close.len()), close), &with(Kind::Forward, horizon, threshold))
}

#[test]
fn known_values() {
    let labels = forward(&[100.0, 101.0, 102.0, 101.0, 50.0], 2, 0.01).unwrap();
    assert_eq!(labels.value[..3], [102.0 / 100.0 - 1.0, 0.0, 50.0 / 102.0 - 1.0]);
    assert!(labels.value[3].is_nan() && labels.value[4].is_nan());
    assert_eq!(labels.side, [BUY, HOLD, SELL, NONE, NONE]);
    assert_eq!(labels.t, [HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR, 5 * HOUR]);
    assert_eq!(labels.t_end, [3 * HOUR, 4 * HOUR, 5 * HOUR, NEVER, NEVER]);
}

#[test]
fn the_threshold_itself_is_hold() {
    assert_eq!(forward(&[1.0, 1.5, 0.75], 1, 0.5).unwrap().side, [HOLD, HOLD, NONE]);
    assert_eq!(forward(&[1.0, 1.0], 1, 0.0).unwrap().side, [HOLD, NONE]);
}

#[test]
fn short_and_empty_series_have_no_label() {
    assert_eq!(forward(&[], 5, 0.01).unwrap(), Labels::default());
    assert_eq!(forward(&[1.0; 5], 5, 0.01).unwrap().t_end, [NEVER; 5]);
    assert_eq!(forward(&[1.0; 3], usize::MAX, 0.01).unwrap().side, [NONE; 3]);
}

#[test]
fn a_null_close_empties_the_labels_that_need_it() {
    let labels = forward(&[1.0, f64::NAN, 2.0, 4.0], 1, 0.1).unwrap();
    assert_eq!(labels.side, [NONE, NONE, BUY, NONE]);
    assert_eq!(labels.t_end, [NEVER, NEVER, 4 * HOUR, NEVER]);
}

#[test]
fn barriers() {
    let settings = with(Kind::Barrier { take_profit: 0.03, stop_loss: 0.02 }, 2, 0.0);
    let go = |bars: &[[f64; 4]]| {
        let column = |k: usize| bars.iter().map(|b| b[k]).collect::<Vec<f64>>();
        let (open, high, low, close) = (column(0), column(1), column(2), column(3));
        let times = times(bars.len());
        let out = label(&Panel { prices: Some([&open, &high, &low]), ..panel(&times, &close) }, &settings).unwrap();
        (out.value[0], out.ret[0], out.side[0], out.t_end[0] / HOUR)
    };
    let entry = [100.0; 4];
    assert_eq!(go(&[entry, [100.0, 103.0, 99.0, 101.0]]), (0.03, 0.03, BUY, 2));
    assert_eq!(go(&[entry, [100.0, 101.0, 98.0, 101.0]]), (-0.02, -0.02, SELL, 2));
    // Both in one bar: the stop.
    assert_eq!(go(&[entry, [100.0, 104.0, 97.0, 103.5]]), (-0.02, -0.02, SELL, 2));
    // Neither until the end: the return, and HOLD.
    assert_eq!(
        go(&[entry, [100.0, 102.0, 99.0, 101.0], [101.0, 102.0, 99.0, 101.5]]),
        (101.5 / 100.0 - 1.0, 101.5 / 100.0 - 1.0, HOLD, 3)
    );
    // Opened beyond a barrier: left at the open.
    assert_eq!(go(&[entry, [90.0, 104.0, 89.0, 95.0]]), (-0.02, 90.0 / 100.0 - 1.0, SELL, 2));
    assert_eq!(go(&[entry, [110.0, 111.0, 99.0, 100.0]]), (0.03, 110.0 / 100.0 - 1.0, BUY, 2));
    // Not over yet, or a null bar on the way.
    assert_eq!(go(&[entry, [100.0, 101.0, 99.0, 101.0]]).2, NONE);
    assert_eq!(go(&[entry, [f64::NAN; 4], [100.0, 110.0, 99.0, 101.0]]).2, NONE);
}

#[test]
fn a_market_needs_five_and_waits_for_the_last() {
    // Six symbols; the sixth misses its second bar, so its outcome is known later.
    let mut symbols = vec![];
    let (mut open_time, mut close) = (vec![], vec![]);
    for s in 0..6_i64 {
        for bar in (0..3_i64).filter(|&bar| !(s == 5 && bar == 1)) {
            symbols.push(s);
            open_time.push(bar * HOUR);
            close.push(if bar == 0 { 1.0 } else { 1.0 + s as f64 });
        }
    }
    let panel = Panel { symbols: Some(&symbols), ..panel(&open_time, &close) };
    let out = label(&panel, &with(Kind::Neutral, 1, 0.1)).unwrap();
    assert_eq!(out.value[0], 0.0 - 15.0 / 6.0);
    assert_eq!(out.ret[3], 1.0);
    assert_eq!(out.t_end[0], 3 * HOUR);
    assert_eq!((out.side[0], out.side[15]), (SELL, BUY));
    // At the second bar five symbols have a label, at the third none has.
    assert_eq!(out.side.iter().filter(|&&s| s != NONE).count(), 6 + 5);
    let four: Vec<i64> = symbols.iter().map(|&s| s.min(3)).collect();
    let rows = four.iter().zip(&symbols).filter(|(a, b)| a == b).count();
    let panel = Panel { symbols: Some(&four[..rows]), open_time: &open_time[..rows], close: &close[..rows], ..panel };
    assert_eq!(label(&panel, &with(Kind::Neutral, 1, 0.1)).unwrap().side, vec![NONE; rows]);
}

#[test]
fn bad_input_is_refused() {
    for (horizon, threshold) in [(0, 0.1), (1, -0.1), (1, f64::NAN)] {
        assert!(matches!(forward(&[1.0], horizon, threshold), Err(LabelError::Setting(_))));
    }
    for value in [0.0, -1.0, f64::INFINITY, 1e200] {
        let error = forward(&[1.0, value], 1, 0.1).unwrap_err();
        assert!(matches!(error, LabelError::Value { column: "close", row: 1, .. }), "{error}");
    }
    for (take_profit, stop_loss) in [(0.0, 0.1), (0.1, 1.0), (f64::INFINITY, 0.1), (0.1, f64::NAN)] {
        let settings = with(Kind::Barrier { take_profit, stop_loss }, 1, 0.0);
        assert!(label(&panel(&[], &[]), &settings).is_err());
    }
    let doubled = [0, HOUR, HOUR];
    assert!(matches!(label(&panel(&doubled, &[1.0; 3]), &with(Kind::Forward, 1, 0.0)), Err(LabelError::Core(_))));
}

#[test]
fn the_interval_is_derived_or_refused() {
    let go = |open_time: &[i64], interval| {
        let close = vec![1.0; open_time.len()];
        label(&Panel { interval, ..panel(open_time, &close) }, &with(Kind::Forward, 1, 0.0)).map(|l| l.t)
    };
    assert_eq!(go(&[0, 1, 2, 5], None).unwrap(), [1, 2, 3, 6]);
    assert_eq!(go(&[0, 2, 4, 5], Some(1)).unwrap(), [1, 3, 5, 6]);
    for (open_time, text) in [(&[0][..], "no symbol has two"), (&[0, 1, 3], "as many"), (&[0, 2, 4, 5], "some")] {
        let error = go(open_time, None).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    assert!(go(&[0, 1, 2], Some(2)).unwrap_err().to_string().contains("closer"));
    assert!(go(&[i64::MAX - 1], Some(2)).unwrap_err().to_string().contains("2262"));
}
