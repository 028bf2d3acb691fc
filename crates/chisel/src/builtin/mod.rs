//! The views that are there without a file: sysdig's chisels and csysdig's views by their names. Most
//! are declared (`views/*.toml`), the rest is code, a file per family.

use crate::cell::Cell;
use crate::declared::Declared;
use crate::field::Reader;
use crate::spec::{Argument, Spec};
use crate::view::{Event, Setup, View, ViewError, whole};

mod dump;
mod heat;
mod http;
mod io;
mod machine;
mod paint;
mod slow;
mod span;
mod user;

/// A view that is code.
struct Coded {
    name: &'static str,
    summary: &'static str,
    category: &'static str,
    arguments: &'static [Words],
    make: Make,
}

/// Makes a view of that name.
type Make = fn(&'static str, &Setup) -> Result<Box<dyn View>, ViewError>;

/// An argument of a coded view: name, meaning, whether it may be left out.
type Words = (&'static str, &'static str, bool);

/// A view that is there without a file.
#[derive(Clone, Debug)]
pub struct BuiltIn {
    /// Its name.
    pub name: String,
    /// What it shows, in one line.
    pub summary: String,
    /// The heading that it is listed under.
    pub category: String,
    /// Its arguments.
    pub arguments: Vec<Argument>,
    /// Its file, when it is declared.
    pub declaration: Option<&'static str>,
}

const COLOR: Words = ("disable_color", "`disable_color` for lines without colours", true);
const FILTER: Words = ("filter", "which of them to list", true);
const DUMP: &[Words] = &[
    ("dump_file_name", "the file that gets the events around each line", true),
    ("dump_range_ms", "milliseconds before and behind; 1000 when not given", true),
    COLOR,
];

const CODED: &[Coded] = &[
    Coded {
        name: "httplog",
        summary: "HTTP requests and their answers",
        category: "Application",
        arguments: &[],
        make: http::log,
    },
    Coded {
        name: "httptop",
        summary: "HTTP requests by number, time or bytes",
        category: "Application",
        arguments: &[("by", "`ncalls`, `time` or `bytes`", true)],
        make: http::top,
    },
    Coded {
        name: "memcachelog",
        summary: "Commands to memcached",
        category: "Application",
        arguments: &[
            ("method", "`get` or `set` only", true),
            ("size", "sets of so many bytes and more", true),
        ],
        make: http::memcached,
    },
    Coded {
        name: "spectrogram",
        summary: "How long system calls take, as a heat map over time",
        category: "CPU Usage",
        arguments: &[("refresh_time", "milliseconds of a line; 500 when not given", true)],
        make: heat::spectrogram,
    },
    Coded {
        name: "subsecoffset",
        summary: "When within a second system calls begin, as a heat map over time",
        category: "CPU Usage",
        arguments: &[("refresh_time", "milliseconds of a line; 1000 when not given", true)],
        make: heat::offset,
    },
    Coded {
        name: "echo_fds",
        summary: "What is read and written",
        category: "I/O",
        arguments: &[COLOR],
        make: io::echo,
    },
    Coded {
        name: "iobytes",
        summary: "Bytes read and written each second",
        category: "I/O",
        arguments: &[],
        make: io::bytes,
    },
    Coded {
        name: "iobytes_file",
        summary: "Bytes of files read and written each second",
        category: "I/O",
        arguments: &[],
        make: io::bytes,
    },
    Coded {
        name: "iobytes_net",
        summary: "Bytes received and sent each second",
        category: "Net",
        arguments: &[],
        make: io::bytes,
    },
    Coded {
        name: "spy_file",
        summary: "What is read from and written to files",
        category: "I/O",
        arguments: &[
            ("read_or_write", "`R`, `W` or `RW`", true),
            ("spy_on_file_name", "only this file", true),
        ],
        make: io::spy_file,
    },
    Coded {
        name: "stdin",
        summary: "Standard input of processes",
        category: "I/O",
        arguments: &[],
        make: io::standard,
    },
    Coded {
        name: "stdout",
        summary: "Standard output of processes",
        category: "I/O",
        arguments: &[],
        make: io::standard,
    },
    Coded {
        name: "stderr",
        summary: "Standard error of processes",
        category: "I/O",
        arguments: &[COLOR],
        make: io::standard,
    },
    Coded {
        name: "udp_extract",
        summary: "Payload of UDP flows, a file each",
        category: "I/O",
        arguments: &[],
        make: dump::udp,
    },
    Coded {
        name: "spy_logs",
        summary: "Lines that are written to log files",
        category: "Logs",
        arguments: DUMP,
        make: dump::logs,
    },
    Coded {
        name: "around",
        summary: "Saves the events around those that the filter selects",
        category: "Misc",
        arguments: &[
            ("dump_file_name", "the file that gets the events", false),
            ("dump_range_ms", "milliseconds before and behind; 1000 when not given", true),
        ],
        make: dump::around,
    },
    Coded {
        name: "spy_ip",
        summary: "Payload exchanged with an address",
        category: "Net",
        arguments: &[("host_ip", "the address", false), COLOR],
        make: io::spy_peer,
    },
    Coded {
        name: "spy_port",
        summary: "Payload exchanged over a port",
        category: "Net",
        arguments: &[("host_port", "the port", false), COLOR],
        make: io::spy_peer,
    },
    Coded {
        name: "bottlenecks",
        summary: "The ten system calls that took longest",
        category: "Performance",
        arguments: &[],
        make: slow::bottlenecks,
    },
    Coded {
        name: "fileslower",
        summary: "File I/O that takes longer than a threshold",
        category: "Performance",
        arguments: &[("min_ms", "the threshold in milliseconds", false), COLOR],
        make: slow::slower,
    },
    Coded {
        name: "netlower",
        summary: "Network I/O that takes longer than a threshold",
        category: "Performance",
        arguments: &[("min_ms", "the threshold in milliseconds", false), COLOR],
        make: slow::slower,
    },
    Coded {
        name: "scallslower",
        summary: "System calls that take longer than a threshold",
        category: "Performance",
        arguments: &[("min_ms", "the threshold in milliseconds", false), COLOR],
        make: slow::slower,
    },
    Coded {
        name: "proc_exec_time",
        summary: "Processes that end, and how long they ran",
        category: "Performance",
        arguments: &[COLOR],
        make: slow::ended,
    },
    Coded {
        name: "flame",
        summary: "Time in system calls (or spans of tracers) as folded stacks, for flame graphs",
        category: "Performance",
        arguments: &[],
        make: span::flame,
    },
    Coded {
        name: "list_login_shells",
        summary: "Ids of login shells",
        category: "Security",
        arguments: &[
            ("command", "only shells that ran this; `*` for any", true),
            ("arguments", "only with these arguments", true),
        ],
        make: user::shells,
    },
    Coded {
        name: "shellshock_detect",
        summary: "Attempts to exploit shellshock",
        category: "Security",
        arguments: &[],
        make: user::shellshock,
    },
    Coded {
        name: "spy_users",
        summary: "Commands that users run, and where they go",
        category: "Security",
        arguments: &[("max_depth", "how deep the tree of processes is shown", true), COLOR],
        make: user::spy,
    },
    Coded {
        name: "lscontainers",
        summary: "Containers",
        category: "System State",
        arguments: &[("desc", "`desc` for a line per fact", true)],
        make: machine::containers,
    },
    Coded {
        name: "lsof",
        summary: "Open descriptors",
        category: "System State",
        arguments: &[FILTER],
        make: machine::descriptors,
    },
    Coded {
        name: "netstat",
        summary: "Network connections",
        category: "System State",
        arguments: &[FILTER],
        make: machine::connections,
    },
    Coded {
        name: "ps",
        summary: "Processes",
        category: "System State",
        arguments: &[FILTER],
        make: machine::threads,
    },
    Coded {
        name: "tracers_2_statsd",
        summary: "Durations of tracers' spans to a statsd server",
        category: "Tracers",
        arguments: &[
            ("server_addr", "its address; 127.0.0.1 when not given", true),
            ("server_port", "its port; 8125 when not given", true),
        ],
        make: span::statsd,
    },
];

macro_rules! declared {
    ($($name:literal),* $(,)?) => {
        /// Names and files.
        const DECLARED: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../views/", $name, ".toml")))),*];
    };
}

declared![
    "fdbytes_by",
    "fdcount_by",
    "fdtime_by",
    "spy_syslog",
    "topconns",
    "topcontainers_cpu",
    "topcontainers_error",
    "topcontainers_file",
    "topcontainers_net",
    "topfiles_bytes",
    "topfiles_errors",
    "topfiles_time",
    "topports_server",
    "topprocs_cpu",
    "topprocs_errors",
    "topprocs_file",
    "topprocs_net",
    "topscalls",
    "topscalls_time",
    "v_backlog",
    "v_connections",
    "v_containers",
    "v_containers_errors",
    "v_cpus",
    "v_directories",
    "v_docker_events",
    "v_errors",
    "v_file_opens",
    "v_files",
    "v_incoming_connections",
    "v_io_by_type",
    "v_notifications",
    "v_page_faults",
    "v_port_bindings",
    "v_procs",
    "v_procs_cpu",
    "v_procs_errors",
    "v_procs_fd_usage",
    "v_slow_io",
    "v_sports",
    "v_spy_syslog",
    "v_spy_users",
    "v_spy_users_wsysdig",
    "v_syscall_procs",
    "v_syscalls",
    "v_threads",
];

/// csysdig's own names of views whose files are called otherwise.
const ALIASES: &[(&str, &str)] =
    &[("v_processes", "v_procs"), ("v_cores", "v_cpus"), ("topfiles_error", "topfiles_errors")];

fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name)
}

