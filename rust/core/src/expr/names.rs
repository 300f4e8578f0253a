//! Names and canonical text of features, and suggestions for names that do not exist.

use crate::catalog::{Args, Indicator, Kind, Param, Value};
use crate::indicators;

/// Columns of the bars.
pub(super) const INPUTS: [&str; 5] = ["open", "high", "low", "close", "volume"];

/// A number as the canonical text writes it: the shortest text that reads back to the same bits.
pub(super) fn number(x: f64) -> String {
    let size = x.abs();
    if size == 0.0 || (1e-5..1e16).contains(&size) { format!("{x}") } else { format!("{x:e}") }
}

/// True for a parameter that is written with its name: switches, words, and 0/1 numbers such as `ddof`.
fn by_keyword(p: &Param) -> bool {
    matches!(p.kind, Kind::Bool | Kind::Word(_) | Kind::Int(0, 1))
}

/// `bb(20,2,ddof=0).pct`: every default filled in, the output only where there are several.
pub(super) fn canonical(indicator: &Indicator, args: &Args, output: usize) -> String {
    let mut named = false;
    let parts: Vec<String> = indicator
        .params
        .iter()
        .zip(&args.0)
        .map(|(p, v)| {
            named |= by_keyword(p);
            let text = match v {
                Value::Float(x) => number(*x),
                other => other.to_string(),
            };
            if named { format!("{}={text}", p.name) } else { text }
        })
        .collect();
    let dot = match indicator.outputs.get(output) {
        Some(o) if indicator.outputs.len() > 1 => format!(".{}", o.name),
        _ => String::new(),
    };
    format!("{}({}){dot}", indicator.id, parts.join(","))
}

/// Column name with parameters: `bb_upper_20_2p5`, `atr_14_tr0`.
pub(super) fn parametrised(indicator: &Indicator, args: &Args, output: usize) -> String {
    let column = indicator.outputs.get(output).map_or(indicator.id, |o| o.column);
    let mut parts = vec![column.to_owned()];
    for (p, v) in indicator.params.iter().zip(&args.0) {
        if by_keyword(p) && *v == p.default {
            continue;
        }
        parts.push(match v {
            Value::Bool(true) => p.name.to_owned(),
            Value::Bool(false) => format!("no_{}", p.name),
            Value::Word(w) => (*w).to_owned(),
            Value::Int(n) if by_keyword(p) => format!("{}{n}", p.name),
            Value::Int(n) => n.to_string(),
            Value::Float(x) => number(*x),
        });
    }
    let name = parts.join("_");
    name.chars()
        .map(|c| match c.to_ascii_lowercase() {
            '-' => 'm',
            '.' => 'p',
            c if c.is_ascii_alphanumeric() => c,
            _ => '_',
        })
        .collect()
}

/// The indicator output with this bare column name.
pub(super) fn output_with_column(column: &str) -> Option<(&'static Indicator, usize)> {
    indicators::all().find_map(|i| Some((i, i.outputs.iter().position(|o| o.column == column)?)))
}

/// True for a name that means something in the language by itself.
pub(super) fn is_reserved(name: &str) -> bool {
    INPUTS.contains(&name)
        || super::functions::NAMES.contains(&name)
        || indicators::find(name).is_some()
        || matches!(name, "true" | "false")
}

/// The start of a name that may be very long, for messages.
pub(super) fn shortened(name: &str) -> String {
    match name.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    }
}

/// "; did you mean ...?" for the nearest of the candidates, or nothing when none is near.
pub(super) fn suggestion<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    let lower = name.to_ascii_lowercase();
    // One slip in a short name, two in a longer one; more would be another name.
    let allowed = if lower.len() <= 4 { 1 } else { 2 };
    candidates
        .filter(|c| lower.len().abs_diff(c.len()) <= allowed)
        .map(|c| (distance(lower.as_bytes(), c.as_bytes()), c))
        .filter(|(d, _)| *d <= allowed)
        .min()
        .map_or_else(String::new, |(_, c)| format!("; did you mean {c}?"))
}

/// [`suggestion`] among everything that can be called.
pub(super) fn suggest_callable(name: &str) -> String {
    let known = super::functions::NAMES.iter().copied().chain(INPUTS);
    suggestion(name, known.chain(indicators::all().map(|i| i.id)))
}

/// Edits between two names: insert, delete, replace, or swap two neighbours.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back() {
        for (x, text) in [(2.0, "2"), (2.5, "2.5"), (1e-3, "0.001"), (1e-30, "1e-30"), (1e300, "1e300"), (-0.5, "-0.5")]
        {
            assert_eq!(number(x), text);
            assert_eq!(text.parse::<f64>(), Ok(x));
        }
    }

    #[test]
    fn edits() {
        for (a, b, n) in
            [("", "ab", 2), ("rsi", "rsi", 0), ("rsi", "ris", 1), ("men", "mean", 1), ("clsoe", "close", 1)]
        {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), n, "{a} {b}");
        }
        assert_eq!(suggest_callable("RIS"), "; did you mean rsi?");
        assert_eq!(suggest_callable("no_such_thing"), "");
    }
}
