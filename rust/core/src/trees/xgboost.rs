//! XGBoost's model files, JSON and UBJSON: what they say, checked, as a [`Forest`].

use super::forest::{Forest, Split, Tree};
use super::link::{Kind, Link};
use super::source::{Source, refused};
use super::{Iterations, Loaded};
use crate::error::Result;

/// Major versions whose files and arithmetic the tests compare.
const MAJORS: std::ops::RangeInclusive<i32> = 2..=3;

/// A tree as the file has it: parallel arrays over its nodes.
#[derive(Default)]
struct Nodes {
    left: Vec<i32>,
    right: Vec<i32>,
    feature: Vec<i32>,
    value: Vec<f32>,
    default_left: Vec<i32>,
    split_type: Vec<i32>,
    categories: bool,
    count: String,
    deleted: String,
    leaf_size: String,
}

/// The file.
#[derive(Default)]
struct File {
    version: Vec<i32>,
    booster: String,
    objective: String,
    base_score: String,
    classes: String,
    features: String,
    targets: String,
    trees: Vec<Nodes>,
    outputs: Vec<i32>,
    iterations: Vec<i32>,
    names: Vec<String>,
    types: Vec<String>,
    best_iteration: Option<String>,
    said_trees: u32,
}

/// Reads a model file of either format.
pub(crate) fn load<S: Source>(mut source: S, iterations: Iterations) -> Result<Loaded<f32>> {
    let file = File::read(&mut source)?;
    source.end()?;
    file.supported()?;
    file.model(iterations)
}

/// Sets what must not be there twice.
fn once<V: Default + PartialEq>(slot: &mut V, value: V, name: &str) -> Result<()> {
    if *slot != V::default() {
        return Err(refused(format!("{name:?} is there twice")));
    }
    *slot = value;
    Ok(())
}

fn number(text: &str, name: &str) -> Result<usize> {
    text.parse().map_err(|_| refused(format!("{name:?} is {text:?}, not a count")))
}

impl File {
    fn read<S: Source>(s: &mut S) -> Result<Self> {
        let mut f = Self::default();
        s.object(&mut |s, key| match key {
            "learner" => s.object(&mut |s, key| f.learner(s, key)),
            "version" => once(&mut f.version, s.ints()?, key),
            _ => s.skip(),
        })?;
        Ok(f)
    }

    fn learner<S: Source>(&mut self, s: &mut S, key: &str) -> Result<()> {
        match key {
            "attributes" => s.object(&mut |s, key| match key {
                "best_iteration" => {
                    self.best_iteration = Some(s.text()?);
                    Ok(())
                }
                _ => s.skip(),
            }),
            "feature_names" => once(&mut self.names, s.texts()?, key),
            "feature_types" => once(&mut self.types, s.texts()?, key),
            "gradient_booster" => s.object(&mut |s, key| self.booster(s, key)),
            "learner_model_param" => s.object(&mut |s, key| match key {
                "base_score" => once(&mut self.base_score, s.text()?, key),
                "num_class" => once(&mut self.classes, s.text()?, key),
                "num_feature" => once(&mut self.features, s.text()?, key),
                "num_target" => once(&mut self.targets, s.text()?, key),
                _ => s.skip(),
            }),
            "objective" => s.object(&mut |s, key| match key {
                "name" => once(&mut self.objective, s.text()?, key),
                _ => s.skip(),
            }),
            _ => s.skip(),
        }
    }

    fn booster<S: Source>(&mut self, s: &mut S, key: &str) -> Result<()> {
        match key {
            "name" => once(&mut self.booster, s.text()?, key),
            "model" => s.object(&mut |s, key| match key {
                "trees" => s.array(&mut |s| {
                    self.trees.push(Nodes::read(s)?);
                    Ok(())
                }),
                "tree_info" => once(&mut self.outputs, s.ints()?, key),
                "iteration_indptr" => once(&mut self.iterations, s.ints()?, key),
                "gbtree_model_param" => s.object(&mut |s, key| match key {
                    "num_trees" => {
                        self.said_trees = u32::try_from(number(&s.text()?, key)?).unwrap_or(u32::MAX);
                        Ok(())
                    }
                    _ => s.skip(),
                }),
                _ => s.skip(),
            }),
            _ => s.skip(),
        }
    }

