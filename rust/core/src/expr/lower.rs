//! A syntax tree to nodes of the graph, with its canonical text. Operands are lowered in the order of the
//! canonical text, so that equal texts give equal graphs, node for node.

use super::functions::{self, Options, Signature};
use super::lexer::Fault;
use super::names;
use super::parser::{Ast, Call, Node};
use super::scope::{Scope, Target};
use crate::catalog::{Args, Indicator};
use crate::dim::Dim;
use crate::graph::{Expr, Graph};
use crate::indicators;
use crate::primitives::sliding::MAX_WINDOW;

/// Steps a feature set may have; far more than 4,096 real features need.
const MAX_NODES: usize = 1_000_000;
/// Rows a feature may read back.
const MAX_ROWS: u32 = 10 * MAX_WINDOW;
/// Extra columns a feature set may read.
const MAX_EXTRAS: usize = 4_096;
/// Largest power of price or volume, in 64ths.
const MAX_POWER: u32 = 64 * 64;

/// Precedence of a text, loosest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Compare,
    Sum,
    Product,
    Minus,
    Atom,
}

/// A lowered expression with its canonical text.
#[derive(Debug, Clone)]
pub(super) struct Lowered {
    pub(super) expr: Expr,
    pub(super) text: String,
    binding: Binding,
}

impl Lowered {
    fn new(expr: Expr, binding: Binding, text: impl FnOnce() -> String) -> Self {
        match expr {
            // A constant is its value, however it was written.
            Expr::Const(c) => {
                let x = c.get();
                let binding = if x < 0.0 { Binding::Minus } else { Binding::Atom };
                Self { expr, text: names::number(x), binding }
            }
            Expr::Node { .. } => Self { expr, text: text(), binding },
        }
    }

    /// The text, in brackets where it binds looser than its place asks.
    fn within(self, least: Binding) -> String {
        if self.binding < least { format!("({})", self.text) } else { self.text }
    }
}

/// Lowers the expressions of one feature set. What does not recurse is kept out of the frames of what
/// does, so that the deepest nesting fits the 128 KiB that a thread has on musl.
pub(super) struct Lowering<'a> {
    pub(super) graph: &'a mut Graph,
    pub(super) scope: &'a Scope,
    /// Expressions of the features lowered so far, by entry.
    pub(super) done: &'a [Option<Expr>],
}

