//! Aligned rows for people.

use crate::print::layout::{AROUND, Layout, Place};
use crate::print::{Options, Palette};
use crate::view::column::Column;
use crate::view::diff::Change;
use crate::view::{Cell, Context, Table, escape, text};

/// Appends the titles, with `before` in front.
pub(crate) fn header(
    out: &mut Vec<u8>,
    columns: &[Column],
    layout: &Layout,
    options: &Options,
    before: &str,
) {
    let colour = options.palette.header;
    Palette::start(out, colour);
    out.extend_from_slice(before.as_bytes());
    titles(out, columns, layout, options);
    options.palette.end(out, colour);
    out.push(b'\n');
}

/// Appends the titles alone, with the spaces due after them in the pen.
pub(crate) fn titles(out: &mut Vec<u8>, columns: &[Column], layout: &Layout, options: &Options) -> Pen {
    let mut pen = Pen::default();
    for (index, (column, place)) in columns.iter().zip(&layout.places).enumerate() {
        if place.joined {
            joined_title(out, &mut pen, column, options);
            continue;
        }
        pen.space(layout, index);
        pen.cell(out, place, "", "", |out| {
            escape::write_cut(out, column.title.as_bytes(), place.width, options.more(), false)
        });
    }
    pen
}

/// Appends the title of a container behind the title before it, if there is room.
fn joined_title(out: &mut Vec<u8>, pen: &mut Pen, column: &Column, options: &Options) {
    if let Some(room) = pen.pending.checked_sub(1).filter(|room| *room > 0) {
        out.push(b' ');
        pen.pending = room - escape::write_cut(out, column.title.as_bytes(), room, options.more(), false);
    }
}

/// Appends a row and a line break.
pub(crate) fn row(
    out: &mut Vec<u8>,
    table: &Table,
    position: usize,
    layout: &Layout,
    context: &Context,
    options: &Options,
    change: Option<Change>,
) {
    let palette = &options.palette;
    let colour = change.map_or("", |change| palette.change(change));
    if let Some(change) = change {
        Palette::start(out, colour);
        out.extend_from_slice(&[change.mark(), b' ']);
        palette.end(out, colour);
    }
    cells(out, table, position, layout, context, options, change);
    out.push(b'\n');
}

/// Appends the cells of a row; cells to the left are not filled up at the end.
pub(crate) fn cells(
    out: &mut Vec<u8>,
    table: &Table,
    position: usize,
    layout: &Layout,
    context: &Context,
    options: &Options,
    change: Option<Change>,
) -> Pen {
    let palette = &options.palette;
    let columns = table.columns();
    let mut pen = Pen::default();
    let suffix = Suffix::new(table, position, layout);
    for (index, ((cell, column), place)) in table.cells(position).zip(columns).zip(&layout.places).enumerate()
    {
        let own = match change {
            Some(Change::New | Change::Gone) => change.map_or("", |change| palette.change(change)),
            Some(Change::Changed(cells)) if cells & (1 << index.min(63)) != 0 => palette.changed,
            _ => palette.column(column),
        };
        if place.joined {
            if let Some(suffix) = &suffix {
                suffix.write(out, &mut pen, &cell, own, options);
            }
            continue;
        }
        pen.space(layout, index);
        if let Cell::Uint(number) = cell
            && place.right
            && own.is_empty()
            && text::is_bare(column)
        {
            pen.digits(out, place, number);
            continue;
        }
        let room = match suffix.as_ref().filter(|suffix| suffix.behind == index) {
            Some(suffix) => suffix.text.unwrap_or(place.width),
            None => place.width,
        };
        pen.cell(out, place, own, palette.reset, |out| match place.cut {
            true => text::write_cut(out, &cell, column, context, room, options.more()),
            false => whole(out, &cell, column, context, options),
        });
    }
    pen
}

