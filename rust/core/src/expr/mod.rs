//! Text form of features: specs to nodes of the graph, with column names and canonical text.
//!
//! ```text
//! lexer.rs -> parser.rs: a tree -> args.rs, functions.rs: calls -> scope.rs: names -> lower.rs: nodes
//! ```
//!
//! A spec is `indicator(args, key=value)`, the same with `.output`, a bare indicator id, or
//! `name = expression`. Every error points at a byte of its spec.

mod args;
mod functions;
#[cfg(test)]
mod fuzz;
mod lexer;
mod lower;
mod names;
mod parser;
mod scope;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::catalog::{Args, Indicator};
use crate::error::{Error, Result};
use crate::graph::{Expr, Graph};
use crate::indicators;
use lexer::Fault;
use lower::Lowering;
use parser::{Ast, Call, Node};
use scope::{Column, Scope};

/// Bytes a spec may have.
pub const MAX_SPEC_LEN: usize = 4_096;
/// Features a set may have.
pub const MAX_FEATURES: usize = 4_096;

/// One output column of a feature set.
#[derive(Debug, Clone)]
pub struct Feature {
    /// Column name, unique in its set; `[a-z0-9_]` only.
    pub name: String,
    /// The value.
    pub expr: Expr,
    /// The spec with every default filled in and one spelling for one meaning; it parses to itself.
    pub canonical: String,
    /// Indicator, parameters and index of the output; `None` for an expression.
    pub indicator: Option<(&'static Indicator, Args, usize)>,
}

/// A feature before it is built.
struct Entry {
    /// Which spec it comes from, and the byte that errors about the feature as a whole point at.
    spec: usize,
    at: usize,
    name: String,
    item: Item,
}

enum Item {
    Indicator(Column),
    Custom(Node),
}

/// Builds the features of a set, in the order of the specs.
///
/// # Errors
/// [`Error::Spec`] with the spec and the byte concerned: see the module's grammar and limits.
pub fn build(g: &mut Graph, specs: &[String]) -> Result<Vec<Feature>> {
    let located = |spec: usize| {
        move |fault: Fault| {
            let text = specs.get(spec).map_or("", String::as_str);
            // A text of megabytes helps nobody: show no more of it than a spec may have.
            let end = text.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|&e| e <= MAX_SPEC_LEN).last();
            let text = &text[..end.unwrap_or(0)];
            Error::Spec { message: fault.message, spec: text.to_owned(), position: fault.at.min(text.len()) }
        }
    };
    if specs.is_empty() {
        return Err(located(0)(Fault::new(0, "a feature set needs at least one feature")));
    }
    let mut entries = Vec::new();
    for (i, spec) in specs.iter().enumerate() {
        read(i, spec, &mut entries).map_err(located(i))?;
    }
    let scope = name_all(&mut entries).map_err(|(spec, fault)| located(spec)(fault))?;
    let order = order(&entries, &scope).map_err(|(spec, fault)| located(spec)(fault))?;
    let mut done: Vec<Option<Expr>> = vec![None; entries.len()];
    let mut texts = vec![String::new(); entries.len()];
    for i in order {
        let mut lowering = Lowering { graph: &mut *g, scope: &scope, done: &done };
        let (expr, text) = lower(&mut lowering, &entries[i]).map_err(located(entries[i].spec))?;
        done[i] = Some(expr);
        texts[i] = text;
    }
    let built = entries.into_iter().zip(done).zip(texts);
    Ok(built
        .filter_map(|((entry, expr), canonical)| {
            let indicator = match entry.item {
                Item::Indicator(column) => Some(column),
                Item::Custom(_) => None,
            };
            Some(Feature { name: entry.name, expr: expr?, canonical, indicator })
        })
        .collect())
}

/// Parses one spec into its entries: one, or one for each output of an indicator.
fn read(spec: usize, text: &str, entries: &mut Vec<Entry>) -> std::result::Result<(), Fault> {
    if text.len() > MAX_SPEC_LEN {
        return Err(Fault::new(MAX_SPEC_LEN, format!("a spec has at most {MAX_SPEC_LEN} bytes")));
    }
    let parsed = parser::parse(text)?;
    let at = parsed.expr.at;
    if let Some((name, name_at)) = parsed.name {
        check_name(&name).map_err(|message| Fault::new(name_at, message))?;
        entries.push(Entry { spec, at: name_at, name, item: Item::Custom(parsed.expr) });
    } else {
        let (indicator, args, output) = indicator_spec(parsed.expr)?;
        let outputs = output.map_or(0..indicator.outputs.len(), |o| o..o + 1);
        entries.extend(outputs.map(|output| {
            let item = Item::Indicator((indicator, args.clone(), output));
            Entry { spec, at, name: String::new(), item }
        }));
    }
    if entries.len() > MAX_FEATURES {
        return Err(Fault::new(at, format!("a feature set has at most {MAX_FEATURES} features")));
    }
    Ok(())
}

fn check_name(name: &str) -> std::result::Result<(), String> {
    let short = names::shortened(name);
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !plain || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err(format!("the name {short} must be small letters, digits and _, and start with a letter"));
    }
    if names::is_reserved(name) {
        return Err(format!("{short} already means something in expressions; choose another name"));
    }
    Ok(())
}

