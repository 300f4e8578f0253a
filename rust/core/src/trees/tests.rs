//! Readers against damaged files, and both evaluators against a plain walk. The libraries themselves are compared in
//! `tests/test_trees.py`.

use proptest::prelude::*;

use super::forest::{Forest, Real, Split, Tree};
use super::predict::{Matrix, Plan};
use super::{Iterations, Raw, TreeModel};

/// A chain: split i has leaf i on its left and split i + 1 on its right.
fn chain(splits: usize) -> Tree<f64> {
    let last = splits as i32 - 1;
    let split = |i: i32| Split {
        feature: i as u32 % 3,
        threshold: f64::from(i % 7) - 3.0,
        nan_left: i % 2 == 0,
        left: !i,
        right: if i == last { !(i + 1) } else { i + 1 },
    };
    Tree { splits: (0..=last).map(split).collect(), leaves: (0..=splits).map(|i| i as f64 + 0.1).collect(), output: 0 }
}

fn walk<T: Real>(tree: &Tree<T>, row: &[T]) -> T {
    let mut at = if tree.splits.is_empty() { !0 } else { 0 };
    while at >= 0 {
        let split = &tree.splits[at as usize];
        let x = row[split.feature as usize];
        let left = if x != x { split.nan_left } else { x.left(split.threshold) };
        at = if left { split.left } else { split.right };
    }
    tree.leaves[!at as usize]
}

/// A tree from a list of choices: each splits one of the leaves so far.
fn grown<T: Real>(choices: &[(u16, u8, i8, bool)], output: u32, from: impl Fn(f64) -> T) -> Tree<T> {
    let mut tree = Tree { splits: Vec::new(), leaves: vec![from(0.3)], output };
    let mut holders: Vec<Option<(usize, bool)>> = vec![None];
    for &(which, feature, threshold, nan_left) in choices {
        let (leaf, new) = (usize::from(which) % tree.leaves.len(), tree.splits.len());
        let right = tree.leaves.len();
        match holders[leaf] {
            Some((parent, true)) => tree.splits[parent].left = new as i32,
            Some((parent, false)) => tree.splits[parent].right = new as i32,
            None => {}
        }
        let (left, right_child) = (!(leaf as i32), !(right as i32));
        let threshold = from(f64::from(threshold) / 16.0);
        tree.splits.push(Split { feature: u32::from(feature % 5), threshold, nan_left, left, right: right_child });
        tree.leaves.push(from(f64::from(which) * 0.37 - 5.0));
        holders[leaf] = Some((new, true));
        holders.push(Some((new, false)));
    }
    tree
}

fn choices() -> impl Strategy<Value = Vec<(u16, u8, i8, bool)>> {
    prop_oneof![
        prop::collection::vec(any::<(u16, u8, i8, bool)>(), 0..40),
        prop::collection::vec(any::<(u16, u8, i8, bool)>(), 250..300),
    ]
}

fn compare<T: Real + std::fmt::Debug>(trees: &[Vec<(u16, u8, i8, bool)>], x: &[f64], from: impl Fn(f64) -> T + Copy) {
    let trees: Vec<Tree<T>> = trees.iter().zip(0_u32..).map(|(c, i)| grown(c, i % 2, from)).collect();
    let forest = Forest { base: vec![from(0.5), from(-0.25)], features: 5, trees };
    let plan = Plan::new(&forest).unwrap();
    let rows = x.len() / 5;
    let got = plan.eval(Matrix::by_row(&x[..rows * 5], rows, 5));
    for (row, got) in x.chunks_exact(5).zip(got.chunks_exact(2)) {
        let row: Vec<T> = row.iter().map(|&x| T::from_f64(x)).collect();
        let mut sums = forest.base.clone();
        for tree in &forest.trees {
            let sum = &mut sums[tree.output as usize];
            *sum = sum.plus(walk(tree, &row));
        }
        assert_eq!(got, sums);
    }
}

