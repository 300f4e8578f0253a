//! What one thread does: series after series, or some abreast.

use std::ops::Range;

use super::abreast::{ABREAST, Tile};
use super::desk::Desk;
use super::{Nulls, Running, Series, Writer, first, run_series};
use crate::bars::{Clock, Policy};
use crate::block::{Columns, Element};
use crate::error::Error;
use crate::fault::Fault;
use crate::features::FeatureSet;
use crate::kernels::TILE_LANES;
use crate::machine::Machine;
use crate::source::{Bars, Rows};

/// One thread of a call.
pub(super) struct Worker<'a, T> {
    pub(super) fs: &'a FeatureSet,
    pub(super) bars: &'a Bars<'a>,
    pub(super) policy: &'a Policy,
    pub(super) out: &'a Columns<'a, T>,
    pub(super) machine: Machine,
    desk: Desk,
    pub(super) nulls: Nulls,
    error: Option<Error>,
    pub(super) tile: Option<Tile>,
}

impl<'a, T: Element> Worker<'a, T> {
    pub(super) fn new(fs: &'a FeatureSet, bars: &'a Bars<'a>, policy: &'a Policy, out: &'a Columns<'a, T>) -> Self {
        let (machine, desk) = (fs.machine(), Desk::new());
        Self { fs, bars, policy, out, machine, desk, nulls: Nulls::new(), error: None, tile: None }
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

    pub(super) fn finish(self) -> (Nulls, Option<Error>) {
        crate::cpu::settle();
        self.fs.done(self.machine);
        if let Some(tile) = self.tile {
            tile.finish(self.fs);
        }
        (self.nulls, self.error)
    }
}

/// Series that one thread takes together: one, or some whose rows lie side by side.
pub(super) fn groups(series: &[Series], threads: usize) -> Vec<&[Series]> {
    let beside = |s: &Series| matches!(s.rows, Rows::Index(_)) && !s.rows.is_empty();
    let most = series.len().div_ceil(threads).next_multiple_of(TILE_LANES).min(ABREAST);
    let runs = series.chunk_by(|a, b| beside(a) && beside(b));
    runs.flat_map(|run| run.chunks(if beside(&run[0]) { most } else { 1 })).collect()
}
