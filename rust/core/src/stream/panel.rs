//! A whole universe at once, one bar of each symbol at a time.

use std::mem::MaybeUninit;
use std::sync::Arc;

use super::{Bar, Verdict, complete, judge};
use crate::bars::{Clock, Policy, Tick, calendar, is_good};
use crate::batch::column_of;
use crate::error::{Error, Place, Result};
use crate::features::FeatureSet;
use crate::graph::Input;
use crate::machine::Machine;
use crate::primitives::recursive::ChainState;
use crate::simd::{columns_of, new_rows_of, rows_of};
use crate::snapshot::{Reader, STREAM, Writer};

/// Features of a fixed universe of symbols, one bar of each at a time.
#[derive(Debug, Clone)]
pub struct PanelStream {
    fs: Arc<FeatureSet>,
    symbols: Vec<String>,
    machine: Machine,
    policy: Policy,
    clocks: Vec<Clock>,
    rows: Vec<u64>,
    ready: Vec<bool>,
    verdicts: Vec<Lane>,
}

/// What one symbol's part of a push is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    Absent,
    Present(Verdict, Tick),
}

impl PanelStream {
    /// All symbols at the start of their series.
    pub fn new(fs: Arc<FeatureSet>, symbols: Vec<String>, policy: Policy) -> Result<Self> {
        let n = symbols.len();
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = symbols.iter().find(|s| !seen.insert(s.as_str())) {
            return Err(Error::schema(format!("symbol {twice:?} is given twice")));
        }
        if n == 0 {
            return Err(Error::schema("a PanelStream needs at least one symbol"));
        }
        // A lane count of 1 or of a tile would take kernels made for series and windows; they give the same
        // bits, and the panel's own is the faster one for a single row.
        let machine = Machine::new(Arc::clone(fs.panel_plan()), n);
        Ok(Self {
            fs,
            symbols,
            machine,
            policy,
            clocks: vec![Clock::default(); n],
            rows: vec![0; n],
            ready: vec![false; n],
            verdicts: vec![Lane::Absent; n],
        })
    }

    /// The feature set.
    pub fn features(&self) -> &Arc<FeatureSet> {
        &self.fs
    }

    /// The symbols, in row order.
    pub fn symbols(&self) -> &[String] {
        &self.symbols
    }

    /// Per symbol: had its last bar a value for every feature?
    pub fn ready(&self) -> &[bool] {
        &self.ready
    }

    /// Takes one bar per symbol: `bars` is (S, 5) row-major, `extras` (S, E), `times` one per symbol. A row of
    /// five NaN is an absent symbol. `out` (S, F) gets the features. A refused push changes no symbol.
    pub fn push(&mut self, bars: &[f64], times: Option<&[i64]>, extras: &[f64], out: &mut [f64]) -> Result<()> {
        self.take(bars, times, extras, |columns| {
            let null = rows_of(columns, out);
            (out, null)
        })
    }

    /// As [`PanelStream::push`], into fresh memory: all of it is written unless the push is refused.
    pub fn push_new(
        &mut self,
        bars: &[f64],
        times: Option<&[i64]>,
        extras: &[f64],
        out: &mut [MaybeUninit<f64>],
    ) -> Result<()> {
        self.take(bars, times, extras, |columns| new_rows_of(columns, out))
    }

    /// Takes a push; `rows` makes the columns of outputs rows, and says if there is a null.
    fn take<'a>(
        &mut self,
        bars: &[f64],
        times: Option<&[i64]>,
        extras: &[f64],
        rows: impl FnOnce(&[&[f64]]) -> (&'a mut [f64], bool),
    ) -> Result<()> {
        let n = self.symbols.len();
        self.fit(bars, times, extras)?;
        self.machine.wrap();
        if times.is_none() && extras.is_empty() && self.fill_bars(bars) {
            self.machine.run(1, false, &mut |_: usize, _: usize, _: &[f64]| {});
            let (out, any_null) = self.read(rows);
            for (ready, row) in self.ready.iter_mut().zip(out.chunks_exact(self.machine.plan().outputs.len())) {
                *ready = !any_null || row.iter().all(|x| x == x);
            }
            self.machine.advance(1);
            self.rows.iter_mut().for_each(|rows| *rows = rows.saturating_add(1));
            return Ok(());
        }
        self.judge(bars, times, extras)?;
        for (lane, v) in self.verdicts.iter().enumerate() {
            if matches!(v, Lane::Present(_, Tick::Reset)) {
                self.machine.restart_lane(lane);
            }
        }
        let absent: Vec<(usize, Vec<ChainState>)> = (0..n)
            .filter(|&lane| self.verdicts[lane] == Lane::Absent)
            .map(|lane| (lane, self.machine.lane_states(lane).collect()))
            .collect();
        self.fill(bars, times, extras);
        self.machine.run(1, false, &mut |_: usize, _: usize, _: &[f64]| {});
        let (out, any_null) = self.read(rows);
        self.settle(out, any_null);
        for (lane, before) in &absent {
            self.machine.undo_lane(*lane, before);
        }
        self.machine.advance(1);
        for lane in 0..n {
            let Lane::Present(verdict, _) = self.verdicts[lane] else { continue };
            self.rows[lane] = self.rows[lane].saturating_add(1);
            if let Some(times) = times {
                self.clocks[lane].last = Some(times[lane]);
            }
            if verdict == Verdict::Reset {
                self.machine.restart_lane(lane);
            }
        }
        Ok(())
    }