    /// Refuses by name what is a sound model, but not one that is evaluated here.
    fn supported(&self) -> Result<()> {
        match self.booster.as_str() {
            "gbtree" => {}
            "dart" => return Err(refused("booster \"dart\" (DART: trees with weights) is not supported")),
            "gblinear" => return Err(refused("booster \"gblinear\" (a linear model) is not supported")),
            "" => return Err(refused("this is no XGBoost model: \"gradient_booster\" has no name")),
            other => return Err(refused(format!("booster {other:?} is not supported"))),
        }
        match self.version.first() {
            Some(major) if MAJORS.contains(major) => {}
            Some(_) => {
                let text: Vec<String> = self.version.iter().map(ToString::to_string).collect();
                let text = text.join(".");
                return Err(refused(format!(
                    "saved by XGBoost {text}: 2.x and 3.x are supported; save it again with one"
                )));
            }
            None => return Err(refused("the version of XGBoost is missing")),
        }
        let vector = |t: &Nodes| !matches!(t.leaf_size.as_str(), "0" | "1");
        if !matches!(self.targets.as_str(), "" | "0" | "1") || self.trees.iter().any(vector) {
            return Err(refused("multi-output trees (more than one target) are not supported"));
        }
        let split = |t: &Nodes| t.categories || t.split_type.iter().any(|&t| t != 0);
        if self.types.iter().any(|t| t == "c") || self.trees.iter().any(split) {
            return Err(refused("categorical splits are not supported"));
        }
        Ok(())
    }

    fn model(self, iterations: Iterations) -> Result<Loaded<f32>> {
        let (kind, link, logarithmic) = objective(&self.objective)?;
        let classes = if self.classes.is_empty() { 0 } else { number(&self.classes, "num_class")? };
        let outputs = classes.max(1);
        if outputs > super::forest::MAX_OUTPUTS {
            return Err(refused(format!("{outputs} classes: at most {} are supported", super::forest::MAX_OUTPUTS)));
        }
        let base = base_score(&self.base_score, outputs, link, logarithmic)?;
        let features = number(&self.features, "num_feature")?;
        if !self.names.is_empty() && self.names.len() != features {
            return Err(refused(format!("{} feature names for {features} features", self.names.len())));
        }
        let n = self.trees.len();
        if self.outputs.len() != n || self.said_trees as usize != n {
            let (said, info) = (self.said_trees, self.outputs.len());
            return Err(refused(format!("{n} trees, but num_trees is {said} and tree_info has {info}")));
        }
        let best = self.best_iteration.as_deref().map(|text| number(text, "best_iteration")).transpose()?;
        let ends = self.ends(outputs)?;
        let kept = iterations.trees(&ends, best)?;
        let mut trees = Vec::with_capacity(kept);
        for (i, (nodes, &output)) in self.trees.into_iter().zip(&self.outputs).take(kept).enumerate() {
            let output = u32::try_from(output).map_err(|_| refused(format!("tree {i}: adds to output {output}")))?;
            trees.push(nodes.tree(output).map_err(|why| refused(format!("tree {i}: {why}")))?);
        }
        let forest = Forest { trees, base, features };
        Ok(Loaded { forest, kind, link, names: self.names, best_iteration: best, iterations: ends.len() })
    }

    /// Number of trees after each iteration.
    fn ends(&self, outputs: usize) -> Result<Vec<usize>> {
        let n = self.trees.len();
        if self.iterations.is_empty() {
            return Ok((1..=n / outputs).map(|i| i * outputs).collect());
        }
        let rising = self.iterations.is_sorted() && self.iterations[0] == 0;
        if !rising || self.iterations.last().is_none_or(|&end| end as usize != n) {
            return Err(refused(format!("iteration_indptr does not count {n} trees")));
        }
        Ok(self.iterations[1..].iter().map(|&end| end as usize).collect())
    }
}

/// Kind, transformation, and whether the base score is saved before a logarithmic link.
fn objective(name: &str) -> Result<(Kind, Link, bool)> {
    Ok(match name {
        "reg:squarederror"
        | "reg:squaredlogerror"
        | "reg:absoluteerror"
        | "reg:pseudohubererror"
        | "reg:quantileerror"
        | "reg:linear" => (Kind::Regression, Link::Identity, false),
        "reg:logistic" => (Kind::Regression, Link::Sigmoid(1.0), false),
        "reg:gamma" | "reg:tweedie" | "count:poisson" => (Kind::Regression, Link::Exp, true),
        "binary:logistic" => (Kind::Binary, Link::Sigmoid(1.0), false),
        "binary:logitraw" => (Kind::Binary, Link::Identity, false),
        "binary:hinge" => (Kind::Binary, Link::Hinge, false),
        "multi:softprob" | "multi:softmax" => (Kind::Multiclass, Link::Softmax, false),
        "rank:pairwise" | "rank:ndcg" | "rank:map" => (Kind::Ranking, Link::Identity, false),
        "" => return Err(refused("the objective is missing")),
        other => return Err(refused(format!("objective {other:?} is not supported"))),
    })
}