impl Lowering<'_> {
    /// The value of a node of the tree.
    pub(super) fn value(&mut self, node: &Node) -> Result<Lowered, Fault> {
        match &node.ast {
            Ast::Number { value, .. } => Ok(Lowered::new(Expr::from(*value), Binding::Atom, String::new)),
            Ast::Word(_) => Err(Fault::new(node.at, "a string can only be the value of a parameter")),
            Ast::Name(name) => self.name(name, node.at),
            Ast::Call(call) => self.call(call, node.at),
            Ast::Negated { count, of } => {
                let mut x = self.value(of)?;
                for _ in 0..*count {
                    // 0 - x and not -1 * x: no negative zero, and exact either way.
                    let e = self.graph.sub(0.0, x.expr);
                    let e = self.checked(node.at, e)?;
                    x = Lowered::new(e, Binding::Minus, || ["-", &x.within(Binding::Minus)].concat());
                }
                Ok(x)
            }
            Ast::Chain { first, rest } => match rest.as_slice() {
                // a > b is b < a, lowered in that order.
                [(">", at, second)] => self.compare("<", *at, second, first),
                [(">=", at, second)] => self.compare("<=", *at, second, first),
                [(sign @ ("<" | "<=" | "==" | "!="), at, second)] => self.compare(sign, *at, first, second),
                _ => {
                    let mut sum = self.value(first)?;
                    for (sign, at, node) in rest {
                        let next = self.value(node)?;
                        sum = self.arithmetic(sign, *at, sum, next)?;
                    }
                    Ok(sum)
                }
            },
        }
    }

    #[inline(never)]
    fn compare(&mut self, sign: &str, at: usize, a: &Node, b: &Node) -> Result<Lowered, Fault> {
        let (a, b) = (self.value(a)?, self.value(b)?);
        let g = &mut *self.graph;
        let e = match sign {
            "<" => g.lt(a.expr, b.expr),
            "<=" => g.le(a.expr, b.expr),
            "==" => g.eq(a.expr, b.expr),
            _ => {
                let same = g.eq(a.expr, b.expr);
                g.sub(1.0, same)
            }
        };
        let e = self.checked(at, e)?;
        let text = || format!("{} {sign} {}", a.within(Binding::Sum), b.within(Binding::Sum));
        Ok(Lowered::new(e, Binding::Compare, text))
    }

    #[inline(never)]
    fn arithmetic(&mut self, sign: &str, at: usize, a: Lowered, b: Lowered) -> Result<Lowered, Fault> {
        let g = &mut *self.graph;
        let (e, own, tighter) = match sign {
            "+" => (g.add(a.expr, b.expr), Binding::Sum, Binding::Product),
            "-" => (g.sub(a.expr, b.expr), Binding::Sum, Binding::Product),
            "*" => (g.mul(a.expr, b.expr), Binding::Product, Binding::Minus),
            _ => (g.ratio(a.expr, b.expr, 0.0), Binding::Product, Binding::Minus),
        };
        let e = self.checked(at, e)?;
        let text = || {
            let mut text = a.within(own);
            for part in [" ", sign, " ", &b.within(tighter)] {
                text.push_str(part);
            }
            text
        };
        Ok(Lowered::new(e, own, text))
    }

    #[inline(never)]
    fn name(&mut self, name: &str, at: usize) -> Result<Lowered, Fault> {
        let e = match self.scope.resolve(name).map_err(|m| Fault::new(at, m))? {
            Target::Input(input) => self.graph.input(input),
            Target::Custom(entry) => match self.done.get(entry) {
                Some(Some(e)) => *e,
                _ => return Err(Fault::new(at, format!("{} is not built yet", names::shortened(name)))),
            },
            Target::Column(indicator, args, output) => return self.indicator(indicator, &args, Some(output), at),
            Target::Indicator(indicator) => {
                let args = super::args::indicator_args(indicator, &[], at)?;
                return self.indicator(indicator, &args, None, at);
            }
            Target::Extra => {
                if self.graph.extras.len() >= MAX_EXTRAS && !self.graph.extras.iter().any(|e| e == name) {
                    return Err(Fault::new(at, format!("more than {MAX_EXTRAS} extra columns")));
                }
                self.graph.extra(name)
            }
        };
        let e = self.checked(at, e)?;
        Ok(Lowered::new(e, Binding::Atom, || name.to_owned()))
    }

    fn call(&mut self, call: &Call, at: usize) -> Result<Lowered, Fault> {
        match functions::signature(call) {
            Some(signature) => self.function(call, signature, at),
            None => self.indicator_call(call, at),
        }
    }

    #[inline(never)]
    fn indicator_call(&mut self, call: &Call, at: usize) -> Result<Lowered, Fault> {
        let Some(indicator) = indicators::find(&call.name) else {
            return Err(Fault::new(at, self.scope.not_callable(&call.name)));
        };
        let output = output_of(indicator, call)?;
        let args = super::args::indicator_args(indicator, &call.args, at)?;
        self.indicator(indicator, &args, output, at)
    }

    fn function(&mut self, call: &Call, signature: Signature, at: usize) -> Result<Lowered, Fault> {
        if let Some((_, dot)) = &call.output {
            return Err(Fault::new(*dot, format!("{} has one output: nothing to pick with a dot", call.name)));
        }
        let bound = functions::place(call, signature, at)?;
        let mut series = Vec::with_capacity(bound.series.len());
        for (node, rows) in bound.series {
            let x = self.value(node)?;
            if rows && matches!(x.expr, Expr::Const(_)) {
                return Err(Fault::new(node.at, format!("{} needs a series, not a constant", call.name)));
            }
            series.push(x);
        }
        let exprs: Vec<Expr> = series.iter().map(|x| x.expr).collect();
        let e = functions::apply(self.graph, &call.name, &exprs, bound.options);
        let e = self.checked(at, e)?;
        Ok(call_text(call, e, series, bound.tail, bound.options))
    }

    /// One output of an indicator.
    pub(super) fn indicator(
        &mut self,
        indicator: &'static Indicator,
        args: &Args,
        output: Option<usize>,
        at: usize,
    ) -> Result<Lowered, Fault> {
        let output = match output {
            Some(output) => output,
            None if indicator.outputs.len() == 1 => 0,
            None => {
                let outputs: Vec<String> = indicator.outputs.iter().map(|o| format!(".{}", o.name)).collect();
                let id = indicator.id;
                return Err(Fault::new(at, format!("{id} has several outputs; pick one with {}", outputs.join(", "))));
            }
        };
        let outputs = indicator.expand(self.graph, args);
        let e = outputs.get(output).copied().unwrap_or(Expr::from(0.0));
        let e = self.checked(at, e)?;
        Ok(Lowered::new(e, Binding::Atom, || names::canonical(indicator, args, output)))
    }

    /// Takes the graph's error out, and holds the size of what was built inside bounds.
    #[inline(never)]
    fn checked(&mut self, at: usize, e: Expr) -> Result<Expr, Fault> {
        if let Some(message) = self.graph.error.take() {
            return Err(Fault::new(at, message));
        }
        if self.graph.nodes.len() > MAX_NODES {
            return Err(Fault::new(at, format!("the feature set has more than {MAX_NODES} steps")));
        }
        let (dim, .., memory) = self.graph.facts(e);
        if memory.rows > MAX_ROWS {
            return Err(Fault::new(at, format!("this reads more than {MAX_ROWS} rows back")));
        }
        match dim {
            Dim::Of { p, v } if p.unsigned_abs() > MAX_POWER || v.unsigned_abs() > MAX_POWER => {
                Err(Fault::new(at, format!("too high a power of price or volume ({dim})")))
            }
            _ => Ok(e),
        }
    }
}

