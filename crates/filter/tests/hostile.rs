//! Expressions that are too deep, too long, or no expressions: an answer, never a crash. The test
//! threads' stacks are 2 MiB, a quarter of the main thread's.

use nabe_event::field::process as p;
use nabe_filter::Program;
use nabe_filter::sample::Sample;

fn refused(source: &str, message: &str) {
    let error = Program::cel(source).expect_err(&source[..source.len().min(60)]);
    assert!(error.message.contains(message), "{}: {}", &source[..source.len().min(60)], error.message);
    assert!(error.to_string().len() < 1500, "{error}");
}

fn works(source: &str) {
    let program =
        Program::cel(source).unwrap_or_else(|error| panic!("{}\n{error}", &source[..source.len().min(60)]));
    let subject = Sample::default().with(p::PID, 1_i64).with(p::NAME, "x");
    let _ = program.verdict(&subject);
    let canonical = program.canonical();
    let again = Program::cel(&canonical).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again.canonical(), canonical);
    let _ = program.interest();
    let _ = program.process_part();
}

const DEEP: &str = "nested deeper than 200 levels";

#[test]
fn depth_is_bounded() {
    let n = 10_000;
    refused(&"(".repeat(n), DEEP);
    refused(&format!("{}true{}", "(".repeat(n), ")".repeat(n)), DEEP);
    refused(&"[".repeat(n), DEEP);
    refused(&"{".repeat(n), DEEP);
    refused(&"!(".repeat(n), DEEP);
    refused(&"!-".repeat(n), DEEP);
    refused(&"f(".repeat(n), DEEP);
    refused(&"a[".repeat(n), DEEP);
    refused(&"true ? ".repeat(n), DEEP);
    refused(&format!("{}true", "true ? true : ".repeat(n)), DEEP);
    refused(&format!("a{}", ".b".repeat(n)), DEEP);
    refused(&format!("a{}", ".b()".repeat(n)), DEEP);
    refused(&format!("a{}", "[0]".repeat(n)), DEEP);
    refused(&format!("process.pid{} == 1", " + 1".repeat(n)), DEEP);
    refused(&format!("1{}", " == 1".repeat(n)), DEEP);
    refused(&"process.files.exists(f, ".repeat(n), DEEP);
}

#[test]
fn what_is_allowed_fits_the_stack() {
    let n = 195;
    works(&format!("{}true{}", "(".repeat(n), ")".repeat(n)));
    works(&format!("{}process.pid == 1{}", "!(process.pid == 1 && ".repeat(90), ")".repeat(90)));
    works(&format!(
        "{}process.pid == 1{}",
        "(process.pid == 1 || process.pid == 2 && ".repeat(n / 2),
        ")".repeat(n / 2)
    ));
    works(&format!("{}true", "process.pid == 1 ? false : ".repeat(n)));
    works(&format!("process.pid{} == 1", " + process.pid".repeat(n)));
    works(&format!("{}process.pid{} == 1", "-(1 + ".repeat(60), ")".repeat(60)));
    works(&format!("{}1{} == []", "[".repeat(n), "]".repeat(n)));
    works(&format!("process.name{} == \"x\"", ".trim()".repeat(n)));
    works(&format!("{}true{}", "process.files.exists(f, ".repeat(16), ")".repeat(16)));
    works(&format!(
        "{}process.pid == 1{}",
        "(true ? process.pid == 2 ? false : ".repeat(60),
        " : false)".repeat(60)
    ));
    works(&format!("math.abs({}1{}) == 1", "math.abs(process.pid + ".repeat(60), ")".repeat(60)));
    works(&format!("{}true", "!".repeat(10_001)));
    works(&format!("{}process.pid == 1", "-".repeat(10_000)));
    refused(
        &format!("{}true{}", "process.files.exists(f, ".repeat(17), ")".repeat(17)),
        "loops nested deeper than 16 levels",
    );
}

#[test]
fn width_is_not() {
    let chain = |term: &str, mark: &str, n| vec![term; n].join(mark);
    works(&chain("process.pid != 5", " && ", 50_000));
    works(&chain("true", "&&", 100_000));
    works(&(0..50_000).map(|n| format!("process.pid=={n}")).collect::<Vec<_>>().join("||"));
    works(
        &(0..20_000)
            .map(|n| format!("process.pid=={n}&&process.name==\"{n}\""))
            .collect::<Vec<_>>()
            .join("||"),
    );
    works(&format!("process.pid in [{}]", chain("77", ",", 200_000)));
    works(&format!(
        "process.name in [{}]",
        (0..50_000).map(|n| format!("\"n{n}\"")).collect::<Vec<_>>().join(",")
    ));
    works(&format!("process.name == \"{}\"", "a".repeat(1_000_000)));
    works(&format!("{}process.pid == 1", "// comment\n".repeat(50_000)));
    refused(&"a".repeat((1 << 20) + 1), "longer than 1 MiB");
    refused(&"a ".repeat(1 << 19), "found `a`");
    refused(&"a".repeat(1 << 20), "unknown name");
    refused(&"\"".repeat(1001), "found a text");
    refused(&format!("\"{}", "a".repeat(1_000_000)), "not closed");
    refused(&"9".repeat(100_000), "too large");
    refused(&chain("process.name.matches(\"a\")", "||", 1001), "more than 1000 patterns");
    refused("process.name.matches(\"(\\\\w{1000}){1000}\")", "regular expression");
}

