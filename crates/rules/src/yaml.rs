//! YAML as Falco's files have it: documents as trees whose nodes know where they stand.
//!
//! The parser is saphyr's; this module bounds what it makes (size, depth, nodes, what aliases come
//! to) and keeps what plain YAML would lose: the bare `!=` of `comps: [=, !=]`, which the standard
//! reads as a tag of nothing.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// Longest text that is read, in bytes.
pub const MAX_BYTES: usize = 32 << 20;
/// Nodes that one text may come to when its aliases are followed.
const MAX_NODES: usize = 4_000_000;
/// Nodes within nodes.
const MAX_DEPTH: usize = 64;

/// A place in a text: line and column count from 0, as Falco's do; the offset is in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Line, from 0.
    pub line: usize,
    /// Column in characters, from 0.
    pub column: usize,
    /// Offset in bytes.
    pub offset: usize,
}

/// A node of a document.
#[derive(Debug)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Where it begins.
    pub at: Mark,
    /// Nodes that it comes to with aliases followed.
    weight: usize,
}

/// What a node can be.
#[derive(Debug)]
pub enum Kind {
    /// Nothing: an empty plain scalar, `~` or `null`.
    Null,
    /// A text; `plain` when it stands without quotes and on its line.
    Scalar {
        /// Without quotes and escapes.
        text: String,
        /// Whether it stands without quotes.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Rc<Node>>),
    /// A mapping in the order of the text.
    Map(Vec<(Rc<Node>, Rc<Node>)>),
}

/// Why a text is no YAML that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct YamlError {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub at: Mark,
}

impl Node {
    /// The value of a key of a mapping: the first one, as in Falco.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Rc<Node>> {
        let Kind::Map(entries) = &self.kind else { return None };
        entries.iter().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
    }

    /// The text of a scalar.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The items of a sequence.
    #[must_use]
    pub fn items(&self) -> Option<&[Rc<Node>]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            _ => None,
        }
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }
}

/// A container that is not complete yet.
struct Open {
    list: bool,
    at: Mark,
    anchor: usize,
    items: Vec<Rc<Node>>,
    weight: usize,
}

struct Reader<'s> {
    source: &'s str,
    /// Lines of it that were moved to the right.
    shifted: &'s BTreeSet<usize>,
    /// The last place whose byte offset is known: characters, bytes.
    known: (usize, usize),
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    documents: Vec<Rc<Node>>,
    /// Where the last token ended, in bytes.
    last_end: usize,
    total: usize,
}

/// Reads all documents of a text.
///
/// # Errors
/// When the text is no YAML, or is larger than what is read.
pub fn read(source: &str) -> Result<Vec<Rc<Node>>, YamlError> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    if source.len() > MAX_BYTES {
        return Err(YamlError { message: format!("longer than {MAX_BYTES} bytes"), at: Mark::default() });
    }
    let mut shifted = Shifted { text: source.into(), lines: BTreeSet::new() };
    loop {
        let (error, line) = match read_strict(&shifted) {
            Ok(documents) => return Ok(documents),
            Err(error) => error,
        };
        if error.message != INDENTATION || shifted.lines.len() >= MAX_SHIFTED || !shifted.shift(line) {
            return Err(error);
        }
    }
}

/// What the parser says of a bracket that closes further left than its key stands, which Falco's
/// files have and Falco's parser takes.
const INDENTATION: &str = "invalid indentation";
/// Lines that are put right so.
const MAX_SHIFTED: usize = 200;
/// Blanks before a line that is put right.
const SHIFT: &str = "                                ";

/// A text of which some lines are moved to the right.
struct Shifted<'s> {
    text: std::borrow::Cow<'s, str>,
    /// Those lines, from 0.
    lines: BTreeSet<usize>,
}

impl Shifted<'_> {
    /// Moves a line to the right; false when that was done before.
    fn shift(&mut self, line: usize) -> bool {
        let start = match line {
            0 => Some(0),
            line => self.text.match_indices('\n').nth(line - 1).map(|(at, _)| at + 1),
        };
        let Some(start) = start.filter(|_| self.lines.insert(line)) else { return false };
        self.text.to_mut().insert_str(start, SHIFT);
        true
    }
}

