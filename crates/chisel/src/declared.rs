//! Views that a [`Spec`] declares.

use nabe_filter::{Lang, Program};

use crate::aggregate::{Dropped, Groups, Operation};
use crate::cell::Cell;
use crate::field::Reader;
use crate::spec::{Kind, Spec};
use crate::table::{Column, Table};
use crate::template::Template;
use crate::view::{Event, Flow, Machine, Moment, Output, Piece, Setup, View, ViewError};

/// A second.
const SECOND_NS: u64 = 1_000_000_000;

#[derive(Debug)]
struct Wanted {
    readers: Vec<Reader>,
    operation: Option<Operation>,
    regroup: Operation,
    column: Column,
    hidden: bool,
    positive: bool,
    required: bool,
}

/// A declared view that runs.
#[derive(Debug)]
pub struct Declared {
    spec: Spec,
    filter: String,
    /// The filter once more, for threads that are there.
    program: Option<Program>,
    wanted: Vec<Wanted>,
    group: Option<Reader>,
    template: Option<Template>,
    header: String,
    footer: String,
    groups: Groups,
    live: bool,
    json: bool,
    interval_ns: u64,
    /// Whether the titles of a list stand already.
    titled: bool,
    scratch: Vec<Cell>,
}

impl Declared {
    /// Makes the view with the arguments of `setup`.
    ///
    /// # Errors
    /// When an argument is missing or one too many, or names what is not there.
    pub fn new(spec: Spec, setup: &Setup) -> Result<Self, ViewError> {
        let argument = |problem: String| ViewError::Argument { view: spec.name.clone(), problem };
        if let Some(extra) = setup.args.get(spec.arguments.len()) {
            return Err(argument(format!(
                "takes {} arguments, `{extra}` is one too many",
                spec.arguments.len()
            )));
        }
        let missing =
            spec.arguments.iter().skip(setup.args.len()).find(|argument| argument.default.is_none());
        if let Some(missing) = missing {
            return Err(argument(format!("needs {}: {}", missing.name, missing.about)));
        }
        let fill = |text: &str| spec.fill(text, &setup.args);
        let reader = |name: &str| {
            Reader::parse(&fill(name)).map_err(|error| {
                let near =
                    error.nearest().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                ViewError::Field { view: spec.name.clone(), problem: format!("{error}{near}") }
            })
        };
        let mut wanted = Vec::new();
        for column in spec.columns.iter().filter(|column| setup.containers || !column.containers) {
            let readers = column.fields.iter().map(|name| reader(name)).collect::<Result<Vec<_>, _>>()?;
            wanted.push(Wanted {
                column: Column {
                    title: fill(&column.title),
                    field: column.fields.iter().map(|name| fill(name)).collect::<Vec<_>>().join(","),
                    unit: column.unit,
                    width: column.width,
                },
                readers,
                operation: column.operation,
                regroup: column.regroup,
                hidden: column.hidden,
                positive: column.positive,
                required: column.required,
            });
        }
        let template =
            match spec.kind {
                Kind::Lines => Some(Template::parse(&fill(&spec.line)).map_err(|error| {
                    ViewError::Field { view: spec.name.clone(), problem: error.to_string() }
                })?),
                _ => None,
            };
        let by = spec.sort.as_deref().map(|title| title.trim_start_matches('-'));
        let aggregated = || wanted.iter().filter(|column| column.operation.is_some());
        let by = aggregated().position(|column| by.is_none_or(|by| column.column.title == by)).unwrap_or(0);
        let operations = aggregated().filter_map(|column| column.operation).collect();
        Ok(Self {
            filter: fill(&spec.filter),
            program: None,
            group: spec.group.as_deref().map(reader).transpose()?,
            template,
            header: fill(&spec.header),
            footer: fill(&spec.footer),
            groups: Groups::new(operations, by),
            live: setup.live,
            json: setup.json,
            interval_ns: setup.interval_ns.unwrap_or(SECOND_NS),
            titled: false,
            wanted,
            spec,
            scratch: Vec::new(),
        })
    }

    /// Reads the columns of an event into `scratch`, the group behind them; false when it does not count.
    fn read(&mut self, fields: &dyn nabe_event::Fields) -> bool {
        let defaults = self.spec.defaults;
        self.scratch.clear();
        for wanted in &mut self.wanted {
            let mut cell = match wanted.readers.as_mut_slice() {
                [reader] => reader.cell(fields),
                readers => several(readers, fields),
            };
            if !cell.is_some() && wanted.operation != Some(Operation::Count) {
                // A minimum, a mean and a count are of values that are there.
                let real =
                    matches!(wanted.operation, Some(Operation::Min | Operation::Avg | Operation::Distinct));
                match () {
                    () if !defaults || wanted.required => return false,
                    () if real => {}
                    () => cell = wanted.readers.first().map(Reader::zero).unwrap_or_default(),
                }
            }
            if wanted.positive && cell.number().is_none_or(|number| number <= 0.0) {
                return false;
            }
            self.scratch.push(cell);
        }
        if let Some(group) = &mut self.group {
            let cell = group.cell(fields);
            if !cell.is_some() && !defaults {
                return false;
            }
            self.scratch.push(cell);
        }
        true
    }

