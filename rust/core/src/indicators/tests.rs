//! What the catalogue promises, asked of the graph. Values are checked against plain oracles where bars run
//! through the executor.

use std::collections::HashSet;

use super::{all, find};
use crate::catalog::{Args, Indicator, Kind, Value};
use crate::graph::{Expr, Graph, Memory, Num, Profile};

fn legacy() -> Profile {
    Profile::Legacy { eps: Num::new(1e-8) }
}

fn profiles() -> [Profile; 3] {
    [Profile::Safe, Profile::Talib, legacy()]
}

const KLINE17: &str = include_str!("../../../../python/qtfeat/sets/kline17.toml");
const TRADE14: &str = include_str!("../../../../python/qtfeat/sets/trade14.toml");
const SEQ8: &str = include_str!("../../../../python/qtfeat/sets/seq8.toml");
const WIDE32: &str = include_str!("../../../../python/qtfeat/sets/wide32.toml");

/// Positional arguments and `name=value` ones, over the defaults.
fn arguments(ind: &Indicator, text: &str) -> Args {
    let mut args = ind.defaults();
    for (at, part) in text.split(',').map(str::trim).filter(|p| !p.is_empty()).enumerate() {
        let (i, word) = match part.split_once('=') {
            Some((name, word)) => (ind.params.iter().position(|p| p.name == name.trim()).unwrap(), word.trim()),
            None => (at, part),
        };
        args.0[i] = match ind.params[i].kind {
            Kind::Int(lo, hi) => {
                let n = word.parse().unwrap();
                assert!((lo..=hi).contains(&n), "{}: {n} for {}", ind.id, ind.params[i].name);
                Value::Int(n)
            }
            Kind::Float(lo, hi) => {
                let x = word.parse().unwrap();
                assert!(lo <= x && x <= hi);
                Value::Float(x)
            }
            Kind::Bool => Value::Bool(word.parse().unwrap()),
            Kind::Word(words) => Value::Word(words.iter().find(|w| **w == word).unwrap()),
        };
    }
    args
}

/// Columns of a spec such as `bb(20,2).pct`.
fn build(g: &mut Graph, spec: &str) -> Vec<(&'static str, Expr)> {
    let (head, output) = match spec.rsplit_once(").") {
        Some((head, output)) => (head, Some(output)),
        None => (spec.trim_end_matches(')'), None),
    };
    let (id, text) = head.split_once('(').unwrap_or((head, ""));
    let ind = find(id).unwrap_or_else(|| panic!("{id} is not in the catalogue"));
    let args = arguments(ind, text);
    if let Some(check) = ind.check {
        check(&args).unwrap();
    }
    let out = ind.expand(g, &args);
    assert_eq!(g.error, None, "{spec}");
    assert_eq!(out.len(), ind.outputs.len(), "{spec}");
    let named = ind.outputs.iter().zip(out);
    named.filter(|(o, _)| output.is_none_or(|name| name == o.name)).map(|(o, e)| (o.column, e)).collect()
}

fn features(toml: &str) -> Vec<&str> {
    let list = toml.split_once("features = [").unwrap().1;
    list.split('"').skip(1).step_by(2).collect()
}

fn columns(g: &mut Graph, toml: &str) -> Vec<(&'static str, Expr)> {
    features(toml).into_iter().flat_map(|spec| build(g, spec)).collect()
}

/// Warm-up of every output of a spec.
fn warmups(profile: Profile, spec: &str) -> Vec<u32> {
    let g = &mut Graph::new(profile);
    build(g, spec).iter().map(|(_, e)| g.facts(*e).3).collect()
}

fn memory(spec: &str) -> Vec<Memory> {
    let g = &mut Graph::new(Profile::Safe);
    build(g, spec).iter().map(|(_, e)| g.facts(*e).4).collect()
}

#[test]
fn names_are_unique() {
    let mut ids = HashSet::new();
    let mut columns = HashSet::new();
    for ind in all() {
        assert!(ids.insert(ind.id), "{} twice", ind.id);
        let mut outputs = HashSet::new();
        for o in ind.outputs {
            assert!(columns.insert(o.column), "column {} twice", o.column);
            assert!(outputs.insert(o.name), "{}.{} twice", ind.id, o.name);
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(o.column.chars().all(plain), "{}", o.column);
            assert!(o.column == ind.id || o.column.starts_with(&format!("{}_", ind.id)), "{}", o.column);
            assert!(ind.outputs.len() > 1 || o.name == ind.id, "{}", ind.id);
        }
        let names: HashSet<_> = ind.params.iter().map(|p| p.name).collect();
        assert_eq!(names.len(), ind.params.len(), "{}", ind.id);
        assert!(!ind.formula.is_empty() && !ind.source.is_empty(), "{}", ind.id);
    }
}

