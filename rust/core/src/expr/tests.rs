use super::*;
use crate::graph::{Num, Profile};

fn set(specs: &[&str]) -> Result<(Graph, Vec<Feature>)> {
    let specs: Vec<String> = specs.iter().map(|s| (*s).to_owned()).collect();
    let mut g = Graph::new(Profile::Safe);
    build(&mut g, &specs).map(|f| (g, f))
}

fn columns(specs: &[&str]) -> Vec<String> {
    set(specs).unwrap().1.into_iter().map(|f| f.name).collect()
}

/// Canonical text of the expression, without the name.
fn text(expression: &str) -> String {
    let spec = format!("x = {expression}");
    let feature = set(&[&spec]).unwrap_or_else(|e| panic!("{e}")).1.remove(0);
    feature.canonical.strip_prefix("x = ").unwrap().to_owned()
}

/// Message and position of the error in `specs`.
fn error(specs: &[&str]) -> (String, usize) {
    match set(specs) {
        Err(Error::Spec { message, position, spec }) => {
            assert!(spec.is_char_boundary(position), "{spec:?} {position}");
            (message, position)
        }
        other => panic!("{specs:?}: {other:?}"),
    }
}

/// Both spellings are one node, with one text.
fn same(a: &str, b: &str) {
    assert_eq!(text(a), text(b), "{a} | {b}");
    let both = [format!("a = {a}"), format!("b = {b}")];
    let mut g = Graph::new(Profile::Safe);
    let f = build(&mut g, &both).unwrap();
    assert_eq!(f[0].expr, f[1].expr, "{a} | {b}");
}

/// What specs build in a fresh graph.
#[derive(Debug, PartialEq)]
struct Shape {
    names: Vec<String>,
    canonical: Vec<String>,
    exprs: Vec<Expr>,
    graph: String,
}

fn shape(specs: &[String], profile: Profile) -> Result<Shape> {
    let mut g = Graph::new(profile);
    let f = build(&mut g, specs)?;
    let nodes: Vec<_> = g.nodes.iter().map(|n| (n.op, &n.args)).collect();
    Ok(Shape {
        names: f.iter().map(|f| f.name.clone()).collect(),
        canonical: f.iter().map(|f| f.canonical.clone()).collect(),
        exprs: f.iter().map(|f| f.expr).collect(),
        graph: format!("{:?} {nodes:?}", g.extras),
    })
}

/// Canonical texts build the same graph and are their own canonical texts.
pub(super) fn round_trip(specs: &[String], profile: Profile) -> Result<()> {
    let first = shape(specs, profile)?;
    let second = shape(&first.canonical, profile).unwrap_or_else(|e| panic!("{specs:?} -> {:?}: {e}", first.canonical));
    assert_eq!(first, second, "{specs:?}");
    Ok(())
}

#[test]
fn expr_canonical_text() {
    for (given, wanted) in [
        ("(close-ema(close ,50))/ atr( 14 )", "(close - ema(close,50,seed=\"sma\")) / atr(14,tr0=false)"),
        ("close*2.0+((volume/volume*low))", "close * 2 + volume / volume * low"),
        ("close - (open - high)", "close - (open - high)"),
        ("(close - open) - high", "close - open - high"),
        ("close * (2 * 3 + 1)", "close * 7"),
        ("-close * -2", "-close * -2"),
        ("-(close * 2)", "-(close * 2)"),
        ("--close", "--close"),
        ("close > open", "open < close"),
        ("(close >= open) * (close != low)", "(open <= close) * (close != low)"),
        ("ratio(den=close, num=open)", "open / close"),
        ("1 - ratio(open, high - low, neutral=0.5)", "1 - ratio(open,high - low,neutral=0.5)"),
        ("2 * ratio(open, high - low)", "2 * (open / (high - low))"),
        ("min(close, 5)", "min(close,5)"),
        ("min(close, 5.0)", "min(close,5.0)"),
        ("max(close - open, 2 + 3)", "max(close - open,5.0)"),
        ("std(ret, 20.0)", "std(ret(),20,ddof=0)"),
        ("macd(12,26,9).signal - macd.line", "macd(12,26,9).signal - macd(12,26,9).line"),
        ("log(close/open, neutral=-1e-30)", "log(close / open,neutral=-1e-30)"),
        ("where(close > 1e6, 1, 0)", "where(1000000 < close,1,0)"),
        ("clip(funding_rate, -1, 1)", "clip(funding_rate,-1,1)"),
    ] {
        assert_eq!(text(given), wanted, "{given}");
        assert_eq!(text(wanted), wanted);
    }
}

