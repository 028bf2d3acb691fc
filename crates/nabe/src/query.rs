//! A question about what is there: which subjects, which columns, and the least that must be
//! collected to answer it.

mod container;
mod take;

pub use container::{Containers, may_be_container};
pub use take::{Origin, Taken, take};

use nabe_event::field::{Class, file as f, process as p};
use nabe_event::{FieldId, Interest, Needs};
use nabe_filter::Program;
use nabe_state::{Process, Row, Snapshot};
use nabe_ui::Column;

/// A question.
#[derive(Clone, Debug)]
pub struct Query {
    /// Which subjects.
    pub program: Program,
    /// Threads as rows of their own.
    pub threads: bool,
    /// Ancestors are shown too: nothing may be left out by the kernel.
    pub ancestors: bool,
    /// What the columns and the caller read.
    needs: Needs,
    /// One row for each descriptor, not for each process.
    by_descriptor: bool,
    /// Only descriptors that are sockets.
    only_sockets: bool,
    /// Something looks at all descriptors of a process together.
    counts_descriptors: bool,
    /// The snapshot is to be kept: it holds what the filter leaves out, too.
    everything: bool,
}

impl Query {
    /// A question for `columns` of what `program` selects.
    pub fn new<'a>(program: Program, columns: impl Iterator<Item = &'a Column> + Clone) -> Self {
        let fields = || columns.clone().filter_map(Column::field);
        let of_files = || fields().filter(|field| field.id.class() == Class::File);
        let together = |id: FieldId| matches!(id, p::FILES | p::FD_COUNT);
        let by_descriptor = of_files().next().is_some();
        let socket_needs = f::STATE.field().needs;
        Self {
            needs: columns.clone().fold(Needs::TASK, |needs, column| needs | column.needs()),
            threads: false,
            ancestors: false,
            by_descriptor,
            only_sockets: by_descriptor && of_files().all(|field| field.needs.contains(socket_needs)),
            counts_descriptors: fields().any(|field| together(field.id))
                || program.fields().into_iter().any(together),
            everything: false,
            program,
        }
    }

    /// A question for which the caller names the collectors.
    pub fn with_needs(program: Program, needs: Needs) -> Self {
        let mut query = Self::new(program, [].iter());
        query.needs |= needs;
        query
    }

    /// Asks for more collectors than filter and columns read.
    pub fn also(&mut self, needs: Needs) {
        self.needs |= needs;
    }

    /// Asks for a snapshot that can answer other questions later: nothing is left out.
    pub fn keep_everything(&mut self) {
        self.everything = true;
    }

    /// Every collector that the filter or a column reads.
    pub fn needs(&self) -> Needs {
        let threads = if self.threads { Needs::THREADS } else { Needs::NONE };
        self.needs | self.program.needs() | threads
    }

    /// Whether a socket that belongs to no process can be a row: the filter drops that need when
    /// every match must have a process.
    fn takes_ownerless(&self) -> bool {
        let by_filter = self.program.needs().contains(Needs::ORPHAN_SOCKETS);
        let by_column = self.needs.contains(Needs::ORPHAN_SOCKETS) && self.program.selects_all();
        self.by_descriptor && (by_filter || by_column)
    }

    /// Calls `visit` with each row that the filter selects, processes in order of pid, sockets
    /// without a process last.
    pub fn each(&self, snapshot: &Snapshot, visit: &mut dyn FnMut(&Row<'_>)) {
        for process in snapshot.processes() {
            if process.tid() != process.pid() && !self.threads {
                continue;
            }
            self.each_of(&process, visit);
        }
        if self.takes_ownerless() {
            for row in snapshot.ownerless() {
                if self.program.matches(&row) {
                    visit(&row);
                }
            }
        }
    }

    /// The rows of one process.
    fn each_of(&self, process: &Process<'_>, visit: &mut dyn FnMut(&Row<'_>)) {
        let alone = process.alone();
        if !self.by_descriptor {
            if self.selects(process, &alone) {
                visit(&alone);
            }
            return;
        }
        if process.tid() != process.pid()
            || (!self.program.reads(Class::File) && !self.program.matches(&alone))
        {
            return;
        }
        for row in process.descriptors() {
            let wanted = !self.only_sockets || row.socket().is_some();
            if wanted && (!self.program.reads(Class::File) || self.program.matches(&row)) {
                visit(&row);
            }
        }
    }

    /// Whether a process is selected: by itself, or by any of its descriptors when the filter asks
    /// about descriptors.
    pub fn selects(&self, process: &Process<'_>, alone: &Row<'_>) -> bool {
        if !self.program.reads(Class::File) {
            return self.program.matches(alone);
        }
        self.program.matches(alone) || process.descriptors().any(|row| self.program.matches(&row))
    }
}

/// Whether `/proc` can be read, and what it will not show.
pub fn proc_works() -> std::result::Result<Vec<String>, String> {
    let mut records = Vec::new();
    let own = Interest { pids: Some(vec![std::process::id()]), ..Interest::all(Needs::TASK) };
    match nabe_probe::proc::snapshot(&own, &mut records) {
        Ok(report) => Ok(report.notes),
        Err(error) => Err(error.to_string()),
    }
}
