//! Streams: one bar at a time, for one symbol or for a whole universe at once.

use std::sync::Arc;

use crate::bars::{Clock, OnBad, OnGap, Policy, Tick, bad_bar, calendar, check_bar, is_good};
use crate::batch::column_of;
use crate::error::{Error, Place, Result};
use crate::fault::Fault;
use crate::features::FeatureSet;
use crate::graph::Input;
use crate::machine::Machine;
use crate::primitives::recursive::ChainState;
use crate::snapshot::{Reader, STREAM, Writer};

/// One bar with what goes with it.
#[derive(Debug, Clone, Copy)]
pub struct Bar<'a> {
    /// open, high, low, close, volume.
    pub ohlcv: [f64; 5],
    /// Time, ns since 1970, where known.
    pub time: Option<i64>,
    /// Extra columns, in the set's order.
    pub extras: &'a [f64],
}

/// Features of one symbol, one bar at a time.
#[derive(Debug, Clone)]
pub struct Stream {
    fs: Arc<FeatureSet>,
    machine: Machine,
    policy: Policy,
    clock: Clock,
    rows: u64,
    ready: bool,
}

/// What a checked bar asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Null,
    Reset,
}

/// Checks that the parts of a bar that the set needs are there.
fn complete(fs: &FeatureSet, policy: &Policy, time: bool, extras: usize) -> Result<()> {
    if extras != fs.extras().len() {
        let names = fs.extras().join(", ");
        return Err(Error::Schema {
            column: fs.extras().first().cloned(),
            message: format!("extra= must hold {} values ({names}), not {extras}", fs.extras().len()),
        });
    }
    if !time && fs.needs_time() {
        return Err(Error::column("time", "the set has calendar features (hour, weekday): pass time="));
    }
    if !time && policy.on_gap != OnGap::Ignore {
        return Err(Error::column("time", "on_gap needs time="));
    }
    Ok(())
}

/// Checks a bar against the policy: what to do with it, and whether a new series starts before it.
fn judge(
    fs: &FeatureSet,
    policy: &Policy,
    clock: &Clock,
    bar: &Bar<'_>,
    place: impl Fn() -> Place,
) -> Result<(Verdict, Tick)> {
    // A bad bar is reported before a bad time, as in every mode.
    let verdict = match (check_bar(&bar.ohlcv, bar.extras, fs.extras()), policy.on_bad) {
        (Ok(()), _) => Verdict::Good,
        (Err((column, value, reason)), OnBad::Raise) => return Err(bad_bar(&column, value, reason, place())),
        (Err(_), OnBad::Null) => Verdict::Null,
        (Err(_), OnBad::Reset) => Verdict::Reset,
    };
    let tick = match bar.time {
        Some(now) => clock.check(now, policy, "time", &place)?,
        None => Tick::Next,
    };
    Ok((verdict, tick))
}

/// Value of one input of a bar; NaN in a null row.
#[inline(always)]
fn input_value(input: Input, bar: &Bar<'_>, null: bool) -> f64 {
    if null {
        return f64::NAN;
    }
    match input {
        Input::Extra(e) => bar.extras[e as usize],
        Input::Hour | Input::Weekday => bar.time.map_or(f64::NAN, |t| calendar(input, t)),
        _ => bar.ohlcv[column_of(input)],
    }
}

impl Stream {
    /// At the start of a series.
    pub fn new(fs: Arc<FeatureSet>, policy: Policy) -> Self {
        let machine = Machine::new(Arc::clone(fs.stream_plan()), 1);
        Self { fs, machine, policy, clock: Clock::default(), rows: 0, ready: false }
    }

    /// The feature set.
    pub fn features(&self) -> &Arc<FeatureSet> {
        &self.fs
    }

    /// True when the last bar had a value for every feature.
    pub fn ready(&self) -> bool {
        self.ready
    }