fn input() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-128_i32..128).prop_map(|i| f64::from(i) / 16.0),
        1 => Just(f64::NAN),
        1 => prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.0), Just(1e-36), Just(f64::MIN_POSITIVE)],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn evaluators_equal_a_plain_walk(
        trees in prop::collection::vec(choices(), 1..12),
        x in prop::collection::vec(input(), 5..5 * 150),
    ) {
        compare::<f32>(&trees, &x, |x| x as f32);
        compare::<f64>(&trees, &x, |x| x);
    }

    #[test]
    fn any_bytes_are_a_model_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), start in 0..4_usize) {
        let mut file = [&b"{"[..], b"{L\0\0\0\0\0\0\0\x07learner{", b"tree\n", b""][start].to_vec();
        file.extend(bytes);
        let _ = TreeModel::load(&file, Iterations::All);
    }

    #[test]
    fn edited_files_are_a_model_or_an_error(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        which in 0..3_usize,
    ) {
        let mut file = [json(), ubjson(), text()][which].clone();
        for (at, byte) in edits {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Ok(model) = TreeModel::load(&file, Iterations::All) {
            let x = vec![0.5; model.features() * 70];
            let _ = model.predict(Matrix::by_row(&x, 70, model.features()));
        }
    }
}

const TREE: &str = r#"{"default_left":[1,0,0],"id":0,"left_children":[1,-1,-1],"right_children":[2,-1,-1],
"split_conditions":[5E-1,-1.25E0,2.5E0],"split_indices":[1,0,0],"split_type":[0,0,0],"categories_nodes":[],
"tree_param":{"num_deleted":"0","num_feature":"2","num_nodes":"3","size_leaf_vector":"1"}}"#;

fn json() -> Vec<u8> {
    format!(
        r#"{{"learner":{{"attributes":{{"best_iteration":"0"}},"feature_names":["a","\u00e9"],"feature_types":[],
"gradient_booster":{{"model":{{"gbtree_model_param":{{"num_trees":"2"}},"iteration_indptr":[0,1,2],"tree_info":[0,0],
"trees":[{TREE},{TREE}]}},"name":"gbtree"}},"learner_model_param":{{"base_score":"[1E0]","num_class":"0",
"num_feature":"2","num_target":"1"}},"objective":{{"name":"reg:squarederror"}}}},"version":[3,2,0]}}"#
    )
    .into_bytes()
}

/// The same model in UBJSON, with typed arrays as XGBoost writes them.
fn ubjson() -> Vec<u8> {
    fn key(out: &mut Vec<u8>, name: &str) {
        out.push(b'L');
        out.extend((name.len() as i64).to_be_bytes());
        out.extend(name.as_bytes());
    }
    fn string(out: &mut Vec<u8>, name: &str, value: &str) {
        key(out, name);
        out.push(b'S');
        key(out, value);
    }
    fn ints(out: &mut Vec<u8>, name: &str, values: &[i32]) {
        key(out, name);
        out.extend(b"[$l#L");
        out.extend((values.len() as i64).to_be_bytes());
        values.iter().for_each(|v| out.extend(v.to_be_bytes()));
    }
    fn open(out: &mut Vec<u8>, name: &str) {
        key(out, name);
        out.push(b'{');
    }
    let mut tree = b"{".to_vec();
    ints(&mut tree, "default_left", &[1, 0, 0]);
    ints(&mut tree, "left_children", &[1, -1, -1]);
    ints(&mut tree, "right_children", &[2, -1, -1]);
    ints(&mut tree, "split_indices", &[1, 0, 0]);
    key(&mut tree, "split_conditions");
    tree.extend(b"[$d#L");
    tree.extend(3_i64.to_be_bytes());
    [0.5_f32, -1.25, 2.5].iter().for_each(|v| tree.extend(v.to_be_bytes()));
    open(&mut tree, "tree_param");
    string(&mut tree, "num_nodes", "3");
    string(&mut tree, "num_deleted", "0");
    tree.extend(b"}}");
    let mut out = b"{".to_vec();
    open(&mut out, "learner");
    open(&mut out, "gradient_booster");
    open(&mut out, "model");
    open(&mut out, "gbtree_model_param");
    string(&mut out, "num_trees", "2");
    out.push(b'}');
    ints(&mut out, "tree_info", &[0, 0]);
    key(&mut out, "trees");
    out.extend(b"[#L");
    out.extend(2_i64.to_be_bytes());
    out.extend(&tree);
    out.extend(&tree);
    out.push(b'}');
    string(&mut out, "name", "gbtree");
    out.push(b'}');
    open(&mut out, "learner_model_param");
    string(&mut out, "base_score", "1E0");
    string(&mut out, "num_feature", "2");
    out.push(b'}');
    open(&mut out, "objective");
    string(&mut out, "name", "reg:squarederror");
    out.extend(b"}}");
    key(&mut out, "version");
    out.extend(b"[#i\x03i\x03i\x00i\x00}");
    out
}