#[test]
fn the_catalogue_is_complete() {
    let wanted = "ret log_ret gap range_hl body upper_wick lower_wick sma ema rma ema_gap ema_cross macd macd_pct rsi \
        roc momentum stoch willr cci mfi adx bb true_range atr natr volatility log_volatility parkinson \
        garman_klass zscore donchian drawdown volume_change volume_ratio obv obv_slope vwap vwap_gap hour_sin \
        hour_cos dow_sin dow_cos";
    for id in wanted.split_whitespace() {
        assert!(find(id).is_some(), "{id}");
    }
}

#[test]
fn defaults_are_valid() {
    for ind in all() {
        for p in ind.params {
            let fits = match (p.kind, p.default) {
                (Kind::Int(lo, hi), Value::Int(n)) => (lo..=hi).contains(&n),
                (Kind::Float(lo, hi), Value::Float(x)) => lo <= x && x <= hi,
                (Kind::Bool, Value::Bool(_)) => true,
                (Kind::Word(words), Value::Word(w)) => words.contains(&w),
                _ => false,
            };
            assert!(fits, "{}: {}", ind.id, p.name);
        }
        if let Some(check) = ind.check {
            check(&ind.defaults()).unwrap();
        }
    }
}

/// Every value of every flag and word, with the smallest, the default and the largest of every number.
fn extremes(ind: &Indicator) -> Vec<Args> {
    let mut list = vec![ind.defaults()];
    for (i, p) in ind.params.iter().enumerate() {
        let values: Vec<Value> = match p.kind {
            Kind::Int(lo, hi) => vec![Value::Int(lo), Value::Int(hi)],
            Kind::Float(lo, hi) => vec![Value::Float(lo), Value::Float(hi)],
            Kind::Bool => vec![Value::Bool(false), Value::Bool(true)],
            Kind::Word(words) => words.iter().map(|w| Value::Word(w)).collect(),
        };
        let mut more = Vec::new();
        for args in &list {
            for v in &values {
                let mut args = args.clone();
                args.0[i] = *v;
                more.push(args);
            }
        }
        list.extend(more);
    }
    list.retain(|a| ind.check.is_none_or(|check| check(a).is_ok()));
    list
}

#[test]
fn every_indicator_expands_in_every_profile() {
    for ind in all() {
        for args in extremes(ind) {
            for profile in profiles() {
                let g = &mut Graph::new(profile);
                let out = ind.expand(g, &args);
                assert_eq!(g.error, None, "{} {args:?} {profile:?}", ind.id);
                assert_eq!(out.len(), ind.outputs.len(), "{}", ind.id);
                assert!(out.iter().all(|e| matches!(e, Expr::Node { .. })), "{} {args:?}", ind.id);
            }
        }
    }
}

#[test]
fn ranges_hold_together() {
    for ind in all() {
        let g = &mut Graph::new(Profile::Safe);
        let out = ind.expand(g, &ind.defaults());
        for (o, e) in ind.outputs.iter().zip(out) {
            let (lo, hi) = (o.min.unwrap_or(f64::NEG_INFINITY), o.max.unwrap_or(f64::INFINITY));
            assert!(lo < hi, "{}", o.column);
            assert!(o.neutral.is_none_or(|n| lo <= n && n <= hi), "{}", o.column);
            let (a, b) = g.facts(e).1;
            assert!(lo <= a && a <= b && b <= hi && b - a <= 1e300, "{}: {a}..{b}", o.column);
        }
    }
}

#[test]
fn pinned_ranges() {
    let pinned = [
        ("rsi stoch_k stoch_d mfi adx adx_plus_di adx_minus_di", Some(0.0), Some(100.0)),
        ("willr", Some(-100.0), Some(0.0)),
        ("hour_sin hour_cos dow_sin dow_cos", Some(-1.0), Some(1.0)),
        ("drawdown", Some(-1.0), Some(0.0)),
        ("volatility log_volatility parkinson garman_klass atr natr true_range bb_width range_hl", Some(0.0), None),
    ];
    for (names, min, max) in pinned {
        for name in names.split_whitespace() {
            let o = all().flat_map(|i| i.outputs).find(|o| o.column == name).unwrap();
            assert_eq!((o.min, o.max), (min, max), "{name}");
        }
    }
}

#[test]
fn pinned_neutral_values() {
    let pinned = [("rsi", 50.0), ("bb_pct", 0.5), ("stoch_k", 50.0), ("stoch_d", 50.0), ("willr", -50.0), ("cci", 0.0)];
    let more = [("mfi", 50.0), ("volume_ratio", 1.0), ("volume_change", 0.0), ("ret", 0.0), ("ema_cross", 0.0)];
    for (name, neutral) in pinned.into_iter().chain(more) {
        let o = all().flat_map(|i| i.outputs).find(|o| o.column == name).unwrap();
        assert_eq!(o.neutral, Some(neutral), "{name}");
    }
}