/// `"5E-1"` (2.x, 3.0) or `"[1E0,2E0]"` (since 3.1), as margins.
fn base_score(text: &str, outputs: usize, link: Link, logarithmic: bool) -> Result<Vec<f32>> {
    let bad = || refused(format!("base_score {text:?} is not one number, or one for each of {outputs} outputs"));
    let inner = text.strip_prefix('[').map_or(Some(text), |t| t.strip_suffix(']')).ok_or_else(bad)?;
    let parse = |t: &str| t.trim().parse::<f32>().ok().filter(|x| x.is_finite()).ok_or_else(bad);
    let mut base = inner.split(',').map(parse).collect::<Result<Vec<f32>>>()?;
    if base.len() == 1 {
        base.resize(outputs, base[0]);
    }
    for b in &mut base {
        // `logf` of the platform on purpose: it is the one that the library calls.
        if matches!(link, Link::Sigmoid(_)) {
            *b = -(1.0 / *b - 1.0).ln();
        } else if logarithmic {
            *b = b.ln();
        }
    }
    if base.len() != outputs || base.iter().any(|b| !b.is_finite()) {
        return Err(bad());
    }
    Ok(base)
}

impl Nodes {
    fn read<S: Source>(s: &mut S) -> Result<Self> {
        let mut t = Self::default();
        s.object(&mut |s, key| match key {
            "left_children" => once(&mut t.left, s.ints()?, key),
            "right_children" => once(&mut t.right, s.ints()?, key),
            "split_indices" => once(&mut t.feature, s.ints()?, key),
            "split_conditions" => once(&mut t.value, s.floats()?, key),
            "default_left" => once(&mut t.default_left, s.ints()?, key),
            "split_type" => once(&mut t.split_type, s.ints()?, key),
            "categories_nodes" => {
                t.categories |= !s.ints()?.is_empty();
                Ok(())
            }
            "tree_param" => s.object(&mut |s, key| match key {
                "num_nodes" => once(&mut t.count, s.text()?, key),
                "num_deleted" => once(&mut t.deleted, s.text()?, key),
                "size_leaf_vector" => once(&mut t.leaf_size, s.text()?, key),
                _ => s.skip(),
            }),
            _ => s.skip(),
        })?;
        Ok(t)
    }

    /// The tree: splits and leaves numbered apart, nodes that were pruned away left out.
    fn tree(&self, output: u32) -> std::result::Result<Tree<f32>, String> {
        let n = self.left.len();
        let lengths = [self.right.len(), self.feature.len(), self.value.len(), self.default_left.len()];
        if n == 0 || lengths.iter().any(|&l| l != n) || self.count.parse() != Ok(n) {
            return Err(format!("arrays of {n} and {lengths:?} nodes, and num_nodes {:?}", self.count));
        }
        let alive = self.reached()?;
        let deleted = alive.iter().filter(|a| !**a).count();
        if self.deleted.parse() != Ok(deleted) {
            return Err(format!("{deleted} nodes that no path reaches, and num_deleted {:?}", self.deleted));
        }
        let (mut names, mut splits, mut leaves) = (vec![0_i32; n], 0_i32, 0_i32);
        for i in (0..n).filter(|&i| alive[i]) {
            if self.left[i] < 0 {
                names[i] = !leaves;
                leaves += 1;
            } else {
                names[i] = splits;
                splits += 1;
            }
        }
        let mut tree = Tree { splits: Vec::new(), leaves: Vec::new(), output };
        for i in (0..n).filter(|&i| alive[i]) {
            if self.left[i] < 0 {
                tree.leaves.push(self.value[i]);
                continue;
            }
            tree.splits.push(Split {
                feature: u32::try_from(self.feature[i])
                    .map_err(|_| format!("node {i}: feature {}", self.feature[i]))?,
                threshold: self.value[i],
                nan_left: self.default_left[i] != 0,
                left: names[self.left[i] as usize],
                right: names[self.right[i] as usize],
            });
        }
        Ok(tree)
    }

    /// Which nodes the root leads to; an error where two paths meet or lead outside.
    fn reached(&self) -> std::result::Result<Vec<bool>, String> {
        let mut alive = vec![false; self.left.len()];
        alive[0] = true;
        let mut todo = vec![0_usize];
        while let Some(i) = todo.pop() {
            let (left, right) = (self.left[i], self.right[i]);
            if left < 0 && right < 0 {
                continue;
            }
            for child in [left, right] {
                match usize::try_from(child).ok().and_then(|c| alive.get_mut(c)) {
                    None => return Err(format!("node {i} has the child {child}, which does not exist")),
                    Some(true) => return Err(format!("node {i} has the child {child}, which has a parent already")),
                    Some(new) => *new = true,
                }
                todo.push(child as usize);
            }
        }
        Ok(alive)
    }
}
