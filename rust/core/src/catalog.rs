//! What a catalogue row says: parameters with ranges and defaults, outputs with unit, range and neutral
//! value, formula and source. The rows themselves stand beside their functions in `indicators/`.

use crate::graph::{Expr, Graph, Seed};

/// A parameter's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Whole number (periods).
    Int(u32),
    /// Number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// One of a list of words.
    Word(&'static str),
}

/// Which values a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Whole numbers from .0 to .1.
    Int(u32, u32),
    /// Numbers from .0 to .1.
    Float(f64, f64),
    /// true or false.
    Bool,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// A parameter of an indicator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Param {
    /// Name, for `name=value`.
    pub name: &'static str,
    /// Values it takes.
    pub kind: Kind,
    /// Value when not given.
    pub default: Value,
}

/// An output of an indicator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Output {
    /// Name after the dot in an expression (`macd(12,26,9).signal`); the id itself for a single output.
    pub name: &'static str,
    /// Column name when it is unique in its set.
    pub column: &'static str,
    /// Unit in words: "fraction", "price", "0..100", ...
    pub unit: &'static str,
    /// Smallest possible value.
    pub min: Option<f64>,
    /// Largest possible value.
    pub max: Option<f64>,
    /// Value on a flat market or 0/0, where there is one.
    pub neutral: Option<f64>,
}

/// The parameters of one use of an indicator, in catalogue order.
#[derive(Debug, Clone, PartialEq)]
pub struct Args(pub Vec<Value>);

impl Args {
    /// The i-th parameter, a whole number.
    pub fn int(&self, i: usize) -> u32 {
        match self.0[i] {
            Value::Int(n) => n,
            ref v => unreachable!("parameter {i} is {v:?}, not a whole number"),
        }
    }

    /// The i-th parameter, a number.
    pub fn float(&self, i: usize) -> f64 {
        match self.0[i] {
            Value::Float(x) => x,
            ref v => unreachable!("parameter {i} is {v:?}, not a number"),
        }
    }

    /// The i-th parameter, yes or no.
    pub fn flag(&self, i: usize) -> bool {
        match self.0[i] {
            Value::Bool(b) => b,
            ref v => unreachable!("parameter {i} is {v:?}, not true or false"),
        }
    }

    /// The i-th parameter, a word.
    pub fn word(&self, i: usize) -> &'static str {
        match self.0[i] {
            Value::Word(w) => w,
            ref v => unreachable!("parameter {i} is {v:?}, not a word"),
        }
    }

    /// The i-th parameter, a seed by name.
    pub fn seed(&self, i: usize) -> Seed {
        if self.word(i) == "first" { Seed::First } else { Seed::Mean }
    }
}

/// A catalogue row and its function.
#[derive(Debug, Clone, Copy)]
pub struct Indicator {
    /// Name in a spec.
    pub id: &'static str,
    /// Parameters, in positional order.
    pub params: &'static [Param],
    /// Outputs, in column order.
    pub outputs: &'static [Output],
    /// The formula, in the expression language where it can say it.
    pub formula: &'static str,
    /// Where the definition comes from.
    pub source: &'static str,
    /// Builds the outputs, in the order of `outputs`.
    pub build: fn(&mut Graph, &Args) -> Vec<Expr>,
    /// What the parameters must satisfy together, if anything ("fast < slow").
    pub check: Option<Check>,
}

/// A test of parameters against each other; the text says what must hold.
pub type Check = fn(&Args) -> Result<(), String>;

impl Indicator {
    /// The arguments with every default filled in.
    pub fn defaults(&self) -> Args {
        Args(self.params.iter().map(|p| p.default).collect())
    }

    /// Builds the outputs and tells the graph their declared ranges.
    pub fn expand(&self, g: &mut Graph, args: &Args) -> Vec<Expr> {
        let out = (self.build)(g, args);
        // The legacy formulas keep no range but the clipping after the graph.
        if g.legacy_eps().is_none() {
            for (e, o) in out.iter().zip(self.outputs) {
                g.bounded(*e, o.min, o.max);
            }
        }
        out
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(n) => write!(f, "{n}"),
            Self::Float(x) => write!(f, "{x}"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Word(w) => write!(f, "\"{w}\""),
        }
    }
}
