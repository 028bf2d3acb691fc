//! Golden outputs of every format.

mod roundtrip;
mod tree;

use nabe_event::field::{file, process};
use nabe_event::{Missing, Value};

use crate::fixture::{Ints, Own, Pairs, Row, Texts, context, printed, table};
use crate::print::{Format, Options, Palette, Printer, print};
use crate::view::diff::Change;
use crate::view::{Column, Diff, Groups, SortKey, Table};

fn process(pid: i64, name: &str, user: &str, cmdline: &str) -> Row {
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
}

fn processes() -> Vec<Row> {
    vec![
        process(
            1,
            "systemd",
            "root",
            "/usr/lib/systemd/systemd --switched-root --system --deserialize=31 rhgb",
        )
        .with("process.startTime", 20_000_000u64)
        .with("process.rss", 815_104u64),
        process(2, "kthreadd", "root", "")
            .with("process.vsz", 0u64)
            .with("process.rss", 0u64)
            .with("process.state", 0x402u64)
            .with("container.id", "host")
            .with("container.name", "host")
            .with("container.runtime", "host"),
        process(26_441, "sleep", "root", "sleep 6000")
            .with("container.id", "355e4bf5d63d")
            .with("container.name", "web1")
            .with("container.runtime", "docker"),
        process(26_442, "a-rather-long-name", "systemd-timesync", "日本語 \x1b[31m red\nline \u{202e}txt")
            .with("process.startTime", 198_000_000_000_000u64),
        process(30_000, "gone", "1000", "x").with("process.rss", Missing::Unread(13)),
    ]
}

fn default_table() -> Table {
    let mut columns = Column::default_table();
    columns.push(Column::container());
    let mut table = Table::new(columns);
    processes().iter().for_each(|row| table.push(row));
    table
}

fn at(width: Option<usize>) -> Options {
    Options { width, ..Options::default() }
}

fn format(format: Format) -> Options {
    Options { format, ..Options::default() }
}

fn widest(text: &str) -> usize {
    text.lines().map(|line| crate::view::escape::width(line.as_bytes())).max().unwrap_or(0)
}

#[test]
fn default_table_at_every_width() {
    let table = default_table();
    insta::assert_snapshot!("default_40", printed(&table, &at(Some(40))));
    insta::assert_snapshot!("default_80", printed(&table, &at(Some(80))));
    insta::assert_snapshot!("default_120", printed(&table, &at(Some(120))));
    insta::assert_snapshot!("default_unlimited", printed(&table, &at(None)));
    for width in 0..150 {
        let text = printed(&table, &at(Some(width)));
        assert!(widest(&text) <= width, "{width}: {text}");
        assert_eq!(text.lines().count(), 6, "{width}");
    }
    let narrow = at(Some(40));
    assert_eq!(Printer::new(&table, &context(), &narrow).hidden_columns(), 4);
}

/// A socket of `family`, `kind`, `protocol` and `state`.
fn socket(fd: i64, numbers: [u64; 4]) -> Row {
    let [family, kind, protocol, state] = numbers;
    process(7, "a", "root", "a")
        .with("file.fd", fd)
        .with("file.family", family)
        .with("file.type", kind)
        .with("file.protocol", protocol)
        .with("file.state", state)
}

#[test]
fn sockets_are_named_with_family_and_protocol() {
    let rows = [
        socket(1, [2, 1, 6, 10]).with("file.srcAddr", "127.0.0.1".parse::<std::net::IpAddr>().unwrap()),
        socket(2, [10, 1, 262, 1]).with("file.srcAddr", "fe80::1".parse::<std::net::IpAddr>().unwrap()),
        socket(3, [2, 1, 0, 7]),
        socket(4, [2, 2, 17, 7]),
        socket(5, [10, 2, 17, 1]),
        socket(6, [2, 2, 1, 7]),
        socket(7, [2, 3, 1, 7]),
        socket(8, [2, 5, 132, 10]),
        socket(9, [1, 1, 0, 10]),
        socket(10, [1, 2, 0, 7]),
        socket(11, [1, 5, 0, 1]),
        socket(12, [16, 3, 0, 7]),
        socket(13, [16, 2, 99, 7]),
        socket(14, [17, 3, 768, 7]),
        socket(15, [2, 1, 6, 77]),
        socket(16, [77, 66, 5, 7]),
        process(8, "b", "root", "b")
            .with("file.state", Missing::Subject)
            .with("file.family", Missing::Unread(13)),
    ];
    let table = table("fd,socket.family,socket.type,socket.protocol,socket.state,socket.srcAddr", &rows);
    insta::assert_snapshot!("sockets", printed(&table, &at(None)));
    insta::assert_snapshot!("sockets_tsv", printed(&table, &format(Format::Tsv)));
}

