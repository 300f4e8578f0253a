//! Tokens to a syntax tree. Chains such as `a + b + c` are flat, so the depth of the tree, and of every
//! walk over it, is bounded by the nesting of brackets.

use super::lexer::{Fault, Token, lex};

/// Brackets inside brackets, at most: keeps hostile text from overflowing the stack.
const MAX_DEPTH: usize = 64;

/// A piece of an expression, with the byte that errors about it point at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) ast: Ast,
}

/// The kinds of expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ast {
    Number {
        value: f64,
        whole: bool,
    },
    Word(String),
    Name(String),
    Call(Box<Call>),
    /// `count` minus signs in front.
    Negated {
        count: usize,
        of: Box<Node>,
    },
    /// `first sign node sign node ...`, left to right, all of one precedence.
    Chain {
        first: Box<Node>,
        rest: Vec<(&'static str, usize, Node)>,
    },
}

/// `name(args).output`; also `name.output`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) args: Vec<Arg>,
    /// Output after the dot and its offset.
    pub(super) output: Option<(String, usize)>,
}

/// An argument, with its keyword if it has one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Arg {
    pub(super) at: usize,
    pub(super) key: Option<String>,
    pub(super) value: Node,
}

/// A parsed spec: `name = expression`, or an expression alone.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spec {
    /// Name and its offset.
    pub(super) name: Option<(String, usize)>,
    pub(super) expr: Node,
}

impl Node {
    /// The number, where it is written out as one (with a minus or without).
    pub(super) fn literal(&self) -> Option<f64> {
        match &self.ast {
            Ast::Number { value, .. } => Some(*value),
            Ast::Negated { count: 1, of } => match of.ast {
                Ast::Number { value, .. } => Some(-value),
                _ => None,
            },
            _ => None,
        }
    }

    /// Calls `visit` with each bare name and its offset.
    pub(super) fn names<'a>(&'a self, visit: &mut impl FnMut(&'a str, usize)) {
        match &self.ast {
            Ast::Number { .. } | Ast::Word(_) => {}
            Ast::Name(name) => visit(name, self.at),
            Ast::Call(call) => {
                for arg in &call.args {
                    arg.value.names(visit);
                }
            }
            Ast::Negated { of, .. } => of.names(visit),
            Ast::Chain { first, rest } => {
                first.names(visit);
                for (_, _, node) in rest {
                    node.names(visit);
                }
            }
        }
    }
}

/// Parses a whole spec.
pub(super) fn parse(text: &str) -> Result<Spec, Fault> {
    let mut p = Parser { tokens: lex(text)?, next: 0, depth: 0 };
    let name = match (p.peek(), p.peek_second()) {
        (Token::End, _) => return Err(Fault::new(0, "the spec is empty")),
        (Token::Name(name), Token::Sign("=")) => {
            let at = p.take();
            p.take();
            Some((name.to_owned(), at))
        }
        _ => None,
    };
    let expr = p.expression()?;
    match p.peek() {
        Token::End => Ok(Spec { name, expr }),
        Token::Sign(")") => Err(p.fault("there is no ( for this )")),
        Token::Sign("=") => Err(p.fault("unexpected '='; name = expression gives a name, == compares")),
        t => Err(p.fault(format!("unexpected {t} after the end of the expression"))),
    }
}