/// Reads a text as the parser has it; an error comes with the line of the text, from 0.
fn read_strict(shifted: &Shifted<'_>) -> Result<Vec<Rc<Node>>, (YamlError, usize)> {
    let mut reader = Reader {
        source: &shifted.text,
        shifted: &shifted.lines,
        known: (0, 0),
        open: Vec::new(),
        anchors: HashMap::new(),
        documents: Vec::new(),
        last_end: 0,
        total: 0,
    };
    for event in Parser::new_from_str(&shifted.text) {
        let (event, span) = event.map_err(|error| {
            let marker = error.marker();
            let at = reader.mark(marker.index(), marker.line(), marker.col());
            (YamlError { message: error.info().to_owned(), at }, marker.line().saturating_sub(1))
        })?;
        reader.event(event, span).map_err(|error| (error, usize::MAX))?;
    }
    Ok(reader.documents)
}

impl Reader<'_> {
    /// A place, with its offset in bytes. Places come in order but for a few.
    fn mark(&mut self, index: usize, line: usize, column: usize) -> Mark {
        if index < self.known.0 {
            self.known = (0, 0);
        }
        let (chars, bytes) = self.known;
        let rest = self.source.get(bytes..).unwrap_or("");
        let skipped = rest.char_indices().nth(index - chars).map_or(rest.len(), |(at, _)| at);
        self.known = (index, bytes + skipped);
        self.unshifted(Mark { line: line.saturating_sub(1), column, offset: bytes + skipped })
    }

    /// The place in the text as it was given.
    fn unshifted(&self, at: Mark) -> Mark {
        let before = self.shifted.range(..at.line).count();
        let here = if self.shifted.contains(&at.line) { at.column.min(SHIFT.len()) } else { 0 };
        Mark { line: at.line, column: at.column - here, offset: at.offset - before * SHIFT.len() - here }
    }

    /// The place in the text as it is read.
    fn shifted_offset(&self, at: Mark) -> usize {
        at.offset + self.shifted.range(..=at.line).count() * SHIFT.len()
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), YamlError> {
        let at = self.mark(span.start.index(), span.start.line(), span.start.col());
        match event {
            Event::SequenceStart(anchor, _) => self.begin(true, anchor, at)?,
            Event::MappingStart(anchor, _) => self.begin(false, anchor, at)?,
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let anchor = open.anchor;
                    let node = open.close();
                    self.add(node, anchor)?;
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let at = self.header(style, at);
                let plain = style == ScalarStyle::Plain;
                let kind = match tag {
                    // Falco's operators: `!=` reads as the tag `!=` of an empty scalar.
                    Some(tag) if plain && text.is_empty() && tag.handle == "!" => {
                        Kind::Scalar { text: format!("!{}", tag.suffix), plain: false }
                    }
                    None if plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") => Kind::Null,
                    _ => Kind::Scalar { text: text.into_owned(), plain },
                };
                self.add(Node { kind, at, weight: 1 }, anchor)?;
                let end = self.mark(span.end.index(), span.end.line(), span.end.col());
                self.last_end = self.shifted_offset(end);
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(YamlError { message: "an alias leads into itself".to_owned(), at });
                };
                self.push(node, at)?;
            }
            Event::DocumentStart(_) => {
                self.anchors.clear();
                self.total = 0;
            }
            _ => {}
        }
        Ok(())
    }

    /// Block scalars begin at their `>` or `|`, which stands between the last token and the text.
    fn header(&self, style: ScalarStyle, at: Mark) -> Mark {
        if !matches!(style, ScalarStyle::Folded | ScalarStyle::Literal) {
            return at;
        }
        let end = self.shifted_offset(at);
        let between = self.source.get(self.last_end..end).unwrap_or("");
        let Some(found) = between.find(['>', '|']) else { return at };
        let offset = self.last_end + found;
        let line_start = self.source[..offset].rfind('\n').map_or(0, |end| end + 1);
        let below = self.source[offset..end].matches('\n').count();
        let column = self.source[line_start..offset].chars().count();
        let line = at.line.saturating_sub(below);
        let before = self.shifted.range(..=line).count() * SHIFT.len();
        Mark { line, column, offset: offset.saturating_sub(before) }
    }

    fn begin(&mut self, list: bool, anchor: usize, at: Mark) -> Result<(), YamlError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(YamlError { message: format!("nested more than {MAX_DEPTH} levels deep"), at });
        }
        self.open.push(Open { list, at, anchor, items: Vec::new(), weight: 1 });
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), YamlError> {
        let at = node.at;
        let node = Rc::new(node);
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.push(node, at)
    }

    fn push(&mut self, node: Rc<Node>, at: Mark) -> Result<(), YamlError> {
        self.total = self.total.saturating_add(1);
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        open.weight = open.weight.saturating_add(node.weight);
        if open.weight.max(self.total) > MAX_NODES {
            let message = format!("comes to more than {MAX_NODES} nodes when aliases are followed");
            return Err(YamlError { message, at });
        }
        open.items.push(node);
        Ok(())
    }
}