fn whole(out: &mut Vec<u8>, cell: &Cell<'_>, column: &Column, context: &Context, options: &Options) -> usize {
    let width = text::write(out, cell, column, context);
    if !matches!(cell, Cell::Cut(_)) {
        return width;
    }
    out.extend_from_slice(options.more().as_bytes());
    width + 1
}

/// The container in parentheses behind the text of the column before it, in the same place.
struct Suffix {
    /// The column it stands behind.
    behind: usize,
    /// Columns of the terminal for both; what the text may have of them, when there is too little.
    room: usize,
    text: Option<usize>,
}

/// What the text before a container keeps at the worst.
const LEAST_TEXT: usize = 8;

impl Suffix {
    fn new(table: &Table, position: usize, layout: &Layout) -> Option<Self> {
        let behind = layout.places.iter().position(|place| place.joined)?.checked_sub(1)?;
        let place = layout.places.get(behind)?;
        let (Cell::Text(label) | Cell::Cut(label)) = table.cells(position).nth(behind + 1)? else {
            return None;
        };
        let width = escape::width(label) + AROUND;
        let room = place.width;
        let text = place.cut.then(|| room.saturating_sub(width).max(LEAST_TEXT.min(room)));
        Some(Self { behind, room, text }).filter(|_| !label.is_empty())
    }

    fn write(
        &self,
        out: &mut Vec<u8>,
        pen: &mut Pen,
        cell: &Cell<'_>,
        colour: &'static str,
        options: &Options,
    ) {
        let (Cell::Text(label) | Cell::Cut(label)) = cell else { return };
        // Directly behind the text, not behind its padding.
        let used = self.room.saturating_sub(pen.pending);
        let room = match self.text {
            Some(_) => self.room.saturating_sub(used + AROUND),
            None => usize::MAX,
        };
        if room == 0 {
            return;
        }
        out.push(b' ');
        Palette::start(out, colour);
        out.push(b'(');
        let width = escape::write_cut(out, label, room, options.more(), false);
        out.push(b')');
        options.palette.end(out, colour);
        pen.pending = self.room.saturating_sub(used + AROUND + width);
    }
}

/// Writes cells and remembers the spaces that are due before the next one.
#[derive(Debug, Default)]
pub(crate) struct Pen {
    pub(crate) pending: usize,
}

impl Pen {
    fn space(&mut self, layout: &Layout, index: usize) {
        self.pending += layout.space_before(index);
    }

    /// Appends the spaces that are due.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) {
        spaces(out, self.pending);
        self.pending = 0;
    }

    /// A number to the right: by far the most frequent cell.
    #[inline]
    fn digits(&mut self, out: &mut Vec<u8>, place: &Place, number: u64) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number).as_bytes();
        spaces(out, self.pending + place.width.saturating_sub(digits.len()));
        out.extend_from_slice(digits);
        self.pending = 0;
    }

    #[inline]
    fn cell(
        &mut self,
        out: &mut Vec<u8>,
        place: &Place,
        colour: &'static str,
        reset: &'static str,
        write: impl FnOnce(&mut Vec<u8>) -> usize,
    ) {
        let before = out.len();
        spaces(out, self.pending);
        let start = out.len();
        Palette::start(out, colour);
        let width = write(out);
        if width == 0 {
            // Nothing to see: no colour, and no spaces should the line end here.
            out.truncate(before);
            self.pending += place.width;
            return;
        }
        if !colour.is_empty() {
            out.extend_from_slice(reset.as_bytes());
        }
        self.pending = 0;
        let padding = place.width.saturating_sub(width);
        if place.right {
            spaces(out, padding);
            if let Some(cell) = out.get_mut(start..) {
                cell.rotate_right(padding);
            }
        } else {
            self.pending = padding;
        }
    }
}

#[inline]
fn spaces(out: &mut Vec<u8>, count: usize) {
    const SPACES: &[u8; 64] = &[b' '; 64];
    match SPACES.get(..count) {
        Some(spaces) => out.extend_from_slice(spaces),
        None => out.resize(out.len() + count, b' '),
    }
}