/// A call of a function with its text; `ratio` with neutral 0 is written as `/`.
#[inline(never)]
fn call_text(call: &Call, e: Expr, series: Vec<Lowered>, tail: Vec<String>, options: Options) -> Lowered {
    if call.name == "ratio" && options.neutral == 0.0 {
        let parts = series.into_iter().zip([Binding::Product, Binding::Minus]);
        let text = || parts.map(|(x, least)| x.within(least)).collect::<Vec<_>>().join(" / ");
        return Lowered::new(e, Binding::Product, text);
    }
    let elementwise = matches!(call.name.as_str(), "min" | "max") && options.n.is_none();
    Lowered::new(e, Binding::Atom, || {
        let mut parts: Vec<String> = series.into_iter().map(|x| x.text).collect();
        match parts.last_mut() {
            // A whole second argument would read as a number of rows.
            Some(last) if elementwise && last.bytes().all(|b| b.is_ascii_digit()) => last.push_str(".0"),
            _ => {}
        }
        parts.extend(tail);
        format!("{}({})", call.name, parts.join(","))
    })
}

/// The output that a call picks with a dot, if it does: by its name, its column, or its column without
/// the id in front.
pub(super) fn output_of(indicator: &Indicator, call: &Call) -> Result<Option<usize>, Fault> {
    let Some((wanted, at)) = &call.output else { return Ok(None) };
    let short = |column: &'static str| column.strip_prefix(indicator.id).and_then(|c| c.strip_prefix('_'));
    let named = indicator.outputs.iter().position(|o| o.name == wanted);
    let found =
        named.or_else(|| indicator.outputs.iter().position(|o| o.column == wanted || short(o.column) == Some(wanted)));
    found.map(Some).ok_or_else(|| {
        let names: Vec<&str> = indicator.outputs.iter().map(|o| o.name).collect();
        let wanted = names::shortened(wanted);
        Fault::new(*at, format!("{} has no output {wanted}; it has {}", indicator.id, names.join(", ")))
    })
}