    fn count(&mut self, fields: &dyn nabe_event::Fields) {
        if !self.read(fields) {
            return;
        }
        // The group is part of the key only while no row belongs to two groups; it goes last.
        let keys: Vec<Cell> =
            self.keys().map(|at| self.scratch.get(at).cloned().unwrap_or_default()).collect();
        let values = self.wanted.iter().zip(&self.scratch);
        let values: Vec<Cell> =
            values.filter(|(wanted, _)| wanted.operation.is_some()).map(|(_, cell)| cell.clone()).collect();
        self.groups.add(&keys, values);
    }

    /// Where the keys stand in `scratch`, and the group.
    fn keys(&self) -> impl Iterator<Item = usize> {
        let keys = self.wanted.iter().enumerate().filter(|(_, wanted)| wanted.operation.is_none());
        keys.map(|(at, _)| at).chain(self.group.is_some().then_some(self.wanted.len()))
    }

    fn table(&mut self, at: Moment) -> Table {
        let (rows, mut dropped) = self.groups.take();
        // Back into the order of the columns.
        let mut rows: Vec<(Vec<Cell>, Cell)> = rows
            .into_iter()
            .map(|(mut keys, results)| {
                let group = if self.group.is_some() { keys.pop().unwrap_or_default() } else { Cell::Missing };
                let (mut keys, mut results) = (keys.into_iter(), results.into_iter());
                let row = self.wanted.iter().map(|wanted| match wanted.operation {
                    None => keys.next().unwrap_or_default(),
                    Some(_) => results.next().unwrap_or_default(),
                });
                (row.collect(), group)
            })
            .collect();
        if self.group.is_some() {
            rows = self.regroup(rows, &mut dropped);
        }
        let mut rows: Vec<Vec<Cell>> = rows.into_iter().map(|(row, _)| row).collect();
        self.sort(&mut rows);
        if self.spec.limit > 0 {
            rows.truncate(self.spec.limit);
        }
        if self.live {
            self.per_second(&mut rows, at.delta_ns);
        }
        for row in &mut rows {
            let mut nth = 0;
            row.retain(|_| {
                nth += 1;
                self.wanted.get(nth - 1).is_some_and(|wanted| !wanted.hidden)
            });
        }
        let shown = self.wanted.iter().filter(|wanted| !wanted.hidden);
        Table {
            columns: shown.map(|wanted| wanted.column.clone()).collect(),
            rows,
            span_ns: at.delta_ns,
            at_ns: at.ts_ns,
            ruled: self.spec.ruled,
            bare: self.spec.bare,
            dropped,
        }
    }

    /// Merges rows of the same group.
    fn regroup(&self, rows: Vec<(Vec<Cell>, Cell)>, dropped: &mut Dropped) -> Vec<(Vec<Cell>, Cell)> {
        let operations = self.wanted.iter().map(|wanted| wanted.regroup).collect();
        let by = self.sorted_by().map_or(0, |(by, _)| by);
        let mut merged = Groups::new(operations, by);
        for (row, group) in rows {
            merged.add(&[group], row);
        }
        let (rows, more) = merged.take();
        dropped.groups += more.groups;
        rows.into_iter().map(|(group, row)| (row, group.into_iter().next().unwrap_or_default())).collect()
    }

    /// The column that rows are sorted by, and whether the largest is first.
    fn sorted_by(&self) -> Option<(usize, bool)> {
        match self.spec.sort.as_deref() {
            Some(sort) => {
                let title = sort.trim_start_matches('-');
                let at = self.wanted.iter().position(|wanted| wanted.column.title == title)?;
                Some((at, sort.starts_with('-')))
            }
            None => {
                let at = self
                    .wanted
                    .iter()
                    .position(|wanted| wanted.operation.is_some_and(Operation::is_number))?;
                Some((at, true))
            }
        }
    }

    fn sort(&self, rows: &mut [Vec<Cell>]) {
        let Some((at, descending)) = self.sorted_by() else { return };
        let none = Cell::Missing;
        rows.sort_by(|a, b| {
            let order = a.get(at).unwrap_or(&none).compare(b.get(at).unwrap_or(&none));
            if descending { order.reverse() } else { order }
        });
    }