/// `first` alone, or the chain that it starts.
fn chained(first: Node, rest: Vec<(&'static str, usize, Node)>) -> Node {
    if rest.is_empty() {
        return first;
    }
    Node { at: first.at, ast: Ast::Chain { first: Box::new(first), rest } }
}

struct Parser<'a> {
    tokens: Vec<(usize, Token<'a>)>,
    next: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.next).map_or(Token::End, |t| t.1)
    }

    fn peek_second(&self) -> Token<'a> {
        self.tokens.get(self.next + 1).map_or(Token::End, |t| t.1)
    }

    /// Offset of the next token.
    fn at(&self) -> usize {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(0, |t| t.0)
    }

    /// Steps over the next token; gives its offset.
    fn take(&mut self) -> usize {
        let at = self.at();
        self.next += 1;
        at
    }

    /// Steps over the next token if it is one of these.
    fn take_if(&mut self, signs: &[&'static str]) -> Option<(&'static str, usize)> {
        match self.peek() {
            Token::Sign(s) if signs.contains(&s) => Some((s, self.take())),
            _ => None,
        }
    }

    #[cold]
    #[inline(never)]
    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(self.at(), message)
    }

    /// An expression inside the bracket at `open`.
    fn nested(&mut self, open: usize) -> Result<Node, Fault> {
        if self.depth == MAX_DEPTH {
            return Err(Fault::new(open, format!("nested more than {MAX_DEPTH} deep; give a part its own name")));
        }
        self.depth += 1;
        let node = self.expression();
        self.depth -= 1;
        node
    }

    fn expression(&mut self) -> Result<Node, Fault> {
        const COMPARISONS: [&str; 6] = ["<", "<=", ">", ">=", "==", "!="];
        let first = self.sum()?;
        let Some((sign, at)) = self.take_if(&COMPARISONS) else { return Ok(first) };
        let second = self.sum()?;
        if matches!(self.peek(), Token::Sign(s) if COMPARISONS.contains(&s)) {
            return Err(self.fault("comparisons do not chain; write (a < b) * (b < c)"));
        }
        Ok(Node { at: first.at, ast: Ast::Chain { first: Box::new(first), rest: vec![(sign, at, second)] } })
    }

    fn sum(&mut self) -> Result<Node, Fault> {
        let first = self.product()?;
        let mut rest = Vec::new();
        while let Some((sign, at)) = self.take_if(&["+", "-"]) {
            rest.push((sign, at, self.product()?));
        }
        Ok(chained(first, rest))
    }

    fn product(&mut self) -> Result<Node, Fault> {
        let first = self.unary()?;
        let mut rest = Vec::new();
        while let Some((sign, at)) = self.take_if(&["*", "/"]) {
            rest.push((sign, at, self.unary()?));
        }
        Ok(chained(first, rest))
    }

    fn unary(&mut self) -> Result<Node, Fault> {
        let at = self.at();
        let mut count = 0;
        while self.take_if(&["-"]).is_some() {
            count += 1;
        }
        let of = self.primary()?;
        Ok(if count == 0 { of } else { Node { at, ast: Ast::Negated { count, of: Box::new(of) } } })
    }

    fn primary(&mut self) -> Result<Node, Fault> {
        let at = self.at();
        let ast = match self.peek() {
            Token::Number { value, whole } => Ast::Number { value, whole },
            Token::Word(word) => Ast::Word(word.to_owned()),
            Token::Name(name) => {
                self.take();
                return self.named(name, at);
            }
            Token::Sign("(") => {
                self.take();
                let node = self.nested(at)?;
                self.close(at, false)?;
                return Ok(node);
            }
            Token::Sign(")") if self.depth == 0 => return Err(self.fault("there is no ( for this )")),
            Token::Sign("=") => return Err(self.fault("unexpected '='; write == to compare")),
            Token::End => return Err(self.fault("the expression ends too early: a value is missing")),
            t @ Token::Sign(_) => return Err(self.fault(format!("a value is missing before {t}"))),
        };
        self.take();
        Ok(Node { at, ast })
    }

    /// `name`, `name(args)`, `name.output` or `name(args).output`.
    fn named(&mut self, name: &str, at: usize) -> Result<Node, Fault> {
        let args = match self.take_if(&["("]) {
            Some((_, open)) => Some(self.arguments(open)?),
            None => None,
        };
        let output = match self.take_if(&["."]) {
            Some(_) => match self.peek() {
                Token::Name(output) => Some((output.to_owned(), self.take())),
                _ => return Err(self.fault("the name of an output must follow the dot")),
            },
            None => None,
        };
        if args.is_none() && output.is_none() {
            return Ok(Node { at, ast: Ast::Name(name.to_owned()) });
        }
        let call = Call { name: name.to_owned(), args: args.unwrap_or_default(), output };
        Ok(Node { at, ast: Ast::Call(Box::new(call)) })
    }

    fn arguments(&mut self, open: usize) -> Result<Vec<Arg>, Fault> {
        let mut args = Vec::new();
        if self.take_if(&[")"]).is_some() {
            return Ok(args);
        }
        loop {
            let at = self.at();
            let key = match (self.peek(), self.peek_second()) {
                (Token::Name(key), Token::Sign("=")) => {
                    self.take();
                    self.take();
                    Some(key.to_owned())
                }
                _ => None,
            };
            let value = if self.literal_ahead() { self.unary()? } else { self.nested(open)? };
            args.push(Arg { at, key, value });
            if !self.close(open, true)? {
                return Ok(args);
            }
        }
    }

    /// True before a lone literal: it does not count as nesting, because filling in a default must never
    /// make a spec too deep.
    fn literal_ahead(&self) -> bool {
        let minus = usize::from(self.peek() == Token::Sign("-"));
        let token = |n: usize| self.tokens.get(self.next + minus + n).map(|t| t.1);
        matches!(token(0), Some(Token::Number { .. } | Token::Word(_) | Token::Name("true" | "false")))
            && matches!(token(1), Some(Token::Sign("," | ")")))
    }

    /// Steps over `)`, or over `,` where one may follow; true for a comma.
    fn close(&mut self, open: usize, comma: bool) -> Result<bool, Fault> {
        match self.peek() {
            Token::Sign(")") => {
                self.take();
                Ok(false)
            }
            Token::Sign(",") if comma => {
                self.take();
                Ok(true)
            }
            Token::End => Err(Fault::new(open, "this ( is never closed")),
            t => Err(self.fault(format!("expected {}')', found {t}", if comma { "',' or " } else { "" }))),
        }
    }
}