fn text() -> Vec<u8> {
    let tree = "num_leaves=2\nnum_cat=0\nsplit_feature=1\nthreshold=0.5\ndecision_type=10\nleft_child=-1\n\
                right_child=-2\nleaf_value=-1.25 2.5\nis_linear=0\nshrinkage=1\n\n\n";
    format!(
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=1\n\
         objective=regression\nfeature_names=a b\nfeature_infos=none none\ntree_sizes=10 10\n\nTree=0\n{tree}\
         Tree=1\n{tree}end of trees\n\nparameters:\n[boosting: gbdt]\nend of parameters\n"
    )
    .into_bytes()
}

fn refusal(file: &[u8]) -> String {
    TreeModel::load(file, Iterations::All).map(|m| m.trees()).expect_err("a refusal").to_string()
}

#[test]
fn three_formats_one_answer() {
    for (file, base) in [(json(), 1.0), (ubjson(), 1.0), (text(), 0.0)] {
        let model = TreeModel::load(&file, Iterations::All).unwrap();
        assert_eq!((model.features(), model.outputs(), model.trees()), (2, 1, 2));
        let x = [0.0, 0.25, 0.0, 0.75, 0.0, f64::NAN];
        let raw = model.raw(Matrix::by_row(&x, 3, 2)).into_f64();
        assert_eq!(raw, [base - 2.5, base + 5.0, base - 2.5]);
        let by_column = model.raw(Matrix::by_column(&[0.0, 0.0, 0.0, 0.25, 0.75, f64::NAN], 3, 2));
        assert_eq!(by_column.into_f64(), raw);
    }
    let first = TreeModel::load(&json(), Iterations::First(1)).unwrap();
    assert_eq!(first.raw(Matrix::by_row(&[0.0, 0.0], 1, 2)), Raw::F32(vec![-0.25]));
    assert_eq!(TreeModel::load(&json(), Iterations::Best).unwrap().trees(), 1);
    assert_eq!(first.names(), ["a", "é"]);
    for asked in [0, 3] {
        assert!(TreeModel::load(&json(), Iterations::First(asked)).is_err());
    }
}

#[test]
fn cut_anywhere_is_an_error() {
    for file in [json(), ubjson(), text().trim_ascii_end().to_vec()] {
        for cut in 0..file.len() {
            refusal(&file[..cut]);
        }
    }
}

