//! Where in a rule file something stands: the chain of items from the file down, and the line.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::yaml::{Mark, Node};

/// Characters of a line that a snippet shows.
const SNIPPET: usize = 160;
/// Characters of a condition that stand for its name.
const NAME: usize = 20;

macro_rules! items {
    ($( $(#[$doc:meta])* $name:ident = $text:literal, )*) => {
        /// What an item of a rule file is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Item { $( $(#[$doc])* $name ),* }
        impl Item {
            /// Falco's word for it.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

items! {
    /// The value of a key.
    ValueFor = "value for",
    /// The exceptions of a rule.
    Exceptions = "exceptions",
    /// One of them.
    Exception = "exception",
    /// The values of an exception.
    ExceptionValues = "exception values",
    /// One of them.
    ExceptionValue = "exception value",
    /// A whole file.
    Content = "rules content",
    /// An item of a file that is not known yet.
    ContentItem = "rules content item",
    /// The engine that is required.
    EngineVersion = "required_engine_version",
    /// The plugins that are required.
    PluginVersions = "required plugin versions",
    /// One of them.
    PluginEntry = "required plugin versions entry",
    /// What may stand for it.
    PluginAlternative = "required plugin versions alternative",
    /// A list.
    List = "list",
    /// An item of a list.
    ListItem = "list item",
    /// A macro.
    Macro = "macro",
    /// A macro's condition.
    MacroCondition = "macro condition",
    /// A rule.
    Rule = "rule",
    /// A rule's condition.
    RuleCondition = "rule condition",
    /// A place in a condition.
    Expression = "condition expression",
    /// A rule's output.
    RuleOutput = "rule output",
    /// A place in an output.
    OutputExpression = "rule output expression",
    /// A rule's priority.
    RulePriority = "rule priority",
    /// What is overridden.
    Override = "overrides",
    /// nabe's own keys.
    Extension = "extension item",
}

/// A link of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// What it is.
    pub item: Item,
    /// Its name, if it has one.
    pub item_name: Arc<str>,
    /// The file, or the beginning of a condition.
    pub source: Arc<str>,
    /// Where it begins.
    pub at: Mark,
}

/// Where something stands: from the file to the innermost item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    links: Vec<Location>,
    /// The condition that the innermost place is of.
    text: Option<Arc<str>>,
    /// The offset within that condition.
    within: usize,
}

impl Place {
    /// A whole file.
    #[must_use]
    pub fn file(name: &str) -> Self {
        let link = Location {
            item: Item::Content,
            item_name: Arc::from(""),
            source: Arc::from(name),
            at: Mark::default(),
        };
        Self { links: vec![link], text: None, within: 0 }
    }

    /// An item of this one.
    #[must_use]
    pub fn within(&self, node: &Node, item: Item, name: &str) -> Self {
        self.at(node.at, item, name)
    }

    /// The same at a bare place.
    #[must_use]
    pub fn at(&self, at: Mark, item: Item, name: &str) -> Self {
        let source = self.links.first().map_or_else(|| Arc::from(""), |link| Arc::clone(&link.source));
        let mut links = self.links.clone();
        links.push(Location { item, item_name: Arc::from(name), source, at });
        Self { links, text: None, within: 0 }
    }

    /// A byte of a condition that stands here.
    #[must_use]
    pub fn expression(&self, condition: &str, offset: usize) -> Self {
        let offset = floor(condition, offset);
        let before = &condition[..offset];
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or("").chars().count();
        let last = self.links.last().map(|link| link.at).unwrap_or_default();
        let at = Mark {
            offset: last.offset + offset,
            line: last.line + 1 + line,
            column: last.column + 1 + column,
        };
        let mut name = if condition.len() > NAME {
            format!("\"{}...\"", &condition[..floor(condition, NAME - 3)])
        } else {
            format!("\"{condition}\"")
        };
        name = name.replace(['\n', '\r'], " ");
        let mut links = self.links.clone();
        links.push(Location {
            item: Item::Expression,
            item_name: Arc::from(""),
            source: Arc::from(name),
            at,
        });
        Self { links, text: Some(Arc::from(condition)), within: offset }
    }

    /// The links from the file inwards.
    #[must_use]
    pub fn links(&self) -> &[Location] {
        &self.links
    }

    /// The file.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.links.first().map_or("", |link| &link.source)
    }

    /// The innermost item that has a place in the file.
    #[must_use]
    pub fn innermost(&self) -> Option<&Location> {
        self.links.iter().rev().find(|link| link.item != Item::Expression)
    }

    /// As Falco prints it: a line per link.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (at, link) in self.links.iter().enumerate() {
            out.push_str(if at == 0 { "In " } else { "    " });
            out.push_str(link.item.word());
            if !link.item_name.is_empty() {
                out.push_str(&format!(" '{}'", link.item_name));
            }
            out.push_str(&format!(": ({}:{}:{})\n", link.source, link.at.line, link.at.column));
        }
        out
    }

    /// As Falco's JSON has it.
    #[must_use]
    pub fn json(&self) -> Value {
        let links: Vec<Value> = self
            .links
            .iter()
            .map(|link| {
                json!({
                    "item_type": link.item.word(),
                    "item_name": &*link.item_name,
                    "position": {
                        "name": &*link.source, "line": link.at.line,
                        "column": link.at.column, "offset": link.at.offset,
                    },
                })
            })
            .collect();
        json!({ "locations": links })
    }

    /// The line around the place and a mark under it. `content` is the file.
    #[must_use]
    pub fn snippet(&self, content: &str) -> String {
        let offset = self.links.last().map_or(0, |link| link.at.offset);
        match &self.text {
            Some(text) => snippet(text, self.within),
            None => snippet(content, offset),
        }
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn snippet(text: &str, offset: usize) -> String {
    const NOTHING: &str = "<No context available>\n";
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return NOTHING.to_owned();
    }
    let mut at = offset;
    while at > 0 && (at >= bytes.len() || bytes[at] == b'\n') {
        at = if at >= bytes.len() { bytes.len() - 1 } else { at - 1 };
    }
    let at = floor(text, at);
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
    if start == end {
        return NOTHING.to_owned();
    }
    let from = floor(text, start.max(at.saturating_sub(SNIPPET / 2)));
    let to = floor(text, end.min(at + SNIPPET / 2));
    let left = if from > start { "..." } else { "" };
    let right = if to < end { "..." } else { "" };
    let before = text[from..at].chars().count() + left.len();
    format!("{left}{}{right}\n{}^\n", &text[from..to], " ".repeat(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snippets_show_the_line() {
        assert_eq!(snippet("a\nbcd\ne", 3), "bcd\n ^\n");
        assert_eq!(snippet("a\nbcd\n", 99), "bcd\n  ^\n");
        assert_eq!(snippet("", 0), "<No context available>\n");
        let long = format!("{}é!{}", "x".repeat(500), "y".repeat(500));
        let shown = snippet(&long, 502);
        assert!(shown.starts_with("...x") && shown.contains("é!y") && shown.lines().count() == 2, "{shown}");
    }
}
