//! sysdig's language held to the strings and verdicts of libsinsp's own tests.

mod shared;

use std::net::IpAddr;

use nabe_event::field::{self, Field};
use nabe_event::{FieldId, Fields, Missing, Value};
use nabe_filter::sample::{Owned, Texts};
use nabe_filter::{Program, sysdig};

#[test]
fn reference_strings_are_accepted_or_rejected() {
    const TEST: &str = "reference_strings_are_accepted_or_rejected";
    let Some(cases) = shared::json(TEST, "expected/libs/filter_parser_accept_reject.json") else { return };
    let cases = cases.as_array().expect("a list");
    let (mut wrong, mut accepted) = (Vec::new(), 0);
    for case in cases {
        let filter = case["filter"].as_str().expect("a filter");
        let accept = case["expect"] == "accept";
        // Blanks of any kind separate, and may surround a filter.
        let spaced = format!(" {filter} ");
        let variants =
            [filter.to_owned(), spaced.clone(), spaced.replace(' ', "\n"), spaced.replace(' ', "\t")];
        for variant in variants.iter().take(if accept { 4 } else { 1 }) {
            match sysdig::parse(variant) {
                Ok(tree) if accept => {
                    let text = tree.to_string();
                    assert_eq!(sysdig::parse(&text).as_ref(), Ok(&tree), "{filter} is printed as {text}");
                }
                Err(error) if !accept => {
                    assert!(error.span.start <= filter.len());
                    if let Some(message) = case["error"].as_str() {
                        assert_eq!(error.message, message, "{filter}");
                    }
                }
                Ok(tree) => wrong.push(format!("accepted: {variant:?} as {tree}")),
                Err(error) => wrong.push(format!("rejected: {variant:?}\n{error}")),
            }
        }
        accepted += usize::from(accept);
    }
    eprintln!("{TEST}: {} strings, {accepted} accepted", cases.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() > 300 && accepted > 200, "{}", cases.len());
}

/// An event made of fields by name, an argument in brackets.
#[derive(Clone, Debug, Default)]
struct Event(Vec<(FieldId, Option<Vec<u8>>, Owned)>);

impl Event {
    fn with(mut self, name: &str, value: impl Into<Owned>) -> Self {
        let (name, arg) = match name.split_once('[') {
            Some((name, arg)) => (name, Some(arg.trim_end_matches(']').as_bytes().to_vec())),
            None => (name, None),
        };
        let field: &Field = field::find(name).unwrap_or_else(|| panic!("{name}"));
        let other = |(id, known, _): &(FieldId, Option<Vec<u8>>, Owned)| *id != field.id || *known != arg;
        self.0.retain(other);
        self.0.push((field.id, arg, value.into()));
        self
    }
}

impl Fields for Event {
    fn get(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        // The sockets here have roles.
        let arg = arg.filter(|arg| *arg != field::descriptor::WHATEVER_ROLE);
        match self.0.iter().find(|(id, known, _)| *id == field && known.as_deref() == arg) {
            Some((_, _, Owned::Text(text))) => Value::Text(text),
            Some((_, _, Owned::Int(number))) => Value::Int(*number),
            Some((_, _, Owned::Ip(address))) => Value::Ip(*address),
            Some((_, _, Owned::Texts(Texts(texts)))) => match texts.len() {
                0 => Value::Missing(Missing::Unset),
                _ => self.0.iter().find(|(id, ..)| *id == field).map_or(Value::Missing(Missing::Unset), list),
            },
            _ => Value::Missing(Missing::Unset),
        }
    }

    fn related(&self, _: FieldId, _: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
        None
    }
}

fn list(entry: &(FieldId, Option<Vec<u8>>, Owned)) -> Value<'_> {
    match &entry.2 {
        Owned::Texts(texts) => Value::List(texts),
        _ => Value::Missing(Missing::Unset),
    }
}

fn connection(client: &str, server: &str) -> Event {
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    [("c", client), ("s", server), ("l", server), ("r", client)].into_iter().fold(
        Event::default(),
        |event, (end, address)| {
            let event = event.with(&format!("fd.{end}ip"), ip(address));
            if "cs".contains(end) { event.with(&format!("fd.{end}net"), ip(address)) } else { event }
        },
    )
}