/// Every built-in view, by category and name.
#[must_use]
pub fn all() -> Vec<BuiltIn> {
    let mut views: Vec<BuiltIn> = CODED.iter().map(described).collect();
    views.extend(DECLARED.iter().filter_map(|(_, text)| declared(text)));
    views.sort_by(|a, b| (&a.category, &a.name).cmp(&(&b.category, &b.name)));
    views
}

fn described(coded: &Coded) -> BuiltIn {
    let arguments = coded.arguments.iter().map(|(name, about, optional)| Argument {
        name: (*name).to_owned(),
        about: (*about).to_owned(),
        default: optional.then(String::new),
    });
    BuiltIn {
        name: coded.name.to_owned(),
        summary: coded.summary.to_owned(),
        category: coded.category.to_owned(),
        arguments: arguments.collect(),
        declaration: None,
    }
}

fn declared(text: &'static str) -> Option<BuiltIn> {
    let spec = Spec::parse(text, "built-in").ok()?;
    Some(BuiltIn {
        name: spec.name,
        summary: spec.summary,
        category: spec.category,
        arguments: spec.arguments,
        declaration: Some(text),
    })
}

/// The built-in view with this name.
#[must_use]
pub fn find(name: &str) -> Option<BuiltIn> {
    let name = canonical(name);
    let coded = CODED.iter().find(|coded| coded.name == name).map(described);
    coded.or_else(|| DECLARED.iter().find(|(known, _)| *known == name).and_then(|(_, text)| declared(text)))
}

