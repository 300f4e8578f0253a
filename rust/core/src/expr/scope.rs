//! What a name means inside one feature set.

use std::collections::HashMap;

use super::functions;
use super::names;
use crate::catalog::{Args, Indicator};
use crate::graph::Input;
use crate::indicators;

/// One output of an indicator with its parameters.
pub(super) type Column = (&'static Indicator, Args, usize);

/// What a bare name stands for.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// A column of the bars.
    Input(Input),
    /// A feature of the set that is an expression, by its entry.
    Custom(usize),
    /// A feature of the set that is an indicator's output.
    Column(&'static Indicator, Args, usize),
    /// An indicator with its defaults.
    Indicator(&'static Indicator),
    /// A column that comes with the bars under this name.
    Extra,
}

/// The names of the features of one set.
#[derive(Debug, Default)]
pub(super) struct Scope {
    customs: HashMap<String, usize>,
    columns: HashMap<String, Vec<Column>>,
}

impl Scope {
    /// Adds a named expression; false when the name is taken.
    pub(super) fn add_custom(&mut self, name: &str, entry: usize) -> bool {
        self.customs.insert(name.to_owned(), entry).is_none()
    }

    /// Adds an indicator's output under its bare and its parametrised name: both may be used in
    /// expressions, so that adding a feature to a set does not change what the others mean.
    pub(super) fn add_column(&mut self, column: &Column) {
        let (indicator, args, output) = column;
        let bare = indicator.outputs.get(*output).map_or(indicator.id, |o| o.column);
        let full = names::parametrised(indicator, args, *output);
        if full != bare {
            self.columns.entry(full).or_default().push(column.clone());
        }
        self.columns.entry(bare.to_owned()).or_default().push(column.clone());
    }

    /// The entry of a named expression.
    pub(super) fn custom(&self, name: &str) -> Option<usize> {
        self.customs.get(name).copied()
    }

    /// Final name of an indicator's output: bare where nothing else in the set has that name.
    pub(super) fn column_name(&self, column: &Column) -> String {
        let (indicator, args, output) = column;
        let bare = indicator.outputs.get(*output).map_or(indicator.id, |o| o.column);
        let alone = self.columns.get(bare).is_none_or(|c| c.len() == 1) && !self.customs.contains_key(bare);
        if alone { bare.to_owned() } else { names::parametrised(indicator, args, *output) }
    }

    /// What a bare name stands for, or why it stands for nothing.
    pub(super) fn resolve(&self, name: &str) -> Result<Target, String> {
        let input = match name {
            "open" => Some(Input::Open),
            "high" => Some(Input::High),
            "low" => Some(Input::Low),
            "close" => Some(Input::Close),
            "volume" => Some(Input::Volume),
            "true" | "false" => return Err(format!("{name} can only be the value of a parameter")),
            _ => None,
        };
        if let Some(input) = input {
            return Ok(Target::Input(input));
        }
        if let Some(entry) = self.custom(name) {
            return Ok(Target::Custom(entry));
        }
        match self.columns.get(name).map(Vec::as_slice) {
            Some([(indicator, args, output)]) => return Ok(Target::Column(indicator, args.clone(), *output)),
            Some([first, second, ..]) => {
                let text = |c: &Column| names::parametrised(c.0, &c.1, c.2);
                return Err(format!("{name} could be {} or {} here; write which", text(first), text(second)));
            }
            _ => {}
        }
        match indicators::find(name) {
            Some(indicator) => Ok(Target::Indicator(indicator)),
            None if functions::NAMES.contains(&name) => Err(format!("{name} is a function: it needs arguments")),
            None => Ok(Target::Extra),
        }
    }

    /// Why this name cannot be called.
    pub(super) fn not_callable(&self, name: &str) -> String {
        let short = names::shortened(name);
        if names::INPUTS.contains(&name) {
            format!("{short} is a column of the bars, not a function; {short} n bars ago is lag({short}, n)")
        } else if self.customs.contains_key(name) || self.columns.contains_key(name) {
            format!("{short} is a feature of this set, not a function: write it without brackets or dot")
        } else if let Some((indicator, output)) = names::output_with_column(name) {
            format!("{short} is an output: write {}", names::canonical(indicator, &indicator.defaults(), output))
        } else {
            format!("there is no function or indicator named {short}{}", names::suggest_callable(name))
        }
    }
}
