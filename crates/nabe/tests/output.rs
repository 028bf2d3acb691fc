//! Formats, order, limits, colours, widths, hostile text, pipes, `--watch`, and snapshot files.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;
use support::{Need, Run, Running, Stage, bytes, has, nabe_command, on_terminal, ps, rows, without_color};

const COLUMNS: &str = "process.pid,process.name,process.user,process.rss,process.noNewPrivs,file.fd,file.fdType,\
                       file.path,socket.state,socket.srcAddr,socket.srcPort,process.args";

/// A stage whose arguments try what a format could trip over.
fn tricky(test: &str) -> Option<Stage> {
    Stage::play(
        test,
        "sleep",
        [bytes(b"a,b \"quoted\""), bytes(b"line\nbreak\ttab\\back"), bytes("żółć…".as_bytes())],
    )
}

fn output(pid: u32, format: &str) -> Run {
    ps([&format!("process.pid == {pid}"), "-o", COLUMNS, "--sort", "file.fd", "--format", format]).ok()
}

/// RFC 4180.
fn csv(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (quoted, c) {
            (true, '"') if rest.peek() == Some(&'"') => {
                rest.next();
                cell.push('"');
            }
            (_, '"') => quoted = !quoted,
            (false, ',') => record.push(std::mem::take(&mut cell)),
            (false, '\r') => assert_eq!(rest.peek(), Some(&'\n'), "a bare CR"),
            (false, '\n') => {
                record.push(std::mem::take(&mut cell));
                records.push(std::mem::take(&mut record));
            }
            (_, c) => cell.push(c),
        }
    }
    assert!(!quoted && cell.is_empty() && record.is_empty(), "ends in the middle of a record");
    records
}

fn tsv(text: &str) -> Vec<Vec<String>> {
    let plain = |cell: &str| {
        let (mut out, mut rest) = (String::new(), cell.chars());
        while let Some(c) = rest.next() {
            match (c, if c == '\\' { rest.next() } else { None }) {
                ('\\', Some('n')) => out.push('\n'),
                ('\\', Some('t')) => out.push('\t'),
                ('\\', Some('\\')) => out.push('\\'),
                ('\\', other) => panic!("\\{other:?} in {cell}"),
                (c, _) => out.push(c),
            }
        }
        out
    };
    text.lines().map(|line| line.split('\t').map(plain).collect()).collect()
}

/// A value as the separated formats write it.
fn as_cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[test]
fn formats_agree_with_each_other() {
    let test = "formats_agree_with_each_other";
    let Some(stage) = tricky(test) else { return };
    let json = output(stage.pid, "json").json();
    let rows = json.as_array().expect("an array");
    assert!(rows.len() >= 3, "{rows:?}");
    assert_eq!(rows[0]["process.args"][2], "a,b \"quoted\"");
    assert_eq!(rows[0]["process.args"][3], "line\nbreak\ttab\\back");
    assert_eq!(rows[0]["process.args"][4], "żółć…");
    assert!(rows[0]["process.rss"].is_u64() && rows[0]["process.noNewPrivs"].is_boolean());

    let lines = output(stage.pid, "ndjson").lines();
    let objects: Vec<Value> =
        lines.iter().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(&objects, rows);

    let names: Vec<_> = COLUMNS.split(',').collect();
    for (format, table) in
        [("csv", csv(&output(stage.pid, "csv").text())), ("tsv", tsv(&output(stage.pid, "tsv").text()))]
    {
        assert_eq!(table[0], names, "{format}");
        assert_eq!(table.len(), rows.len() + 1, "{format}");
        for (record, row) in table[1..].iter().zip(rows) {
            for (name, cell) in names.iter().zip(record) {
                if *name == "process.args" {
                    assert_eq!(serde_json::from_str::<Value>(cell).expect("a list"), row[name], "{format}");
                } else {
                    assert_eq!(*cell, as_cell(&row[name]), "{format} {name}");
                }
            }
        }
    }
    let text = output(stage.pid, "table").lines();
    assert_eq!(text.len(), rows.len() + 1);
}

#[test]
fn json_is_the_same_as_format_json() {
    let columns = ["process.pid == 2", "-o", "process.pid,process.name,process.startTime"];
    let short = ps(columns.into_iter().chain(["--json"])).ok();
    let long = ps(columns.into_iter().chain(["--format", "json"])).ok();
    assert_eq!(short.text(), long.text());
    assert_eq!(short.json()[0]["process.name"], "kthreadd");
    assert_eq!(ps(["--json", "--format", "csv"]).status, Some(2));
}