    /// Bars taken so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Takes a closed bar; `out` gets the features, NaN where there is none. A refused bar changes nothing.
    pub fn push(&mut self, bar: &Bar<'_>, out: &mut [f64]) -> Result<()> {
        let (verdict, tick) = self.judge(bar)?;
        self.clock.last = bar.time.or(self.clock.last);
        self.rows = self.rows.saturating_add(1);
        self.machine.wrap();
        if tick == Tick::Reset {
            self.machine.restart();
        }
        self.row(bar, verdict, out);
        self.ready = out.iter().all(|x| x == x);
        self.machine.advance(1);
        if verdict == Verdict::Reset {
            self.machine.restart();
        }
        Ok(())
    }

    /// What [`Stream::push`] would give, without taking the bar (one that is still forming).
    pub fn peek(&mut self, bar: &Bar<'_>, out: &mut [f64]) -> Result<()> {
        let (verdict, tick) = self.judge(bar)?;
        if tick == Tick::Reset {
            // Rare: a look past a hole needs a fresh series beside this one.
            let mut other = self.clone();
            other.machine.wrap();
            other.machine.restart();
            other.row(bar, verdict, out);
            return Ok(());
        }
        self.machine.wrap();
        let before = self.machine.states().to_vec();
        self.row(bar, verdict, out);
        self.machine.set_states(&before);
        Ok(())
    }

    fn judge(&self, bar: &Bar<'_>) -> Result<(Verdict, Tick)> {
        complete(&self.fs, &self.policy, bar.time.is_some(), bar.extras.len())?;
        let place = || Place { row: self.rows as usize, time_ns: bar.time, ..Place::default() };
        judge(&self.fs, &self.policy, &self.clock, bar, place)
    }

    fn row(&mut self, bar: &Bar<'_>, verdict: Verdict, out: &mut [f64]) {
        for k in 0..self.machine.plan().inputs.len() {
            let input = self.machine.plan().inputs[k].input;
            self.machine.input(k, 1)[0] = input_value(input, bar, verdict != Verdict::Good);
        }
        self.machine.run_one();
        for (k, x) in out.iter_mut().enumerate() {
            let y = self.machine.value(k);
            *x = if y == y && verdict != Verdict::Reset { y } else { f64::NAN };
        }
        if self.fs.fault() == Some(Fault::Fused)
            && let Some(x) = out.first_mut()
        {
            // One rounding fewer, or one unit in the last place: what a fused step would do.
            *x = f64::from_bits(x.to_bits() ^ u64::from(self.rows % 97 == 96 && *x == *x));
        }
    }

    /// Everything needed to go on in another process, as checksummed bytes.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut w = Writer::new(STREAM, self.fs.fingerprint_bytes(), &self.policy);
        w.clocks(&[self.clock], &[self.rows], &[self.ready]);
        w.state(&self.machine.save());
        w.finish()
    }

    /// A stream that goes on where [`Stream::snapshot`] was taken.
    pub fn restore(fs: Arc<FeatureSet>, bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(STREAM, bytes, fs.fingerprint_bytes())?;
        let policy = r.policy()?;
        let mut stream = Self::new(fs, policy);
        let (clocks, rows, ready) = r.clocks(1)?;
        (stream.clock, stream.rows, stream.ready) = (clocks[0], rows[0], ready[0]);
        r.load(&mut stream.machine)?;
        r.end()?;
        if stream.fs.fault() == Some(Fault::StaleSnapshot) {
            let mut state = stream.machine.save();
            let by = usize::from(!state.history.is_empty());
            state.history.rotate_right(by);
            // A single row of history has nothing to turn: move every value a little.
            state.history.iter_mut().for_each(|x| *x *= 1.0 + f64::EPSILON);
            state.links.iter_mut().for_each(|l| l.s *= 1.0 + f64::EPSILON);
            stream.machine.load(&state);
        }
        Ok(stream)
    }
}

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
            self.machine.run(1, false, &mut |_, _, _| {});
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
        self.machine.run(1, false, &mut |_, _, _| {});
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