#[test]
fn expr_one_meaning_one_node() {
    same("ema(close, 20)", "ema(x=close, n=20.0, seed='sma')");
    same("rsi", "rsi(14)");
    same("rsi()", "rsi(period=14, smoothing=\"wilder\")");
    same("close / open", "ratio(close, open)");
    same("close > open", "open < close");
    same("2 * 3 * close", "6 * close");
    same("bb(20,2).pct", "bb(k=2.0).bb_pct");
    same("close - -2", "close - (0 - 2)");
    let (_, f) = set(&["ema(20)", "x = ema(close, 20)", "y = close - lag(close, 3)", "momentum(3)"]).unwrap();
    assert_eq!((f[0].expr, f[2].expr), (f[1].expr, f[3].expr));
    assert!(f[0].indicator.is_some() && f[1].indicator.is_none());
}

#[test]
fn expr_minus_has_no_negative_zero() {
    let mut g = Graph::new(Profile::Safe);
    let f = build(&mut g, &["x = -close".to_owned()]).unwrap();
    let close = g.close();
    assert_eq!(f[0].expr, g.sub(0.0, close));
    assert_eq!(text("close * -0"), "close * 0");
}

#[test]
fn expr_not_equal() {
    let mut g = Graph::new(Profile::Safe);
    let f = build(&mut g, &["x = close != open".to_owned()]).unwrap();
    let (close, open) = (g.close(), g.open());
    let eq = g.eq(close, open);
    assert_eq!(f[0].expr, g.sub(1.0, eq));
}

#[test]
fn expr_column_names() {
    assert_eq!(columns(&["rsi(7)"]), ["rsi"]);
    assert_eq!(columns(&["rsi(7)", "rsi(14)", "rsi(14, smoothing=\"sma\")"]), ["rsi_7", "rsi_14", "rsi_14_sma"]);
    assert_eq!(columns(&["bb(20,2.5).upper", "bb.upper", "bb.pct"]), ["bb_upper_20_2p5", "bb_upper_20_2", "bb_pct"]);
    assert_eq!(columns(&["macd(12,26,9)"]), ["macd", "macd_signal", "macd_hist"]);
    assert_eq!(columns(&["atr", "atr(14,tr0=true)"]), ["atr_14", "atr_14_tr0"]);
    assert_eq!(columns(&["ema(20)", "ema(20, \"first\")"]), ["ema_20", "ema_20_first"]);
    assert_eq!(columns(&["volatility", "volatility(20, ddof=1)"]), ["volatility_20", "volatility_20_ddof1"]);
    assert_eq!(columns(&["bb_pct = close / open", "bb(20,2).pct"]), ["bb_pct", "bb_pct_20_2"]);
    assert_eq!(columns(&["cci", "obv"]), ["cci", "obv"]);
}

#[test]
fn expr_names_of_other_features() {
    let (g, f) =
        set(&["z = trend / vol", "trend = close - open", "atr(14)", "vol = atr", "w = rsi_7 * funding", "rsi(7)"])
            .unwrap();
    assert_eq!(g.extras, ["funding"]);
    assert_eq!(f[3].expr, f[2].expr);
    assert_eq!(f[0].canonical, "z = trend / vol");
    assert_eq!(f[4].canonical, "w = rsi(7,smoothing=\"wilder\") * funding");
    let (_, f) = set(&["x = rsi", "rsi(7)"]).unwrap();
    assert_eq!(f[0].expr, f[1].expr);
    assert_eq!(
        error(&["x = 1 - rsi", "rsi(7)", "rsi(14)"]),
        ("rsi could be rsi_7 or rsi_14 here; write which".into(), 8)
    );
    assert_eq!(error(&["a = b + 1", "b = c", "c = 2 * a"]).0, "a depends on itself: a -> b -> c -> a");
    assert_eq!(error(&["a = close + a"]), ("a depends on itself: a -> a".into(), 12));
}

