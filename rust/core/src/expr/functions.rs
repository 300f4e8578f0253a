//! The functions of the language: what each takes, and the primitive it is.

use super::args::{bind, is_series, shown, whole};
use super::lexer::Fault;
use super::names;
use super::parser::{Arg, Ast, Call, Node};
use crate::graph::{Expr, Graph, Seed};
use crate::primitives::sliding::MAX_WINDOW;

/// Every function, also where the name is an indicator's too.
pub(super) const NAMES: [&str; 19] = [
    "lag",
    "sum",
    "mean",
    "std",
    "var",
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
];

/// What an argument must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// A series or a number.
    Value,
    /// A series: the function looks at its rows.
    Series,
    /// A number of rows, from this many on.
    Rows(u32),
    /// A number, 0 when not given.
    Neutral,
    /// 0 or 1, 0 when not given.
    Ddof,
    /// "sma" or "first", "sma" when not given.
    Seed,
}

/// Parameters of a function, in order.
pub(super) type Signature = &'static [(&'static str, Kind)];

/// The signature of the function that this call names; `None` when it names none (`ema(20)` is the
/// indicator, `ema(close, 20)` the function).
pub(super) fn signature(call: &Call) -> Option<Signature> {
    use Kind::{Ddof, Neutral, Rows, Seed, Series, Value};
    Some(match call.name.as_str() {
        "lag" => &[("x", Series), ("n", Rows(0))],
        "sum" | "mean" => &[("x", Series), ("n", Rows(1))],
        "mean_abs_dev" => &[("x", Series), ("n", Rows(2))],
        "min" | "max" if slides(&call.args) => &[("x", Series), ("n", Rows(1))],
        "min" | "max" => &[("a", Value), ("b", Value)],
        "std" | "var" => &[("x", Series), ("n", Rows(2)), ("ddof", Ddof)],
        "cov" => &[("x", Series), ("y", Series), ("n", Rows(2)), ("ddof", Ddof)],
        "log" => &[("x", Value), ("neutral", Neutral)],
        "sqrt" | "abs" | "sign" => &[("x", Value)],
        "where" => &[("condition", Value), ("a", Value), ("b", Value)],
        "clip" => &[("x", Value), ("lo", Value), ("hi", Value)],
        "cumsum" => &[("x", Series)],
        "ratio" => &[("num", Value), ("den", Value), ("neutral", Neutral)],
        "ema" | "rma" if takes_series(&call.args) => &[("x", Series), ("n", Rows(1)), ("seed", Seed)],
        _ => return None,
    })
}

/// `min(x, 5)` is over 5 rows, `min(x, 5.0)` and `min(a, b)` are elementwise.
fn slides(args: &[Arg]) -> bool {
    args.iter().any(|a| a.key.as_deref() == Some("n"))
        || matches!(args.get(1), Some(Arg { key: None, value: Node { ast: Ast::Number { whole: true, .. }, .. }, .. }))
}

fn takes_series(args: &[Arg]) -> bool {
    args.first().is_some_and(|a| match &a.key {
        Some(key) => key == "x",
        None => is_series(&a.value),
    })
}

/// What a call gives besides its series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Options {
    /// Rows, for the functions that have them.
    pub(super) n: Option<u32>,
    pub(super) neutral: f64,
    pub(super) ddof: u32,
    pub(super) seed: Seed,
}

/// A call with its arguments in place: the series still as text, the rest read.
pub(super) struct Bound<'a> {
    /// Series and values, in order; true where a constant will not do.
    pub(super) series: Vec<(&'a Node, bool)>,
    pub(super) options: Options,
    /// Canonical text of what follows the series.
    pub(super) tail: Vec<String>,
}

