//! A JSON cursor. It takes `NaN` and `Infinity` as numbers, because XGBoost writes them.

use super::source::{MAX_DEPTH, Source, refused};
use crate::error::Result;

/// See [`Source`].
pub(crate) struct Json<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Json<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    fn bad<T>(&self, what: &str) -> Result<T> {
        Err(refused(format!("JSON, byte {}: {what}", self.at)))
    }

    /// The next byte that is no white space, not taken.
    fn peek(&mut self) -> Result<u8> {
        while let Some(&b) = self.bytes.get(self.at) {
            if !matches!(b, b' ' | b'\t' | b'\n' | b'\r') {
                return Ok(b);
            }
            self.at += 1;
        }
        self.bad("the file ends early")
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.peek()? != byte {
            return self.bad(&format!("{:?} is expected", char::from(byte)));
        }
        self.at += 1;
        Ok(())
    }

    /// After an element: true if another one follows, false if `close` was taken.
    fn more(&mut self, close: u8) -> Result<bool> {
        let next = self.peek()?;
        if next != b',' && next != close {
            return self.bad("',' or the end of the list is expected");
        }
        self.at += 1;
        Ok(next == b',')
    }

    /// Takes `open`; true if the list has elements.
    fn open(&mut self, open: u8, close: u8) -> Result<bool> {
        self.expect(open)?;
        if self.depth == MAX_DEPTH {
            return self.bad("nested too deeply");
        }
        if self.peek()? == close {
            self.at += 1;
            return Ok(false);
        }
        self.depth += 1;
        Ok(true)
    }

    /// The text of a number or a bare word.
    fn token(&mut self) -> Result<&'a str> {
        self.peek()?;
        let rest = &self.bytes[self.at..];
        let part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let len = rest.iter().take_while(|b| part(b)).count();
        let text = std::str::from_utf8(&rest[..len]).unwrap_or_default();
        if text.is_empty() {
            return self.bad("a number is expected");
        }
        self.at += len;
        Ok(text)
    }

    fn float(&mut self) -> Result<f32> {
        let text = self.token()?;
        match text {
            "NaN" => Ok(f32::NAN),
            "Infinity" => Ok(f32::INFINITY),
            "-Infinity" => Ok(f32::NEG_INFINITY),
            _ if text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E')) => {
                text.parse().or_else(|_| self.bad(&format!("{text:?} is no number")))
            }
            _ => self.bad(&format!("{text:?} is no number")),
        }
    }

    fn int(&mut self) -> Result<i32> {
        let text = self.token()?;
        match text {
            "true" => Ok(1),
            "false" => Ok(0),
            _ => text.parse().or_else(|_| self.bad(&format!("{text:?} is no 32-bit integer"))),
        }
    }

    fn escape(&mut self) -> Result<char> {
        let Some(&code) = self.bytes.get(self.at) else { return self.bad("the file ends early") };
        self.at += 1;
        Ok(match code {
            b'"' | b'\\' | b'/' => char::from(code),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return self.bad("unknown escape in a string"),
        })
    }

    fn unicode(&mut self) -> Result<char> {
        let first = self.hex()?;
        if (0xD800..0xDC00).contains(&first) && self.bytes[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let second = self.hex()?;
            let pair = char::decode_utf16([first, second]).next().and_then(std::result::Result::ok);
            return pair.map_or_else(|| self.bad("half of a surrogate pair"), Ok);
        }
        char::from_u32(u32::from(first)).map_or_else(|| self.bad("half of a surrogate pair"), Ok)
    }

    fn hex(&mut self) -> Result<u16> {
        let digits = self.bytes.get(self.at..self.at + 4).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let Some(text) = digits.and_then(|d| std::str::from_utf8(d).ok()) else { return self.bad("bad \\u escape") };
        self.at += 4;
        u16::from_str_radix(text, 16).or_else(|_| self.bad("bad \\u escape"))
    }
}

impl Source for Json<'_> {
    fn object(&mut self, each: &mut dyn FnMut(&mut Self, &str) -> Result<()>) -> Result<()> {
        if !self.open(b'{', b'}')? {
            return Ok(());
        }
        loop {
            let key = self.text()?;
            self.expect(b':')?;
            each(self, &key)?;
            if !self.more(b'}')? {
                self.depth -= 1;
                return Ok(());
            }
        }
    }

    fn array(&mut self, each: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        if !self.open(b'[', b']')? {
            return Ok(());
        }
        loop {
            each(self)?;
            if !self.more(b']')? {
                self.depth -= 1;
                return Ok(());
            }
        }
    }

    fn floats(&mut self) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        self.array(&mut |s| {
            all.push(s.float()?);
            Ok(())
        })?;
        Ok(all)
    }

    fn ints(&mut self) -> Result<Vec<i32>> {
        let mut all = Vec::new();
        self.array(&mut |s| {
            all.push(s.int()?);
            Ok(())
        })?;
        Ok(all)
    }

    fn text(&mut self) -> Result<String> {
        self.expect(b'"')?;
        let mut text = String::new();
        loop {
            let rest = &self.bytes[self.at..];
            let plain = rest.iter().take_while(|b| !matches!(b, b'"' | b'\\')).count();
            let Ok(part) = std::str::from_utf8(&rest[..plain]) else { return self.bad("a string is not UTF-8") };
            text.push_str(part);
            self.at += plain;
            match self.bytes.get(self.at) {
                None => return self.bad("the file ends inside a string"),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(_) => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
            }
        }
    }

    fn skip(&mut self) -> Result<()> {
        match self.peek()? {
            b'{' => self.object(&mut |s, _| s.skip()),
            b'[' => self.array(&mut Self::skip),
            b'"' => self.text().map(drop),
            _ => self.token().map(drop),
        }
    }

    fn end(&mut self) -> Result<()> {
        // The writer may end the text with a zero byte, as C strings do.
        while self.bytes.get(self.at).is_some_and(|b| b.is_ascii_whitespace() || *b == 0) {
            self.at += 1;
        }
        if self.at == self.bytes.len() { Ok(()) } else { self.bad("there are bytes left over") }
    }
}
