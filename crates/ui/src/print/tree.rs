//! Trees for people: `├──`, `└──`, `│`, and the cells of columns to the left.

use crate::print::layout::Layout;
use crate::print::{Options, Palette, table};
use crate::view::tree::{Arranged, Line, Tone};
use crate::view::{Context, escape};

/// Levels whose lines are drawn; deeper ones begin with the number of levels left out.
const LEVELS: usize = 64;
/// Columns of the terminal a level takes.
const INDENT: usize = 4;
/// Columns of the terminal that cells leave to the tree.
const TREE: usize = 40;

/// Prints a tree piece by piece.
#[derive(Debug)]
pub struct TreePrinter<'a> {
    tree: &'a Arranged<'a>,
    context: &'a Context,
    options: &'a Options,
    layout: Layout,
    /// For each level above the next line, whether its line goes on.
    open: Vec<bool>,
    started: bool,
    next: usize,
}

impl<'a> TreePrinter<'a> {
    /// A printer of `tree`. The format of `options` does not matter: trees are for people.
    #[must_use]
    pub fn new(tree: &'a Arranged<'a>, context: &'a Context, options: &'a Options) -> Self {
        let reserved = options.width.map_or(0, |width| TREE.min(width / 2) + 2);
        let layout = match tree.table().columns() {
            [] => Layout::default(),
            _ => Layout::new(tree.table(), context, options, reserved),
        };
        Self { tree, context, options, layout, open: Vec::new(), started: false, next: 0 }
    }

    /// Appends at least `bytes` bytes, or all that is left; false when nothing is left after it.
    pub fn fill(&mut self, out: &mut Vec<u8>, bytes: usize) -> bool {
        let start = out.len();
        if !self.started {
            self.started = true;
            self.head(out);
        }
        while let Some(line) = self.tree.line(self.next) {
            if out.len() - start >= bytes {
                return true;
            }
            self.line(out, line);
            self.next += 1;
        }
        false
    }

    fn head(&self, out: &mut Vec<u8>) {
        if !self.options.header || self.layout.places.is_empty() {
            return;
        }
        let colour = self.options.palette.header;
        Palette::start(out, colour);
        let mut pen = table::titles(out, self.tree.table().columns(), &self.layout, self.options);
        pen.pending += self.layout.gap;
        pen.flush(out);
        out.extend_from_slice(b"PROCESS");
        self.options.palette.end(out, colour);
        out.push(b'\n');
    }

    fn line(&mut self, out: &mut Vec<u8>, line: Line) {
        let mut used = 0;
        if !self.layout.places.is_empty() {
            used = self.layout.total() + self.layout.gap;
            let mut pen = match self.tree.row(line) {
                Some(row) => {
                    table::cells(out, self.tree.table(), row, &self.layout, self.context, self.options, None)
                }
                None => table::Pen { pending: self.layout.total() },
            };
            pen.pending += self.layout.gap;
            pen.flush(out);
        }
        let room = self.options.width.map(|width| width.saturating_sub(used));
        let guides = self.guides(out, line, room);
        self.label(out, line, room.map(|room| room.saturating_sub(guides).max(INDENT)));
        out.push(b'\n');
    }

    /// Appends the lines that lead to this one; returns the columns they fill.
    fn guides(&mut self, out: &mut Vec<u8>, line: Line, room: Option<usize>) -> usize {
        let (bar, blank, branch, corner) = match self.options.ascii {
            false => ("│   ", "    ", "├── ", "└── "),
            true => ("|   ", "    ", "|-- ", "`-- "),
        };
        let depth = line.depth as usize;
        self.open.resize(depth.saturating_sub(1), false);
        let dim = if depth > 0 { self.options.palette.dim } else { "" };
        Palette::start(out, dim);
        // Half of the room for the lines, half for the text.
        let levels = room.map_or(LEVELS, |room| (room / 2 / INDENT).clamp(1, LEVELS));
        let left_out = depth.saturating_sub(levels);
        let mut width = INDENT * (depth - left_out);
        if left_out > 0 {
            let start = out.len();
            out.extend_from_slice(format!("({left_out}) ").as_bytes());
            width += out.len() - start;
        }
        for open in self.open.iter().skip(left_out) {
            out.extend_from_slice(if *open { bar } else { blank }.as_bytes());
        }
        if depth > 0 {
            out.extend_from_slice(if line.last { corner } else { branch }.as_bytes());
            self.open.push(!line.last);
        }
        self.options.palette.end(out, dim);
        width
    }

    fn label(&self, out: &mut Vec<u8>, line: Line, room: Option<usize>) {
        let mut text = Vec::new();
        let palette = &self.options.palette;
        let colour = match self.tree.label(&mut text, line) {
            Tone::Process => "",
            Tone::Ancestor => palette.dim,
            Tone::Container => palette.container,
            Tone::Unit => palette.unit,
        };
        Palette::start(out, colour);
        match room {
            // Escaped text stays as it is when it is escaped again.
            Some(room) => {
                escape::write_cut(out, &text, room, self.options.more(), false);
            }
            None => out.extend_from_slice(&text),
        }
        palette.end(out, colour);
    }
}

/// Prints all of `tree` at once.
pub fn print_tree(tree: &Arranged<'_>, context: &Context, options: &Options, out: &mut Vec<u8>) {
    TreePrinter::new(tree, context, options).fill(out, usize::MAX);
}
