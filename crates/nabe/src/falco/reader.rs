//! Values of falco.yaml with their types.

use std::path::PathBuf;
use std::time::Duration;

use super::tree::{Tree, Value};
use crate::error::{CliError, Result};

/// Reads values with their types; an error names the file, the line and the key.
pub struct Reader<'a>(&'a Tree);

impl<'a> Reader<'a> {
    /// Of a part of the tree.
    pub fn of(tree: &'a Tree) -> Self {
        Self(tree)
    }

    /// What stands there.
    pub fn at(&self, path: &str) -> Option<&'a Tree> {
        self.0.at(path)
    }

    /// The error of a value that cannot be.
    pub fn wrong(&self, path: &str, expected: &str) -> CliError {
        let found = self.0.at(path);
        let place = found.map(|tree| tree.origin.to_string()).unwrap_or_default();
        let shown = match found.map(|tree| &tree.value) {
            Some(Value::Text(text)) => format!(", found `{text}`"),
            Some(Value::List(_)) => ", found a list".to_owned(),
            Some(Value::Map(_)) => ", found keys".to_owned(),
            _ => String::new(),
        };
        CliError::failed(format_args!("{place}: {path}: {expected}{shown}"))
    }

    /// A text; `None` when there is nothing.
    pub fn text(&self, path: &str) -> Result<Option<String>> {
        match self.0.at(path).map(|tree| &tree.value) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.wrong(path, "expected a text")),
        }
    }

    /// A text that is not empty.
    pub fn filled(&self, path: &str) -> Result<Option<String>> {
        Ok(self.text(path)?.filter(|text| !text.is_empty()))
    }

    /// True or false, in any of YAML 1.1's words.
    pub fn flag(&self, path: &str, default: bool) -> Result<bool> {
        match self.text(path)?.map(|text| text.to_ascii_lowercase()).as_deref() {
            None => Ok(default),
            Some("true" | "yes" | "on" | "y" | "1") => Ok(true),
            Some("false" | "no" | "off" | "n" | "0") => Ok(false),
            Some(_) => Err(self.wrong(path, "expected true or false")),
        }
    }

    /// A whole number.
    pub fn number(&self, path: &str, default: u64) -> Result<u64> {
        match self.text(path)? {
            None => Ok(default),
            Some(text) => text.trim().parse().map_err(|_| self.wrong(path, "expected a whole number")),
        }
    }

    /// A number with a fraction.
    pub fn double(&self, path: &str, default: f64) -> Result<f64> {
        match self.text(path)? {
            None => Ok(default),
            Some(text) => text
                .trim()
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite())
                .ok_or_else(|| self.wrong(path, "expected a number")),
        }
    }

    /// Texts: a list, or one that stands alone.
    pub fn texts(&self, path: &str) -> Result<Vec<String>> {
        let Some(tree) = self.0.at(path) else { return Ok(Vec::new()) };
        match &tree.value {
            Value::Null => Ok(Vec::new()),
            Value::Text(text) => Ok(vec![text.clone()]),
            Value::List(items) => items
                .iter()
                .map(|item| match &item.value {
                    Value::Text(text) => Ok(text.clone()),
                    _ => Err(self.wrong(path, "expected a list of texts")),
                })
                .collect(),
            Value::Map(_) => Err(self.wrong(path, "expected a list of texts")),
        }
    }

    /// Keys with texts behind them, in the order of the file.
    pub fn pairs(&self, path: &str) -> Result<Vec<(String, String)>> {
        let entries = match self.0.at(path).map(|tree| &tree.value) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Map(entries)) => entries,
            Some(_) => return Err(self.wrong(path, "expected keys")),
        };
        let pair = |(key, value): &(String, Tree)| match &value.value {
            Value::Text(text) => Ok((key.clone(), text.clone())),
            _ => Err(self.wrong(&format!("{path}.{key}"), "expected a text")),
        };
        entries.iter().map(pair).collect()
    }

    /// Texts that are paths.
    pub fn paths(&self, path: &str) -> Result<Vec<PathBuf>> {
        Ok(self.texts(path)?.into_iter().map(PathBuf::from).collect())
    }

    /// Seconds, or a number with a unit: `500ms`, `30s`, `1h30m`.
    pub fn span(&self, path: &str, default: Duration) -> Result<Duration> {
        let Some(text) = self.filled(path)? else { return Ok(default) };
        span(&text).ok_or_else(|| self.wrong(path, "expected a time such as 30s, 5m or 1h"))
    }
}

fn span(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?.trim_start();
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let ms = match rest.get(..unit)?.trim() {
            "ms" | "" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        rest = rest.get(unit..)?;
        sum = sum.checked_add(Duration::from_millis(number.checked_mul(ms)?))?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        for (text, ms) in [
            ("500ms", Some(500)),
            ("1h30m", Some(5_400_000)),
            ("15", Some(15)),
            ("5 s", Some(5000)),
            ("x", None),
            ("5y", None),
        ] {
            assert_eq!(span(text), ms.map(Duration::from_millis), "{text}");
        }
    }
}