/// Each spec is refused at this byte, with a message that says this.
fn refused(cases: &[(&str, usize, &str)]) {
    for (spec, position, wanted) in cases {
        let (message, at) = error(&[spec]);
        assert!(message.contains(wanted), "{spec}: {message}");
        assert_eq!(at, *position, "{spec}: {message}");
    }
}

#[test]
fn expr_errors_in_names_and_parameters() {
    refused(&[
        ("", 0, "empty"),
        ("  ", 0, "empty"),
        ("x =", 3, "ends too early"),
        ("rsii(14)", 0, "did you mean rsi?"),
        ("x = close + maen(close, 5)", 12, "did you mean mean?"),
        ("bb_pct", 0, "write bb(20,2,ddof=0).pct"),
        ("rsi(14, 2, 3)", 11, "at most 2 arguments"),
        ("obv(3)", 4, "takes no arguments"),
        ("rsi(0)", 4, "whole number 1..=100000, not 0"),
        ("rsi(2.5)", 4, "not 2.5"),
        ("rsi(period=-3)", 11, "not -3"),
        ("rsi(perod=3)", 4, "did you mean period?"),
        ("rsi(14, period=3)", 8, "given twice"),
        ("rsi(period=3, 4)", 14, "positional"),
        ("rsi(14, smoothing=\"x\")", 18, "\"wilder\""),
        ("bb(20,-1)", 6, "a number 0.01..=100, not -1"),
        ("macd(26,12,9)", 0, "fast must be less than slow"),
        ("macd(12,26,9).upper", 14, "it has line, signal, hist"),
        ("x = macd(12,26,9)", 4, ".line, .signal, .hist"),
    ]);
}

#[test]
fn expr_errors_in_functions() {
    refused(&[
        ("x = close + volume", 10, "cannot add"),
        ("x = close * 2 < volume", 14, "cannot compare"),
        ("x = mean(close, 0)", 16, "1..=1000000"),
        ("x = mean(close)", 4, "n is missing"),
        ("x = mean(2, 5)", 9, "needs a series"),
        ("x = lag(close, -1)", 15, "future"),
        ("x = max(close, 0)", 15, "write 0.0"),
        ("x = std(close, 1)", 15, "2..=1000000"),
        ("x = std(close, 5, ddof=2)", 23, "0 or 1"),
        ("x = ema(close, 5, seed=\"wilder\")", 23, "\"first\""),
        ("x = sma(close, 5)", 8, "mean(x, n)"),
        ("rsi(close, 14)", 4, "takes no series"),
        ("rsi(true)", 4, "not true"),
        ("x = +close", 4, "before '+'"),
        ("x = clip(close, 2, 1)", 4, "lo is greater"),
    ]);
}

#[test]
fn expr_errors_in_syntax() {
    refused(&[
        ("x = (close - open", 4, "never closed"),
        ("x = close)", 9, "no ( for this )"),
        ("x = close open", 10, "after the end"),
        ("x = close +", 11, "value is missing"),
        ("x = close < open < high", 17, "do not chain"),
        ("x = close ** 2", 11, "missing before '*'"),
        ("x = close ! open", 10, "a != b"),
        ("x = 1.2.3 * close", 4, "not a number"),
        ("x = 1e999 * close", 4, "too large"),
        ("x = 2 * 3", 4, "depends on no column"),
        ("x = close * close * close", 18, "1e300"),
        ("x = mean", 4, "is a function"),
        ("x = close(5)", 4, "lag(close, n)"),
        ("x = \"sma\" + close", 4, "string"),
        ("x = true + close", 4, "parameter"),
        ("rsi(14, \"sma)", 12, "unexpected character ')'"),
        ("rsi(14, \"sma", 8, "never closed"),
        ("é = close", 0, "'é'"),
        ("x = clöse", 6, "'ö'"),
        ("close - open", 0, "needs a name"),
        ("close", 0, "needs a name"),
        ("ema(close, 5)", 0, "needs a name"),
        ("X = close", 0, "small letters"),
        ("_x = close", 0, "small letters"),
        ("rsi = close", 0, "already means"),
        ("close = open", 0, "already means"),
        ("where = open", 0, "already means"),
        ("x = mean(close, 5).y", 19, "one output"),
    ]);
}

