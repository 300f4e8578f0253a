//! Arguments in a call to the parameters they are for.

use super::lexer::Fault;
use super::names;
use super::parser::{Arg, Ast, Node};
use crate::catalog::{Args, Indicator, Kind, Param, Value};

/// The argument for each name, in the order of the names: positional ones first, then by keyword.
pub(super) fn bind<'a>(what: &str, params: &[&str], args: &'a [Arg]) -> Result<Vec<Option<&'a Arg>>, Fault> {
    let mut bound: Vec<Option<&Arg>> = vec![None; params.len()];
    let mut keyword = false;
    for (i, arg) in args.iter().enumerate() {
        let slot = match &arg.key {
            None if keyword => {
                return Err(Fault::new(arg.at, "a positional argument cannot follow a keyword argument"));
            }
            None if i >= params.len() => {
                let count = match params.len() {
                    0 => "no arguments".to_owned(),
                    1 => format!("at most 1 argument ({})", params[0]),
                    n => format!("at most {n} arguments ({})", params.join(", ")),
                };
                return Err(Fault::new(arg.at, format!("{what} takes {count}")));
            }
            None => i,
            Some(key) => {
                keyword = true;
                let Some(slot) = params.iter().position(|p| p == key) else {
                    return Err(Fault::new(arg.at, unknown_keyword(what, params, key)));
                };
                slot
            }
        };
        if bound[slot].replace(arg).is_some() {
            return Err(Fault::new(arg.at, format!("{} is given twice", params[slot])));
        }
    }
    Ok(bound)
}

fn unknown_keyword(what: &str, params: &[&str], key: &str) -> String {
    let hint = names::suggestion(key, params.iter().copied());
    let key = names::shortened(key);
    match params {
        [] => format!("{what} has no parameter {key}: it takes none"),
        _ => format!("{what} has no parameter {key} (it takes {}){hint}", params.join(", ")),
    }
}

/// The values of an indicator's parameters, defaults filled in, each in its range.
pub(super) fn indicator_args(indicator: &Indicator, args: &[Arg], at: usize) -> Result<Args, Fault> {
    if let Some(Arg { key: None, value, .. }) = args.first()
        && is_series(value)
    {
        let hint = if indicator.id == "sma" { ": the mean of any series is mean(x, n)" } else { "" };
        let message = format!("{} reads the bars by itself and takes no series{hint}", indicator.id);
        return Err(Fault::new(value.at, message));
    }
    let params: Vec<&str> = indicator.params.iter().map(|p| p.name).collect();
    let bound = bind(indicator.id, &params, args)?;
    let values = indicator
        .params
        .iter()
        .zip(bound)
        .map(|(p, arg)| arg.map_or(Ok(p.default), |a| value(indicator.id, p, &a.value)))
        .collect::<Result<_, _>>()?;
    let args = Args(values);
    if let Some(check) = indicator.check {
        check(&args).map_err(|message| Fault::new(at, format!("{}: {message}", indicator.id)))?;
    }
    Ok(args)
}

/// True for what can only be a series: no literal, no word.
pub(super) fn is_series(node: &Node) -> bool {
    let word = match &node.ast {
        Ast::Word(_) => true,
        Ast::Name(name) => name == "true" || name == "false",
        _ => false,
    };
    !word && node.literal().is_none()
}

fn value(id: &str, p: &Param, node: &Node) -> Result<Value, Fault> {
    let number = node.literal();
    let found = match (p.kind, &node.ast) {
        (Kind::Int(lo, hi), _) => whole(number, lo, hi).map(Value::Int),
        (Kind::Float(lo, hi), _) => number.filter(|x| (lo..=hi).contains(x)).map(Value::Float),
        (Kind::Bool, Ast::Name(name)) if name == "true" => Some(Value::Bool(true)),
        (Kind::Bool, Ast::Name(name)) if name == "false" => Some(Value::Bool(false)),
        (Kind::Word(words), Ast::Word(word)) => words.iter().find(|w| *w == word).map(|w| Value::Word(w)),
        _ => None,
    };
    found
        .ok_or_else(|| Fault::new(node.at, format!("{id}: {} must be {}, not {}", p.name, wanted(p.kind), shown(node))))
}

/// A whole number inside lo..=hi; 2 and 2.0 are the same.
pub(super) fn whole(number: Option<f64>, lo: u32, hi: u32) -> Option<u32> {
    number.filter(|x| *x == x.trunc() && (f64::from(lo)..=f64::from(hi)).contains(x)).map(|x| x as u32)
}

fn wanted(kind: Kind) -> String {
    match kind {
        Kind::Int(lo, hi) => format!("a whole number {lo}..={hi}"),
        Kind::Float(lo, hi) => format!("a number {}..={}", names::number(lo), names::number(hi)),
        Kind::Bool => "true or false".to_owned(),
        Kind::Word(words) => {
            let quoted: Vec<String> = words.iter().map(|w| format!("\"{w}\"")).collect();
            quoted.join(" or ")
        }
    }
}

/// An argument, for messages.
pub(super) fn shown(node: &Node) -> String {
    match (&node.ast, node.literal()) {
        (_, Some(x)) => names::number(x),
        (Ast::Word(word), _) => format!("\"{}\"", names::shortened(word)),
        (Ast::Name(name), _) => names::shortened(name),
        (Ast::Call(call), _) => format!("{}(...)", names::shortened(&call.name)),
        _ => "an expression".to_owned(),
    }
}