/// Makes the built-in view with this name; `None` when there is none.
///
/// # Errors
/// When it does not work with the arguments of `setup`.
pub fn make(name: &str, setup: &Setup) -> Option<Result<Box<dyn View>, ViewError>> {
    let name = canonical(name);
    if let Some(coded) = CODED.iter().find(|coded| coded.name == name) {
        return Some(coded.check(setup).and_then(|()| (coded.make)(coded.name, setup)));
    }
    let (_, text) = DECLARED.iter().find(|(known, _)| *known == name)?;
    let spec = Spec::parse(text, "built-in").ok()?;
    Some(Declared::new(spec, setup).map(|view| Box::new(view) as Box<dyn View>))
}

impl Coded {
    fn check(&self, setup: &Setup) -> Result<(), ViewError> {
        let wrong = |problem: String| Err(ViewError::Argument { view: self.name.to_owned(), problem });
        if let Some(extra) = setup.args.get(self.arguments.len()) {
            return wrong(format!("takes {} arguments, `{extra}` is one too many", self.arguments.len()));
        }
        match self.arguments.iter().skip(setup.args.len()).find(|(_, _, optional)| !optional) {
            Some((name, about, _)) => wrong(format!("needs {name}: {about}")),
            None => Ok(()),
        }
    }
}

/// A field that is in the catalogue.
pub(crate) fn reader(name: &str) -> Reader {
    Reader::parse(name).expect("built-in views read fields of the catalogue, as a test shows")
}

/// The text of a field; `<NA>` when there is none.
fn text(reader: &mut Reader, event: &Event<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    match reader.cell(event.fields) {
        Cell::Missing => text.extend_from_slice(b"<NA>"),
        cell => cell.write(&mut text),
    }
    text
}

/// The text of a field, if there is one.
fn some_text(reader: &mut Reader, event: &Event<'_>) -> Option<Vec<u8>> {
    match reader.cell(event.fields) {
        Cell::Missing => None,
        cell => {
            let mut text = Vec::new();
            cell.write(&mut text);
            Some(text)
        }
    }
}

/// The number of a field.
fn number(reader: &mut Reader, event: &Event<'_>) -> Option<i64> {
    whole(&reader.cell(event.fields))
}

