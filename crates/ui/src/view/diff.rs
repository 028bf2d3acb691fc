//! What differs between two rounds of the same table.

use nabe_event::field::process;

use crate::view::Table;
use crate::view::column::Source;

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is as it was.
    Same,
    /// It was not there.
    New,
    /// It was there with other values; a bit for each of the first 64 columns that differ.
    Changed(u64),
    /// It is not there any more.
    Gone,
}

impl Change {
    /// The mark in front of the row.
    #[must_use]
    pub const fn mark(self) -> u8 {
        match self {
            Self::Same => b' ',
            Self::New => b'+',
            Self::Changed(_) => b'~',
            Self::Gone => b'-',
        }
    }

    /// The value of `event` in machine formats; empty for what is as it was.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Same => "",
            Self::New => "new",
            Self::Changed(_) => "changed",
            Self::Gone => "gone",
        }
    }
}

/// The difference of two tables with the same columns and the same identity
/// ([`Table::with_identity`]). Rows with equal identities are paired in the order of the tables.
#[derive(Clone, Debug, Default)]
pub struct Diff {
    changes: Vec<Change>,
    gone: Vec<usize>,
}

impl Diff {
    /// Compares `new` with `old`. The age of a process is no change.
    #[must_use]
    pub fn between(old: &Table, new: &Table) -> Self {
        let (before, after) = (by_identity(old), by_identity(new));
        let mut diff = Self { changes: vec![Change::New; new.len()], gone: Vec::new() };
        let (mut x, mut y) = (before.iter().peekable(), after.iter().peekable());
        loop {
            let order = match (x.peek(), y.peek()) {
                (None, None) => break,
                (Some((a, _)), Some((b, _))) => a.cmp(b),
                (Some(_), None) => core::cmp::Ordering::Less,
                (None, Some(_)) => core::cmp::Ordering::Greater,
            };
            // Whoever is smaller has no partner.
            let from = if order.is_le() { x.next() } else { None };
            let to = if order.is_ge() { y.next() } else { None };
            match (from, to) {
                (Some((_, from)), Some((_, to))) => {
                    if let Some(change) = diff.changes.get_mut(*to) {
                        *change = compare(old, *from, new, *to);
                    }
                }
                (Some((_, from)), None) => diff.gone.push(*from),
                _ => {}
            }
        }
        diff.gone.sort_unstable();
        diff
    }

    /// What became of the row at `position` of the new table; past its end, the rows that are gone.
    #[must_use]
    pub fn change(&self, position: usize) -> Change {
        self.changes.get(position).copied().unwrap_or(Change::Gone)
    }

    /// Positions in the old table of the rows that are gone.
    #[must_use]
    pub fn gone(&self) -> &[usize] {
        &self.gone
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.changes.iter().all(|change| *change == Change::Same)
    }
}

fn by_identity(table: &Table) -> Vec<(&[u8], usize)> {
    let mut rows: Vec<(&[u8], usize)> =
        (0..table.len()).map(|position| (table.identity(position), position)).collect();
    rows.sort();
    rows
}

fn compare(old: &Table, from: usize, new: &Table, to: usize) -> Change {
    let cells = old.row(from).zip(new.row(to)).zip(new.columns()).enumerate();
    let differ = cells
        .filter(|(_, (_, column))| column.source != Source::Field(process::AGE))
        .filter(|(_, ((a, b), _))| a != b)
        .fold(0, |mask, (index, _)| mask | 1u64 << index.min(63));
    if differ == 0 { Change::Same } else { Change::Changed(differ) }
}
