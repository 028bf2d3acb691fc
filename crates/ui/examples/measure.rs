//! What 40,000 rows of six columns cost: `cargo run --release -p nabe-ui --example measure`.
//!
//! Prints milliseconds (the best of several rounds, one thread) and bytes.

use std::time::Instant;

use nabe_event::field::{file, process};
use nabe_event::{FieldId, Fields, Missing, Value};
use nabe_ui::print::{print, print_tree};
use nabe_ui::view::SortKey;
use nabe_ui::view::tree::{Arrangement, Node};
use nabe_ui::{Column, Context, Format, Options, Table, Tree};

const ROWS: usize = 40_000;

struct Row {
    pid: i64,
    fd: i64,
    path: Vec<u8>,
}

impl Fields for Row {
    fn get(&self, field: FieldId, _: Option<&[u8]>) -> Value<'_> {
        match field {
            process::PID => Value::Int(self.pid),
            process::NAME => Value::Text(b"holder"),
            process::USER => Value::Text(b"root"),
            file::FD => Value::Int(self.fd),
            file::FD_TYPE => Value::Uint(1 + self.fd as u64 % 3),
            file::PATH => Value::Text(&self.path),
            _ => Value::Missing(Missing::Unset),
        }
    }

    fn related(&self, _: FieldId, _: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
        None
    }
}

fn best(mut work: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64() * 1_000.0
    };
    (0..15).map(time).fold(f64::INFINITY, f64::min)
}

fn main() {
    let row = |n: usize| Row {
        pid: (n / 1_000) as i64 + 20_000,
        fd: (n % 1_000) as i64,
        path: format!("/var/lib/holder/data/segment-{n:08}.log").into_bytes(),
    };
    let rows: Vec<Row> = (0..ROWS).map(row).collect();
    let context = Context::utc(0, 0);
    let columns = Column::parse_list("files").unwrap_or_default();
    let mut table = Table::new(columns.clone());
    let push = best(|| {
        table.clear();
        rows.iter().for_each(|row| table.push(row));
    });
    println!("push          {push:7.2} ms  {:9} bytes kept", table.memory_bytes());
    for (name, format) in Format::ALL {
        for width in [None, Some(60)].into_iter().take(if format.is_machine() { 1 } else { 2 }) {
            let options = Options { format, width, ..Options::default() };
            let mut out = Vec::new();
            let time = best(|| {
                out.clear();
                print(&table, &context, &options, &mut out);
            });
            println!("{name:6} {:>6} {time:7.2} ms  {:9} bytes", width.unwrap_or(0), out.len());
        }
    }
    // Nobody's descendants, a chain, and a bush of seven.
    for (name, parent) in [("flat", (|_| 0) as fn(u64) -> u64), ("chain", |id| id - 1), ("bush", |id| id / 7)]
    {
        let mut tree = Tree::default();
        for id in 1..=5_000 {
            let (parent, name) = (parent(id), b"holder");
            tree.push_node(&Node { id, parent, name, matched: true, ..Node::default() });
        }
        let (options, mut out) = (Options::default(), Vec::new());
        let time = best(|| {
            out.clear();
            print_tree(&tree.arrange(&Arrangement::default()), &context, &options, &mut out);
        });
        println!("tree {name:5} {time:9.2} ms  {:9} bytes (5,000 processes)", out.len());
    }
    for spec in ["-fd", "path", "name,-path"] {
        let keys = SortKey::parse_list(spec, &columns).unwrap_or_default();
        let mut table = Table::new(columns.clone()).with_sort(&keys);
        rows.iter().for_each(|row| table.push(row));
        let time = best(|| table.sort());
        println!("sort {spec:10} {time:5.2} ms");
    }
}
