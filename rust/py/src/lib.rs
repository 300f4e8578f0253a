//! Python bindings: convert, release the GIL, call the core, convert. No indicator is known here.

mod args;
mod arrays;
mod arrow;
mod batches;
mod compute;
mod ensemble;
mod error;
mod features;
mod labels;
mod output;
mod split;
mod stream;
mod synth;
mod trees;
mod windows;

use pyo3::prelude::*;

/// The compiled part of qtfeat.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use crate::batches::Batches;
    #[pymodule_export]
    use crate::compute::{compute_arrays, compute_table};
    #[pymodule_export]
    use crate::ensemble::{Combiner, Ensemble};
    #[pymodule_export]
    use crate::features::{FeatureSet, catalog_rows, cpu, release_memory};
    #[pymodule_export]
    use crate::labels::{closed_before, label_panel};
    #[pymodule_export]
    use crate::output::{Frame, Output, Owner};
    #[pymodule_export]
    use crate::stream::{PanelStream, Stream};
    #[pymodule_export]
    use crate::synth::{simulate, synthetic_features, synthetic_windows};
    #[pymodule_export]
    use crate::trees::TreeModel;
    #[pymodule_export]
    use crate::windows::{windows, windows_at};
}
