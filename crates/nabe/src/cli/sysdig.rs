//! `nabe sysdig`, or a link called `sysdig`: sysdig's own flags, brought to `trace`, `replay` and
//! `views`.
//!
//! What is asked for in vain here (probes to choose, plugins, Mesos) is told: a note where events are
//! the same without it, an error where they are not.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::ExitCode;

use nabe_event::table::EventId;
use nabe_filter::{Lang, Program};

use crate::error::{CliError, Result};
use crate::output;

/// Take sysdig's command line.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub struct Args {
    /// sysdig's flags and filter
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "SYSDIG'S FLAGS")]
    words: Vec<OsString>,
}

const HELP: &str = "\
Usage: sysdig [options] [-p <output_format>] [filter]

sysdig's flags, read by nabe:
  -r <file>            read events from a capture (several allowed); otherwise live
  -w <file> [-z]       write events; -C, -G, -W, -e, -F as ever
  -p <format>, -pc, -pk   format of a line
  -t h|a|r|d|D         how time is shown
  -A, -b, -x, -X       payload as text, base64, hex, hex and text
  -j, -q, -S, -v, -P, -D, -n <num>, -M <seconds>, -s <bytes>, -U <comm>, --unbuffered
  -R, -E               ports by name; no names of users and groups
  --page-faults        page faults, too
  -c <view> [args]     run a view; -cl lists them, -i <view> describes one
  -l[v], -L            list fields, events
`nabe trace --help` and `nabe replay --help` say more.
";

/// What a command line of sysdig's is in our words.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    /// Options that both verbs have.
    options: Vec<String>,
    files: Vec<String>,
    view: Vec<String>,
    /// Of a live run only.
    live: Vec<String>,
    /// Of captures only.
    stored: Vec<String>,
    /// Conditions that flags add.
    conditions: Vec<String>,
    filter: String,
    notes: Vec<String>,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Run(Line),
    Verb(Vec<String>),
    Print(String),
}

/// Runs the verb; gives back our own command line where there is more to be done.
pub fn run(args: &Args, again: impl FnOnce(Vec<OsString>) -> Result<ExitCode>) -> Result<ExitCode> {
    let words: Option<Vec<String>> = args.words.iter().map(|word| word.clone().into_string().ok()).collect();
    let Some(words) = words else { return Err(CliError::usage("the arguments are no UTF-8")) };
    let words = match read(&words)? {
        Wish::Print(text) => {
            output::write(text.as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        Wish::Verb(words) => words,
        Wish::Run(line) => {
            for note in &line.notes {
                eprintln!("nabe: note: {note}");
            }
            line.words()
        }
    };
    again(std::iter::once("nabe".to_owned()).chain(words).map(OsString::from).collect())
}

impl Line {
    fn words(mut self) -> Vec<String> {
        let mut conditions = std::mem::take(&mut self.conditions);
        if !self.filter.is_empty() {
            let whole = self.filter.clone();
            conditions.insert(0, if conditions.is_empty() { whole } else { format!("({whole})") });
        }
        let filter = conditions.join(" and ");
        let mut words = vec![if self.files.is_empty() { "trace" } else { "replay" }.to_owned()];
        words.append(&mut self.options);
        words.push("--lang=sysdig".to_owned());
        // sysdig shows them unasked.
        self.live.insert(0, "--switches".to_owned());
        words.append(if self.files.is_empty() { &mut self.live } else { &mut self.stored });
        let stored = !self.files.is_empty();
        words.append(&mut self.files);
        // The last word of a replay may be taken for a file: an empty filter is none.
        if stored || !filter.is_empty() {
            words.push(filter);
        }
        if !self.view.is_empty() {
            words.push("--view".to_owned());
            words.append(&mut self.view);
        }
        words
    }
}

/// The value of a flag: what is behind it in its word, or else the next word.
fn value<'a>(flag: &str, attached: &'a str, rest: &mut impl Iterator<Item = &'a String>) -> Result<String> {
    if !attached.is_empty() {
        return Ok(attached.to_owned());
    }
    rest.next().cloned().ok_or_else(|| CliError::usage(format_args!("option requires an argument: {flag}")))
}

/// Reads sysdig's command line.
fn read(words: &[String]) -> Result<Wish> {
    let mut line = Line::default();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match word.strip_prefix('-') {
            None | Some("") => {
                let all: Vec<&str> = std::iter::once(word).chain(rest.by_ref()).map(String::as_str).collect();
                line.filter = all.join(" ");
            }
            Some("-") => line.filter = rest.by_ref().map(String::as_str).collect::<Vec<_>>().join(" "),
            Some(name) => {
                let wish = match name.strip_prefix('-') {
                    Some(long) => long_flag(long, &mut rest, &mut line)?,
                    None => short_flags(name, &mut rest, &mut line)?,
                };
                if let Some(wish) = wish {
                    return Ok(wish);
                }
            }
        }
    }
    if !line.view.is_empty() {
        split_view(&mut line);
    }
    Ok(Wish::Run(line))
}

