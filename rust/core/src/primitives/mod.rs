//! The closed set of causal primitives. Each file holds the arithmetic of its primitives, written once
//! as inlined functions of numbers, and the methods that put them into the graph. Nothing else
//! touches bars. The loops over rows are in `kernels.rs`, shared by every mode.

pub mod elementwise;
pub mod lag;
pub mod ratio;
pub mod recursive;
pub mod sliding;
