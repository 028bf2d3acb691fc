//! Golden outputs of every format.

use nabe_event::Missing;

use crate::fixture::{Own, Pairs, Row, Texts, context, printed, table};
use crate::print::{Format, Options, Palette, Printer, print};
use crate::view::{Column, Diff, Groups, SortKey, Table};

fn processes() -> Vec<Row> {
    let row = |pid: i64, name: &str, user: &str, cmdline: &str| {
        Row::default()
            .with("process.pid", pid)
            .with("process.tid", pid)
            .with("process.ppid", 1)
            .with("process.name", name)
            .with("process.user", user)
            .with("process.state", 1u64)
            .with("process.cpu", 1250u64)
            .with("process.vsz", 2_306_867u64)
            .with("process.rss", 1_363_149u64)
            .with("process.startTime", 190_000_000_000_000u64)
            .with("process.cmdline", cmdline)
    };
    vec![
        row(1, "systemd", "root", "/usr/lib/systemd/systemd --switched-root --system --deserialize=31 rhgb")
            .with("process.startTime", 20_000_000u64)
            .with("process.rss", 815_104u64),
        row(2, "kthreadd", "root", "")
            .with("process.vsz", 0u64)
            .with("process.rss", 0u64)
            .with("process.state", 0x402u64),
        row(26_441, "sleep", "root", "sleep 6000")
            .with("container.id", "355e4bf5d63d")
            .with("container.name", "web1")
            .with("container.runtime", "docker"),
        row(26_442, "a-rather-long-name", "systemd-timesync", "日本語 \x1b[31m red\nline \u{202e}txt"),
        row(30_000, "gone", "1000", "x").with("process.rss", Missing::Unread(13)),
    ]
}

const DEFAULT: &str = "process.user,process.pid,process.ppid,process.state,process.cpu,process.vsz,process.rss,\
                       process.startTime,process.name,process.cmdline";

fn default_table() -> Table {
    let mut columns = Column::parse_list(DEFAULT).unwrap();
    columns.push(Column::container());
    let mut table = Table::new(columns);
    processes().iter().for_each(|row| table.push(row));
    table
}

fn at(width: Option<usize>) -> Options {
    Options { width, ..Options::default() }
}

#[test]
fn default_table_at_every_width() {
    let table = default_table();
    insta::assert_snapshot!("default_40", printed(&table, &at(Some(40))));
    insta::assert_snapshot!("default_80", printed(&table, &at(Some(80))));
    insta::assert_snapshot!("default_120", printed(&table, &at(Some(120))));
    insta::assert_snapshot!("default_unlimited", printed(&table, &at(None)));
}
