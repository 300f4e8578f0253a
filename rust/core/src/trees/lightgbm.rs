//! LightGBM's text model files: what they say, checked, as a [`Forest`].

use std::collections::HashMap;
use std::str::FromStr;

use super::forest::{Forest, Real, Split, Tree};
use super::link::{Kind, Link};
use super::source::refused;
use super::{Iterations, Loaded};
use crate::error::Result;

/// Bits of `decision_type`.
const CATEGORICAL: u8 = 1;
const DEFAULT_LEFT: u8 = 2;
const MISSING_NONE: u8 = 0;
const MISSING_ZERO: u8 = 1;
const MISSING_NAN: u8 = 2;

/// The `key=value` lines of one section.
type Section<'a> = HashMap<&'a str, &'a str>;

/// Reads a model file.
pub(crate) fn load(text: &str, iterations: Iterations) -> Result<Loaded<f64>> {
    let mut lines = text.lines().map(str::trim_end);
    if lines.next() != Some("tree") {
        return Err(refused("this is no LightGBM model: its first line is not \"tree\""));
    }
    let (header, sections) = sections(&mut lines)?;
    parameters(&mut lines)?;
    let (kind, link) = supported(&header)?;
    let outputs: usize = number(&header, "num_tree_per_iteration")?;
    if outputs == 0 || outputs > super::forest::MAX_OUTPUTS {
        return Err(refused(format!("num_tree_per_iteration is {outputs}")));
    }
    if number::<usize>(&header, "num_class")? != outputs {
        return Err(refused("num_class and num_tree_per_iteration differ"));
    }
    let features = number::<usize>(&header, "max_feature_idx")?.saturating_add(1);
    let names: Vec<String> = get(&header, "feature_names")?.split(' ').map(str::to_owned).collect();
    if names.len() != features {
        return Err(refused(format!("{} feature names for {features} features", names.len())));
    }
    let sizes = get(&header, "tree_sizes")?.split_whitespace().count();
    if sizes != sections.len() || !sections.len().is_multiple_of(outputs) {
        let n = sections.len();
        return Err(refused(format!("{n} trees, but tree_sizes has {sizes} and an iteration has {outputs}")));
    }
    let ends: Vec<usize> = (1..=sections.len() / outputs).map(|i| i * outputs).collect();
    let kept = iterations.trees(&ends, None)?;
    let mut trees = Vec::with_capacity(kept);
    for (i, section) in sections[..kept].iter().enumerate() {
        trees.push(tree(section, (i % outputs) as u32).map_err(|why| refused(format!("tree {i}: {why}")))?);
    }
    let forest = Forest { trees, base: vec![0.0; outputs], features };
    Ok(Loaded { forest, kind, link, names, best_iteration: None, iterations: ends.len() })
}

/// The header and the trees, up to `end of trees`.
fn sections<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Result<(Section<'a>, Vec<Section<'a>>)> {
    let mut header = Section::new();
    let mut trees: Vec<Section<'a>> = Vec::new();
    for line in lines {
        if line == "end of trees" {
            return Ok((header, trees));
        }
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        if key == "Tree" {
            if value.parse() != Ok(trees.len()) {
                return Err(refused(format!("Tree={value} where tree {} is expected", trees.len())));
            }
            trees.push(Section::new());
        } else if !key.is_empty() && trees.last_mut().unwrap_or(&mut header).insert(key, value).is_some() {
            return Err(refused(format!("{key:?} is there twice in one section")));
        }
    }
    Err(refused("the file ends before \"end of trees\""))
}

/// What training was told, where that changes how trees are read. LightGBM always writes this part, last.
fn parameters<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Result<()> {
    for line in lines {
        match line {
            "end of parameters" => return Ok(()),
            "[boosting: dart]" => return Err(refused("boosting \"dart\" (DART: trees with weights) is not supported")),
            "[linear_tree: 1]" => return Err(refused("linear trees are not supported")),
            "[zero_as_missing: 1]" => return Err(refused("zero_as_missing is not supported")),
            _ => {}
        }
    }
    Err(refused("the file ends before \"end of parameters\""))
}

fn get<'a>(section: &Section<'a>, key: &str) -> Result<&'a str> {
    section.get(key).copied().ok_or_else(|| refused(format!("{key:?} is missing")))
}

fn number<V: FromStr>(section: &Section<'_>, key: &str) -> Result<V> {
    let text = get(section, key)?;
    text.parse().map_err(|_| refused(format!("{key:?} is {text:?}, not a count")))
}