#[test]
fn nothing_found_is_still_a_document() {
    let empty =
        |format: &str| ps(["false", "-o", "process.pid,process.name", "--format", format]).ok().text();
    assert_eq!(serde_json::from_str::<Value>(&empty("json")).expect("JSON"), Value::Array(Vec::new()));
    assert_eq!(empty("ndjson"), "");
    assert_eq!(empty("csv"), "process.pid,process.name\r\n");
    assert_eq!(empty("tsv"), "process.pid\tprocess.name\n");
}

#[test]
fn rows_are_sorted_limited_and_counted() {
    let test = "rows_are_sorted_limited_and_counted";
    let stages: Vec<_> =
        ["5", "40", "20"].iter().filter_map(|mb| Stage::play(test, "stopped", [mb])).collect();
    let pids: Vec<_> = stages.iter().map(|stage| stage.pid).collect();
    let ours = format!("process.pid in {pids:?}");
    let order = |sort: &str, extra: &[&str]| -> Vec<u32> {
        let arguments = [ours.as_str(), "-o", "process.pid,process.rss,process.name", "--sort", sort];
        let rows = rows(arguments.into_iter().chain(extra.iter().copied()));
        rows.iter().map(|row| row["process.pid"].as_u64().expect("a pid") as u32).collect()
    };
    let [small, large, middle] = pids[..] else { panic!("{pids:?}") };
    for sort in ["process.rss", "rss", "RSS", "process.name,process.rss"] {
        assert_eq!(order(sort, &[]), [small, middle, large], "{sort}");
    }
    for sort in ["-process.rss", "-rss", "process.name,-process.rss"] {
        assert_eq!(order(sort, &[]), [large, middle, small], "{sort}");
    }
    // By what is not shown, too.
    assert_eq!(order("-process.rssAnon", &["--limit", "2"]), [large, middle]);
    assert_eq!(order("rss", &["--limit", "0"]), Vec::<u32>::new());
    assert_eq!(order("rss", &["--limit", "100"]).len(), 3);
    assert_eq!(ps([ours.as_str(), "--count"]).ok().text(), "3\n");
}

#[test]
fn groups_count_and_add_up() {
    let test = "groups_count_and_add_up";
    let stages: Vec<_> = ["4", "4"].iter().filter_map(|mb| Stage::play(test, "stopped", [mb])).collect();
    let Some(threads) = Stage::play(test, "comm", ["other name"]) else { return };
    let pids: Vec<_> = stages.iter().map(|stage| stage.pid).chain([threads.pid]).collect();
    let ours = format!("process.pid in {pids:?}");
    let groups =
        rows([&ours, "--group-by", "process.name", "-o", "process.rss,process.threads", "--sort", "-count"]);
    assert_eq!(groups.len(), 2, "{groups:?}");
    assert_eq!(
        (&groups[0]["process.name"], &groups[0]["count"]),
        (&"nabe-stage".into(), &2.into()),
        "{groups:?}"
    );
    assert_eq!(
        (&groups[1]["process.name"], &groups[1]["count"]),
        (&"other name".into(), &1.into()),
        "{groups:?}"
    );
    let both = rows([&format!("process.pid in [{}, {}]", pids[0], pids[1]), "-o", "process.rss"]);
    let sum: u64 = both.iter().map(|row| row["process.rss"].as_u64().expect("bytes")).sum();
    assert_eq!(groups[0]["process.rss"], sum);
    assert_eq!(groups[0]["process.threads"], 2);
    let limited = rows([&ours, "--group-by", "process.name", "--sort", "count", "--limit", "1"]);
    assert_eq!((limited.len(), &limited[0]["count"]), (1, &1.into()));
}