#[test]
fn work_is_bounded() {
    // Doubling a text or a list at each of many levels.
    works(&format!("process.name{} == \"\"", ".replace(\"x\", \"xxxxxxxx\")".repeat(100)));
    works(&format!("[process.name]{}[0] == \"\"", ".map(a, a + a)".repeat(60)));
    works(&format!("\"x\"{} == \"\"", ".replace(\"x\", \"xxxxxxxx\")".repeat(100)));
    // Loops within loops over constants: undecided when the steps run out, not stuck.
    let list = "[1,2,3,4,5,6,7,8,9,10]";
    let deep = format!("{}true{}", format!("{list}.all(x, ").repeat(6), ")".repeat(6));
    assert!(Program::cel(&deep).is_ok());
}

#[test]
fn text_that_is_no_expression() {
    for source in [
        "\0",
        "\u{1b}[2J",
        "=",
        "==",
        "&",
        "|",
        "a &",
        "!",
        "(",
        ")",
        "()",
        "[",
        "]",
        "{",
        "}",
        "{1}",
        "{1:",
        ".",
        "..",
        "a.",
        "a..b",
        ".a",
        "a.1",
        "1.",
        "1..2",
        "'",
        "\"",
        "r'",
        "b'",
        "rb",
        "\"\\",
        "\"\\x",
        "\"\\u12",
        "0x",
        "1e",
        "1e+",
        "1x",
        "?",
        "a ?",
        "a ? b",
        "a ? b :",
        ",",
        "f(",
        "f(,)",
        "f(a",
        "in",
        "a in",
        "true false",
        "process",
        "socket",
        "process.files",
        "process.files.exists",
        "process.files.exists()",
        "process.files.exists(f)",
        "process.files.exists(f, f)",
        "process.files.exists(1, true)",
        "process.files.map(f, f)",
        "null",
        "null < null",
        "has()",
        "has(1)",
        "size()",
        "size(1)",
        "math",
        "math.x(1)",
        "-true",
        "-\"a\"",
        "\u{feff}true",
        "true\u{200b}",
        "é",
        "日本 == 1",
        "process.pid == é",
        "\"\u{202e}\" == 1",
        "a\u{301} == 1",
        "1 == 1u x",
        "''' ",
        "//",
        "process.pid //",
    ] {
        if let Err(error) = Program::cel(source) {
            let shown = error.to_string();
            assert!(
                !shown.contains('\u{1b}') && !shown.contains('\u{202e}') && !shown.contains('\0'),
                "{shown:?}"
            );
            assert!(error.line >= 1 && error.column >= 1);
        }
    }
}

/// Sets of hostile rules are made, and judged, in bounded time and memory.
#[test]
fn sets_are_bounded() {
    use nabe_event::table::EventId;
    use nabe_filter::set::{Cache, Keys, Set};
    let compile = |source: &str| Program::sysdig(source).unwrap_or_else(|error| panic!("{error}"));
    let list = |n: usize, item: &dyn Fn(usize) -> String| (0..n).map(item).collect::<Vec<_>>().join(", ");
    let many = |n: usize, between: &str, item: &dyn Fn(usize) -> String| {
        (0..n).map(item).collect::<Vec<_>>().join(between)
    };
    let sources = [
        format!("proc.name in ({})", list(50_000, &|n| format!("n{n}"))),
        format!("fd.name pmatch ({})", list(50_000, &|n| format!("/a/{n}/b"))),
        many(3_000, " or ", &|n| format!("fd.name contains x{n}y")),
        many(3_000, " or ", &|n| format!("(evt.type = open and proc.name = {n})")),
        many(3_000, " and ", &|n| format!("not (fd.name startswith /{n} and proc.name = {n})")),
        many(3_000, " or ", &|n| format!("evt.arg.a{n} = x")),
        format!("{}proc.name = x{}", "not (evt.type = open and ".repeat(12), ")".repeat(12)),
    ];
    let mut programs: Vec<Program> = sources.iter().map(|source| compile(source)).collect();
    programs.extend((0..300).map(|n| compile(&format!("evt.type != t{n} and proc.pid != {n}"))));
    let set = Set::new(&programs);
    assert!(set.size().parts < 100_000, "{:?}", set.size());
    let mut cache = Cache::new();
    let subject = Sample::default().with(p::PID, 7_i64).with(p::NAME, "x");
    for image in 0..200 {
        let found = set.selected(&subject, EventId::SYSCALL_OPEN_X, Keys { image }, &mut cache);
        // All but the one that its process is not.
        assert!(found.len() >= 299, "{}", found.len());
    }
    assert!(set.explain(3).is_some());
}
