//! Streams: one bar at a time, for one symbol or for a whole universe at once.

mod panel;

use std::sync::Arc;

use crate::bars::{Clock, OnBad, OnGap, Policy, Tick, bad_bar, calendar, check_bar};
use crate::batch::column_of;
use crate::error::{Error, Place, Result};
use crate::fault::Fault;
use crate::features::FeatureSet;
use crate::graph::Input;
use crate::machine::Machine;
use crate::snapshot::{Reader, STREAM, Writer};

pub use panel::PanelStream;

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