/// The words behind a view are its filter when they read as one; else the first is its argument.
fn split_view(line: &mut Line) {
    let is_filter = |text: &str| text.is_empty() || Program::compile_of_events(text, Lang::Sysdig).is_ok();
    let mut rest = std::mem::take(&mut line.filter);
    while !is_filter(&rest) {
        let (first, behind) = rest.split_once(' ').unwrap_or((&rest, ""));
        line.view.push(first.to_owned());
        rest = behind.to_owned();
    }
    line.filter = rest;
}

type Flag = Result<Option<Wish>>;

/// A word with one dash: flags without a value may stand together.
fn short_flags<'a>(word: &'a str, rest: &mut impl Iterator<Item = &'a String>, line: &mut Line) -> Flag {
    match word {
        "cl" => return Ok(Some(verb(&["views"]))),
        "lv" | "l" => return Ok(Some(verb(&["fields"]))),
        "L" => return Ok(Some(Wish::Print(events()))),
        "Il" => return Err(no_plugins()),
        _ => {}
    }
    for (at, letter) in word.char_indices() {
        let attached = word.get(at + letter.len_utf8()..).unwrap_or_default();
        if let Some(flag) = plain_flag(letter) {
            line.options.extend(flag.map(str::to_owned));
            continue;
        }
        match letter {
            'h' => return Ok(Some(Wish::Print(HELP.to_owned()))),
            'P' => line.stored.push("--progress".to_owned()),
            'd' => {}
            'T' => line.notes.push("-T: there are no tracers any more".to_owned()),
            'B' => {
                line.notes.push("-B: there is one probe, and it is built in".to_owned());
                return Ok(None);
            }
            _ => {
                let flag = format!("-{letter}");
                let value = value(&flag, attached, rest)?;
                return valued_flag(&flag, value, line);
            }
        }
    }
    Ok(None)
}

/// Flags without a value that are ours, too.
fn plain_flag(letter: char) -> Option<Option<&'static str>> {
    Some(Some(match letter {
        'A' => "-A",
        'b' => "-b",
        'x' => "-x",
        'X' => "-X",
        'j' => "-j",
        'q' => "-q",
        'S' => "-S",
        'v' => "-v",
        'D' => "-D",
        'F' => "-F",
        'E' => "-E",
        'R' => "-R",
        'z' => "--compress=gzip",
        _ => return None,
    }))
}

fn valued_flag(flag: &str, value: String, line: &mut Line) -> Flag {
    let both = |name: &str, value: String| [name.to_owned(), value];
    match flag {
        "-r" => line.files.push(value),
        "-w" => {
            // sysdig prints nothing while it writes.
            line.options.extend(both("-w", value));
            line.options.push("-q".to_owned());
        }
        "-p" if matches!(&*value, "m" | "mesos") => {
            line.notes.push("-pm: Mesos is gone; shown as with -pc".to_owned());
            line.options.push("-pc".to_owned());
        }
        "-p" => line.options.push(format!("--print={value}")),
        "-t" | "-n" | "-C" | "-G" | "-W" | "-e" | "-s" => line.options.extend(both(flag, value)),
        "-M" => line.live.extend(both("-M", value)),
        "-U" => line.conditions.push(format!("proc.name != '{}'", value.replace('\'', "\\'"))),
        "-c" if line.view.is_empty() => line.view.push(value),
        "-c" => return Err(CliError::usage("one view at a time: -c is given twice")),
        "-i" => return Ok(Some(verb(&["views", &value]))),
        "-k" | "-K" | "-m" => {
            line.notes.push(format!("{flag}: pods and labels come from the container engines"));
        }
        "-H" | "-I" => return Err(no_plugins()),
        "-g" => return Err(CliError::usage("there is no gVisor source")),
        _ => {
            return Err(CliError::usage(format_args!("unknown option {}", output::plain(flag.as_bytes())))
                .hint("`nabe sysdig -h` lists them"));
        }
    }
    Ok(None)
}