/// A spec without a name: it must be an indicator.
fn indicator_spec(node: Node) -> std::result::Result<(&'static Indicator, Args, Option<usize>), Fault> {
    let at = node.at;
    let call = match node.ast {
        Ast::Name(name) => Call { name, args: Vec::new(), output: None },
        Ast::Call(call) => *call,
        _ => return Err(Fault::new(at, "an expression needs a name: write name = expression")),
    };
    let input = names::INPUTS.contains(&call.name.as_str()) && call.args.is_empty();
    if input || functions::signature(&call).is_some() {
        return Err(Fault::new(at, format!("an expression needs a name: write name = {}...", call.name)));
    }
    let indicator =
        indicators::find(&call.name).ok_or_else(|| Fault::new(at, Scope::default().not_callable(&call.name)))?;
    let output = lower::output_of(indicator, &call)?;
    Ok((indicator, args::indicator_args(indicator, &call.args, at)?, output))
}

/// Gives each entry its final name.
fn name_all(entries: &mut [Entry]) -> std::result::Result<Scope, (usize, Fault)> {
    let mut scope = Scope::default();
    for (i, entry) in entries.iter().enumerate() {
        match &entry.item {
            Item::Indicator(column) => scope.add_column(column),
            Item::Custom(_) if scope.add_custom(&entry.name, i) => {}
            Item::Custom(_) => {
                let message = format!("two features are named {}", names::shortened(&entry.name));
                return Err((entry.spec, Fault::new(entry.at, message)));
            }
        }
    }
    let mut seen: HashMap<String, Option<String>> = HashMap::new();
    for entry in entries.iter_mut() {
        let mut text = None;
        if let Item::Indicator(column) = &entry.item {
            entry.name = scope.column_name(column);
            text = Some(names::canonical(column.0, &column.1, column.2));
        }
        if let Some(other) = seen.insert(entry.name.clone(), text.clone()) {
            let message = match text {
                Some(text) if other.as_ref() == Some(&text) => format!("{text} is in the set twice"),
                _ => format!("two features are named {}", names::shortened(&entry.name)),
            };
            return Err((entry.spec, Fault::new(entry.at, message)));
        }
    }
    Ok(scope)
}

/// Entries in an order in which every named expression comes before its readers: the order of the specs,
/// where that will do. An explicit stack, because a chain of names may be as long as the set.
fn order(entries: &[Entry], scope: &Scope) -> std::result::Result<Vec<usize>, (usize, Fault)> {
    let reads: Vec<Vec<(usize, usize)>> = entries
        .iter()
        .map(|entry| {
            let mut reads = Vec::new();
            if let Item::Custom(node) = &entry.item {
                node.names(&mut |name, at| reads.extend(scope.custom(name).map(|target| (target, at))));
            }
            reads
        })
        .collect();
    let mut order = Vec::with_capacity(entries.len());
    let mut started = vec![false; entries.len()];
    let mut placed = vec![false; entries.len()];
    for root in 0..entries.len() {
        if started[root] {
            continue;
        }
        started[root] = true;
        let mut path = vec![(root, 0)];
        while let Some((entry, next)) = path.last_mut() {
            let entry = *entry;
            let Some(&(target, at)) = reads[entry].get(*next) else {
                placed[entry] = true;
                order.push(entry);
                path.pop();
                continue;
            };
            *next += 1;
            if !started[target] {
                started[target] = true;
                path.push((target, 0));
            } else if !placed[target] {
                let from = path.iter().position(|p| p.0 == target).unwrap_or(0);
                let circle: Vec<usize> = path[from..].iter().map(|p| p.0).collect();
                return Err((entries[entry].spec, Fault::new(at, cycle_text(entries, &circle))));
            }
        }
    }
    Ok(order)
}

fn cycle_text(entries: &[Entry], circle: &[usize]) -> String {
    let name = |&i: &usize| names::shortened(&entries[i].name);
    let first = circle.first().map(name).unwrap_or_default();
    let mut steps: Vec<String> = circle.iter().take(6).map(name).collect();
    if circle.len() > steps.len() {
        steps.push("...".to_owned());
    }
    format!("{first} depends on itself: {} -> {first}", steps.join(" -> "))
}

fn lower(lowering: &mut Lowering, entry: &Entry) -> std::result::Result<(Expr, String), Fault> {
    let node = match &entry.item {
        Item::Indicator((indicator, args, output)) => {
            let built = lowering.indicator(indicator, args, Some(*output), entry.at)?;
            return Ok((built.expr, built.text));
        }
        Item::Custom(node) => node,
    };
    let built = lowering.value(node)?;
    if matches!(built.expr, Expr::Const(_)) {
        return Err(Fault::new(node.at, "the feature depends on no column: it is always the same number"));
    }
    let text = format!("{} = {}", entry.name, built.text);
    // Filling in defaults lengthens a spec; what cannot be read back cannot be a canonical text.
    if text.len() > MAX_SPEC_LEN || parser::parse(&text).is_err() {
        let message = "too long or too deep with its defaults filled in; give a part of it its own name";
        return Err(Fault::new(node.at, message));
    }
    Ok((built.expr, text))
}