    fn per_second(&self, rows: &mut [Vec<Cell>], delta_ns: u64) {
        let seconds = delta_ns as f64 / SECOND_NS as f64;
        if seconds <= 0.0 {
            return;
        }
        for row in rows {
            for (wanted, cell) in self.wanted.iter().zip(row) {
                if wanted.operation == Some(Operation::Rate)
                    && let Some(number) = cell.number()
                {
                    *cell = Cell::Uint((number / seconds).round() as u64);
                }
            }
        }
    }

    fn yield_table(&mut self, at: Moment, machine: &dyn Machine, out: &mut Output) {
        if self.spec.threads {
            if self.program.is_none() && !self.filter.is_empty() {
                self.program = Program::compile_of_events(&self.filter, Lang::Auto).ok();
            }
            let program = self.program.clone();
            let mut cells = Vec::new();
            machine.threads(&mut |thread| {
                if program.as_ref().is_none_or(|program| program.matches(thread)) && self.read(thread) {
                    cells.push(core::mem::take(&mut self.scratch));
                }
            });
            for scratch in cells {
                self.scratch = scratch;
                let keys: Vec<Cell> = self.keys().filter_map(|at| self.scratch.get(at).cloned()).collect();
                let values = self.wanted.iter().zip(&self.scratch);
                let values: Vec<Cell> = values
                    .filter(|(wanted, _)| wanted.operation.is_some())
                    .map(|(_, cell)| cell.clone())
                    .collect();
                self.groups.add(&keys, values);
            }
        }
        let table = self.table(at);
        out.push(Piece::Table(table));
    }

    fn list(&mut self, event: &Event<'_>, out: &mut Output) {
        if !self.read(event.fields) {
            return;
        }
        let shown = || self.wanted.iter().filter(|wanted| !wanted.hidden);
        let cells = self.wanted.iter().zip(&self.scratch).filter(|(wanted, _)| !wanted.hidden);
        let table = Table {
            columns: shown().map(|wanted| wanted.column.clone()).collect(),
            rows: vec![cells.map(|(_, cell)| cell.clone()).collect()],
            at_ns: event.ts_ns,
            ..Table::default()
        };
        if self.json {
            let mut row = Vec::new();
            table.json_row(&mut row);
            row.push(b'\n');
            out.push(Piece::Text(row));
            return;
        }
        let mut text = Vec::new();
        table.text(out.safe, &mut text);
        let from = if core::mem::replace(&mut self.titled, true) {
            text.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1)
        } else {
            0
        };
        // Values were made safe cell by cell; the ends of lines are ours.
        out.push(Piece::Text(text.get(from..).unwrap_or_default().to_vec()));
    }
}

/// Several fields as one value; missing when one is.
fn several(readers: &mut [Reader], fields: &dyn nabe_event::Fields) -> Cell {
    let mut key = Vec::new();
    for reader in readers {
        let cell = reader.cell(fields);
        if !cell.is_some() {
            return Cell::Missing;
        }
        cell.write_key(&mut key);
    }
    Cell::Text(key.into())
}

impl View for Declared {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn filter(&self) -> String {
        self.filter.clone()
    }

    fn snaplen(&self) -> u32 {
        self.spec.snaplen
    }

    fn is_sampled(&self) -> bool {
        self.wanted.iter().flat_map(|column| &column.readers).any(Reader::is_sampled)
    }

    fn interval_ns(&self) -> Option<u64> {
        (self.live && self.spec.kind == Kind::Table).then_some(self.interval_ns)
    }

    fn start(&mut self, out: &mut Output) -> Result<(), ViewError> {
        if !self.header.is_empty() {
            out.put(&self.header);
            out.put("\n");
        }
        Ok(())
    }

    fn event(&mut self, event: &Event<'_>, out: &mut Output) -> Result<Flow, ViewError> {
        match self.spec.kind {
            Kind::Table => self.count(event.fields),
            Kind::List => self.list(event, out),
            Kind::Lines => {
                if let Some(template) = &mut self.template {
                    let mut line = Vec::new();
                    template.write(event.fields, out.safe, &mut line);
                    line.push(b'\n');
                    out.push(Piece::Text(line));
                }
            }
        }
        Ok(Flow::Go)
    }

    fn tick(&mut self, at: Moment, event: &Event<'_>, out: &mut Output) -> Result<(), ViewError> {
        self.yield_table(at, event.machine, out);
        Ok(())
    }

    fn end(&mut self, at: Moment, machine: &dyn Machine, out: &mut Output) -> Result<(), ViewError> {
        match self.spec.kind {
            Kind::Table if !self.live => self.yield_table(at, machine, out),
            Kind::Table | Kind::List => {}
            Kind::Lines if self.footer.is_empty() => {}
            Kind::Lines => {
                out.put(&self.footer);
                out.put("\n");
            }
        }
        Ok(())
    }
}