#[test]
fn titles_can_be_left_out() {
    for format in ["table", "csv", "tsv"] {
        let run =
            ps(["process.pid == 2", "-o", "process.pid,process.name", "--no-header", "--format", format])
                .ok();
        let lines = run.lines();
        assert_eq!(lines.len(), 1, "{format}");
        assert!(lines[0].contains("kthreadd") && !lines[0].contains("NAME"), "{format}: {}", lines[0]);
    }
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let test = "colour_is_for_terminals_that_want_it";
    assert!(!ps(["process.pid == 2"]).ok().text().contains('\x1b'), "a pipe gets none");
    assert!(ps(["process.pid == 2", "--color", "always"]).ok().text().contains("\x1b["));
    assert!(!ps(["process.pid == 2", "--color", "always", "--no-color"]).ok().text().contains('\x1b'));
    if !has(test, &[Need::Program("script"), Need::Program("stty")]) {
        return;
    }
    let line = format!("{} ps 'process.pid == 2'", support::NABE);
    assert!(on_terminal(100, &line, &[]).0.contains("\x1b["), "a terminal gets some");
    for environment in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        assert!(!on_terminal(100, &line, &[environment]).0.contains('\x1b'), "{environment:?}");
    }
    assert!(on_terminal(100, &line, &[("NO_COLOR", "")]).0.contains("\x1b["), "an empty NO_COLOR is none");
    for flag in ["--no-color", "--color never"] {
        assert!(!on_terminal(100, &format!("{line} {flag}"), &[]).0.contains('\x1b'), "{flag}");
    }
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let test = "no_line_is_wider_than_the_terminal";
    if !has(test, &[Need::Program("script"), Need::Program("stty")]) {
        return;
    }
    let Some(_long) = Stage::play(test, "sleep", ["x".repeat(500)]) else { return };
    let Some(_sockets) = Stage::play(test, "inet", [""; 0]) else { return };
    for columns in [40, 80, 132] {
        for arguments in
            ["", "-o files", "-o sockets", "-t", "-o security", "-t -o containers", "--suspicious"]
        {
            let (text, status) = on_terminal(
                columns,
                &format!("{} ps --no-pager {arguments} 2>/dev/null", support::NABE),
                &[],
            );
            assert_eq!(status, 0, "{text}");
            let plain = without_color(&text);
            assert!(plain.lines().count() > 1 || arguments == "--suspicious", "{arguments}: {plain}");
            for line in plain.lines() {
                assert!(line.chars().count() <= columns, "{columns} columns, {arguments}: {line:?}");
            }
        }
    }
    // A pipe gets whole lines.
    assert!(ps([""; 0]).ok().text().contains(&"x".repeat(500)));
}

/// What steers a terminal, turns text, or is no text at all.
const HOSTILE: &[u8] = b"\x1b[31mred\x1b]0;title\x07 a\nb\r\x08 \xe2\x80\xae\xe2\x80\x8b \xff\xfe \xc2\x9b5n";

#[test]
fn hostile_text_reaches_no_terminal() {
    let test = "hostile_text_reaches_no_terminal";
    let Some(stage) = Stage::play(test, "comm", [bytes(b"\x1b[2J\n\xff\xe2\x80\xae"), bytes(HOSTILE)]) else {
        return;
    };
    let expression = format!("process.pid == {}", stage.pid);
    for arguments in
        [&[][..], &["-t"], &["-o", "process.name,process.cmdline,process.args"], &["--suspicious"]]
    {
        let run =
            ps([expression.as_str(), "--color", "never"].into_iter().chain(arguments.iter().copied())).ok();
        let text = String::from_utf8(run.stdout).expect("UTF-8");
        let bad = |c: char| c.is_control() && c != '\n' || "\u{202e}\u{200b}\u{feff}".contains(c);
        assert!(!text.contains(bad), "{arguments:?}: {text:?}");
        assert!(
            text.contains("\\x1b[2J\\n\\xff\\u{202e}") || arguments == ["--suspicious"],
            "{arguments:?}: {text:?}"
        );
    }
    let lines = ps([&expression, "--no-header", "-o", "process.cmdline"]).ok().lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    // For machines: JSON that parses, with the exact bytes beside it; CSV with the bytes themselves.
    let row = &rows([&expression, "-o", "process.name,process.args"])[0];
    assert_eq!(row["process.name"], "\u{1b}[2J\n\u{fffd}\u{202e}");
    assert_eq!(row["process.name#hex"], "1b5b324a0affe280ae");
    let hex: String = HOSTILE.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(row["process.args#hex"][3], hex, "{row}");
    let raw = ps([&expression, "-o", "process.cmdline", "--format", "csv"]).ok().stdout;
    assert!(raw.windows(HOSTILE.len()).any(|window| window == HOSTILE), "{}", String::from_utf8_lossy(&raw));
    let json = ps([&expression, "--json"]).ok().stdout;
    assert!(json.iter().all(|byte| *byte >= 0x20 || *byte == b'\n'), "{}", String::from_utf8_lossy(&json));
    // An expression can name it.
    let by_name = ps(["process.name == b\"\\x1b[2J\\n\\xff\\xe2\\x80\\xae\"", "--count"]);
    if by_name.status == Some(0) {
        assert_eq!(by_name.text(), "1\n");
    }
    let explained = support::nabe(["explain", &stage.pid.to_string()]).ok().text();
    assert!(!explained.contains(|c: char| c.is_control() && c != '\n'), "{explained:?}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    for arguments in ["", "-o files", "--json", "-t"] {
        let line = format!("{} ps {arguments} | head -n 1", support::NABE);
        let run = Run::of(support::command("sh").args(["-c", &line])).ok();
        assert_eq!((run.lines().len(), run.complaints().as_str()), (1, ""), "{arguments}");
    }
    let full = format!("{} ps >/dev/full", support::NABE);
    let run = Run::of(support::command("sh").args(["-c", &full]));
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.complaints().starts_with("nabe: error: cannot write the output\n"), "{}", run.stderr);
}

