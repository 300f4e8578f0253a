//! A compiled feature set: specs, graph, plans, fingerprint.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sha2::{Digest, Sha256};

use crate::catalog::{Args, Indicator};
use crate::error::{Error, Result};
use crate::expr;
use crate::fault::Fault;
use crate::graph::{Expr, Graph, Input, Memory, Profile};
use crate::kernels::TILE_LANES;
use crate::machine::Machine;
use crate::plan::Plan;

/// Version of the arithmetic. Any change of a single output bit, for any input, is a new number.
pub const NUMERICS_VERSION: u32 = 1;
/// Rows of a block of one long series: three tiles. Between 1,152 and 3,072 it made no difference that could be measured.
pub const BLOCK_ROWS: usize = 2304;
/// Rows of a tile, which pass through all instructions together: 576 to 1,152 were equally fast, 128 and 192 slower by a
/// quarter and a seventh, since starting a step costs as much as tens of rows.
pub const TILE_ROWS: usize = 768;
/// Rows of slack of a stream.
pub const STREAM_ROWS: usize = 16;
/// Rows of slack of a panel of streams: a slab of many symbols has to stay in the second-level cache.
pub const PANEL_ROWS: usize = 8;
/// Idle machines kept per feature set.
const IDLE: usize = 64;
/// Idle machines for tiles of windows kept per feature set: one holds some hundred kilobytes.
const IDLE_TILES: usize = 4;

/// One output column with what was derived for it.
#[derive(Debug, Clone)]
pub struct Column {
    /// Column name, unique in the set.
    pub name: String,
    /// Canonical text of the spec.
    pub canonical: String,
    /// Indicator, arguments and output number; `None` for an expression.
    pub indicator: Option<(&'static Indicator, Args, usize)>,
    /// Leading null rows of a series of valid bars.
    pub warmup: u32,
    /// How far back a value depends on the past.
    pub memory: Memory,
    /// Smallest and largest possible value, where bounded.
    pub range: (Option<f64>, Option<f64>),
    /// Unchanged when all prices, or all volumes, are multiplied by one factor.
    pub scale_free: bool,
    /// Unit in words.
    pub unit: String,
    /// Value on a flat market, where there is one.
    pub neutral: Option<f64>,
}

/// A compiled feature set. Immutable, and shared between threads and streams.
#[derive(Debug)]
pub struct FeatureSet {
    specs: Vec<String>,
    graph: Graph,
    outputs: Vec<Expr>,
    columns: Vec<Column>,
    fingerprint: [u8; 32],
    block: Arc<Plan>,
    stream: Arc<Plan>,
    panel: OnceLock<Arc<Plan>>,
    windows: Mutex<HashMap<usize, Arc<Plan>>>,
    idle: Mutex<Vec<Machine>>,
    tiles: Mutex<Vec<Machine>>,
    fault: Option<Fault>,
    filled: bool,
}

impl FeatureSet {
    /// Parses, builds and plans.
    pub fn new(specs: &[String], profile: Profile) -> Result<Self> {
        if specs.is_empty() {
            return Err(Error::Spec {
                message: "a feature set needs at least one feature".into(),
                spec: String::new(),
                position: 0,
            });
        }
        let mut graph = Graph::new(profile);
        let features = expr::build(&mut graph, specs)?;
        let outputs: Vec<Expr> =
            features.iter().map(|f| if graph.legacy_eps().is_some() { graph.tame(f.expr) } else { f.expr }).collect();
        let columns: Vec<Column> = features.into_iter().zip(&outputs).map(|(f, &x)| describe(&graph, f, x)).collect();
        let fingerprint = fingerprint(profile, &columns);
        let block = Arc::new(Plan::emitting(&graph, &outputs, BLOCK_ROWS, TILE_ROWS));
        let stream = Arc::new(Plan::new(&graph, &outputs, STREAM_ROWS));
        Ok(Self {
            specs: specs.to_vec(),
            graph,
            outputs,
            columns,
            fingerprint,
            block,
            stream,
            panel: OnceLock::new(),
            windows: Mutex::default(),
            idle: Mutex::default(),
            tiles: Mutex::default(),
            fault: None,
            filled: false,
        })
    }

    /// The same set for a caller that fills nulls after the graph (`legacy`): another fingerprint, and no
    /// streams.
    #[must_use]
    pub fn filled(mut self) -> Self {
        let mut h = Sha256::new();
        h.update(self.fingerprint);
        h.update("fill ffill_bfill_zero\n");
        self.fingerprint = h.finalize().into();
        self.filled = true;
        self
    }

    /// True if the caller fills nulls after the graph.
    pub fn is_filled(&self) -> bool {
        self.filled
    }

    /// The same set with one planted fault, to show that `verify` finds it.
    #[must_use]
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// The planted fault, if any.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// The specs as given.
    pub fn specs(&self) -> &[String] {
        &self.specs
    }

    /// Arithmetic profile.
    pub fn profile(&self) -> Profile {
        self.graph.profile
    }

