//! Hostile and random text: never a panic, an error always inside its spec, and what is accepted reads back.

use proptest::prelude::*;

use super::tests::round_trip;
use super::*;
use crate::graph::{Num, Profile};

const TOKENS: &[&str] = &[
    "x",
    "=",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "(",
    ")",
    ",",
    ".",
    "1",
    "2",
    "5",
    "0",
    "2.5",
    "1e-3",
    "1e300",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "funding",
    "lag",
    "sum",
    "mean",
    "var",
    "std",
    "min",
    "max",
    "mean_abs_dev",
    "cov",
    "log",
    "sqrt",
    "abs",
    "sign",
    "where",
    "clip",
    "cumsum",
    "ema",
    "rma",
    "ratio",
    "rsi",
    "macd",
    "bb",
    "atr",
    "signal",
    "pct",
    "neutral",
    "ddof",
    "seed",
    "\"sma\"",
    "\"first\"",
    "true",
    "false",
    "a",
    "b",
    " ",
    "é",
    "ema(",
    "close,",
    "min(close,",
    ")/",
    "x = ",
];

/// Builds in every profile; an error must lie inside its spec.
fn survives(specs: &[String]) {
    for profile in [Profile::Safe, Profile::Talib, Profile::Legacy { eps: Num::new(1e-8) }] {
        match round_trip(specs, profile) {
            Ok(()) => {}
            Err(Error::Spec { spec, position, .. }) => assert!(spec.is_char_boundary(position), "{spec:?} {position}"),
            Err(other) => panic!("{specs:?}: {other:?}"),
        }
    }
}

/// Text that follows the grammar; it may still be refused for what it means.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        6 => prop::sample::select(vec!["close", "open", "high", "low", "volume", "funding", "a", "b", "rsi_7", "obv"]).prop_map(String::from),
        2 => prop::sample::select(vec!["0", "1", "2.0", "2.5", "1e-3", "5", "1e20", "-3"]).prop_map(String::from),
        1 => prop::sample::select(vec!["rsi(14)", "macd.signal", "bb(20,2).pct", "atr(14,tr0=true)", "ema(20)"]).prop_map(String::from),
    ];
    leaf.prop_recursive(6, 40, 3, |inner| {
        let signs = prop::sample::select(vec!["+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!="]);
        let rows =
            prop::sample::select(vec!["lag", "sum", "mean", "std", "var", "min", "max", "mean_abs_dev", "ema", "rma"]);
        let one = prop::sample::select(vec!["abs", "sqrt", "sign", "cumsum", "log"]);
        let two = prop::sample::select(vec!["min", "max", "ratio"]);
        let three = prop::sample::select(vec!["where", "clip"]);
        prop_oneof![
            (inner.clone(), signs.clone(), inner.clone()).prop_map(|(a, s, b)| format!("{a} {s} {b}")),
            (inner.clone(), signs, inner.clone()).prop_map(|(a, s, b)| format!("({a}) {s} ({b})")),
            inner.clone().prop_map(|a| format!("-({a})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            (rows, inner.clone(), 0_u32..40).prop_map(|(f, a, n)| format!("{f}({a}, {n})")),
            (one, inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (two, inner.clone(), inner.clone()).prop_map(|(f, a, b)| format!("{f}({a}, {b})")),
            (three, inner.clone(), inner.clone(), inner.clone()).prop_map(|(f, a, b, c)| format!("{f}({a}, {b}, {c})")),
            (inner.clone(), inner.clone(), 2_u32..9).prop_map(|(a, b, n)| format!("cov({a}, {b}, {n})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("ratio({a}, {b}, neutral=0.5)")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn expr_any_text(text in any::<String>(), name in "[a-z=( ]{0,4}") {
        survives(std::slice::from_ref(&text));
        survives(&[format!("{name}{text}")]);
    }

    #[test]
    fn expr_any_ascii(text in "[ -~]{0,60}") {
        survives(&[format!("x = {text}")]);
        survives(&[text]);
    }

    #[test]
    fn expr_token_soup(a in prop::collection::vec(prop::sample::select(TOKENS), 0..24), b in prop::collection::vec(prop::sample::select(TOKENS), 0..12)) {
        survives(&[a.concat(), format!("a = {}", b.concat())]);
        survives(&[format!("x = {}", a.join(" "))]);
    }

    #[test]
    fn expr_grammatical(a in expression(), b in expression(), x in expression()) {
        survives(&[format!("x = {x}")]);
        survives(&[format!("a = {a}"), "rsi(7)".to_owned(), format!("b = {b}"), format!("x = {x}")]);
    }
}

/// More in the slow run.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(512)
}