fn hostile() -> Vec<Row> {
    let labels = [("app", "web"), ("quote\"", "a,b\n")];
    let labels = labels.map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()));
    vec![
        process(1, "plain", "root", "")
            .with("process.args", Texts(vec![b"a b".to_vec(), b"\xff".to_vec()]))
            .with("container.labels", Pairs(labels.into()))
            .with("process.capabilities.effective", u64::MAX)
            .with("process.noNewPrivs", true)
            .with("process.loginuid", -1),
        process(2, "=\"quoted\"", "a,b", " x\ty\\ ").with("process.noNewPrivs", false),
        process(3, "\u{202e}\u{200b}\u{7f}\u{9b}", "\u{e0041}", "\r\n\0")
            .with("process.args", Texts(Vec::new()))
            .with("process.loginuid", i64::MIN),
        process(4, "", "", "").with("process.name", &b"bad\xffname\xc3"[..]),
    ]
}

const HOSTILE: &str =
    "process.pid,name,user,cmdline,args,labels,container.labels[app],caps,noNewPrivs,loginuid";

#[test]
fn hostile_text_in_every_format() {
    let table = table(HOSTILE, &hostile());
    insta::assert_snapshot!("hostile_text", printed(&table, &at(None)));
    insta::assert_snapshot!("hostile_json", printed(&table, &format(Format::Json)));
    insta::assert_snapshot!("hostile_ndjson", printed(&table, &format(Format::NdJson)));
    insta::assert_snapshot!("hostile_tsv", printed(&table, &format(Format::Tsv)));
    let csv = Options { terminal: true, ..format(Format::Csv) };
    insta::assert_snapshot!("hostile_csv_on_a_terminal", printed(&table, &csv).replace('\r', "␍"));
    let mut out = Vec::new();
    print(&table, &context(), &format(Format::Csv), &mut out);
    assert!(out.windows(9).any(|bytes| bytes == b"bad\xffname\xc3"), "csv keeps the bytes");
}