    /// The output columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Names of the extra columns read.
    pub fn extras(&self) -> &[String] {
        &self.graph.extras
    }

    /// Which inputs the set reads.
    pub fn inputs(&self) -> impl Iterator<Item = Input> + '_ {
        self.block.inputs.iter().map(|i| i.input)
    }

    /// True if the set has calendar features.
    pub fn needs_time(&self) -> bool {
        self.inputs().any(|i| matches!(i, Input::Hour | Input::Weekday))
    }

    /// Most leading null rows of any column.
    pub fn warmup(&self) -> usize {
        self.columns.iter().map(|c| c.warmup as usize).max().unwrap_or(0)
    }

    /// Bars until every column has forgotten its start to `digits` digits.
    pub fn bars_for(&self, digits: f64) -> u64 {
        self.outputs.iter().map(|&x| self.graph.bars_for(x, digits)).max().unwrap_or(0)
    }

    /// SHA-256 of the canonical set, the profile and the numerics version, as bytes.
    pub fn fingerprint_bytes(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// The fingerprint in hexadecimal.
    pub fn fingerprint(&self) -> String {
        hex(&self.fingerprint)
    }

    /// Number of graph nodes, and of instructions with their recursive links.
    pub fn size(&self) -> (usize, usize) {
        (self.graph.nodes.len(), self.block.steps.len() + self.block.links.len())
    }

    /// Plan for blocks of one series.
    pub fn block_plan(&self) -> &Arc<Plan> {
        &self.block
    }

    /// Plan for streams.
    pub fn stream_plan(&self) -> &Arc<Plan> {
        &self.stream
    }

    /// Plan for streams of many symbols; it keeps the same state as the one for a single stream.
    pub fn panel_plan(&self) -> &Arc<Plan> {
        self.panel.get_or_init(|| Arc::new(Plan::wide(&self.graph, &self.outputs, PANEL_ROWS)))
    }

    /// Plan for windows of `rows` rows.
    pub fn window_plan(&self, rows: usize) -> Arc<Plan> {
        let mut plans = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if plans.len() >= 64 && !plans.contains_key(&rows) {
            plans.clear();
        }
        Arc::clone(
            plans.entry(rows).or_insert_with(|| Arc::new(Plan::emitting(&self.graph, &self.outputs, rows, rows))),
        )
    }

    /// A machine for tiles of windows, of a plan of [`FeatureSet::window_plan`]. Making one costs as much as twenty
    /// windows, so that those of the last plan are kept.
    pub fn tile(&self, plan: &Arc<Plan>) -> Machine {
        let mut idle = self.tiles.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|machine| Arc::ptr_eq(machine.plan(), plan));
        idle.pop().unwrap_or_else(|| Machine::new(Arc::clone(plan), TILE_LANES))
    }

    /// Gives a machine for tiles back, as it was given out: before the first row of a series.
    pub fn tile_done(&self, machine: Machine) {
        let mut idle = self.tiles.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_TILES {
            idle.push(machine);
        }
    }

    /// A machine for blocks of one series, at the start of one.
    pub fn machine(&self) -> Machine {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(mut machine) = idle {
            machine.reset();
            return machine;
        }
        Machine::new(Arc::clone(&self.block), 1)
    }

    /// Gives a machine back for the next call.
    pub fn done(&self, machine: Machine) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(machine);
        }
    }
}

fn describe(graph: &Graph, f: expr::Feature, x: Expr) -> Column {
    let (_, range, _, warmup, memory) = graph.facts(x);
    let bound = |v: f64| (v.abs() < 1e50).then_some(v);
    let declared = f.indicator.as_ref().map(|(i, _, k)| i.outputs[*k]);
    let legacy = graph.legacy_eps().is_some();
    Column {
        name: f.name,
        canonical: f.canonical,
        warmup,
        memory,
        range: match declared {
            Some(o) if !legacy => (o.min, o.max),
            _ => (bound(range.0), bound(range.1)),
        },
        scale_free: graph.is_scale_free(x),
        unit: declared.map_or_else(|| graph.dim(x).to_string(), |o| o.unit.to_owned()),
        neutral: declared.and_then(|o| o.neutral).filter(|_| !legacy),
        indicator: f.indicator,
    }
}

fn fingerprint(profile: Profile, columns: &[Column]) -> [u8; 32] {
    let mut h = Sha256::new();
    h.update(format!("qtfeat numerics {NUMERICS_VERSION}\n"));
    h.update(match profile {
        Profile::Safe => "profile safe\n".to_owned(),
        Profile::Talib => "profile talib\n".to_owned(),
        Profile::Legacy { eps } => format!("profile legacy {:016x}\n", eps.get().to_bits()),
    });
    for c in columns {
        h.update(format!("{}\t{}\n", c.name, c.canonical));
    }
    h.finalize().into()
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut s, b| {
        // Writing to a String cannot fail.
        let _ = write!(s, "{b:02x}");
        s
    })
}