#[test]
fn pinned_warmups() {
    let pinned: [(&str, &[u32]); 24] = [
        ("rsi(14)", &[14]),
        ("macd(12,26,9)", &[25, 33, 33]),
        ("macd_pct(12,26,9)", &[25, 33, 33]),
        ("bb(20,2)", &[19; 5]),
        ("volatility(20)", &[20]),
        ("ret", &[1]),
        ("roc(10)", &[10]),
        ("ema(20)", &[19]),
        ("ema(20, seed=first)", &[0]),
        ("ema_cross(10,50)", &[49]),
        ("stoch(14,3,3)", &[15, 17]),
        ("willr(14)", &[13]),
        ("cci(20)", &[19]),
        ("mfi(14)", &[14]),
        ("adx(14)", &[27, 14, 14]),
        ("true_range", &[1]),
        ("true_range(tr0=true)", &[0]),
        ("atr(14)", &[14]),
        ("atr(14, tr0=true)", &[13]),
        ("natr(14)", &[14]),
        ("obv", &[0]),
        ("obv_slope(20)", &[20]),
        ("vwap_gap(20)", &[19]),
        ("hour_sin", &[0]),
    ];
    for (spec, rows) in pinned {
        assert_eq!(warmups(Profile::Safe, spec), rows, "{spec}");
    }
}

#[test]
fn warmups_of_the_other_profiles() {
    for spec in ["rsi(14)", "macd(12,26,9)", "adx(14)", "atr(14)", "bb(20,2)", "obv"] {
        assert_eq!(warmups(Profile::Talib, spec), warmups(Profile::Safe, spec), "{spec}");
    }
    assert_eq!(warmups(Profile::Talib, "stoch(14,3,3)"), [17, 17]);
    assert_eq!(warmups(legacy(), "rsi(14)"), [13]);
    assert_eq!(warmups(legacy(), "macd(12,26,9)"), [0, 0, 0]);
    assert_eq!(warmups(legacy(), "ema(20)"), [0]);
    assert_eq!(warmups(legacy(), "bb(20,2)"), [19; 5]);
}

#[test]
fn memory_is_finite_but_for_the_recursive_ones() {
    // An indicator built of these is recursive too; a new one need not be listed here.
    let recursive = ["ema", "rma", "rsi", "macd", "macd_pct", "ema_gap", "ema_cross", "atr", "natr", "adx"];
    for id in recursive {
        assert!(memory(id).iter().all(|m| m.recursive && !m.anchored), "{id}");
    }
    assert!(memory("obv").iter().all(|m| m.anchored));
    for ind in all() {
        for (m, w) in memory(ind.id).iter().zip(warmups(Profile::Safe, ind.id)) {
            let reads = |word: &str| ind.formula.contains(word);
            assert!(recursive.contains(&ind.id) || !m.recursive || reads("ema(") || reads("rma("), "{}", ind.id);
            // With finite memory a window of that many rows has a value in its last row.
            assert!(m.recursive || m.anchored || m.rows > w, "{}: {} rows, warm-up {w}", ind.id, m.rows);
        }
    }
    assert_eq!(memory("rsi(14, smoothing=sma)")[0], Memory { rows: 15, ..Memory::default() });
    assert_eq!(memory("true_range(tr0=true)")[0].rows, 2);
}

#[test]
fn sets_have_their_columns() {
    let sets = [("kline17", KLINE17, 17), ("trade14", TRADE14, 14), ("seq8", SEQ8, 8), ("wide32", WIDE32, 32)];
    for (name, toml, count) in sets {
        assert!(toml.starts_with(&format!("name = \"{name}\"\n")));
        for profile in profiles() {
            let g = &mut Graph::new(profile);
            let list = columns(g, toml);
            assert_eq!(list.len(), count, "{name}");
            println!("{name} {profile:?}: {} nodes", g.nodes.len());
        }
    }
}

#[test]
fn wide32_and_seq8_are_scale_free() {
    for profile in [Profile::Safe, Profile::Talib] {
        for toml in [WIDE32, SEQ8] {
            let g = &mut Graph::new(profile);
            for (column, e) in columns(g, toml) {
                assert!(g.is_scale_free(e), "{column}");
            }
        }
    }
    let g = &mut Graph::new(Profile::Safe);
    for spec in ["sma", "macd", "atr", "momentum", "obv", "vwap", "donchian"] {
        for (column, e) in build(g, spec) {
            assert!(!g.is_scale_free(e), "{column}");
        }
    }
}

#[test]
fn equal_parts_are_one_node() {
    let g = &mut Graph::new(Profile::Safe);
    build(g, "macd(12,26,9)");
    let before = g.nodes.len();
    build(g, "ema(12)");
    build(g, "ema(26)");
    assert_eq!(g.nodes.len(), before);
}
