//! falco.yaml as a tree: read, merged with further files, overridden from the command line, with
//! `${VARIABLES}` filled in; every value knows where it stands.

use std::path::Path;
use std::rc::Rc;

use nabe_rules::yaml::{self, Kind, Node};

use crate::error::{CliError, Result};

/// Where a value stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The file, or `-o` for the command line.
    pub file: Rc<str>,
    /// Line and column, from 1; 0 for the command line.
    pub line: usize,
    pub column: usize,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line == 0 {
            return f.write_str(&self.file);
        }
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    pub value: Value,
    pub origin: Origin,
}

/// What a value can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

impl Tree {
    /// An empty mapping.
    pub fn empty() -> Self {
        Self { value: Value::Map(Vec::new()), origin: Origin::default() }
    }

    /// Reads a file; a text of nothing is an empty mapping.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| CliError::failed(format_args!("cannot read {name}")).because(&error))?;
        Self::read(&text, &name)
    }

    /// Reads a text, called `name` in messages.
    pub fn read(text: &str, name: &str) -> Result<Self> {
        let file: Rc<str> = name.into();
        let documents = yaml::read(text).map_err(|error| {
            let (line, column) = (error.at.line + 1, error.at.column + 1);
            CliError::failed(format_args!("{name}:{line}:{column}: {}", error.message))
        })?;
        let Some(document) = documents.first().filter(|document| !document.is_null()) else {
            return Ok(Self::empty());
        };
        let tree = Self::of(document, &file);
        match tree.value {
            Value::Map(_) => Ok(tree),
            _ => Err(CliError::failed(format_args!("{}: expected a mapping of keys", tree.origin))),
        }
    }

    fn of(node: &Node, file: &Rc<str>) -> Self {
        let value = match &node.kind {
            Kind::Null => Value::Null,
            Kind::Scalar { text, .. } => Value::Text(expand(text)),
            Kind::List(items) => Value::List(items.iter().map(|item| Self::of(item, file)).collect()),
            Kind::Map(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(key, value)| (key.text().unwrap_or_default().to_owned(), Self::of(value, file)))
                    .collect(),
            ),
        };
        let origin = Origin { file: Rc::clone(file), line: node.at.line + 1, column: node.at.column + 1 };
        Self { value, origin }
    }

    /// The value behind `a.b.c`.
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |tree, key| match &tree.value {
            Value::Map(entries) => entries.iter().rfind(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        })
    }

    /// The items of a list.
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Takes the keys of another file in.
    pub fn merge(&mut self, other: Self, strategy: Strategy) {
        let (Value::Map(own), Value::Map(others)) = (&mut self.value, other.value) else { return };
        for (key, value) in others {
            let Some((_, known)) = own.iter_mut().find(|(name, _)| *name == key) else {
                own.push((key, value));
                continue;
            };
            match (strategy, &mut known.value, value) {
                (Strategy::AddOnly, ..) => {}
                (Strategy::Append, Value::List(items), Self { value: Value::List(more), .. }) => {
                    items.extend(more);
                }
                (_, _, value) => *known = value,
            }
        }
    }

    /// Sets what `a.b[0].c=value` says. `[]` adds to a list.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let wrong = |why: &str| {
            CliError::usage(format_args!("-o {assignment}: {why}"))
                .hint("it has the form key=value, with dots and [indexes] in the key")
        };
        let (steps, text) = steps_of(assignment).map_err(wrong)?;
        let origin = Origin { file: "-o".into(), ..Origin::default() };
        let parsed = yaml::read(text).ok().and_then(|documents| documents.into_iter().next());
        let mut value = match parsed {
            // What looks like a collection is one; everything else is a text.
            Some(node)
                if matches!(node.kind, Kind::List(_) | Kind::Map(_)) && text.starts_with(['[', '{']) =>
            {
                Self::of(&node, &origin.file)
            }
            _ => Self { value: Value::Text(expand(text.trim_matches('"'))), origin: origin.clone() },
        };
        value.origin = origin.clone();
        let mut at = self;
        for step in &steps {
            at = at
                .step(step, &origin)
                .ok_or_else(|| wrong("the key leads into something that has no keys"))?;
        }
        *at = value;
        Ok(())
    }

    /// The place that a step leads to, made when it is not there.
    fn step(&mut self, step: &Step, origin: &Origin) -> Option<&mut Self> {
        let new = || Self { value: Value::Null, origin: origin.clone() };
        match step {
            Step::Key(key) => {
                if matches!(self.value, Value::Null) {
                    self.value = Value::Map(Vec::new());
                }
                let Value::Map(entries) = &mut self.value else { return None };
                if !entries.iter().any(|(name, _)| name == key) {
                    entries.push((key.clone(), new()));
                }
                entries.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value)
            }
            Step::Index(index) => {
                if matches!(self.value, Value::Null) {
                    self.value = Value::List(Vec::new());
                }
                let Value::List(items) = &mut self.value else { return None };
                let index = index.unwrap_or(items.len());
                // A list is lengthened by one at most: it has no gaps.
                if index == items.len() {
                    items.push(new());
                }
                items.get_mut(index)
            }
        }
    }
}