/// Puts the arguments of a call in place.
#[inline(never)]
pub(super) fn place(call: &Call, signature: Signature, at: usize) -> Result<Bound<'_>, Fault> {
    let params: Vec<&str> = signature.iter().map(|p| p.0).collect();
    let bound = bind(&call.name, &params, &call.args)?;
    let options = Options { n: None, neutral: 0.0, ddof: 0, seed: Seed::Mean };
    let mut out = Bound { series: Vec::new(), options, tail: Vec::new() };
    for (&(name, kind), arg) in signature.iter().zip(bound) {
        let node = arg.map(|a| &a.value);
        let bad = |wanted: String| {
            let (at, found) = node.map_or((at, String::new()), |n| (n.at, format!(", not {}", shown(n))));
            Fault::new(at, format!("{}: {name} must be {wanted}{found}", call.name))
        };
        let number = node.map_or(Some(0.0), Node::literal);
        match (kind, node) {
            (Kind::Value | Kind::Rows(_) | Kind::Series, None) => {
                let usage = params.join(", ");
                return Err(Fault::new(at, format!("{0}({usage}): {name} is missing", call.name)));
            }
            (Kind::Value, Some(n)) => out.series.push((n, false)),
            (Kind::Series, Some(n)) => out.series.push((n, true)),
            (Kind::Rows(lo), Some(_)) => {
                let n = whole(number, lo, MAX_WINDOW).ok_or_else(|| bad(rows_wanted(&call.name, lo, number)))?;
                out.options.n = Some(n);
                out.tail.push(n.to_string());
            }
            (Kind::Neutral, _) => {
                out.options.neutral = number.ok_or_else(|| bad("a number written out".to_owned()))?;
                out.tail.push(format!("{name}={}", names::number(out.options.neutral + 0.0)));
            }
            (Kind::Ddof, _) => {
                out.options.ddof = whole(number, 0, 1).ok_or_else(|| bad("0 or 1".to_owned()))?;
                out.tail.push(format!("{name}={}", out.options.ddof));
            }
            (Kind::Seed, _) => {
                out.options.seed = seed(node).ok_or_else(|| bad("\"sma\" or \"first\"".to_owned()))?;
                let word = if out.options.seed == Seed::First { "first" } else { "sma" };
                out.tail.push(format!("{name}=\"{word}\""));
            }
        }
    }
    Ok(out)
}

fn rows_wanted(function: &str, lo: u32, number: Option<f64>) -> String {
    let hint = match (function, number) {
        ("lag", Some(x)) if x < 0.0 => " (a negative lag would read the future)",
        ("min" | "max", Some(0.0)) => " (a whole second argument is a number of rows; write 0.0 for the value 0)",
        _ => "",
    };
    format!("a whole number {lo}..={MAX_WINDOW}{hint}")
}

fn seed(node: Option<&Node>) -> Option<Seed> {
    match node.map(|n| &n.ast) {
        None => Some(Seed::Mean),
        Some(Ast::Word(w)) if w == "sma" => Some(Seed::Mean),
        Some(Ast::Word(w)) if w == "first" => Some(Seed::First),
        Some(_) => None,
    }
}

/// Puts the primitive into the graph.
#[inline(never)]
pub(super) fn apply(g: &mut Graph, name: &str, x: &[Expr], o: Options) -> Expr {
    match (name, x, o.n) {
        ("lag", &[x], Some(n)) => g.lag(x, n),
        ("sum", &[x], Some(n)) => g.sum(x, n),
        ("mean", &[x], Some(n)) => g.mean(x, n),
        ("mean_abs_dev", &[x], Some(n)) => g.mean_abs_dev(x, n),
        ("min", &[x], Some(n)) => g.min_over(x, n),
        ("max", &[x], Some(n)) => g.max_over(x, n),
        ("min", &[a, b], None) => g.lesser(a, b),
        ("max", &[a, b], None) => g.greater(a, b),
        ("std", &[x], Some(n)) => g.std(x, n, o.ddof),
        ("var", &[x], Some(n)) => g.var(x, n, o.ddof),
        ("cov", &[x, y], Some(n)) => g.cov(x, y, n, o.ddof),
        ("log", &[x], None) => g.log(x, o.neutral),
        ("sqrt", &[x], None) => g.sqrt(x),
        ("abs", &[x], None) => g.abs(x),
        ("sign", &[x], None) => g.sign(x),
        ("where", &[p, a, b], None) => g.select(p, a, b),
        ("clip", &[x, lo, hi], None) => match (lo, hi) {
            (Expr::Const(l), Expr::Const(h)) if l.get() > h.get() => g.fail("clip: lo is greater than hi"),
            _ => g.clip(x, lo, hi),
        },
        ("cumsum", &[x], None) => g.cumsum(x),
        ("ratio", &[a, b], None) => g.ratio(a, b, o.neutral),
        ("ema", &[x], Some(n)) => g.ema(x, n, o.seed),
        ("rma", &[x], Some(n)) => g.rma(x, n, o.seed),
        _ => g.fail(format!("{name}: not with these arguments")),
    }
}