#[test]
fn a_pager_is_for_terminals_and_long_answers() {
    let test = "a_pager_is_for_terminals_and_long_answers";
    let directory = support::directory();
    let mark = directory.path().join("paged");
    let pager = format!("cat >/dev/null; touch {}", mark.display());
    Run::of(nabe_command(["ps"]).env("NABE_PAGER", &pager)).ok();
    assert!(!mark.exists(), "used in a pipe");
    if !has(test, &[Need::Program("script"), Need::Program("stty")]) {
        return;
    }
    let environment = [("NABE_PAGER", pager.as_str())];
    let line = |arguments: &str| format!("{} ps {arguments} 2>/dev/null", support::NABE);
    on_terminal(80, &line("'process.pid == 2'"), &environment);
    on_terminal(80, &line("--no-pager"), &environment);
    assert!(!mark.exists(), "used for a short answer or against the user's will");
    let (count, _) = on_terminal(80, &line("-o process.pid --count"), &environment);
    if count.trim().parse::<u32>().is_ok_and(|rows| rows > 60) {
        let (shown, status) = on_terminal(80, &line(""), &environment);
        assert_eq!((mark.exists(), status), (true, 0), "{shown}");
        assert_eq!(shown.trim(), "", "the pager shows it, nobody else");
        // A pager that is not there hides nothing.
        let (shown, status) = on_terminal(80, &line(""), &[("NABE_PAGER", "/nonexistent/pager 2>/dev/null")]);
        assert!(status == 0 && shown.contains("kthreadd"), "{status} {shown}");
        // Who leaves it early is done, and that is no failure.
        let (_, status) = on_terminal(80, &line("-o files"), &[("NABE_PAGER", "head -c 1 >/dev/null")]);
        assert_eq!(status, 0);
    } else {
        support::skip(test, "too few processes for a long answer");
    }
}

#[test]
fn watch_tells_what_comes_and_goes() {
    let test = "watch_tells_what_comes_and_goes";
    let Some(first) = Stage::play(test, "comm", ["nabe-watched"]) else { return };
    let columns = "process.pid,process.name";
    let mut command = nabe_command([
        "ps",
        "process.name == \"nabe-watched\"",
        "-w",
        "0.2",
        "--format",
        "ndjson",
        "-o",
        columns,
    ]);
    let mut watch = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut lines = BufReader::new(watch.child.stdout.take().expect("a pipe")).lines();
    let mut next = || -> Value {
        serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("an object")
    };
    let event = next();
    assert_eq!((&event["event"], &event["process.pid"]), (&"new".into(), &first.pid.into()), "{event}");
    let second = Stage::play(test, "comm", ["nabe-watched"]).expect("once more");
    let event = next();
    assert_eq!((&event["event"], &event["process.pid"]), (&"new".into(), &second.pid.into()), "{event}");
    let gone = first.pid;
    drop(first);
    let event = next();
    assert_eq!((&event["event"], &event["process.pid"]), (&"gone".into(), &gone.into()), "{event}");
    assert_eq!(event["process.name"], "nabe-watched");
    watch.signal(Signal::INT);
    let (_, errors, status) = watch.finish();
    assert_eq!((status, support::complaints(&errors).as_str()), (Some(0), ""));
}