fn long_flag<'a>(word: &'a str, rest: &mut impl Iterator<Item = &'a String>, line: &mut Line) -> Flag {
    let (name, attached) = word.split_once('=').unwrap_or((word, ""));
    let short = LONG.iter().find(|(long, _)| *long == name).map(|(_, short)| *short);
    if let Some(short) = short {
        if VALUED.contains(short) {
            let flag = format!("-{short}");
            let value = value(&flag, attached, rest)?;
            return valued_flag(&flag, value, line);
        }
        return short_flags(short, rest, line);
    }
    match name {
        "version" => {
            return Ok(Some(Wish::Print(format!("sysdig version {} (nabe)\n", env!("CARGO_PKG_VERSION")))));
        }
        "libs-version" => return Ok(Some(Wish::Print(format!("{} (nabe)\n", env!("CARGO_PKG_VERSION"))))),
        "list-markdown" => return Ok(Some(verb(&["fields"]))),
        "unbuffered" => line.options.push("--unbuffered".to_owned()),
        // A filtered capture holds related processes only unless more is asked for.
        "filter-proclist" => {}
        "page-faults" => line.live.push("--page-faults".to_owned()),
        "large-environment" => {
            line.notes.push("--large-environment: environments are read as they are".to_owned())
        }
        "modern-bpf" => line.notes.push("--modern-bpf: there is one probe, and it is built in".to_owned()),
        "cpus-for-each-buffer" | "node-name" | "cri" | "cri-timeout" | "log-level" => {
            value(name, attached, rest)?;
            line.notes.push(format!("--{name} has no meaning here"));
        }
        "plugin-info" | "plugin-config-file" => return Err(no_plugins()),
        _ if name.starts_with("gvisor") => return Err(CliError::usage("there is no gVisor source")),
        _ => {
            let name = output::plain(name.as_bytes());
            return Err(
                CliError::usage(format_args!("unknown option --{name}")).hint("`nabe sysdig -h` lists them")
            );
        }
    }
    Ok(None)
}

/// Short flags with a value.
const VALUED: &str = "rwptnCGWesMUcikKmHIg";

/// Long flags and the short ones that they are.
const LONG: &[(&str, &str)] = &[
    ("print-ascii", "A"),
    ("print-base64", "b"),
    ("print-hex", "x"),
    ("print-hex-ascii", "X"),
    ("bpf", "B"),
    ("chisel", "c"),
    ("list-chisels", "cl"),
    ("chisel-info", "i"),
    ("file-size", "C"),
    ("displayflt", "d"),
    ("debug", "D"),
    ("exclude-users", "E"),
    ("fatfile", "F"),
    ("seconds", "G"),
    ("help", "h"),
    ("plugin", "H"),
    ("input", "I"),
    ("json", "j"),
    ("k8s-api", "k"),
    ("k8s-api-cert", "K"),
    ("list", "l"),
    ("list-events", "L"),
    ("mesos-api", "m"),
    ("numevents", "n"),
    ("progress", "P"),
    ("print", "p"),
    ("quiet", "q"),
    ("read", "r"),
    ("snaplen", "s"),
    ("summary", "S"),
    ("timetype", "t"),
    ("force-tracers-capture", "T"),
    ("suppress-comm", "U"),
    ("verbose", "v"),
    ("write", "w"),
    ("limit", "W"),
    ("compress", "z"),
];

fn verb(words: &[&str]) -> Wish {
    Wish::Verb(words.iter().map(|word| (*word).to_owned()).collect())
}

fn no_plugins() -> CliError {
    CliError::usage("plugins of sysdig cannot be loaded")
        .hint("containers and Kubernetes audit events are built in: `nabe trace`, `nabe falco`")
}

