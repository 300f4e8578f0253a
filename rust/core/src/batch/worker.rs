//! What one thread does: series after series, or some abreast.

use std::ops::Range;

use super::desk::Desk;
use super::{Nulls, Running, Series, Writer, first, run_series};
use crate::bars::{Clock, Policy};
use crate::block::{Columns, Element};
use crate::error::Error;
use crate::fault::Fault;
use crate::features::FeatureSet;
use crate::machine::Machine;
use crate::source::{Bars, Rows};

/// Symbols that lie side by side in a table are run abreast, so many of them, so many rows of each at a time: rows that
/// share lines of the cache are computed while those are in it.
const ABREAST: usize = 32;
const SLICE: usize = 512;

/// One thread of a call.
pub(super) struct Worker<'a, T> {
    fs: &'a FeatureSet,
    bars: &'a Bars<'a>,
    policy: &'a Policy,
    out: &'a Columns<'a, T>,
    machine: Machine,
    desk: Desk,
    nulls: Nulls,
    error: Option<Error>,
}

impl<'a, T: Element> Worker<'a, T> {
    pub(super) fn new(fs: &'a FeatureSet, bars: &'a Bars<'a>, policy: &'a Policy, out: &'a Columns<'a, T>) -> Self {
        let (machine, desk) = (fs.machine(), Desk::new());
        Self { fs, bars, policy, out, machine, desk, nulls: Nulls::new(), error: None }
    }

    /// Runs some rows of a series that starts with the first of them, or goes on where the machine is.
    fn run(&mut self, series: &Series, some: Range<usize>, clock: &mut Clock, fault: Option<Fault>) -> bool {
        let warmup = self.fs.warmup();
        let mut writer = Writer { out: self.out, rows: &series.rows, nulls: &mut self.nulls, fault, warmup, start: 0 };
        let extras = self.fs.extras();
        let (machine, desk) = (&mut self.machine, &mut self.desk);
        match run_series(machine, desk, self.bars, (series, some), (self.policy, clock), extras, &mut writer) {
            Ok(()) => true,
            Err(e) => {
                self.error = Some(first(self.error.take(), e));
                false
            }
        }
    }

    /// Runs some rows of a series from where it was left, and leaves it there.
    pub(super) fn go_on(
        &mut self,
        series: &Series,
        some: Range<usize>,
        running: &mut Running,
        fault: Option<Fault>,
    ) -> bool {
        match &running.state {
            Some(state) => {
                self.machine.load(state);
            }
            None => self.machine.reset(),
        }
        let (mut clock, rows) = (running.clock, some.len());
        let done = self.run(series, some, &mut clock, fault);
        if done {
            running.state = Some(self.machine.save());
            running.clock = clock;
            running.rows = running.rows.saturating_add(rows);
        }
        done
    }

    /// Runs the series of one of the [`groups`].
    pub(super) fn group(&mut self, group: &[Series]) {
        match group {
            [one] => {
                self.machine.reset();
                self.run(one, 0..one.rows.len(), &mut Clock::default(), self.fs.fault());
            }
            many => self.abreast(many),
        }
    }

    /// Runs series whose rows lie side by side, a slice of the table after the other.
    fn abreast(&mut self, group: &[Series]) {
        let ends = |s: &Series| (s.rows.at(0), s.rows.at(s.rows.len() - 1));
        let from = group.iter().map(|s| ends(s).0).min().unwrap_or(0);
        let to = group.iter().map(|s| ends(s).1 + 1).max().unwrap_or(0);
        let longest = group.iter().map(|s| s.rows.len()).max().unwrap_or(1);
        let slice = SLICE * (to - from).div_ceil(longest);
        let mut going: Vec<(&Series, usize, Running)> = group.iter().map(|s| (s, 0, Running::default())).collect();
        for end in (from + slice..to + slice).step_by(slice) {
            going.retain_mut(|(series, at, running)| {
                let some = *at..series.rows.before(end);
                *at = some.end;
                let whole = some.end == series.rows.len();
                (some.is_empty() || self.go_on(series, some, running, self.fs.fault())) && !whole
            });
        }
    }

    pub(super) fn finish(self) -> (Nulls, Option<Error>) {
        crate::cpu::settle();
        self.fs.done(self.machine);
        (self.nulls, self.error)
    }
}

/// Series that one thread takes together: one, or some whose rows lie side by side.
pub(super) fn groups(series: &[Series], threads: usize) -> Vec<&[Series]> {
    let beside = |s: &Series| matches!(s.rows, Rows::Index(_)) && !s.rows.is_empty();
    let most = series.len().div_ceil(threads).min(ABREAST);
    let runs = series.chunk_by(|a, b| beside(a) && beside(b));
    runs.flat_map(|run| run.chunks(if beside(&run[0]) { most } else { 1 })).collect()
}