#[test]
fn json_is_read_back_exactly() {
    let table = table(HOSTILE, &hostile());
    let rows: serde_json::Value = serde_json::from_str(&printed(&table, &format(Format::Json))).unwrap();
    assert_eq!(rows[0]["caps"].as_u64(), Some(u64::MAX));
    assert_eq!(rows[2]["loginuid"].as_i64(), Some(i64::MIN));
    assert_eq!(rows[0]["labels"]["quote\""], "a,b\n");
    assert_eq!(rows[0]["container.labels[app]"], "web");
    assert_eq!(rows[1]["container.labels[app]"], serde_json::Value::Null);
    assert_eq!(rows[2]["name"], "\u{202e}\u{200b}\u{7f}\u{9b}");
    assert_eq!(rows[2]["args"], serde_json::json!([]));
    assert_eq!(rows[3]["name"], "bad\u{fffd}name\u{fffd}");
    assert_eq!(rows[3]["name#hex"], "626164ff6e616d65c3");
    assert_eq!(rows[0]["args#hex"], serde_json::json!(["612062", "ff"]));
    for line in printed(&table, &format(Format::NdJson)).lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn nothing_prints_as_nothing() {
    let empty = table("pid,name", &[]);
    assert_eq!(printed(&empty, &at(None)), "PID  NAME\n");
    let unread = table(
        "exe,cwd",
        &[Row::default().with("process.exe", Missing::Unread(13)).with("process.cwd", Missing::Unread(0))],
    );
    assert_eq!(printed(&unread, &format(Format::NdJson)), "{\"exe\":null,\"exe#errno\":13,\"cwd\":null}\n");
    assert_eq!(printed(&empty, &Options { header: false, ..at(None) }), "");
    assert_eq!(printed(&empty, &format(Format::Json)), "[]\n");
    assert_eq!(printed(&empty, &format(Format::NdJson)), "");
    assert_eq!(printed(&empty, &format(Format::Csv)), "pid,name\r\n");
    let none = table("pid", &[Row::default()]);
    assert_eq!(printed(&none, &format(Format::Json)), "[\n{\"pid\":null}\n]\n");
    assert_eq!(printed(&none, &at(None)), "PID\n\n");
    let without = Table::new(Vec::new());
    assert_eq!(printed(&without, &at(Some(80))), "\n");
}

#[test]
fn a_printer_fills_in_pieces_what_it_prints_at_once() {
    let table = default_table();
    for (_, kind) in Format::ALL {
        let options = Options { format: kind, width: Some(90), ..Options::default() };
        let context = context();
        let mut printer = Printer::new(&table, &context, &options);
        let (mut pieces, mut count) = (Vec::new(), 0);
        loop {
            let mut piece = Vec::new();
            let more = printer.fill(&mut piece, 1);
            pieces.extend(piece);
            count += 1;
            if !more {
                break;
            }
        }
        assert!(count >= 5, "{kind:?}");
        assert_eq!(String::from_utf8(pieces).unwrap(), printed(&table, &options), "{kind:?}");
    }
}

#[test]
fn colours_change_no_width() {
    let table = default_table();
    let options = Options { palette: Palette::ANSI, ..at(Some(100)) };
    let text = printed(&table, &options);
    insta::assert_snapshot!("colours", text.replace('\x1b', "ESC"));
    let mut bare = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("\x1b[") {
        bare.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    bare.push_str(rest);
    assert_eq!(bare, printed(&table, &at(Some(100))));
}

fn sorted(spec: &str, columns: &str, rows: &[Row]) -> String {
    let columns = Column::parse_list(columns).unwrap();
    let keys = SortKey::parse_list(spec, &columns).unwrap();
    let mut table = Table::new(columns).with_sort(&keys);
    rows.iter().for_each(|row| table.push(row));
    table.sort();
    let text = printed(&table, &Options { header: false, ..at(None) });
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[test]
fn rows_are_sorted() {
    let rows = processes();
    assert_eq!(sorted("-rss", "pid", &rows), "26441 26442 1 2 30000", "equal rows stay, unread last");
    assert_eq!(sorted("rss", "pid", &rows), "2 1 26441 26442 30000");
    assert_eq!(sorted("user,-PID", "pid", &rows), "30000 26441 2 1 26442");
    assert_eq!(sorted("state,process.rss,-pid", "pid", &rows), "2 1 26442 26441 30000");
    let name = |text: &str| process(1, text, "root", "");
    let rows = [name("eth10"), name("eth2"), name("eth02"), name("eth"), name("eth2a")];
    assert_eq!(sorted("name", "name", &rows), "eth eth02 eth2 eth2a eth10");
    assert_eq!(sorted("-name", "name", &rows), "eth10 eth2a eth2 eth02 eth");
    let mixed = [Own::Int(-5), Own::Int(7), Own::Int(-70), Own::Missing(Missing::Unset), Own::Int(0)];
    let rows = mixed.map(|value| process(1, "", "", "").with("process.nice", value));
    assert_eq!(sorted("nice", "nice", &rows), "-70 -5 0 7 ");
}

#[test]
fn a_limit_keeps_the_first_rows_of_any_order() {
    let mut plain = default_table();
    plain.limit(2);
    assert_eq!((plain.len(), printed(&plain, &at(None)).lines().count()), (2, 3));
    plain.push(&processes()[4]);
    assert!(printed(&plain, &at(None)).contains("30000"));
    let columns = Column::parse_list("pid").unwrap();
    let keys = SortKey::parse_list("-pid", &columns).unwrap();
    let mut table = Table::new(columns).with_sort(&keys);
    processes().iter().for_each(|row| table.push(row));
    table.sort();
    table.limit(2);
    assert_eq!(printed(&table, &at(None)), "  PID\n30000\n26442\n");
}

#[test]
fn groups_are_counted_and_added_up() {
    let by = Column::parse_list("user").unwrap();
    let sums = Column::parse_list("name,rss,cpu,file.size").unwrap();
    let mut groups = Groups::new(by, sums);
    for row in processes() {
        // Two descriptors each: what belongs to the process counts once.
        groups.push(&row.clone().with("file.size", 1000u64));
        groups.push(&row.with("file.size", 24u64));
    }
    assert_eq!(groups.len(), 3);
    let table = groups.into_table(&[]);
    insta::assert_snapshot!("groups", printed(&table, &at(None)));
    insta::assert_snapshot!("groups_json", printed(&table, &format(Format::NdJson)));
    let mut groups = Groups::new(Column::parse_list("name").unwrap(), Vec::new());
    processes().iter().for_each(|row| groups.push(row));
    let keys = SortKey::parse_shown("-name", &groups.columns()).unwrap();
    let text = printed(&groups.into_table(&keys), &Options { header: false, ..at(None) });
    assert!(text.starts_with("systemd"), "{text}");
}

fn round(rows: &[Row]) -> Table {
    let mut table = Table::new(Column::parse_list("pid,name,rss,age").unwrap()).with_identity(&[
        process::PID,
        process::START_TIME,
        file::FD,
    ]);
    rows.iter().for_each(|row| table.push(row));
    table
}

#[test]
fn rounds_differ() {
    let mut rows = processes();
    let old = round(&rows);
    rows[1] = rows[1].clone().with("process.age", 5_000_000_000i64);
    rows[2] = rows[2].clone().with("process.rss", 5u64);
    rows[3] = rows[3].clone().with("process.startTime", 5u64);
    rows.remove(0);
    let new = round(&rows);
    let diff = Diff::between(&old, &new);
    assert!(!diff.is_empty() && Diff::between(&old, &old).is_empty());
    let (context, text, machine) = (context(), at(None), format(Format::NdJson));
    let mut out = Vec::new();
    Printer::with_changes(&new, &old, &diff, &context, &text).fill(&mut out, usize::MAX);
    insta::assert_snapshot!("watch", String::from_utf8(out).unwrap());
    let mut out = Vec::new();
    Printer::with_changes(&new, &old, &diff, &context, &machine).fill(&mut out, usize::MAX);
    insta::assert_snapshot!("watch_ndjson", String::from_utf8(out).unwrap());
    // What is gone is measured too.
    let short = round(&rows[..1]);
    let diff = Diff::between(&old, &short);
    let mut out = Vec::new();
    let narrow = at(Some(24));
    Printer::with_changes(&short, &old, &diff, &context, &narrow).fill(&mut out, usize::MAX);
    insta::assert_snapshot!("watch_gone_24", String::from_utf8(out).unwrap());
    // Rows that cannot be told apart are paired in their order.
    let twice = round(&[rows[0].clone(), rows[0].clone(), rows[0].clone()]);
    let once = round(&[rows[0].clone()]);
    assert_eq!(Diff::between(&twice, &once).gone(), [1, 2]);
    assert!(!Diff::between(&once, &twice).is_empty());
}

#[test]
fn groups_differ() {
    let groups = |rows: &[Row]| {
        let mut groups = Groups::new(Column::parse_list("user").unwrap(), Vec::new());
        rows.iter().for_each(|row| groups.push(row));
        groups.into_table(&[])
    };
    let rows = processes();
    let (old, new) = (groups(&rows), groups(&rows[2..]));
    let diff = Diff::between(&old, &new);
    assert_eq!(diff.change(0), Change::Changed(2), "root has fewer");
    assert_eq!((diff.change(1), diff.change(2), diff.gone()), (Change::Same, Change::Same, &[][..]));
}

#[test]
fn files_at_every_width() {
    let row = |fd: i64, kind: u64, path: &str| {
        process(31_000, "postgres", "postgres", "")
            .with("file.fd", fd)
            .with("file.fdType", kind)
            .with("file.path", path)
    };
    let rows = [
        row(0, 1, "/dev/null"),
        row(11, 2, "socket:[123456]"),
        row(1024, 1, "/var/lib/postgresql/15/main/base/16384/a/very/long/path/2619_vm"),
        process(2, "kthreadd", "root", ""),
    ];
    let table = table("files", &rows);
    for width in [Some(20), Some(40), Some(80), Some(120), None] {
        let name = format!("files_{}", width.map_or("unlimited".to_owned(), |width| width.to_string()));
        insta::assert_snapshot!(name, printed(&table, &at(width)));
    }
}

#[test]
fn columns_are_parsed() {
    let names = |spec: &str| {
        Column::parse_list(spec).map(|list| list.into_iter().map(|c| c.key.into_owned()).collect::<Vec<_>>())
    };
    assert_eq!(
        names("network, process.rss ,rss,socket.fd,proc.pid").unwrap(),
        [
            "process.pid",
            "process.name",
            "file.type",
            "file.state",
            "file.srcPort",
            "file.dstPort",
            "process.rss",
            "rss",
            "socket.fd",
            "proc.pid"
        ]
    );
    assert_eq!(names("network,containers,pid,pid").unwrap().len(), 6 + 4 + 1);
    assert_eq!(
        names("container.labels[\"a,b]\"],env['X'],pid").unwrap(),
        ["container.labels[\"a,b]\"]", "env['X']", "pid"]
    );
    let error = |spec: &str| names(spec).unwrap_err();
    assert_eq!(error("process.pidd").nearest(), Some("process.pid"));
    assert_eq!(error("socket.stat").nearest(), Some("socket.state"));
    assert_eq!(error("pid,rsss").nearest(), Some("rss"));
    assert_eq!(error("sokets").nearest(), Some("sockets"));
    assert_eq!(error("qqqqqqqqqqqqqqq").nearest(), None);
    assert_eq!(error("process.pidd").to_string(), "unknown column `process.pidd`");
    assert_eq!(error("process.files").to_string(), "field `process.files` cannot be a column");
    assert_eq!(error("pid[x]").to_string(), "field `pid` takes no key in brackets");
    assert_eq!(error("labels[x").to_string(), "`labels[x` has brackets that are not closed");
    assert_eq!(error("pid,,rss").to_string(), "empty column in `pid,,rss`");
    let sort = |spec: &str| SortKey::parse_list(spec, &Column::default_table());
    assert_eq!(sort("-rs").unwrap_err().to_string(), "unknown sort key `rs`");
    assert!(sort("%cpu,-start,container.name").is_ok());
    let shown = SortKey::parse_shown("rss", &[Column::count()]).unwrap_err();
    assert_eq!((shown.to_string().as_str(), shown.nearest()), ("unknown sort key `rss`", None));
}

#[test]
fn text_beyond_the_limit_is_marked() {
    let mut table = Table::new(Column::parse_list("cmdline").unwrap()).with_text_limit(8);
    table.push(&process(1, "", "", "12345678"));
    table.push(&process(1, "", "", "123456789"));
    table.push(&process(1, "", "", "1234567é"));
    assert_eq!(printed(&table, &at(None)), "CMDLINE\n12345678\n12345678…\n1234567…\n");
}

#[test]
fn numbers_of_lists_are_numbers() {
    let row = Row::default().with("container.pids", Ints(vec![1, -2, 3]));
    let table = table("pids", &[row]);
    assert_eq!(printed(&table, &at(None)), "PIDS\n1,-2,3\n");
    assert_eq!(printed(&table, &format(Format::NdJson)), "{\"pids\":[1,-2,3]}\n");
    assert_eq!(printed(&table, &format(Format::Csv)), "pids\r\n\"[1,-2,3]\"\r\n");
    assert!(matches!(nabe_event::Fields::get(&Row::default(), process::PID, None), Value::Missing(_)));
}
