//! A UBJSON cursor (draft 12), as XGBoost writes it: big-endian, typed and counted arrays.

use super::source::{MAX_DEPTH, Source, refused};
use crate::error::Result;

/// See [`Source`].
pub(crate) struct Ubjson<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
    /// Type of the elements of the typed array that is being read: they come without markers.
    typed: Option<u8>,
}

/// What `[` or `{` says about the elements: their type and number, where given.
struct Header {
    kind: Option<u8>,
    count: Option<usize>,
}

/// A number of any type.
#[derive(Clone, Copy)]
enum Number {
    Int(i64),
    Single(f32),
    Double(f64),
}

impl<'a> Ubjson<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0, typed: None }
    }

    fn bad<T>(&self, what: &str) -> Result<T> {
        Err(refused(format!("UBJSON, byte {}: {what}", self.at)))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some(head) = self.bytes[self.at..].first_chunk::<N>() else { return self.bad("the file ends early") };
        self.at += N;
        Ok(*head)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The marker of the next value: its own, or that of its array. `N` says nothing and is passed over.
    fn marker(&mut self) -> Result<u8> {
        if let Some(kind) = self.typed.take() {
            return Ok(kind);
        }
        loop {
            let [marker] = self.take()?;
            if marker != b'N' {
                return Ok(marker);
            }
        }
    }

    fn number(&mut self, marker: u8) -> Result<Number> {
        Ok(match marker {
            b'i' => Number::Int(i64::from(i8::from_be_bytes(self.take()?))),
            b'U' => Number::Int(i64::from(u8::from_be_bytes(self.take()?))),
            b'I' => Number::Int(i64::from(i16::from_be_bytes(self.take()?))),
            b'l' => Number::Int(i64::from(i32::from_be_bytes(self.take()?))),
            b'L' => Number::Int(i64::from_be_bytes(self.take()?)),
            b'T' => Number::Int(1),
            b'F' => Number::Int(0),
            b'd' => Number::Single(f32::from_be_bytes(self.take()?)),
            b'D' => Number::Double(f64::from_be_bytes(self.take()?)),
            _ => return self.bad(&format!("a number is expected, not type {:?}", char::from(marker))),
        })
    }

    /// A length; never more than the bytes that are left.
    fn length(&mut self) -> Result<usize> {
        let [marker] = self.take()?;
        let Number::Int(n) = self.number(marker)? else { return self.bad("a length is expected") };
        match usize::try_from(n) {
            Ok(n) if n <= self.bytes.len() - self.at => Ok(n),
            _ => self.bad(&format!("a length of {n} is more than the file holds")),
        }
    }

    fn string(&mut self) -> Result<&'a str> {
        let n = self.length()?;
        let part = &self.bytes[self.at..self.at + n];
        let Ok(text) = std::str::from_utf8(part) else { return self.bad("a string is not UTF-8") };
        self.at += n;
        Ok(text)
    }

    fn header(&mut self) -> Result<Header> {
        let mut kind = None;
        if self.peek() == Some(b'$') {
            let [_, marker] = self.take()?;
            // Types without bytes could claim any count for free.
            if !matches!(marker, b'i' | b'U' | b'I' | b'l' | b'L' | b'd' | b'D' | b'S') {
                return self.bad("element type of an array that is not supported");
            }
            kind = Some(marker);
        }
        let mut count = None;
        if self.peek() == Some(b'#') {
            self.at += 1;
            count = Some(self.length()?);
        }
        if kind.is_some() && count.is_none() {
            return self.bad("a typed array without a count");
        }
        if self.depth == MAX_DEPTH {
            return self.bad("nested too deeply");
        }
        Ok(Header { kind, count })
    }

    /// Calls `each` for every element up to the count or the closing marker.
    fn elements(&mut self, close: u8, header: &Header, each: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.depth += 1;
        let mut left = header.count;
        loop {
            match &mut left {
                Some(0) => break,
                Some(n) => *n -= 1,
                None => {
                    if self.peek() == Some(close) {
                        self.at += 1;
                        break;
                    }
                }
            }
            each(self)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads an array of numbers; its memory is bounded by the bytes that are really there.
    fn numbers(&mut self, each: &mut dyn FnMut(&mut Self, Number) -> Result<()>) -> Result<()> {
        self.array(&mut |s| {
            let marker = s.marker()?;
            let number = s.number(marker)?;
            each(s, number)
        })
    }

    fn skip_marked(&mut self, marker: u8) -> Result<()> {
        match marker {
            b'{' => self.members(&mut |s, _| s.skip()),
            b'[' => self.items(&mut Self::skip),
            b'S' | b'H' => self.string().map(drop),
            b'C' => self.take::<1>().map(drop),
            b'Z' => Ok(()),
            _ => self.number(marker).map(drop),
        }
    }

    fn items(&mut self, each: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let header = self.header()?;
        self.elements(b']', &header, &mut |s| {
            s.typed = header.kind;
            each(s)
        })
    }

    fn members(&mut self, each: &mut dyn FnMut(&mut Self, &str) -> Result<()>) -> Result<()> {
        let header = self.header()?;
        self.elements(b'}', &header, &mut |s| {
            let key = s.string()?;
            s.typed = header.kind;
            each(s, key)
        })
    }
}

impl Source for Ubjson<'_> {
    fn object(&mut self, each: &mut dyn FnMut(&mut Self, &str) -> Result<()>) -> Result<()> {
        match self.marker()? {
            b'{' => self.members(each),
            other => self.bad(&format!("an object is expected, not type {:?}", char::from(other))),
        }
    }

    fn array(&mut self, each: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        match self.marker()? {
            b'[' => self.items(each),
            other => self.bad(&format!("an array is expected, not type {:?}", char::from(other))),
        }
    }

    fn floats(&mut self) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        self.numbers(&mut |_, number| {
            all.push(match number {
                Number::Int(x) => x as f32,
                Number::Single(x) => x,
                Number::Double(x) => x as f32,
            });
            Ok(())
        })?;
        Ok(all)
    }

    fn ints(&mut self) -> Result<Vec<i32>> {
        let mut all = Vec::new();
        self.numbers(&mut |s, number| match number {
            Number::Int(x) if i32::try_from(x).is_ok() => {
                all.push(x as i32);
                Ok(())
            }
            _ => s.bad("a 32-bit integer is expected"),
        })?;
        Ok(all)
    }

    fn text(&mut self) -> Result<String> {
        match self.marker()? {
            b'S' => self.string().map(str::to_owned),
            other => self.bad(&format!("a string is expected, not type {:?}", char::from(other))),
        }
    }

    fn skip(&mut self) -> Result<()> {
        let marker = self.marker()?;
        self.skip_marked(marker)
    }

    fn end(&mut self) -> Result<()> {
        if self.at == self.bytes.len() { Ok(()) } else { self.bad("there are bytes left over") }
    }
}
