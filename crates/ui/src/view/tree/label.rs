//! The text of a tree's lines.

use crate::view::column::container_label;
use crate::view::tree::{Arranged, Entry, Frame, Kind, Line};
use crate::view::{Table, escape, text};

/// What colours a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Process,
    Ancestor,
    Container,
    Unit,
}

impl Arranged<'_> {
    /// Number of lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(crate) fn table(&self) -> &Table {
        &self.tree.table
    }

    pub(crate) fn line(&self, index: usize) -> Option<Line> {
        self.lines.get(index).copied()
    }

    /// The row of the table that stands beside a line.
    pub(crate) fn row(&self, line: Line) -> Option<usize> {
        ((line.item as usize) < self.tree.entries.len()).then_some(line.item as usize)
    }

    /// Appends the text of a line, escaped, without its place in the tree.
    pub(crate) fn label(&self, out: &mut Vec<u8>, line: Line) -> Tone {
        let item = line.item as usize;
        let tone = match self.tree.entries.get(item) {
            Some(entry) => self.process_label(out, entry),
            None => match self.frames.get(item - self.tree.entries.len()) {
                Some(frame) => self.frame_label(out, frame),
                None => Tone::Ancestor,
            },
        };
        if line.folded > 0 {
            out.extend_from_slice(format!(" [+{} below]", line.folded).as_bytes());
        }
        tone
    }

    fn process_label(&self, out: &mut Vec<u8>, entry: &Entry) -> Tone {
        let (start, end) = entry.name;
        let name = self.tree.names.get(start..end).unwrap_or_default();
        let home = self.tree.home_at(entry.home);
        out.push(b'[');
        out.extend_from_slice(itoa::Buffer::new().format(entry.id).as_bytes());
        out.extend_from_slice(if entry.thread { b"] {" } else { b"] " });
        escape::write(out, name);
        if entry.thread {
            out.push(b'}');
        }
        if !home.container_id.is_empty() {
            out.extend_from_slice(b" (");
            escape::write(out, &container_label(home.container, home.container_id, home.runtime));
            out.push(b')');
        }
        if entry.matched { Tone::Process } else { Tone::Ancestor }
    }

    fn frame_label(&self, out: &mut Vec<u8>, frame: &Frame) -> Tone {
        let home = self.tree.home_at(frame.home);
        let tone = match frame.kind {
            Kind::Pod => {
                out.extend_from_slice(b"pod ");
                if !home.namespace.is_empty() {
                    escape::write(out, home.namespace);
                    out.push(b'/');
                }
                escape::write(out, home.pod);
                Tone::Container
            }
            Kind::Container => {
                out.extend_from_slice(b"container ");
                escape::write(
                    out,
                    if home.container.is_empty() { home.container_id } else { home.container },
                );
                for text in [home.image, home.runtime].into_iter().filter(|text| !text.is_empty()) {
                    out.extend_from_slice(b", ");
                    escape::write(out, text);
                }
                Tone::Container
            }
            Kind::Unit => {
                out.extend_from_slice(b"unit ");
                escape::write(out, home.unit);
                Tone::Unit
            }
        };
        let plural = if frame.processes == 1 { "process" } else { "processes" };
        out.extend_from_slice(format!(": {} {plural}", frame.processes).as_bytes());
        if let Some(bytes) = frame.rss_bytes {
            out.extend_from_slice(b", ");
            text::write_size(out, bytes.into());
        }
        tone
    }
}
