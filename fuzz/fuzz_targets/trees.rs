//! Any bytes are a tree model or an error, never a panic; a model that loads can be evaluated, and row by row gives the
//! same as in blocks.

#![no_main]

use libfuzzer_sys::fuzz_target;
use qtfeat_core::trees::{Iterations, Matrix, TreeModel};

const ROWS: usize = 70;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, file)) = data.split_first() else { return };
    let iterations = match choice {
        0 => Iterations::Best,
        n @ 1..=9 => Iterations::First(usize::from(n)),
        _ => Iterations::All,
    };
    let Ok(model) = TreeModel::load(file, iterations) else { return };
    let features = model.features();
    if features > 1_000 {
        return;
    }
    let value = |i: usize| if i % 11 == 0 { f64::NAN } else { (i * 37 % 101) as f64 / 8.0 - 6.0 };
    let x: Vec<f64> = (0..ROWS * features).map(value).collect();
    let whole = model.raw(Matrix::by_row(&x, ROWS, features)).into_f64();
    for (row, raw) in x.chunks_exact(features).zip(whole.chunks_exact(model.outputs())) {
        let alone = model.raw(Matrix::by_row(row, 1, features)).into_f64();
        assert!(alone.iter().zip(raw).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
});
