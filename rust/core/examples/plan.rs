//! Prints the plan of a feature set: `cargo run -p qtfeat-core --example plan -- SPEC...`.

use qtfeat_core::features::FeatureSet;
use qtfeat_core::graph::Profile;

fn main() {
    let specs: Vec<String> = std::env::args().skip(1).collect();
    match FeatureSet::new(&specs, Profile::Safe) {
        Ok(fs) => fs.block_plan().steps.iter().for_each(|s| println!("{s:?}")),
        Err(e) => println!("{e}"),
    }
}