#[test]
fn damage_is_named() {
    let file = String::from_utf8(json()).unwrap();
    for (from, to, named) in [
        (r#""left_children":[1,-1,-1]"#, r#""left_children":[0,-1,-1]"#, "parent already"),
        (r#""left_children":[1,-1,-1]"#, r#""left_children":[2,-1,-1]"#, "parent already"),
        (r#""left_children":[1,-1,-1]"#, r#""left_children":[7,-1,-1]"#, "does not exist"),
        (r#""left_children":[1,-1,-1]"#, r#""left_children":[1,-1]"#, "arrays of 2"),
        (r#""split_indices":[1,0,0]"#, r#""split_indices":[2,0,0]"#, "reads feature 2"),
        (r#""split_indices":[1,0,0]"#, r#""split_indices":[-1,0,0]"#, "feature -1"),
        (r#""split_conditions":[5E-1"#, r#""split_conditions":[NaN"#, "threshold NaN"),
        (r#""split_conditions":[5E-1"#, r#""split_conditions":[-Infinity"#, "threshold -inf"),
        ("-1.25E0", "Infinity", "leaf 0 is inf"),
        (r#""num_nodes":"3""#, r#""num_nodes":"4""#, "num_nodes"),
        (r#""num_deleted":"0""#, r#""num_deleted":"1""#, "num_deleted"),
        (r#""num_trees":"2""#, r#""num_trees":"3""#, "num_trees is 3"),
        (r#""tree_info":[0,0]"#, r#""tree_info":[0,1]"#, "adds to output 1"),
        (r#""tree_info":[0,0]"#, r#""tree_info":[0]"#, "tree_info has 1"),
        ("[0,1,2]", "[0,1,3]", "iteration_indptr"),
        (r#""num_class":"0""#, r#""num_class":"2000000000""#, "2000000000 classes"),
        (r#""num_feature":"2","num_target""#, r#""num_feature":"3000000000","num_target""#, "feature names for"),
        ("[1E0]", "[1E0,2E0]", "base_score"),
        ("[1E0]", "[nan]", "base_score"),
        ("[3,2,0]", "[1,7,0]", "1.7.0"),
        ("[3,2,0]", "[4,0,0]", "4.0.0"),
        ("reg:squarederror", "reg:mine", "reg:mine"),
        (r#""name":"gbtree""#, r#""name":"dart""#, "DART"),
        (r#""num_target":"1""#, r#""num_target":"2""#, "multi-output"),
        (r#""size_leaf_vector":"1""#, r#""size_leaf_vector":"3""#, "multi-output"),
        (r#""split_type":[0,0,0]"#, r#""split_type":[1,0,0]"#, "categorical"),
    ] {
        assert!(file.contains(from), "{from}");
        let text = refusal(file.replace(from, to).as_bytes());
        assert!(text.contains(named), "{from} -> {to}: {text}");
    }
}

#[test]
fn damaged_text_is_named() {
    let file = String::from_utf8(text()).unwrap();
    for (from, to, named) in [
        ("left_child=-1", "left_child=0", "parent already"),
        ("left_child=-1", "left_child=-2", "parent already"),
        ("left_child=-1", "left_child=-9", "does not exist"),
        ("left_child=-1", "left_child=", "0 values"),
        ("split_feature=1", "split_feature=2", "reads feature 2"),
        ("threshold=0.5", "threshold=nan", "threshold NaN"),
        ("num_leaves=2", "num_leaves=3", "2 values, not 3"),
        ("num_leaves=2", "num_leaves=18446744073709551615", "2 values"),
        ("num_leaves=2", "num_leaves=0", "2 values, not 0"),
        ("decision_type=10", "decision_type=1", "categorical"),
        ("decision_type=10", "decision_type=6", "zero_as_missing"),
        ("num_cat=0", "num_cat=1", "categorical"),
        ("is_linear=0", "is_linear=1", "linear trees"),
        ("[boosting: gbdt]", "[boosting: dart]", "DART"),
        ("[boosting: gbdt]", "[zero_as_missing: 1]", "zero_as_missing"),
        ("num_class=1\n", "num_class=1\naverage_output\n", "random forest"),
        ("objective=regression\n", "", "custom objective"),
        ("objective=regression", "objective=mine", "mine"),
        ("version=v4", "version=v9", "v9"),
        ("tree_sizes=10 10", "tree_sizes=10", "2 trees"),
        ("Tree=1", "Tree=2", "tree 1 is expected"),
        ("max_feature_idx=1", "max_feature_idx=18446744073709551615", "feature names"),
    ] {
        assert!(file.contains(from), "{from}");
        let text = refusal(file.replace(from, to).as_bytes());
        assert!(text.contains(named), "{from} -> {to}: {text}");
    }
}

#[test]
fn bombs_end_quickly() {
    let nested = [b"{\"a\":".to_vec(), vec![b'['; 1 << 20]].concat();
    assert!(refusal(&nested).contains("nested too deeply"));
    let mut nested = b"{i\x01a".to_vec();
    nested.resize(1 << 20, b'[');
    assert!(refusal(&nested).contains("nested too deeply"));
    for header in
        [&b"[$d#L\x7f\xff\xff\xff\xff\xff\xff\xff"[..], b"[$Z#l\x7f\xff\xff\xff", b"[#L\x80\0\0\0\0\0\0\0", b"S\x4c"]
    {
        refusal(&[b"{i\x01a", header].concat());
    }
    let forest = Forest { trees: vec![chain(5_000)], base: vec![0.0], features: 3 };
    assert!(forest.check().unwrap_err().to_string().contains("levels"));
    let deep = Forest { trees: vec![chain(900)], ..forest };
    let x = [9.0, f64::NAN, -9.0];
    assert_eq!(Plan::new(&deep).unwrap().eval(Matrix::by_row(&x, 1, 3)), [walk(&deep.trees[0], &x)]);
    assert!(refusal(b"\x80\x04\x95").contains("pickle"));
}
