//! ps, lsof, netstat, lscontainers: the machine at the first event that the user's filter selects.

use nabe_event::Fields;
use nabe_filter::{Lang, Program};

use super::reader;
use crate::cell::Cell;
use crate::field::Reader;
use crate::table::pad;
use crate::unit;
use crate::view::{Event, Flow, Machine, Moment, Output, Setup, View, ViewError, whole};

#[derive(Clone, Copy, PartialEq)]
enum What {
    Threads,
    Descriptors,
    Connections,
}

struct List {
    name: &'static str,
    what: What,
    only: Option<Program>,
    seen: bool,
}

fn list(name: &'static str, setup: &Setup, what: What) -> Result<Box<dyn View>, ViewError> {
    let given = setup.args.first().map_or("", String::as_str).trim();
    let filter = match (what, given) {
        (What::Connections, "") => CONNECTIONS.to_owned(),
        (What::Connections, given) => format!("{CONNECTIONS} and ({given})"),
        (_, given) => given.to_owned(),
    };
    let only = (!filter.is_empty()).then(|| Program::compile_of_events(&filter, Lang::Auto)).transpose();
    let only =
        only.map_err(|error| ViewError::Filter { view: name.to_owned(), problem: error.to_string() })?;
    Ok(Box::new(List { name, what, only, seen: false }))
}

const CONNECTIONS: &str = "(fd.type=ipv4 or fd.type=ipv6)";

pub(super) fn threads(name: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    list(name, setup, What::Threads)
}

pub(super) fn descriptors(name: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    list(name, setup, What::Descriptors)
}

pub(super) fn connections(name: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    list(name, setup, What::Connections)
}

/// A thread, as far as one of the lists shows it.
struct Row {
    tid: i64,
    pid: i64,
    /// Whether the filter selects the thread itself, whatever its descriptors.
    selected: bool,
    cells: Vec<Vec<u8>>,
}

fn value(reader: &mut Reader, fields: &dyn Fields) -> Vec<u8> {
    let mut text = Vec::new();
    match reader.cell(fields) {
        Cell::Missing if matches!(reader.name(), "user.name" | "fd.type") => text.extend_from_slice(b"<NA>"),
        cell => cell.write(&mut text),
    }
    text
}

impl List {
    fn rows(&self, machine: &dyn Machine) -> Vec<Row> {
        let mut tid = reader("thread.tid");
        let mut pid = reader("proc.pid");
        let mut cells: Vec<Reader> =
            ["proc.name", "user.name", "proc.vmsize", "proc.vmrss", "proc.fdlimit"].map(reader).into();
        let mut rows = Vec::new();
        machine.threads(&mut |thread| {
            let number = |reader: &mut Reader| whole(&reader.cell(thread)).unwrap_or(-1);
            let (tid, pid) = (number(&mut tid), number(&mut pid));
            let cells = cells.iter_mut().map(|reader| value(reader, thread)).collect();
            let selected = self.only.as_ref().is_none_or(|only| only.matches(thread));
            rows.push(Row { tid, pid, selected, cells });
        });
        rows.sort_by_key(|row| row.tid);
        rows
    }

    /// A thread is listed when the filter selects it, or it with any of its descriptors.
    fn is_selected(&self, machine: &dyn Machine, row: &Row) -> bool {
        let mut selected = row.selected;
        if let Some(only) = self.only.as_ref().filter(|_| !selected) {
            machine.descriptors(row.tid, &mut |descriptor| selected |= only.matches(descriptor));
        }
        selected
    }

