//! The core of qtfeat: a causal feature engine for trading bars.
//!
//! ```text
//! specs -> expr.rs -> graph.rs (+ indicators/, primitives/) -> features.rs: a FeatureSet
//!       -> plan.rs: instructions over one slab of rows x S interleaved series (block.rs)
//!       -> kernels.rs: the one driver of those instructions, at every width
//!       -> batch.rs (series, panels), windows.rs, stream.rs: the modes, thin callers of it
//! ```
//!
//! No Python, no Arrow, no I/O in this crate.

pub mod bars;
pub mod batch;
pub mod block;
pub mod catalog;
pub mod cpu;
pub mod dim;
pub mod ensemble;
pub mod error;
pub mod expr;
pub mod fault;
pub mod features;
mod fuse;
pub mod graph;
pub mod indicators;
pub mod kernels;
pub mod labels;
pub mod machine;
pub mod plan;
pub mod primitives;
pub mod running;
mod simd;
mod snapshot;
pub mod source;
pub mod stream;
pub mod synth;
pub mod trees;
pub mod windows;

pub use error::{Error, Result};