    /// Checks the shape of a push.
    fn fit(&self, bars: &[f64], times: Option<&[i64]>, extras: &[f64]) -> Result<()> {
        let (n, e) = (self.symbols.len(), self.fs.extras().len());
        if bars.len() != n * 5 || times.is_some_and(|t| t.len() != n) {
            return Err(Error::schema(format!(
                "push takes one row of open, high, low, close, volume for each of {n} symbols"
            )));
        }
        complete(&self.fs, &self.policy, times.is_some(), if e == 0 { extras.len() } else { extras.len() / n })
    }

    /// Checks every bar against the policies.
    fn judge(&mut self, bars: &[f64], times: Option<&[i64]>, extras: &[f64]) -> Result<()> {
        let e = self.fs.extras().len();
        let plain = times.is_none() && e == 0;
        for (lane, &bar) in bars.as_chunks::<5>().0.iter().enumerate() {
            if plain && is_good(&bar) {
                self.verdicts[lane] = Lane::Present(Verdict::Good, Tick::Next);
                continue;
            }
            if bar.iter().all(|x| x != x) {
                self.verdicts[lane] = Lane::Absent;
                continue;
            }
            let time = times.map(|t| t[lane]);
            let bar = Bar { ohlcv: bar, time, extras: &extras[lane * e..(lane + 1) * e] };
            let place = || Place { row: lane, window: None, symbol: Some(self.symbols[lane].clone()), time_ns: time };
            let (verdict, tick) = judge(&self.fs, &self.policy, &self.clocks[lane], &bar, place)?;
            self.verdicts[lane] = Lane::Present(verdict, tick);
        }
        Ok(())
    }

    fn fill(&mut self, bars: &[f64], times: Option<&[i64]>, extras: &[f64]) {
        let all_good = self.verdicts.iter().all(|v| matches!(v, Lane::Present(Verdict::Good, _)));
        let e = self.fs.extras().len();
        for k in 0..self.machine.plan().inputs.len() {
            let input = self.machine.plan().inputs[k].input;
            let dst = self.machine.input(k, 1);
            match input {
                Input::Extra(i) => dst.iter_mut().enumerate().for_each(|(s, d)| *d = extras[s * e + i as usize]),
                Input::Hour | Input::Weekday => {
                    for (s, d) in dst.iter_mut().enumerate() {
                        *d = times.map_or(f64::NAN, |t| calendar(input, t[s]));
                    }
                }
                _ => {
                    let c = column_of(input);
                    dst.iter_mut().zip(bars.as_chunks::<5>().0).for_each(|(d, bar)| *d = bar[c]);
                }
            }
            if !all_good {
                for (d, v) in dst.iter_mut().zip(&self.verdicts) {
                    *d = if matches!(v, Lane::Present(Verdict::Good, _)) { *d } else { f64::NAN };
                }
            }
        }
    }

    /// Copies bars into the inputs, where nothing but bars is read; true if all are accepted ones.
    fn fill_bars(&mut self, bars: &[f64]) -> bool {
        let mut which = [None; 5];
        for (k, read) in self.machine.plan().inputs.iter().enumerate() {
            which[column_of(read.input)] = Some((k, 1));
        }
        columns_of(bars.as_chunks().0, self.machine.inputs(which, 1))
    }

    /// The outputs as rows, and whether there is a null.
    fn read<'a>(&self, rows: impl FnOnce(&[&[f64]]) -> (&'a mut [f64], bool)) -> (&'a mut [f64], bool) {
        let columns: Vec<&[f64]> = (0..self.machine.plan().outputs.len()).map(|k| self.machine.output(k, 1)).collect();
        rows(&columns)
    }

    /// What the verdicts make of the rows just computed.
    fn settle(&mut self, out: &mut [f64], any_null: bool) {
        let f = self.machine.plan().outputs.len();
        for ((ready, row), v) in self.ready.iter_mut().zip(out.chunks_exact_mut(f)).zip(&self.verdicts) {
            match v {
                Lane::Present(Verdict::Good | Verdict::Null, _) => {
                    *ready = !any_null || row.iter().all(|x| x == x);
                }
                Lane::Present(Verdict::Reset, _) => {
                    row.fill(f64::NAN);
                    *ready = false;
                }
                Lane::Absent => row.fill(f64::NAN),
            }
        }
    }

    /// Everything needed to go on in another process, as checksummed bytes.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut w = Writer::new(STREAM, self.fs.fingerprint_bytes(), &self.policy);
        w.symbols(&self.symbols);
        w.clocks(&self.clocks, &self.rows, &self.ready);
        w.state(&self.machine.save());
        w.finish()
    }

    /// A panel that goes on where [`PanelStream::snapshot`] was taken.
    pub fn restore(fs: Arc<FeatureSet>, bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(STREAM, bytes, fs.fingerprint_bytes())?;
        let policy = r.policy()?;
        let symbols = r.symbols()?;
        let n = symbols.len();
        let mut panel = Self::new(fs, symbols, policy).map_err(|e| Error::Snapshot(e.to_string()))?;
        (panel.clocks, panel.rows, panel.ready) = r.clocks(n)?;
        r.load(&mut panel.machine)?;
        r.end()?;
        Ok(panel)
    }
}