#[test]
fn watch_ends_well_for_people_too() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut command = nabe_command(["ps", "process.pid == 2", "--watch", "0.1"]);
        let mut watch = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let mut reader = BufReader::new(watch.child.stdout.take().expect("a pipe"));
        let mut first = String::new();
        while !first.contains("kthreadd") {
            assert!(reader.read_line(&mut first).expect("text") > 0, "{first}");
        }
        watch.signal(signal);
        drop(reader);
        let (_, errors, status) = watch.finish();
        // The reader may have gone just while it wrote: that, too, is a quiet end.
        let quiet = support::complaints(&errors).is_empty();
        assert!(matches!(status, Some(0) | None) && quiet, "{status:?} {errors}");
    }
    for wrong in ["0", "-1", "nan", "1e9"] {
        let run = ps(["--watch", wrong]);
        assert_eq!(run.status, Some(2), "{wrong}: {}", run.stderr);
    }
}

fn save(path: &Path, expression: &[&str]) -> Run {
    let arguments = ["--save", path.to_str().expect("ASCII")];
    ps(arguments.into_iter().chain(expression.iter().copied())).ok()
}

#[test]
fn a_snapshot_answers_like_the_machine() {
    let test = "a_snapshot_answers_like_the_machine";
    let Some(stage) = Stage::play(test, "inet", [""; 0]) else { return };
    let directory = support::directory();
    let file = directory.path().join("a.nabe");
    let said = save(&file, &[]);
    assert_eq!(said.text(), "", "who only saves wants no table");
    assert!(said.complaints().starts_with("nabe: saved "), "{}", said.stderr);
    let mode = file.metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "command lines of everybody are nobody else's business");
    let expression = format!("process.pid == {}", stage.pid);
    let columns = "process.pid,process.name,process.cmdline,process.user,process.rss,file.fd,file.path,socket.srcPort,socket.state";
    let live = rows([expression.as_str(), "-o", columns]);
    // Also when it is gone, and by /proc or BPF not asked at all.
    drop(stage);
    let path = file.to_str().expect("ASCII");
    assert_eq!(rows([&expression, "-o", columns, "--load", path]), live);
    assert_eq!(ps([&expression, "--count", "--load", path]).ok().text(), "1\n");
    let tree = ps([&expression, "-t", "--load", path]).ok().text();
    assert!(tree.contains("nabe-stage"), "{tree}");
    // With a question, the answer is shown as well, and the whole machine is in the file.
    let other = directory.path().join("b.nabe");
    assert!(save(&other, &["process.pid == 2"]).text().contains("kthreadd"));
    assert!(rows(["--load", other.to_str().expect("ASCII")]).len() > 2);
    let left: Vec<_> = std::fs::read_dir(directory.path())
        .expect("there")
        .map(|e| e.expect("an entry").file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn what_could_not_be_seen_is_told_by_the_file() {
    use nabe_event::record::{self, Kind, User};
    let mut records = Vec::new();
    record::write(&mut records, Kind::User, 0, &User { id: 0, is_group: 0, name_len: 4 }, &[b"root"]);
    record::write(&mut records, Kind::Note, 0, &(), &["7 processes were \x1b[31mnot read".as_bytes()]);
    let directory = support::directory();
    let file = directory.path().join("a.nabe");
    std::fs::write(&file, nabe_state::file::write(&records)).expect("written");
    let run = ps(["--count", "--load", file.to_str().expect("ASCII")]);
    assert_eq!((run.status, run.text().as_ref()), (Some(0), "0\n"));
    assert_eq!(run.stderr, "nabe: note: 7 processes were \\x1b[31mnot read\n");
}

#[test]
fn environments_are_not_saved() {
    let test = "environments_are_not_saved";
    let mut command = support::command(support::stage());
    let secret = format!("very-secret-{}", std::process::id());
    let Some(stage) = Stage::start(test, command.arg("sleep").env("TOKEN", &secret)) else { return };
    let expression = format!("process.pid == {}", stage.pid);
    let live = rows([&expression, "-o", "process.env[\"TOKEN\"]"]);
    assert_eq!(live[0]["process.env[\"TOKEN\"]"], secret.as_str(), "{live:?}");
    let directory = support::directory();
    let file = directory.path().join("a.nabe");
    save(&file, &[]);
    let contents = std::fs::read(&file).expect("there");
    assert!(!contents.windows(secret.len()).any(|window| window == secret.as_bytes()));
}

#[test]
fn two_snapshots_differ_by_what_came_and_went() {
    let test = "two_snapshots_differ_by_what_came_and_went";
    let directory = support::directory();
    let (before, after) = (directory.path().join("a.nabe"), directory.path().join("b.nabe"));
    let Some(old) = Stage::play(test, "comm", ["nabe-differs"]) else { return };
    let Some(both) = Stage::play(test, "comm", ["nabe-differs"]) else { return };
    save(&before, &[]);
    let gone = old.pid;
    drop(old);
    let Some(new) = Stage::play(test, "comm", ["nabe-differs"]) else { return };
    save(&after, &[]);
    let (a, b) = (before.to_str().expect("ASCII"), after.to_str().expect("ASCII"));
    let columns = ["process.name == \"nabe-differs\"", "-o", "process.pid,process.name"];
    let run = ps(["--diff", a, b, "--format", "ndjson"].into_iter().chain(columns)).ok();
    let events: BTreeMap<u64, String> = run
        .lines()
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).expect("an object"))
        .map(|row| {
            (row["process.pid"].as_u64().expect("a pid"), row["event"].as_str().expect("an event").to_owned())
        })
        .collect();
    let expected = [(u64::from(gone), "gone".to_owned()), (u64::from(new.pid), "new".to_owned())];
    assert_eq!(events, BTreeMap::from(expected));
    let lines = ps(["--diff", a, b, "--no-header"].into_iter().chain(columns)).ok().lines();
    let mark = |pid: u32| {
        lines.iter().find(|line| line.contains(&pid.to_string())).and_then(|line| line.chars().next())
    };
    assert_eq!((mark(gone), mark(new.pid), mark(both.pid)), (Some('-'), Some('+'), Some(' ')), "{lines:#?}");
    let same = ps(["--diff", a, a, "--format", "ndjson"]).ok();
    assert_eq!(same.text(), "");
}