/// Events as `-L` lists them: `> open(FSPATH name, FLAGS32 flags, UINT32 mode)`.
fn events() -> String {
    use nabe_event::table::Flags;
    let mut text = String::new();
    for id in EventId::all() {
        let row = id.row();
        if row.flags.has(Flags::UNUSED) || row.flags.has(Flags::OLD_VERSION) || row.name == "NA" {
            continue;
        }
        let params: Vec<String> = row
            .params
            .iter()
            .map(|param| format!("{} {}", format!("{:?}", param.ty).to_uppercase(), param.name))
            .collect();
        let direction = if id.is_enter() { '>' } else { '<' };
        let _ = writeln!(text, "{direction} {}({})", row.name, params.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[&str]) -> Vec<String> {
        let line: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
        match read(&line).unwrap() {
            Wish::Run(line) => line.words(),
            Wish::Verb(words) => words,
            Wish::Print(text) => vec![text],
        }
    }

    #[track_caller]
    fn check(line: &[&str], expect: &[&str]) {
        assert_eq!(words(line), expect, "{line:?}");
    }

    #[test]
    fn lines_become_ours() {
        check(&[], &["trace", "--lang=sysdig", "--switches"]);
        check(
            &["proc.name=cat", "and", "evt.type=open"],
            &["trace", "--lang=sysdig", "--switches", "proc.name=cat and evt.type=open"],
        );
        check(&["-r", "a", "-pc", "-tr"], &["replay", "--print=c", "-t", "r", "--lang=sysdig", "a", ""]);
        check(&["-qSr", "a", "evt.num>1"], &["replay", "-q", "-S", "--lang=sysdig", "a", "evt.num>1"]);
        check(
            &["-r", "a", "-r", "b", "-p", "%evt.num"],
            &["replay", "--print=%evt.num", "--lang=sysdig", "a", "b", ""],
        );
        check(
            &["-w", "f", "-z", "-C", "1", "-W5"],
            &[
                "trace",
                "-w",
                "f",
                "-q",
                "--compress=gzip",
                "-C",
                "1",
                "-W",
                "5",
                "--lang=sysdig",
                "--switches",
            ],
        );
        check(
            &["-U", "cat", "evt.num>1"],
            &["trace", "--lang=sysdig", "--switches", "(evt.num>1) and proc.name != 'cat'"],
        );
        check(&["--numevents=5", "--json"], &["trace", "-n", "5", "-j", "--lang=sysdig", "--switches"]);
        check(&["-M", "2"], &["trace", "--lang=sysdig", "--switches", "-M", "2"]);
        check(&["-cl"], &["views"]);
        check(&["-i", "lsof"], &["views", "lsof"]);
        check(&["-l"], &["fields"]);
    }

    #[test]
    fn views_take_arguments_and_filters() {
        check(
            &["-r", "a", "-c", "topprocs_net"],
            &["replay", "--lang=sysdig", "a", "", "--view", "topprocs_net"],
        );
        check(
            &["-r", "a", "-c", "spy_file", "R /etc", "proc.name=cat"],
            &["replay", "--lang=sysdig", "a", "proc.name=cat", "--view", "spy_file", "R", "/etc"],
        );
        check(
            &["-r", "a", "-c", "fdcount_by", "fd.name", "evt.type=open"],
            &["replay", "--lang=sysdig", "a", "evt.type=open", "--view", "fdcount_by", "fd.name"],
        );
    }

    #[test]
    fn what_is_not_there_is_told() {
        for wrong in [
            &["-H", "x"][..],
            &["-I", "x"],
            &["--gvisor-config", "x"],
            &["-g", "x"],
            &["-r"],
            &["-Q"],
            &["--nope"],
        ] {
            let line: Vec<String> = wrong.iter().map(|word| (*word).to_owned()).collect();
            assert!(read(&line).is_err(), "{wrong:?}");
        }
        let Wish::Run(line) = read(&["-B".to_owned()]).unwrap() else { panic!("a run") };
        assert_eq!(line.notes.len(), 1);
    }

    /// What becomes of a flag.
    enum Becomes {
        /// These of our own words.
        Words(&'static [&'static str]),
        /// Nothing, since it is so anyhow.
        Nothing,
        /// A sentence about why it changes nothing.
        Note(&'static str),
        /// An error.
        Refused(&'static str),
        /// A verb, or a text.
        Other,
    }

    /// Every flag that sysdig 0.29.3 and its successors know.
    const FLAGS: &[(&[&str], Becomes)] = {
        use Becomes::{Note, Nothing, Other, Refused, Words};
        &[
            (&["-A"], Words(&["-A"])),
            (&["--print-ascii"], Words(&["-A"])),
            (&["-b"], Words(&["-b"])),
            (&["-x"], Words(&["-x"])),
            (&["-X"], Words(&["-X"])),
            (&["-B"], Note("one probe")),
            (&["--modern-bpf"], Note("one probe")),
            (&["--cpus-for-each-buffer", "2"], Note("no meaning")),
            (&["-c", "lsof"], Words(&["--view", "lsof"])),
            (&["-c", "lsof", "-c", "ps"], Refused("one view at a time")),
            (&["-cl"], Other),
            (&["-i", "lsof"], Other),
            (&["-C", "3"], Words(&["-C", "3"])),
            (&["-G", "3"], Words(&["-G", "3"])),
            (&["-W", "3"], Words(&["-W", "3"])),
            (&["-e", "3"], Words(&["-e", "3"])),
            (&["--cri", "/run/x.sock"], Note("no meaning")),
            (&["--cri-timeout", "100"], Note("no meaning")),
            (&["-d"], Nothing),
            (&["-D"], Words(&["-D"])),
            (&["--log-level", "debug"], Note("no meaning")),
            (&["-E"], Words(&["-E"])),
            (&["-F"], Words(&["-F"])),
            (&["--filter-proclist"], Nothing),
            (&["-g", "x"], Refused("gVisor")),
            (&["--gvisor-config", "x"], Refused("gVisor")),
            (&["-H", "x"], Refused("plugins")),
            (&["-I", "x"], Refused("plugins")),
            (&["-Il"], Refused("plugins")),
            (&["--plugin-info", "x"], Refused("plugins")),
            (&["--plugin-config-file", "x"], Refused("plugins")),
            (&["-j"], Words(&["-j"])),
            (&["-k", "http://x"], Note("container engines")),
            (&["-K", "x"], Note("container engines")),
            (&["--node-name", "x"], Note("no meaning")),
            (&["-m", "http://x"], Note("container engines")),
            (&["-l"], Other),
            (&["-lv"], Other),
            (&["--list-markdown"], Other),
            (&["-L"], Other),
            (&["--large-environment"], Note("environments")),
            (&["-M", "3"], Words(&["-M", "3"])),
            (&["-n", "3"], Words(&["-n", "3"])),
            (&["--page-faults"], Words(&["--page-faults"])),
            (&["-P", "-r", "f"], Words(&["--progress"])),
            (&["-p", "%evt.num"], Words(&["--print=%evt.num"])),
            (&["-pc"], Words(&["--print=c"])),
            (&["-pk"], Words(&["--print=k"])),
            (&["-pm"], Note("Mesos")),
            (&["-q"], Words(&["-q"])),
            (&["-S"], Words(&["-S"])),
            (&["-v"], Words(&["-v"])),
            (&["-r", "f"], Words(&["replay", "f"])),
            (&["-w", "f"], Words(&["-w", "f"])),
            (&["-z"], Words(&["--compress=gzip"])),
            (&["-R"], Words(&["-R"])),
            (&["-s", "3"], Words(&["-s", "3"])),
            (&["-t", "a"], Words(&["-t", "a"])),
            (&["-T"], Note("tracers")),
            (&["-U", "cat"], Words(&["proc.name != 'cat'"])),
            (&["--unbuffered"], Words(&["--unbuffered"])),
            (&["--version"], Other),
            (&["--libs-version"], Other),
            (&["-h"], Other),
        ]
    };

    #[test]
    fn every_flag_of_sysdigs_takes_effect_or_says_why_not() {
        let plain: Vec<String> = words(&[]);
        for (flag, becomes) in FLAGS {
            let line: Vec<String> = flag.iter().map(|word| (*word).to_owned()).collect();
            match (read(&line), becomes) {
                (Ok(Wish::Run(line)), Becomes::Words(expect)) => {
                    assert_eq!(line.notes, Vec::<String>::new(), "{flag:?}");
                    let words = line.words();
                    let found = words.windows(expect.len()).any(|some| some == *expect);
                    let apart = expect.iter().all(|word| words.iter().any(|known| known == word));
                    assert!(found || apart, "{flag:?}: {words:?}");
                }
                (Ok(Wish::Run(line)), Becomes::Nothing) => assert_eq!(line.words(), plain, "{flag:?}"),
                (Ok(Wish::Run(line)), Becomes::Note(says)) => {
                    assert!(line.notes.iter().any(|note| note.contains(says)), "{flag:?}: {:?}", line.notes);
                }
                (Err(error), Becomes::Refused(says)) => {
                    assert!(error.to_string().contains(says), "{flag:?}: {error}");
                }
                (Ok(Wish::Verb(_) | Wish::Print(_)), Becomes::Other) => {}
                (became, _) => panic!("{flag:?} became {became:?}"),
            }
        }
    }

    #[test]
    fn events_are_listed() {
        let listed = events();
        assert!(listed.lines().count() > 150);
        assert!(listed.contains("< close("), "{listed}");
    }
}
