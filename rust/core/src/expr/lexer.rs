//! Text to tokens. Everything outside the language is refused here, at its own byte.

/// What is wrong with a spec, and the byte it is about.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    /// Byte offset in the spec.
    pub(super) at: usize,
    /// What is wrong.
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }
}

/// A token of the language.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token<'a> {
    /// A number; `whole` when it was written with digits only.
    Number { value: f64, whole: bool },
    /// An identifier.
    Name(&'a str),
    /// A quoted word.
    Word(&'a str),
    /// An operator or a bracket.
    Sign(&'static str),
    /// End of the text.
    End,
}

impl std::fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number { value, .. } => f.write_str(&super::names::number(*value)),
            Self::Name(name) => write!(f, "'{}'", super::names::shortened(name)),
            Self::Word(word) => write!(f, "\"{}\"", super::names::shortened(word)),
            Self::Sign(sign) => write!(f, "'{sign}'"),
            Self::End => f.write_str("the end"),
        }
    }
}

/// Longest first, so that `<=` is not read as `<`.
const SIGNS: [&str; 16] = ["<=", ">=", "==", "!=", "<", ">", "=", "+", "-", "*", "/", "(", ")", ",", ".", "!"];

/// Splits the text into tokens with their byte offsets; the last one is [`Token::End`].
pub(super) fn lex(text: &str) -> Result<Vec<(usize, Token<'_>)>, Fault> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let (token, end) = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            b'0'..=b'9' => number(text, at)?,
            b'A'..=b'Z' | b'a'..=b'z' | b'_' => {
                let end = run(bytes, at, is_name);
                (Token::Name(&text[at..end]), end)
            }
            b'"' | b'\'' => word(text, at)?,
            _ => sign(text, at)?,
        };
        tokens.push((at, token));
        at = end;
    }
    tokens.push((text.len(), Token::End));
    Ok(tokens)
}

fn is_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// First offset from `at` on whose byte is not of the kind.
fn run(bytes: &[u8], at: usize, kind: impl Fn(u8) -> bool) -> usize {
    bytes[at..].iter().position(|&b| !kind(b)).map_or(bytes.len(), |n| at + n)
}

fn number(text: &str, at: usize) -> Result<(Token<'_>, usize), Fault> {
    let bytes = text.as_bytes();
    let digits = |from: usize| run(bytes, from, |b| b.is_ascii_digit());
    let mut end = digits(at);
    let mut whole = true;
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        whole = false;
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let signed = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if bytes.get(end + 1 + signed).is_some_and(u8::is_ascii_digit) {
            whole = false;
            end = digits(end + 1 + signed);
        }
    }
    if bytes.get(end).is_some_and(|&b| is_name(b) || b == b'.') {
        return Err(Fault::new(at, "this is not a number; write 1, 2.5 or 1e-3"));
    }
    let value = text[at..end].parse().unwrap_or(f64::INFINITY);
    if value > crate::graph::LIMIT {
        return Err(Fault::new(at, "the number is too large: at most 1e300"));
    }
    Ok((Token::Number { value, whole }, end))
}

fn word(text: &str, at: usize) -> Result<(Token<'_>, usize), Fault> {
    let bytes = text.as_bytes();
    let end = run(bytes, at + 1, is_name);
    match bytes.get(end) {
        Some(b) if *b == bytes[at] => Ok((Token::Word(&text[at + 1..end]), end + 1)),
        Some(_) => Err(unexpected(text, end, "in a string")),
        None => Err(Fault::new(at, "the string is never closed")),
    }
}

fn sign(text: &str, at: usize) -> Result<(Token<'_>, usize), Fault> {
    match SIGNS.iter().find(|s| text[at..].starts_with(**s)) {
        Some(&"!") => Err(Fault::new(at, "'!' alone means nothing; write a != b")),
        Some(s) => Ok((Token::Sign(s), at + s.len())),
        None => Err(unexpected(text, at, "here")),
    }
}

fn unexpected(text: &str, at: usize, place: &str) -> Fault {
    let c = text[at..].chars().next().unwrap_or(' ');
    Fault::new(at, format!("unexpected character {c:?} {place}"))
}