/// The event that a test of libsinsp judges; `None` when it cannot be made of built-in fields.
fn event(test: &str, filter: &str) -> Option<Event> {
    let event = Event::default();
    if filter.contains("sample.") {
        return None;
    }
    let opened = || {
        let types: &[&str] = if filter.ends_with("= 2") { &["file", "directory"] } else { &["file"] };
        let event = Event::default().with("fd.name", "/tmp/file_to_run").with("fd.directory", "/tmp");
        event.with("fd.types", types).with("evt.arg[data]", "hello\n")
    };
    Some(match test {
        "bytebuf_bcontains_bstartswith" => event.with("evt.buffer", "hello"),
        "bytebuf_matches_nul" => event.with("evt.buffer", &b"\0a\0b"[..]),
        "contains_icontains" => {
            event.with("evt.arg[flags]", "O_RDWR|O_CREAT").with("fd.name", "/opt/dir/subdir/file")
        }
        "pmatch" => event.with("fd.name", "/opt/dir/subdir/file"),
        "net_ipv4_compare" | "net_modifier_ip_compare" => connection("172.40.111.222", "142.251.111.147"),
        "net_ipv6_compare" => connection("::1", "2001:4860:4860::8888"),
        "signed_int_compare" => {
            event.with("evt.cpu", 1_i64).with("evt.rawarg[res]", -22_i64).with("fd.num", -1_i64)
        }
        "PROC_FILTER_aname" => {
            let event = event.with("proc.name", "good-exe").with("proc.aname[0]", "good-exe");
            event.with("proc.aname[1]", "bash").with("proc.aname[2]", "init")
        }
        "fd_fields_invalid_utf8_match" => {
            let path = &b"/p\xff/q\xff"[..];
            event.with("fd.name", path).with("fs.path.name", path).with("evt.arg[name]", path)
        }
        "proc_fields_invalid_utf8_match" => event.with("proc.name", &b"bad\xff"[..]),
        "fspath_fields_invalid_utf8_match" => {
            event.with("fs.path.source", &b"/a\xff"[..]).with("fs.path.target", &b"/b\xff"[..])
        }
        "evt_abspath_invalid_utf8_match" => event.with("evt.abspath", &b"/tmp/a\xff"[..]),
        "filter_cache_pointer_instability" => {
            event.with("evt.arg[ret]", "1").with("evt.arg[reaper_tid]", "2")
        }
        _ if test.starts_with("FILTERCHECK_MOD") => event.with("proc.name", "myexe"),
        _ if test.contains("transformer") && !test.starts_with("filter_") => opened(),
        _ => {
            let event = event.with("evt.type", "getcwd").with("syscall.type", "getcwd");
            let event = event.with("evt.source", "syscall").with("evt.args", "res=0 path=/test/dir");
            event.with("evt.arg[res]", "SUCCESS").with("evt.arg[1]", "/test/dir")
        }
    })
}

#[test]
fn reference_filters_have_their_verdicts() {
    const TEST: &str = "reference_filters_have_their_verdicts";
    let Some(cases) = shared::json(TEST, "expected/libs/filter_eval_cases.json") else { return };
    let cases = cases["cases"].as_array().expect("a list");
    let (mut wrong, mut judged) = (Vec::new(), 0);
    for case in cases {
        let (test, filter) =
            (case["test"].as_str().expect("a test"), case["filter"].as_str().expect("a filter"));
        let Some(event) = event(test, filter) else {
            eprintln!("{TEST}: not expressible: {filter}");
            continue;
        };
        judged += 1;
        match Program::sysdig(filter) {
            Ok(program) => {
                let expected = case["expect"].as_bool();
                if program.verdict(&event) != expected {
                    wrong.push(format!("{test}: {filter} is {:?}", program.verdict(&event)));
                }
                let negated = Program::sysdig(&format!("not ({filter})")).expect("its negation compiles");
                if negated.verdict(&event) != expected.map(|expected| !expected) {
                    wrong.push(format!("{test}: not {filter} is {:?}", negated.verdict(&event)));
                }
            }
            Err(error) => wrong.push(format!("{test}: {filter}\n{error}")),
        }
    }
    eprintln!("{TEST}: {judged} of {} filters judged", cases.len());
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
    assert!(judged > 250, "{judged}");
}
