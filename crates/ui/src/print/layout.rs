//! How wide each column is.

use crate::print::Options;
use crate::view::column::Source;
use crate::view::{Column, Context, Table, escape, text};

/// Spaces between two columns, and between two columns when room is short.
const GAP: usize = 2;
const NARROW_GAP: usize = 1;
/// What stands around a container in short: ` ()`.
pub(crate) const AROUND: usize = 3;
/// What a text column keeps before others must give more, and what it keeps at the worst.
const COMFORTABLE: usize = 10;
const LEAST: usize = 4;
/// What the last column should have, if it needs it; and with a container in it.
const LAST: usize = 20;
const LAST_JOINED: usize = 45;

/// The place of one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Columns of the terminal that it takes.
    pub width: usize,
    /// Whether some value or the title is wider and must be cut.
    pub cut: bool,
    /// Whether it stands to the right.
    pub right: bool,
    /// Whether it stands in the place of the column before, behind its text: the container in short.
    pub joined: bool,
}

/// The places of the columns of a table.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Those that are printed, from the left.
    pub places: Vec<Place>,
    /// Spaces between them.
    pub gap: usize,
    /// How many are not printed for lack of room.
    pub hidden: usize,
}

impl Layout {
    /// Measures every row; `reserved` columns of the terminal are taken by others.
    #[must_use]
    pub fn new(table: &Table, context: &Context, options: &Options, reserved: usize) -> Self {
        Self::with_rows(table, context, options, reserved, table, &[])
    }

    /// As [`Self::new`], with some rows of another table of the same columns.
    #[must_use]
    pub fn with_rows(
        table: &Table,
        context: &Context,
        options: &Options,
        reserved: usize,
        other: &Table,
        rows: &[usize],
    ) -> Self {
        let mut natural = titles(table, options.header);
        measure(&mut natural, table, 0..table.len(), context);
        measure(&mut natural, other, rows.iter().copied(), context);
        join(&mut natural, table.columns());
        let mut layout = Self { gap: GAP, hidden: 0, places: Vec::with_capacity(natural.len()) };
        for (column, width) in table.columns().iter().zip(&natural) {
            // A suffix needs something to stand behind.
            let joined = column.source == Source::Container && !layout.places.is_empty();
            layout.places.push(Place { width: *width, cut: false, right: column.is_number(), joined });
        }
        if let Some(room) = options.width {
            layout.fit(table, room.saturating_sub(reserved), options.header);
        }
        layout
    }

    /// Columns of the terminal that a row takes.
    #[must_use]
    pub fn total(&self) -> usize {
        self.places.iter().enumerate().map(|(i, place)| place.width + self.space_before(i)).sum()
    }

    /// Spaces before column `index`.
    #[must_use]
    pub fn space_before(&self, index: usize) -> usize {
        match self.places.get(index) {
            _ if index == 0 => 0,
            Some(place) if place.joined => 0,
            _ => self.gap,
        }
    }

    fn fit(&mut self, table: &Table, room: usize, header: bool) {
        if self.total() <= room {
            return;
        }
        let title = |index: usize| match table.columns().get(index) {
            Some(column) if header => escape::width(column.title.as_bytes()),
            _ => 0,
        };
        let text: Vec<usize> = (0..self.plain_columns())
            .filter(|i| table.columns().get(*i).is_some_and(|c| c.is_text()))
            .collect();
        let last = text.last().copied().filter(|i| i + 1 >= self.plain_columns());
        let wanted = if self.places.len() > self.plain_columns() { LAST_JOINED } else { LAST };
        // The last text gives first, then the widest of the others, then everything.
        if let Some(last) = last {
            self.shrink(&[last], room, |_| wanted);
        }
        self.shrink(&text, room, |index| {
            title(index).max(if Some(index) == last { wanted } else { COMFORTABLE })
        });
        if self.total() > room {
            self.gap = NARROW_GAP;
        }
        self.shrink(&text, room, |index| title(index).max(LEAST));
        self.shrink(&text, room, |_| LEAST);
        self.drop_rest(room, &text);
        // What narrow columns gave too much of goes back to the last one.
        let left = room.saturating_sub(self.total());
        if let Some(place) = last.and_then(|last| self.places.get_mut(last)).filter(|place| place.cut) {
            place.width += left;
        }
    }

    /// Columns before the suffix.
    fn plain_columns(&self) -> usize {
        self.places.iter().filter(|place| !place.joined).count()
    }

    /// Takes from the widest of `which`, down to `least` each, until all fit into `room`.
    fn shrink(&mut self, which: &[usize], room: usize, least: impl Fn(usize) -> usize) {
        let mut over = self.total().saturating_sub(room);
        while over > 0 {
            let spare = |layout: &Self, index: usize| {
                layout.places.get(index).map_or(0, |place| place.width.saturating_sub(least(index)))
            };
            let open: Vec<usize> = which.iter().copied().filter(|i| spare(self, *i) > 0).collect();
            let width = |i: &usize| self.places.get(*i).map_or(0, |place| place.width);
            let Some(widest) = open.iter().copied().max_by_key(width) else { return };
            // Down to the next widest, so that the widest ones end up equal.
            let next = open.iter().filter(|i| **i != widest).map(width).max().unwrap_or(0);
            let step = width(&widest).saturating_sub(next).max(1).min(spare(self, widest)).min(over);
            if let Some(place) = self.places.get_mut(widest) {
                place.width -= step;
                place.cut = true;
            }
            over -= step;
        }
    }

    /// Leaves out the columns that still do not fit. A number is shown whole or not at all.
    fn drop_rest(&mut self, room: usize, text: &[usize]) {
        let mut used = 0;
        for index in 0..self.places.len() {
            used += self.space_before(index);
            let Some(place) = self.places.get_mut(index) else { return };
            if used + place.width > room {
                let left = room.saturating_sub(used);
                let keep = index + usize::from(left > 0 && text.contains(&index));
                place.width = left;
                place.cut = true;
                self.hidden = self.places.len() - keep;
                self.places.truncate(keep);
                return;
            }
            used += place.width;
        }
    }
}

/// The widths of the titles.
fn titles(table: &Table, header: bool) -> Vec<usize> {
    let title = |column: &Column| if header { escape::width(column.title.as_bytes()) } else { 0 };
    table.columns().iter().map(title).collect()
}

/// Widens `widths` to the widest of each column.
fn measure(widths: &mut [usize], table: &Table, rows: impl Iterator<Item = usize>, context: &Context) {
    let mut scratch = Vec::new();
    for position in rows {
        let mut before = 0;
        for (index, (cell, column)) in table.cells(position).zip(table.columns()).enumerate() {
            let own = text::width(&cell, column, context, &mut scratch);
            let (place, own) = if column.source == Source::Container && index > 0 && own > 0 {
                (index - 1, before + own + AROUND)
            } else {
                (index, own)
            };
            if let Some(widest) = widths.get_mut(place) {
                *widest = (*widest).max(own);
            }
            before = own;
        }
    }
}

/// Moves the title of a container in short to the column before.
fn join(widths: &mut [usize], columns: &[Column]) {
    for index in 1..columns.len() {
        if columns.get(index).is_some_and(|column| column.source == Source::Container)
            && let Some([before, own]) = widths.get_mut(index - 1..=index)
        {
            let titles = columns.get(index - 1..=index).unwrap_or_default();
            let title: usize = titles.iter().map(|column| escape::width(column.title.as_bytes())).sum();
            *before = (*before).max(if *own > 0 { title + 1 } else { 0 });
            *own = 0;
        }
    }
}