/// How a further file joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Lists are appended to, everything else is replaced.
    Append,
    /// Everything is replaced.
    Override,
    /// Only keys that are not there yet.
    AddOnly,
}

enum Step {
    Key(String),
    /// `None` is behind the last.
    Index(Option<usize>),
}

/// The steps of a key and the value behind its `=`.
fn steps_of(assignment: &str) -> std::result::Result<(Vec<Step>, &str), &'static str> {
    let mut steps = Vec::new();
    let mut key = String::new();
    let mut chars = assignment.char_indices();
    let push = |steps: &mut Vec<Step>, key: &mut String| {
        if !key.is_empty() {
            steps.push(Step::Key(std::mem::take(key)));
        }
    };
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => key.extend(chars.next().map(|(_, c)| c)),
            '.' => push(&mut steps, &mut key),
            '[' => {
                push(&mut steps, &mut key);
                let rest = assignment.get(at + 1..).unwrap_or_default();
                let (index, _) = rest.split_once(']').ok_or("a bracket is not closed")?;
                let index = match index {
                    "" => None,
                    number => Some(number.parse().map_err(|_| "an index is no number")?),
                };
                steps.push(Step::Index(index));
                for (_, c) in chars.by_ref() {
                    if c == ']' {
                        break;
                    }
                }
            }
            '=' => {
                push(&mut steps, &mut key);
                if steps.is_empty() {
                    return Err("the key is missing");
                }
                return Ok((steps, assignment.get(at + 1..).unwrap_or_default()));
            }
            c => key.push(c),
        }
    }
    Err("the value is missing")
}

/// Fills in `${VARIABLE}`; `$${VARIABLE}` stays as `${VARIABLE}`.
fn expand(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = rest.split_at(at);
        let Some((name, behind)) = after[2..].split_once('}') else { break };
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str(&after[..name.len() + 3]);
        } else {
            out.push_str(before);
            out.push_str(&std::env::var(name).unwrap_or_default());
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Tree {
        Tree::read(text, "f").unwrap()
    }

    fn text(tree: &Tree, path: &str) -> String {
        match tree.at(path).map(|tree| &tree.value) {
            Some(Value::Text(text)) => text.clone(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn keys_are_set_from_the_command_line() {
        let mut tree = read("a:\n  b: 1\n  l: [x]\n");
        for (assignment, path, expected) in [
            ("a.b=2", "a.b", "2"),
            ("a.c.d=true", "a.c.d", "true"),
            (r"a\.b=3", r"a.b", "2"),
            ("url=http://h:1/?a=b", "url", "http://h:1/?a=b"),
            ("empty=", "empty", ""),
        ] {
            tree.set(assignment).unwrap();
            assert_eq!(text(&tree, path), expected, "{assignment}");
        }
        tree.set("a.l[0]=y").unwrap();
        tree.set("a.l[]=z").unwrap();
        tree.set("rules[].disable.tag=t").unwrap();
        assert_eq!(tree.at("a.l").unwrap().items().len(), 2);
        assert_eq!(text(&tree.at("rules").unwrap().items()[0], "disable.tag"), "t");
        tree.set("m={k: [1, 2]}").unwrap();
        assert_eq!(tree.at("m.k").unwrap().items().len(), 2);
        for wrong in ["novalue", "=x", "a[x]=1", "a[=1", "a.b.c=1", "a.l[9]=1"] {
            assert!(tree.set(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn files_join_by_strategy() {
        let other = || read("l: [b]\nk: new\nn: 1\n");
        for (strategy, items, k) in
            [(Strategy::Append, 2, "new"), (Strategy::Override, 1, "new"), (Strategy::AddOnly, 1, "old")]
        {
            let mut tree = read("l: [a]\nk: old\n");
            tree.merge(other(), strategy);
            assert_eq!((tree.at("l").unwrap().items().len(), text(&tree, "k")), (items, k.into()));
            assert_eq!(text(&tree, "n"), "1");
        }
    }

    #[test]
    fn variables_are_filled_in() {
        // The home directory is there for every test.
        let home = std::env::var("PATH").unwrap();
        assert_eq!(expand("a${PATH}b"), format!("a{home}b"));
        assert_eq!(expand("$${PATH}"), "${PATH}");
        assert_eq!(expand("${NABE_NOT_SET_ANYWHERE}x"), "x");
        assert_eq!(expand("${open"), "${open");
    }

    #[test]
    fn rubbish_is_placed() {
        let error = Tree::read("a: [", "f.yaml").unwrap_err();
        assert!(error.to_string().starts_with("f.yaml:"), "{error}");
        assert!(Tree::read("- a", "f").is_err());
        assert_eq!(read(""), Tree::empty());
    }
}