#[test]
fn a_broken_snapshot_is_named_with_the_place() {
    let directory = support::directory();
    let (whole, broken) = (directory.path().join("a.nabe"), directory.path().join("broken.nabe"));
    save(&whole, &[]);
    let good = std::fs::read(&whole).expect("there");
    let refused = |bytes: &[u8]| {
        std::fs::write(&broken, bytes).expect("written");
        let run = ps(["--load", broken.to_str().expect("ASCII"), "--count"]);
        assert_eq!((run.status, run.text().as_str()), (Some(1), ""), "{} bytes: {}", bytes.len(), run.stderr);
        let first = format!("nabe: error: cannot read the snapshot {}\ncaused by: ", broken.display());
        assert!(run.stderr.starts_with(&first), "{}", run.stderr);
        assert_eq!(run.stderr.matches("error").count(), 1, "{}", run.stderr);
        run.stderr[first.len()..].to_owned()
    };
    let last = good.len() - 1;
    for cut in [0, 1, 7, 8, 9, 15, 16, 17, 100, good.len() / 3, good.len() / 2, last - 40, last] {
        let why = refused(&good[..cut]);
        assert!(why.contains("byte") || cut < 8 && why.contains("not a nabe snapshot"), "{cut}: {why}");
    }
    let changed = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        bytes
    };
    for at in [0, 10, 16, 40, good.len() / 2, last] {
        refused(&changed(at));
    }
    let mut newer = good.clone();
    newer[8..10].copy_from_slice(&u16::MAX.to_le_bytes());
    let why = refused(&newer);
    assert!(why.contains("version 65535 is newer") && why.contains("hint: "), "{why}");
    refused(&[&good[..], b"more"].concat());
    refused(b"PK\x03\x04 something else");
    let missing = ps(["--load", "/nonexistent/x.nabe"]);
    assert_eq!(missing.status, Some(1));
    assert!(
        missing.stderr.contains("/nonexistent/x.nabe") && missing.stderr.contains("No such file"),
        "{}",
        missing.stderr
    );
    let nowhere = ps(["--save", "/nonexistent/x.nabe"]);
    assert_eq!(nowhere.status, Some(1), "{}", nowhere.stderr);
    assert!(nowhere.stderr.contains("cannot write /nonexistent/x.nabe"), "{}", nowhere.stderr);
}
