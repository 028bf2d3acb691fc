//! Wrong expressions and options: the message, the place and the mend, once; nothing on stdout; exit 2.

mod support;

use support::{Run, nabe, ps};

/// The message of a run that must be refused before anything is read.
#[track_caller]
fn refused(arguments: &[&str]) -> String {
    let run = ps(arguments);
    assert_eq!((run.status, run.text().as_str()), (Some(2), ""), "{arguments:?}: {}", run.stderr);
    once(&run);
    run.stderr
}

/// Nothing is said twice, and nothing of the inside shows.
#[track_caller]
fn once(run: &Run) {
    let errors = run.stderr.lines().filter(|line| line.contains("error:")).count();
    assert_eq!(errors, 1, "{}", run.stderr);
    let mut lines: Vec<_> =
        run.stderr.lines().filter(|line| line.contains(|c: char| c.is_alphabetic())).collect();
    let all = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), all, "{}", run.stderr);
    assert!(
        !run.stderr.contains("panicked") && !run.stderr.contains("Usage:")
            || run.stderr.starts_with("error:")
    );
}

/// Compares with the file in `snapshots`.
macro_rules! golden {
    ($text:expr) => {
        insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!($text) })
    };
}

/// Commands and what they say, in order.
fn transcript(cases: &[&[&str]]) -> String {
    let mut text = String::new();
    for arguments in cases {
        let shown: Vec<_> = arguments.iter().map(|argument| format!("{argument:?}")).collect();
        text.push_str(&format!("$ nabe ps {}\n{}\n", shown.join(" "), refused(arguments)));
    }
    text
}

#[test]
fn wrong_expressions_are_explained() {
    golden!(transcript(&[
        &["process.nam == \"bash\""],
        &["socket.scrPort == 80"],
        &["proces.name == \"bash\""],
        &["socket.state == listn"],
        &["socket.state == \"LISTN\""],
        &["process.pid == \"12\""],
        &["process.name == 12"],
        &["process.pid"],
        &["socket.srcAddr == \"127.0.0.300\""],
        &["socket.srcAddr in cidr(\"10.0.0.0/40\")"],
        &["process.name.matches(\"(\")"],
        &["process.name.startWith(\"b\")"],
        &["caps.has(\"SYS_ADMN\")"],
        &["process.name == "],
        &["process.name == \"bash"],
        &["(process.pid == 1"],
        &["--lang", "cel", "process.pid = 1"],
        &["process.pid == 1 &&\n  process.foo == 2"],
        &["process.pid == 1", "process.foo == 2"],
        &["process.\x1b[31mname\u{202e} == 1"],
    ]));
}

#[test]
fn other_languages_are_recognized() {
    golden!(transcript(&[
        &["proc.name=bash and evt.type contains open"],
        &["--lang", "cel", "proc.name contains bash"],
        &["--lang", "cel", "process.pid == 1 and process.ppid == 2"],
        &["proc.name contains bash and proc.nmae = x"],
        &["--lang", "sysdig", "process.pid == 1 && true"],
        &["process.pid == 1 | process.pid == 2"],
    ]));
}

#[test]
fn sysdigs_language_is_understood() {
    for (expressions, count) in [
        (&["proc.pid = 2 or proc.pid=3"][..], "2\n"),
        (&["proc.pid in (2, 3)", "process.name == \"kthreadd\""], "1\n"),
        (&["--lang", "sysdig", "proc.pid > 1 and proc.pid < 4 and not proc.name = kthreadd"], "1\n"),
        (&["proc.name = kthreadd and fd.num > 3"], "0\n"),
    ] {
        assert_eq!(ps(expressions.iter().copied().chain(["--count"])).ok().text(), count, "{expressions:?}");
    }
}

#[test]
fn wrong_columns_and_keys_are_named() {
    golden!(transcript(&[
        &["-o", "process.pid,process.nam"],
        &["-o", "socket"],
        &["-o", "zzzzzzzz"],
        &["-o", "process.pid,,process.name"],
        &["-o", "process.files"],
        &["-o", "process.name[\"x\"]"],
        &["-o", "container.labels[\"x\""],
        &["--sort", "process.rs"],
        &["--group-by", "container.nam"],
        &["--engine-socket", "dokcer=/run/x.sock"],
        &["--engine-socket", "docker"],
        &["--engine-deadline", "soon"],
    ]));
}

