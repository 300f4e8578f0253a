//! What a model reader needs of a tree of keys and values, however it is written (JSON or UBJSON).

use crate::error::{Error, Result};

/// Objects and arrays may be this deep; XGBoost's own are 8 deep at most.
pub(crate) const MAX_DEPTH: u32 = 64;

/// The error of every reader here.
pub(crate) fn refused(why: impl Into<String>) -> Error {
    Error::Model(why.into())
}

/// A cursor over one value after the other. Nothing is kept but what the caller asks for, so memory stays
/// proportional to the bytes read.
pub(crate) trait Source: Sized {
    /// Reads an object: `each` gets every key and must read or [`skip`](Self::skip) its value.
    fn object(&mut self, each: &mut dyn FnMut(&mut Self, &str) -> Result<()>) -> Result<()>;
    /// Reads an array: `each` must read or skip one element.
    fn array(&mut self, each: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()>;
    /// Reads an array of numbers, each rounded once to f32.
    fn floats(&mut self) -> Result<Vec<f32>>;
    /// Reads an array of integers (`true` and `false` are 1 and 0).
    fn ints(&mut self) -> Result<Vec<i32>>;
    /// Reads a string.
    fn text(&mut self) -> Result<String>;
    /// Passes over a value of any type.
    fn skip(&mut self) -> Result<()>;
    /// Checks that nothing but white space is left.
    fn end(&mut self) -> Result<()>;

    /// Reads an array of strings.
    fn texts(&mut self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        self.array(&mut |s| {
            all.push(s.text()?);
            Ok(())
        })?;
        Ok(all)
    }
}