impl Open {
    fn close(self) -> Node {
        let kind = if self.list {
            Kind::List(self.items)
        } else {
            let mut entries = Vec::with_capacity(self.items.len() / 2);
            let mut items = self.items.into_iter();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                entries.push((key, value));
            }
            Kind::Map(entries)
        };
        Node { kind, at: self.at, weight: self.weight }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falcos_operators_and_places() {
        let documents = read("- comps: [=, !=]\n  é: >\n    a\n    b\n---\n- x: &a [1]\n  y: *a\n").unwrap();
        assert_eq!(documents.len(), 2);
        let item = &documents[0].items().unwrap()[0];
        let comps: Vec<_> =
            item.get("comps").unwrap().items().unwrap().iter().map(|n| n.text().unwrap()).collect();
        assert_eq!(comps, ["=", "!="]);
        let folded = item.get("é").unwrap();
        assert_eq!(folded.text(), Some("a b\n"));
        assert_eq!(folded.at, Mark { line: 1, column: 5, offset: 23 });
        let item = &documents[1].items().unwrap()[0];
        assert_eq!(item.get("y").unwrap().items().unwrap()[0].text(), Some("1"));
    }

    #[test]
    fn brackets_may_close_further_left() {
        let text = "- a:\n    b: [\n      x,\n  y\n  ]\n  c: >\n   d\n- e: [\n1\n]\n  f: g\n";
        let documents = read(text).unwrap();
        let [one, two] = documents[0].items().unwrap() else { panic!("{documents:?}") };
        assert_eq!(one.get("a").unwrap().get("b").unwrap().items().unwrap().len(), 2);
        let folded = one.get("c").unwrap();
        assert_eq!(
            (folded.at.line, folded.at.column, &text[folded.at.offset..=folded.at.offset]),
            (5, 5, ">")
        );
        let last = two.get("f").unwrap();
        assert_eq!((last.at.line, last.at.column, &text[last.at.offset..]), (10, 5, "g\n"));
    }

    #[test]
    fn bombs_depth_and_rubbish_are_refused() {
        let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (one, next) in ('a'..'j').zip('b'..='j') {
            bomb.push_str(&format!("{next}: &{next} [{}]\n", vec![format!("*{one}"); 9].join(",")));
        }
        assert!(read(&bomb).unwrap_err().message.contains("aliases"));
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(read("a: &a [*a]").is_err());
        let error = read("- a: b\n  c: [\n").unwrap_err();
        assert!(error.at.line >= 1, "{error:?}");
        for rubbish in ["\0", "%YAML 9", "{a", "\"", "- - - : :", "&", "!<", "? ? ?"] {
            let _ = read(rubbish);
        }
    }

    #[test]
    fn long_lists_are_read() {
        let text = format!(
            "- list: l\n  items: [{}]\n",
            (0..100_000).map(|n| format!("i{n}")).collect::<Vec<_>>().join(", ")
        );
        let documents = read(&text).unwrap();
        assert_eq!(documents[0].items().unwrap()[0].get("items").unwrap().items().unwrap().len(), 100_000);
    }
}
