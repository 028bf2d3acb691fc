//! Rows counted and added up by what they have in common.

use std::collections::HashMap;

use nabe_event::field::{Class, process};
use nabe_event::{Fields, Missing, Value};

use crate::view::Table;
use crate::view::cell::{pack, pack_int, pack_uint};
use crate::view::column::{Column, Source, number_of};
use crate::view::sort::SortKey;

/// Groups of rows.
#[derive(Debug)]
pub struct Groups {
    by: Vec<Column>,
    sums: Vec<Column>,
    found: HashMap<Box<[u8]>, usize>,
    groups: Vec<Group>,
    scratch: Vec<u8>,
}

#[derive(Debug, Default)]
struct Group {
    key: Box<[u8]>,
    count: u64,
    sums: Vec<Option<i128>>,
    /// The process of the last row: what belongs to the process is added once, however many of its
    /// descriptors are rows.
    process: Option<(u64, u64)>,
}

impl Groups {
    /// Groups by equal values of `by`; adds up those of `sums` that can be ([`Column::is_sum`]).
    #[must_use]
    pub fn new(by: Vec<Column>, mut sums: Vec<Column>) -> Self {
        sums.retain(|sum| sum.is_sum() && sum.source != Source::Count && !by.iter().any(|by| by.same(sum)));
        Self { by, sums, found: HashMap::new(), groups: Vec::new(), scratch: Vec::new() }
    }

    /// Reads a row. Rows of one process must follow each other.
    pub fn push(&mut self, row: &dyn Fields) {
        self.scratch.clear();
        for column in &self.by {
            column.read(row, &mut self.scratch, usize::MAX);
        }
        let index = match self.found.get(&*self.scratch) {
            Some(index) => *index,
            None => {
                let key: Box<[u8]> = self.scratch.as_slice().into();
                self.found.insert(key.clone(), self.groups.len());
                self.groups.push(Group { key, sums: vec![None; self.sums.len()], ..Group::default() });
                self.groups.len() - 1
            }
        };
        let Some(group) = self.groups.get_mut(index) else { return };
        group.count += 1;
        let process = number_of(row, process::TID).zip(number_of(row, process::START_TIME));
        let again = process.is_some() && group.process == process;
        group.process = process;
        for (column, sum) in self.sums.iter().zip(&mut group.sums) {
            let Source::Field(id) = column.source else { continue };
            if again && id.class() != Class::File {
                continue;
            }
            let value = match row.get(id, column.arg.as_deref()) {
                Value::Int(value) => value.into(),
                Value::Uint(value) => value.into(),
                _ => continue,
            };
            *sum = Some(sum.unwrap_or(0).saturating_add(value));
        }
    }

    /// Number of groups.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The columns of [`Self::into_table`]: what is grouped by, the count, the sums.
    #[must_use]
    pub fn columns(&self) -> Vec<Column> {
        self.by.iter().cloned().chain([Column::count()]).chain(self.sums.iter().cloned()).collect()
    }

    /// The groups as a table, sorted by `sort`, and without it the largest first.
    #[must_use]
    pub fn into_table(self, sort: &[SortKey]) -> Table {
        let default = [SortKey { column: Column::count(), descending: true }];
        let sort = if sort.is_empty() { &default[..] } else { sort };
        let mut table = Table::new(self.columns()).with_sort(sort).with_leading_identity(self.by.len());
        for group in &self.groups {
            table.push_packed(|out| {
                out.extend_from_slice(&group.key);
                pack_uint(out, group.count);
                for sum in &group.sums {
                    match sum.map(|sum| (i64::try_from(sum), sum)) {
                        Some((Ok(sum), _)) => pack_int(out, sum),
                        // More than 2^63: only a size can be.
                        Some((Err(_), sum)) => pack_uint(out, u64::try_from(sum).unwrap_or(u64::MAX)),
                        None => pack(out, &Value::Missing(Missing::Unset), 0),
                    }
                }
            });
        }
        table.sort();
        table
    }
}