#[test]
fn wrong_options_are_clear() {
    for arguments in [
        &["--no-such-option"][..],
        &["--format", "xml"],
        &["--limit", "many"],
        &["--limit", "-1"],
        &["--source", "magic"],
        &["--load", "a", "--save", "b"],
        &["--diff", "a"],
        &["--hidden", "--tree"],
        &["--count", "--tree"],
        &["--count", "--group-by", "process.name"],
    ] {
        let said = refused(arguments);
        assert!(said.starts_with("error: "), "{arguments:?}: {said}");
        assert!(said.contains(arguments[0].trim_start_matches('-')) || said.contains("--"), "{said}");
    }
    assert_eq!(nabe(["no-such-verb"]).status, Some(2));
    assert_eq!(nabe(["explain"]).status, Some(2));
    assert_eq!(nabe(["completion", "tcsh"]).status, Some(2));
}

#[test]
fn ten_thousand_parentheses() {
    let text = format!("{}true{}", "(".repeat(10_000), ")".repeat(10_000));
    golden!(refused(&[&text]));
    for text in ["!".repeat(50_000), "-".repeat(50_000), "[".repeat(50_000), "process.a".repeat(10_000)] {
        let said = refused(&["--", &text]);
        assert!(said.len() < 1_000, "{said}");
    }
    // Long is not deep.
    let chain = vec!["process.pid == 2"; 2_000].join(" || ");
    assert_eq!(ps([chain.as_str(), "--count"]).ok().text(), "1\n");
}

/// One argument holds at most 128 KiB; a megabyte comes as several, which are joined.
#[test]
fn a_megabyte_of_expression() {
    let piece = vec!["process.pid == 2"; 5_000].join(" || ");
    let run = ps(std::iter::repeat_n(piece.as_str(), 11).chain(["--count"]));
    if run.status == Some(0) {
        assert_eq!((run.text().as_str(), run.stderr.as_str()), ("1\n", ""));
    } else {
        assert_eq!(run.status, Some(2), "{}", run.stderr);
        once(&run);
        assert!(run.stderr.len() < 1_000, "{}", run.stderr);
    }
    let text = format!("process.name == \"{}\"", "x".repeat(100_000));
    assert_eq!(ps([text.as_str(), "--count"]).ok().text(), "0\n");
    let run = ps(std::iter::repeat_n("x".repeat(100_000), 10));
    assert_eq!(run.status, Some(2));
    once(&run);
    assert!(run.stderr.len() < 1_000, "{}", run.stderr);
}

#[test]
fn expressions_that_are_no_text_are_refused() {
    let run = ps([support::bytes(b"process.name == \"\xff\"")]);
    assert_eq!(run.status, Some(2), "{}", run.stderr);
    once(&run);
}

#[test]
fn answers_agree_with_plain_sense() {
    let count = |expression: &str| -> usize {
        ps([expression, "--count"]).ok().text().trim().parse().expect("a number")
    };
    let all = count("process.pid == 2 || process.pid == 3");
    assert_eq!(all, 2, "kernel threads 2 and 3");
    let of = |expression: &str| count(&format!("(process.pid == 2 || process.pid == 3) && ({expression})"));
    for (expression, expected) in [
        ("process.name == \"kthreadd\"", 1),
        ("process.name != \"kthreadd\"", 1),
        ("!(process.name == \"kthreadd\")", 1),
        ("process.name in [\"kthreadd\", \"x\"]", 1),
        ("process.name.startsWith(\"kthr\") && process.name.contains(\"read\")", 1),
        ("process.name.matches(\"^k.*d$\")", 1),
        ("process.pid + 1 == 3", 1),
        ("process.pid % 2 == 1", 1),
        ("process.ppid == 2 ? true : false", 1),
        ("size(process.files) == 0", 2),
        ("process.files.exists(f, f.fd >= 0)", 0),
        ("!process.files.exists(f, f.fd >= 0)", 2),
        ("process.files.all(f, f.fd > 1000)", 2),
        // A comparison with what is not there is neither true nor false: psc took these for matches.
        ("socket.dstPort == 0", 0),
        ("!(file.path.startsWith(\"/\"))", 0),
        ("container.id == \"host\" && container.name == \"host\"", 2),
        // psc's way to say it.
        ("container.id == \"\" && container == null", 2),
        ("container.id != \"\" || has(container.runtime)", 0),
        ("process.cmdline == \"\"", 2),
        ("process.kthread", 2),
        ("caps.has(\"SYS_ADMIN\")", 2),
        ("\"CAP_SYS_ADMIN\" in process.capabilities.effective", 2),
        ("process.age > duration(\"1s\") && age > 1s", 2),
        ("process.rss == 0 && process.vsz < 1KB", 2),
        ("process.user == \"root\" && process.euid == 0", 2),
    ] {
        assert_eq!(of(expression), expected, "{expression}");
    }
}

#[test]
fn explain_says_what_an_expression_costs() {
    let run = ps(["process.name == \"x\" && socket.state == listen", "--explain"]).ok();
    let text = run.text();
    for word in ["process.name", "file.state", "listen", "collects"] {
        assert!(text.to_lowercase().contains(&word.to_lowercase()), "{word} in {text}");
    }
}