fn is_true(reader: &mut Reader, event: &Event<'_>) -> bool {
    matches!(reader.cell(event.fields), Cell::Bool(true))
}

/// An argument that is a number.
fn parsed<T: core::str::FromStr>(
    view: &str,
    setup: &Setup,
    nth: usize,
    what: &str,
) -> Result<Option<T>, ViewError> {
    let Some(word) = setup.args.get(nth).filter(|word| !word.is_empty()) else { return Ok(None) };
    word.parse().map(Some).map_err(|_| ViewError::Argument {
        view: view.to_owned(),
        problem: format!("{what} `{word}` is no number"),
    })
}

/// Whether the user asked for no colours, in either of the ways that sysdig's chisels document.
fn colorless(setup: &Setup) -> bool {
    setup.args.iter().any(|word| word == "disable_color" || word == "disable_colors")
}

/// `text` in `width` bytes, cut and padded.
fn fixed(text: &[u8], width: usize) -> Vec<u8> {
    let mut text = text.get(..width.min(text.len())).unwrap_or(text).to_vec();
    text.resize(width, b' ');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Nothing, Output, Runner};

    /// spec/sysdig-falco.md 1.4.
    const CHISELS: &str = "httplog httptop memcachelog spectrogram subsecoffset topcontainers_cpu topprocs_cpu \
        topcontainers_error topfiles_errors topprocs_errors echo_fds fdbytes_by fdcount_by fdtime_by iobytes \
        iobytes_file spy_file stderr stdin stdout topcontainers_file topfiles_bytes topfiles_time topprocs_file \
        udp_extract spy_logs spy_syslog around iobytes_net spy_ip spy_port topconns topcontainers_net \
        topports_server topprocs_net bottlenecks fileslower flame netlower proc_exec_time scallslower topscalls \
        topscalls_time list_login_shells shellshock_detect spy_users lscontainers lsof netstat ps tracers_2_statsd";

    #[test]
    fn every_declaration_is_right() {
        for (name, text) in DECLARED {
            let spec = Spec::parse(text, &format!("{name}.toml"))
                .unwrap_or_else(|error| panic!("{error} {:?}", error.hint));
            assert_eq!(spec.name, *name);
            assert!(!spec.summary.is_empty() && !spec.category.is_empty(), "{name}");
        }
    }

    #[test]
    fn every_chisel_of_sysdig_is_there_and_starts() {
        let names: Vec<_> = CHISELS.split_whitespace().collect();
        assert_eq!(names.len(), 51);
        let all = all();
        for name in names.iter().copied().chain(DECLARED.iter().map(|(name, _)| *name)) {
            let view =
                all.iter().find(|view| view.name == name).unwrap_or_else(|| panic!("{name} is not listed"));
            let needed = view.arguments.iter().filter(|argument| argument.default.is_none());
            let args = needed.map(|argument| match argument.name.as_str() {
                "key" => "fd.type".to_owned(),
                "host_ip" => "127.0.0.1".to_owned(),
                _ => "80".to_owned(),
            });
            let setup = Setup {
                args: args.collect(),
                terminal: Some((80, 24)),
                filter: "evt.failed".into(),
                ..Setup::default()
            };
            let view = make(name, &setup).unwrap().unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut out = Output::new(&setup);
            let mut runner = Runner::new(view, &mut out).unwrap_or_else(|error| panic!("{name}: {error}"));
            runner.end(&Nothing, &mut out).unwrap();
        }
    }

    #[test]
    fn arguments_are_checked() {
        let error = |name: &str, args: &[&str]| {
            let setup =
                Setup { args: args.iter().map(|word| (*word).to_owned()).collect(), ..Setup::default() };
            make(name, &setup).unwrap().err().map(|error| error.to_string())
        };
        assert_eq!(
            error("topscalls", &["x"]).unwrap(),
            "view topscalls: takes 0 arguments, `x` is one too many"
        );
        assert_eq!(
            error("fdbytes_by", &[]).unwrap(),
            "view fdbytes_by: needs key: the field to group by, such as fd.type or proc.name"
        );
        assert_eq!(
            error("fdbytes_by", &["proc.nane"]).unwrap(),
            "view fdbytes_by: unknown field `proc.nane`; did you mean `proc.name`?"
        );
        assert_eq!(error("fileslower", &["x"]).unwrap(), "view fileslower: min_ms `x` is no number");
        assert!(make("no_such_view", &Setup::default()).is_none());
    }
}
