//! Snapshot bytes: magic, format, fingerprint, policies, clocks, state, checksum. Little-endian.
//!
//! Decoding trusts nothing: every count is checked against what is left before memory is taken.

use sha2::{Digest, Sha256};

use crate::bars::{Clock, OnBad, OnGap, Policy};
use crate::error::{Error, Result};
use crate::features::hex;
use crate::machine::{Machine, State};
use crate::primitives::recursive::ChainState;

/// First bytes of a snapshot of a stream or a panel of streams.
pub(crate) const STREAM: [u8; 4] = *b"QTFS";
/// First bytes of a snapshot of series that go on from batch to batch: a plan for blocks keeps other history.
pub(crate) const BATCHES: [u8; 4] = *b"QTFB";
/// Format of the bytes.
const FORMAT: u16 = 1;
const CHECKSUM: usize = 16;

/// Builds a snapshot.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new(kind: [u8; 4], fingerprint: &[u8; 32], policy: &Policy) -> Self {
        let mut w = Self(kind.to_vec());
        w.0.extend(FORMAT.to_le_bytes());
        w.0.extend(fingerprint);
        w.0.push(policy.on_bad as u8);
        w.0.push(policy.on_gap as u8);
        w.option(policy.interval);
        w
    }

    fn option(&mut self, x: Option<i64>) {
        self.0.push(u8::from(x.is_some()));
        self.0.extend(x.unwrap_or(0).to_le_bytes());
    }

    pub(crate) fn count(&mut self, n: usize) {
        self.0.extend((n as u64).to_le_bytes());
    }

    pub(crate) fn symbols(&mut self, symbols: &[String]) {
        self.count(symbols.len());
        for s in symbols {
            self.count(s.len());
            self.0.extend(s.as_bytes());
        }
    }

    pub(crate) fn clocks(&mut self, clocks: &[Clock], rows: &[u64], ready: &[bool]) {
        for ((c, r), ready) in clocks.iter().zip(rows).zip(ready) {
            self.option(c.last);
            self.0.extend(r.to_le_bytes());
            self.0.push(u8::from(*ready));
        }
    }

    pub(crate) fn state(&mut self, state: &State) {
        self.count(state.history.len());
        state.history.iter().for_each(|x| self.0.extend(x.to_le_bytes()));
        self.count(state.links.len());
        for l in &state.links {
            self.0.extend(l.s.to_le_bytes());
            self.0.extend(l.seen.to_le_bytes());
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let sum = Sha256::digest(&self.0);
        self.0.extend(&sum[..CHECKSUM]);
        self.0
    }
}

/// Reads a snapshot.
pub(crate) struct Reader<'a>(&'a [u8]);

fn refused(why: impl Into<String>) -> Error {
    Error::Snapshot(why.into())
}

impl<'a> Reader<'a> {
    /// Checks magic, format, checksum and fingerprint.
    pub(crate) fn new(kind: [u8; 4], bytes: &'a [u8], fingerprint: &[u8; 32]) -> Result<Self> {
        if bytes.len() < kind.len() + 2 + 32 + CHECKSUM || bytes[..4] != kind {
            return Err(refused(if kind == STREAM {
                "these bytes are no snapshot of a stream"
            } else {
                "these bytes are no snapshot of record batches"
            }));
        }
        let format = u16::from_le_bytes([bytes[4], bytes[5]]);
        if format != FORMAT {
            return Err(refused(format!("format {format} is not the one this version reads ({FORMAT})")));
        }
        let (body, sum) = bytes.split_at(bytes.len() - CHECKSUM);
        if sum != &Sha256::digest(body)[..CHECKSUM] {
            return Err(refused("the bytes are damaged (wrong checksum)"));
        }
        if &body[6..38] != fingerprint {
            return Err(Error::Fingerprint { expected: hex(fingerprint), found: hex(&body[6..38]) });
        }
        Ok(Self(&body[38..]))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some((head, rest)) = self.0.split_first_chunk::<N>() else { return Err(refused("the bytes end early")) };
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn count(&mut self, size: usize) -> Result<usize> {
        let n = u64::from_le_bytes(self.take()?);
        let fits = usize::try_from(n).ok().filter(|n| n.checked_mul(size).is_some_and(|b| b <= self.0.len()));
        fits.ok_or_else(|| refused("a count is larger than the bytes"))
    }

    fn option(&mut self) -> Result<Option<i64>> {
        let [some] = self.take()?;
        let x = i64::from_le_bytes(self.take()?);
        Ok((some != 0).then_some(x))
    }

    pub(crate) fn policy(&mut self) -> Result<Policy> {
        let [bad, gap] = self.take()?;
        let on_bad = match bad {
            0 => OnBad::Raise,
            1 => OnBad::Null,
            2 => OnBad::Reset,
            _ => return Err(refused("unknown on_bad policy")),
        };
        let on_gap = match gap {
            0 => OnGap::Ignore,
            1 => OnGap::Raise,
            2 => OnGap::Reset,
            _ => return Err(refused("unknown on_gap policy")),
        };
        Ok(Policy { on_bad, on_gap, interval: self.option()? })
    }

    pub(crate) fn symbols(&mut self) -> Result<Vec<String>> {
        let n = self.count(8)?;
        let mut symbols = Vec::with_capacity(n);
        for _ in 0..n {
            let len = self.count(1)?;
            let (head, rest) = self.0.split_at(len);
            self.0 = rest;
            symbols.push(String::from_utf8(head.to_vec()).map_err(|_| refused("a symbol is not UTF-8"))?);
        }
        Ok(symbols)
    }

    pub(crate) fn clocks(&mut self, n: usize) -> Result<(Vec<Clock>, Vec<u64>, Vec<bool>)> {
        let mut all = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..n {
            all.0.push(Clock { last: self.option()? });
            all.1.push(u64::from_le_bytes(self.take()?));
            let [ready] = self.take()?;
            all.2.push(ready != 0);
        }
        Ok(all)
    }

    pub(crate) fn load(&mut self, machine: &mut Machine) -> Result<()> {
        let state = self.state()?;
        if machine.load(&state) { Ok(()) } else { Err(refused("the state has another shape")) }
    }

    pub(crate) fn state(&mut self) -> Result<State> {
        let n = self.count(8)?;
        let history = (0..n).map(|_| Ok(f64::from_le_bytes(self.take()?))).collect::<Result<_>>()?;
        let n = self.count(12)?;
        let links = (0..n)
            .map(|_| Ok(ChainState { s: f64::from_le_bytes(self.take()?), seen: u32::from_le_bytes(self.take()?) }))
            .collect::<Result<_>>()?;
        Ok(State { history, links })
    }

    pub(crate) fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(refused("there are bytes left over")) }
    }
}
