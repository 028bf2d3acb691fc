//! Rows of cells in one arena.
//!
//! A row is packed once, when it is pushed: first the columns that are shown, then those that only
//! sorting or telling rows apart reads. 40,000 rows of six cells take
//! about 3 MB.

use core::ops::Range;

use nabe_event::{FieldId, Fields};

use crate::view::cell::{Cell, Cells};
use crate::view::column::Column;
use crate::view::sort::{Key, SortKey};

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
    shown: usize,
    /// Indices of the columns that tell rows apart over time.
    identity: Range<usize>,
    /// Indices of the columns to sort by, and whether the greatest comes first.
    keys: Vec<(usize, bool)>,
    text_limit: usize,
    arena: Vec<u8>,
    starts: Vec<usize>,
    /// Rows in order; none while they stand as they came.
    order: Option<Vec<u32>>,
}

impl Table {
    /// A table of these columns.
    #[must_use]
    pub fn new(columns: Vec<Column>) -> Self {
        let shown = columns.len();
        Self { columns, shown, identity: shown..shown, text_limit: usize::MAX, ..Self::default() }
    }

    /// Sorts by these keys when [`Self::sort`] is called. Before the first row.
    #[must_use]
    pub fn with_sort(mut self, keys: &[SortKey]) -> Self {
        for SortKey { column, descending } in keys {
            let index = self.columns.iter().position(|known| known.same(column)).unwrap_or_else(|| {
                self.columns.push(column.clone());
                self.columns.len() - 1
            });
            self.keys.push((index, *descending));
        }
        self
    }

    /// Keeps with each row the fields that tell it from others over time, for
    /// [`crate::view::Diff`]. Before the first row.
    #[must_use]
    pub fn with_identity(mut self, fields: &[FieldId]) -> Self {
        let start = self.columns.len();
        self.columns.extend(Column::list(fields));
        self.identity = start..self.columns.len();
        self
    }

    /// Tells rows apart by their first `count` columns.
    pub(crate) fn with_leading_identity(mut self, count: usize) -> Self {
        self.identity = 0..count;
        self
    }

    /// Keeps at most `bytes` of each text: what is shown on a terminal of `w` columns needs no more
    /// than about `4 * w`. Before the first row.
    #[must_use]
    pub const fn with_text_limit(mut self, bytes: usize) -> Self {
        self.text_limit = bytes;
        self
    }

    /// The columns that are shown.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        self.columns.get(..self.shown).unwrap_or_default()
    }

    /// Reads a row.
    pub fn push(&mut self, row: &dyn Fields) {
        self.starts.push(self.arena.len());
        for column in &self.columns {
            column.read(row, &mut self.arena, self.text_limit);
        }
        if let Some(order) = &mut self.order {
            order.push(index(self.starts.len() - 1));
        }
    }

    /// Appends a row that is packed already.
    pub(crate) fn push_packed(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        self.starts.push(self.arena.len());
        fill(&mut self.arena);
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.as_ref().map_or(self.starts.len(), Vec::len)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the rows take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.arena.capacity()
            + self.starts.capacity() * size_of::<usize>()
            + self.order.as_ref().map_or(0, |order| order.capacity() * size_of::<u32>())
    }

    /// Takes the rows away and keeps the columns and the memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.starts.clear();
        self.order = None;
    }

    /// Packed bytes of a row as it came, whatever the order.
    fn packed(&self, row: usize) -> &[u8] {
        let start = self.starts.get(row).copied().unwrap_or(self.arena.len());
        let end = self.starts.get(row + 1).copied().unwrap_or(self.arena.len());
        self.arena.get(start..end).unwrap_or_default()
    }

    /// Cells of the row that stands at `position`: those of [`Self::columns`], then hidden ones.
    #[inline]
    pub(crate) fn cells(&self, position: usize) -> Cells<'_> {
        let row = match &self.order {
            None => position,
            Some(order) => order.get(position).map_or(usize::MAX, |row| *row as usize),
        };
        Cells::new(if row == usize::MAX { &[] } else { self.packed(row) })
    }

    /// The cells that are shown of the row that stands at `position`.
    pub fn row(&self, position: usize) -> impl Iterator<Item = Cell<'_>> {
        self.cells(position).take(self.shown)
    }

    /// The packed identity of the row that stands at `position`.
    pub(crate) fn identity(&self, position: usize) -> &[u8] {
        let mut cells = self.cells(position);
        let Range { start, end } = self.identity;
        for _ in 0..start {
            cells.next();
        }
        let from = cells.bytes();
        for _ in start..end {
            cells.next();
        }
        from.get(..from.len() - cells.bytes().len()).unwrap_or_default()
    }

    /// Puts the rows in the order of the keys; rows that are equal stay as they came.
    pub fn sort(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        let count = self.keys.len();
        let mut order: Vec<u32> = match self.order.take() {
            Some(order) => order,
            None => (0..index(self.starts.len())).collect(),
        };
        // Read once: a row is decoded from its start.
        let mut values: Vec<Key<'_>> = Vec::with_capacity(self.starts.len() * count);
        for row in 0..self.starts.len() {
            for (column, _) in &self.keys {
                values.push(Cells::new(self.packed(row)).nth(*column).map_or(Key::Missing, Key::from));
            }
        }
        let of = |row: u32| values.get(row as usize * count..).unwrap_or_default();
        order.sort_by(|a, b| {
            let pairs = of(*a).iter().zip(of(*b)).zip(&self.keys);
            let mut orders = pairs.map(|((x, y), (_, descending))| x.compare(y, *descending));
            orders.find(|order| order.is_ne()).unwrap_or(core::cmp::Ordering::Equal)
        });
        self.order = Some(order);
    }

    /// Keeps the first `count` rows.
    pub fn limit(&mut self, count: usize) {
        match &mut self.order {
            Some(order) => order.truncate(count),
            None => {
                if let Some(end) = self.starts.get(count) {
                    self.arena.truncate(*end);
                    self.starts.truncate(count);
                }
            }
        }
    }

    /// Whether any row has something to show in column `index`.
    #[must_use]
    pub fn is_used(&self, index: usize) -> bool {
        (0..self.len())
            .any(|row| !matches!(self.row(row).nth(index), None | Some(Cell::Missing(_) | Cell::Text(b""))))
    }
}

/// Rows beyond four thousand million do not exist: each takes at least a byte of memory and
/// `pid_max` is 2^22.
fn index(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}