#[test]
fn expr_sets_refuse_twins() {
    assert_eq!(error(&["rsi(14)", "rsi"]).0, "rsi(14,smoothing=\"wilder\") is in the set twice");
    assert!(error(&["macd", "macd(12,26,9).line"]).0.contains("twice"));
    assert!(error(&["obv", "obv()"]).0.contains("twice"));
    assert_eq!(error(&["a = close", "a = open"]), ("two features are named a".into(), 0));
    assert_eq!(error(&["rsi(7)", "rsi(14)", " rsi_14 = close"]), ("two features are named rsi_14".into(), 1));
    assert_eq!(error(&[]), ("a feature set needs at least one feature".into(), 0));
}

#[test]
fn expr_deepest_nesting_fits_a_small_stack() {
    // musl gives a thread 128 KiB.
    let run = || {
        for open in ["(", "abs(", "-(", "1 - abs(", "where(1 < close, 1, 1 * ", "close < ("] {
            for depth in [63, 64, 65, 500] {
                drop(set(&[&format!("x = {}close{}", open.repeat(depth), ")".repeat(depth))]));
            }
        }
    };
    std::thread::Builder::new().stack_size(128 * 1024).spawn(run).unwrap().join().unwrap();
}

#[test]
fn expr_hostile_sizes() {
    let deep = |n: usize| format!("x = {}close{}", "(".repeat(n), ")".repeat(n));
    assert!(set(&[&deep(64)]).is_ok());
    assert_eq!(error(&[&deep(65)]).1, 68);
    assert!(error(&[&format!("x = {}close", "abs(".repeat(1000))]).0.contains("deep"));
    assert!(set(&[&format!("x = {}close", "-".repeat(4000))]).is_ok());
    assert!(set(&[&format!("x = close{}", " + close".repeat(500))]).is_ok());
    assert!(error(&["x".repeat(4097).as_str()]).0.contains("4096"));
    assert_eq!(error(&["é".repeat(4000).as_str()]).1, 4096);
    assert!(error(&[&format!("x = {}close{}", "lag(".repeat(11), ", 1000000)".repeat(11))]).0.contains("rows back"));
    let squares = |i: usize| format!("f{} = f{i} * f{i}", i + 1);
    let mut specs = vec!["f0 = clip(close, 0, 1)".to_owned()];
    specs.extend((0..40).map(squares));
    let mut g = Graph::new(Profile::Safe);
    assert!(build(&mut g, &specs).unwrap_err().to_string().contains("too high a power"));
    let chain: Vec<String> = (0..MAX_FEATURES).map(|i| format!("g{i} = g{} + 1", i + 1)).collect();
    assert_eq!(build(&mut Graph::new(Profile::Safe), &chain).unwrap().len(), MAX_FEATURES);
    let many: Vec<String> = (0..=MAX_FEATURES).map(|i| format!("g{i} = close")).collect();
    assert!(build(&mut Graph::new(Profile::Safe), &many).is_err());
}

#[test]
fn expr_every_indicator_round_trips() {
    let eps = Num::new(1e-8);
    for profile in [Profile::Safe, Profile::Talib, Profile::Legacy { eps }] {
        let all: Vec<String> = indicators::all().map(|i| i.id.to_owned()).collect();
        round_trip(&all, profile).unwrap();
        let mut g = Graph::new(profile);
        for f in build(&mut g, &all).unwrap() {
            let (indicator, args, output) = f.indicator.unwrap();
            assert_eq!(f.name, indicator.outputs[output].column);
            assert_eq!(args, indicator.defaults());
            assert!(matches!(f.expr, Expr::Node { .. }), "{} is a constant", f.canonical);
        }
    }
}
