//! A whole universe at once, one bar of each symbol at a time.

use std::sync::Arc;

use super::{Bar, Verdict, complete, judge};
use crate::bars::{Clock, Policy, Tick, calendar, is_good};
use crate::batch::column_of;
use crate::error::{Error, Place, Result};
use crate::features::FeatureSet;
use crate::graph::Input;
use crate::machine::Machine;
use crate::primitives::recursive::ChainState;
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
        let n = self.symbols.len();
        let plain = self.judge(bars, times, extras)?;
        self.machine.wrap();
        if plain {
            self.fill_bars(bars);
            self.machine.run(1, false, &mut |_: usize, _: usize, _: &[f64]| {});
            self.read(out);
            self.machine.advance(1);
            self.rows.iter_mut().for_each(|rows| *rows = rows.saturating_add(1));
            return Ok(());
        }
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
        self.read(out);
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

    /// True if there is nothing but one accepted bar for every symbol.
    fn judge(&mut self, bars: &[f64], times: Option<&[i64]>, extras: &[f64]) -> Result<bool> {
        let (n, e) = (self.symbols.len(), self.fs.extras().len());
        if bars.len() != n * 5 || times.is_some_and(|t| t.len() != n) {
            return Err(Error::schema(format!(
                "push takes one row of open, high, low, close, volume for each of {n} symbols"
            )));
        }
        complete(&self.fs, &self.policy, times.is_some(), if e == 0 { extras.len() } else { extras.len() / n })?;
        let plain = times.is_none() && e == 0;
        if plain && bars.as_chunks::<5>().0.iter().fold(true, |good, bar| good & is_good(bar)) {
            self.verdicts.fill(Lane::Present(Verdict::Good, Tick::Next));
            return Ok(true);
        }
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
        Ok(false)
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

    /// Copies accepted bars into the inputs.
    fn fill_bars(&mut self, bars: &[f64]) {
        for k in 0..self.machine.plan().inputs.len() {
            let c = column_of(self.machine.plan().inputs[k].input);
            let dst = self.machine.input(k, 1);
            dst.iter_mut().zip(bars.as_chunks::<5>().0).for_each(|(d, bar)| *d = bar[c]);
        }
    }

    fn read(&mut self, out: &mut [f64]) {
        let f = self.machine.plan().outputs.len();
        let columns: Vec<&[f64]> = (0..f).map(|k| self.machine.output(k, 1)).collect();
        let any_null = crate::simd::rows_of(&columns, out);
        let all_good = Lane::Present(Verdict::Good, Tick::Next);
        if !any_null && self.verdicts.iter().all(|v| *v == all_good) {
            self.ready.fill(true);
            return;
        }
        for ((ready, row), v) in self.ready.iter_mut().zip(out.chunks_exact(f)).zip(&self.verdicts) {
            if *v != Lane::Absent {
                *ready = !any_null || row.iter().all(|x| x == x);
            }
        }
        for ((row, v), ready) in out.chunks_exact_mut(f).zip(&self.verdicts).zip(&mut self.ready) {
            match v {
                Lane::Present(Verdict::Good | Verdict::Null, _) => {}
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