    fn print_threads(&self, machine: &dyn Machine, out: &mut Output) {
        let mut text = Vec::new();
        line(
            &["TID", "PID", "USER", "VIRT", "RES", "FDLIMIT", "CMD                 "].map(str::as_bytes),
            &PS,
            &mut text,
        );
        for row in self.rows(machine) {
            if !self.is_selected(machine, &row) {
                continue;
            }
            let [name, user, size, resident, limit] = row.cells.as_slice() else { continue };
            let bytes = |kib: &[u8]| {
                unit::bytes(
                    core::str::from_utf8(kib).ok().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0)
                        * 1024.0,
                )
            };
            let (size, resident) = (bytes(size), bytes(resident));
            let (tid, pid) = (row.tid.to_string(), row.pid.to_string());
            line(
                &[tid.as_bytes(), pid.as_bytes(), user, size.as_bytes(), resident.as_bytes(), limit, name],
                &PS,
                &mut text,
            );
        }
        put(&text, out);
    }

    fn print_descriptors(&self, machine: &dyn Machine, out: &mut Output) {
        let mut text = Vec::new();
        line(&["COMMAND", "PID", "TID", "USER", "FD", "TYPE", "NAME"].map(str::as_bytes), &LSOF, &mut text);
        let (mut number, mut kind, mut name) = (reader("fd.num"), reader("fd.type"), reader("fd.name"));
        for row in self.rows(machine) {
            let mut found: Vec<(i64, Vec<u8>, Vec<u8>)> = Vec::new();
            machine.descriptors(row.tid, &mut |descriptor| {
                if self.only.as_ref().is_none_or(|only| only.matches(descriptor)) {
                    let number = whole(&number.cell(descriptor)).unwrap_or(-1);
                    found.push((number, value(&mut kind, descriptor), value(&mut name, descriptor)));
                }
            });
            found.sort_by_key(|(number, ..)| *number);
            let [command, user, ..] = row.cells.as_slice() else { continue };
            for (number, kind, name) in found {
                let (pid, tid, number) = (row.pid.to_string(), row.tid.to_string(), number.to_string());
                let cells = [command, pid.as_bytes(), tid.as_bytes(), user, number.as_bytes(), &kind, &name];
                line(&cells, &LSOF, &mut text);
            }
            if text.len() > 1 << 20 {
                put(&core::mem::take(&mut text), out);
            }
        }
        put(&text, out);
    }

    fn print_connections(&self, machine: &dyn Machine, out: &mut Output) {
        let mut text = Vec::new();
        let titles = ["Proto", "Server Address", "Client Address", "State", "TID/PID/Program Name"];
        line(&titles.map(str::as_bytes), &NETSTAT, &mut text);
        let mut fields: Vec<Reader> =
            ["fd.l4proto", "fd.sip", "fd.sport", "fd.cip", "fd.cport", "fd.num"].map(reader).into();
        for row in self.rows(machine) {
            let mut found: Vec<(i64, Vec<Vec<u8>>)> = Vec::new();
            machine.descriptors(row.tid, &mut |descriptor| {
                if self.only.as_ref().is_some_and(|only| only.matches(descriptor)) {
                    let cells: Vec<Cell> = fields.iter_mut().map(|reader| reader.cell(descriptor)).collect();
                    let number = cells.last().and_then(whole).unwrap_or(-1);
                    let texts = cells.iter().map(|cell| {
                        let mut text = Vec::new();
                        cell.write(&mut text);
                        text
                    });
                    found.push((number, texts.collect()));
                }
            });
            found.sort_by_key(|(number, _)| *number);
            let command = row.cells.first().map_or(&b""[..], Vec::as_slice);
            for (_, cells) in found {
                let [protocol, server, server_port, client, client_port, _] = cells.as_slice() else {
                    continue;
                };
                let listens = client.is_empty();
                let server = [server.as_slice(), b":", server_port].concat();
                let client = if listens {
                    b"0.0.0.0:*".to_vec()
                } else {
                    [client.as_slice(), b":", client_port].concat()
                };
                let owner =
                    [row.tid.to_string().as_bytes(), b"/", row.pid.to_string().as_bytes(), b"/", command]
                        .concat();
                let state: &[u8] = if listens { b"LISTEN" } else { b"ESTABLISHED" };
                line(&[protocol, &server, &client, state, &owner], &NETSTAT, &mut text);
            }
        }
        put(&text, out);
    }
}

const PS: [usize; 7] = [8, 8, 12, 11, 11, 10, 0];
const LSOF: [usize; 7] = [20, 8, 8, 8, 8, 12, 0];
const NETSTAT: [usize; 5] = [6, 25, 25, 15, 0];

/// One line of cells; a newline within a value is no end of a line.
fn line(cells: &[&[u8]], widths: &[usize], out: &mut Vec<u8>) {
    for (cell, width) in cells.iter().zip(widths) {
        let cell: Vec<u8> = cell.iter().map(|byte| if *byte == b'\n' { b'.' } else { *byte }).collect();
        pad(&cell, *width, out);
    }
    out.push(b'\n');
}

fn put(text: &[u8], out: &mut Output) {
    out.put_lines(text);
}

impl View for List {
    fn name(&self) -> &str {
        self.name
    }
    fn shows_switches(&self) -> bool {
        // Any other event will do as well.
        false
    }
    fn event(&mut self, _: &Event<'_>, _: &mut Output) -> Result<Flow, ViewError> {
        self.seen = true;
        Ok(Flow::Stop)
    }
    fn end(&mut self, _: Moment, machine: &dyn Machine, out: &mut Output) -> Result<(), ViewError> {
        if !self.seen {
            out.put("empty capture or no event matching the filter\n");
            return Ok(());
        }
        match self.what {
            What::Threads => self.print_threads(machine, out),
            What::Descriptors => self.print_descriptors(machine, out),
            What::Connections => self.print_connections(machine, out),
        }
        Ok(())
    }
}

/// lscontainers.
struct Containers {
    described: bool,
}

pub(super) fn containers(name: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    match setup.args.first().map_or("", String::as_str) {
        "" => Ok(Box::new(Containers { described: false })),
        "desc" => Ok(Box::new(Containers { described: true })),
        other => {
            Err(ViewError::Argument { view: name.to_owned(), problem: format!("`{other}` is not `desc`") })
        }
    }
}

impl View for Containers {
    fn name(&self) -> &str {
        "lscontainers"
    }
    fn shows_switches(&self) -> bool {
        // Any other event will do as well.
        false
    }
    fn event(&mut self, _: &Event<'_>, _: &mut Output) -> Result<Flow, ViewError> {
        Ok(Flow::Stop)
    }
    fn end(&mut self, _: Moment, machine: &dyn Machine, out: &mut Output) -> Result<(), ViewError> {
        let mut rows: Vec<[String; 4]> = Vec::new();
        machine.containers(&mut |container| {
            rows.push([container.engine, container.image, container.name, container.id].map(str::to_owned));
        });
        rows.sort_by(|a, b| a[3].cmp(&b[3]));
        let titles = ["container.type", "container.image", "container.name", "container.id"];
        if self.described {
            for row in &rows {
                for (title, value) in titles.iter().zip(row) {
                    out.put(&format!("{title} = "));
                    out.put_value(value.as_bytes());
                    out.put("\n");
                }
                out.put("\n");
            }
            return Ok(());
        }
        let widths = [15, 16, 20, 13];
        let mut text = Vec::new();
        line(&titles.map(str::as_bytes), &widths, &mut text);
        let rules = widths.map(|width| vec![b'-'; width]);
        line(&rules.each_ref().map(Vec::as_slice), &widths, &mut text);
        for row in &rows {
            line(&row.each_ref().map(String::as_bytes), &widths, &mut text);
        }
        put(&text, out);
        Ok(())
    }
}