fn supported(header: &Section<'_>) -> Result<(Kind, Link)> {
    let version = get(header, "version")?;
    if !matches!(version, "v3" | "v4") {
        return Err(refused(format!("format {version:?}: v3 and v4 are supported")));
    }
    if header.contains_key("average_output") {
        return Err(refused("random forests (average_output) are not supported"));
    }
    let Some(objective) = header.get("objective") else {
        return Err(refused("a custom objective is not supported: the file does not say how to read its scores"));
    };
    let mut words = objective.split_whitespace();
    let name = words.next().unwrap_or_default();
    let rest: Vec<&str> = words.collect();
    let slope = || {
        let text = rest.iter().find_map(|w| w.strip_prefix("sigmoid:"));
        let slope = text.and_then(|t| t.parse::<f64>().ok()).filter(|s| s.is_finite() && *s > 0.0);
        slope.ok_or_else(|| refused(format!("objective {objective:?} has no sigmoid")))
    };
    Ok(match name {
        "regression" if rest.contains(&"sqrt") => (Kind::Regression, Link::SignedSquare),
        "regression" | "regression_l1" | "huber" | "fair" | "quantile" | "mape" => (Kind::Regression, Link::Identity),
        "poisson" | "gamma" | "tweedie" => (Kind::Regression, Link::Exp),
        "cross_entropy" => (Kind::Regression, Link::Sigmoid(1.0)),
        "binary" => (Kind::Binary, Link::Sigmoid(slope()?)),
        "multiclass" => (Kind::Multiclass, Link::Softmax),
        "multiclassova" => (Kind::Multiclass, Link::Sigmoid(slope()?)),
        "lambdarank" | "rank_xendcg" => (Kind::Ranking, Link::Identity),
        _ => return Err(refused(format!("objective {objective:?} is not supported"))),
    })
}

type Told<V> = std::result::Result<V, String>;

/// An array of `n` values.
fn array<V: FromStr>(section: &Section<'_>, key: &str, n: usize) -> Told<Vec<V>> {
    let text = section.get(key).ok_or_else(|| format!("{key:?} is missing"))?;
    let values: Vec<V> = text
        .split_whitespace()
        .map(|word| word.parse().map_err(|_| format!("{key:?} holds {word:?}")))
        .collect::<Told<_>>()?;
    if values.len() == n { Ok(values) } else { Err(format!("{key:?} has {} values, not {n}", values.len())) }
}

fn count(section: &Section<'_>, key: &str) -> Told<usize> {
    Ok(array::<usize>(section, key, 1)?[0])
}

fn tree(section: &Section<'_>, output: u32) -> Told<Tree<f64>> {
    if count(section, "num_cat")? != 0 {
        return Err("categorical splits are not supported".into());
    }
    if section.contains_key("is_linear") && count(section, "is_linear")? != 0 {
        return Err("linear trees are not supported".into());
    }
    let leaves = array(section, "leaf_value", count(section, "num_leaves")?)?;
    let Some(n) = leaves.len().checked_sub(1) else { return Err("no leaves".into()) };
    let mut splits = Vec::new();
    if n > 0 {
        let feature: Vec<u32> = array(section, "split_feature", n)?;
        let threshold: Vec<f64> = array(section, "threshold", n)?;
        let decision: Vec<u8> = array(section, "decision_type", n)?;
        let (left, right): (Vec<i32>, Vec<i32>) = (array(section, "left_child", n)?, array(section, "right_child", n)?);
        for i in 0..n {
            let nan_left = nan_left(decision[i], threshold[i]).map_err(|why| format!("split {i}: {why}"))?;
            splits.push(Split {
                feature: feature[i],
                threshold: threshold[i],
                nan_left,
                left: left[i],
                right: right[i],
            });
        }
    }
    Ok(Tree { splits, leaves, output })
}

/// Where NaN goes: by its own rule if the split has one, else as zero.
fn nan_left(decision: u8, threshold: f64) -> Told<bool> {
    if decision & CATEGORICAL != 0 {
        return Err("categorical splits are not supported".into());
    }
    match decision >> 2 {
        MISSING_NONE => Ok(0.0.left(threshold)),
        MISSING_NAN => Ok(decision & DEFAULT_LEFT != 0),
        MISSING_ZERO => Err("zero_as_missing is not supported".into()),
        _ => Err(format!("decision_type {decision}")),
    }
}
