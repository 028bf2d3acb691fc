//! The verbs that engines call for every container, parsed without the others: building the arguments of all
//! of them takes longer than a container's start.

use std::ffi::OsString;

use clap::{Args, Command, FromArgMatches as _};

use super::{EngineVerb, Global, Runtime, Verb};

/// What these arguments say, when they name one of these verbs and there is nothing to complain of or to
/// print. Everything else is for the whole tree, which says it in its own words.
pub(super) fn parse(arguments: &[OsString]) -> Option<Runtime> {
    match word(arguments)? {
        "create" => one("create", arguments, Verb::Create),
        "start" => one("start", arguments, Verb::Start),
        "state" => one("state", arguments, Verb::State),
        "kill" => one("kill", arguments, Verb::Kill),
        "delete" => one("delete", arguments, Verb::Delete),
        "exec" => one("exec", arguments, |args| Verb::Exec(Box::new(args))),
        "run" => read("run", arguments, EngineVerb::Run),
        _ => None,
    }
}

/// The first word that is no option, nor an option's value. Only a guess: an option that is not known here
/// leads to a verb that is none, and so to the whole tree.
fn word(arguments: &[OsString]) -> Option<&str> {
    let mut words = arguments.iter().skip(1).map(|word| word.to_str().unwrap_or_default());
    while let Some(word) = words.next() {
        match word {
            "--root" | "--log" | "--log-format" | "--rootless" | "--criu" | "--cgroup-manager" => {
                words.next();
            }
            _ if word.starts_with('-') => {}
            word => return Some(word),
        }
    }
    None
}

fn one<A: Args>(name: &'static str, arguments: &[OsString], verb: impl FnOnce(A) -> Verb) -> Option<Runtime> {
    read(name, arguments, |args| EngineVerb::Verb(verb(args)))
}

fn read<A: Args>(
    name: &'static str,
    arguments: &[OsString],
    verb: impl FnOnce(A) -> EngineVerb,
) -> Option<Runtime> {
    let own = A::augment_args(Command::new(name));
    let command = Global::augment_args(Command::new("nabe")).subcommand_required(true).subcommand(own);
    let matches = command.try_get_matches_from(arguments).ok()?;
    let (_, own) = matches.subcommand()?;
    let verb = verb(A::from_arg_matches(own).ok()?);
    Some(Runtime { global: Global::from_arg_matches(&matches).ok()?, version: false, verb: Some(verb) })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn it_reads_what_the_whole_tree_reads() {
        for line in [
            "nabe create x",
            "nabe --root /r --log /l --log-format json --systemd-cgroup create -b /b --pid-file p --preserve-fds 2 x",
            "runc --root=/r --debug start x",
            "nabe state x",
            "nabe kill x",
            "nabe kill --all x TERM",
            "nabe --rootless true delete --force x",
            "nabe exec -t -e A=b --cwd /w x sh -c --help",
            "nabe exec --process p.json --pid-file p -d x",
            "runc run -d --keep --bundle b x",
        ] {
            let line = words(line);
            let quick = parse(&line).unwrap_or_else(|| panic!("{line:?}"));
            let whole = Runtime::try_parse_from(&line).expect("parsed");
            assert_eq!(format!("{quick:?}"), format!("{whole:?}"), "{line:?}");
        }
    }

    #[test]
    fn the_rest_is_for_the_whole_tree() {
        for line in [
            "nabe",
            "nabe --version",
            "nabe -v create x",
            "nabe list",
            "nabe create",
            "nabe create --help",
            "nabe create --no-such x",
            "nabe --no-such v create x",
            "nabe help create",
            "nabe start x y",
        ] {
            assert!(parse(&words(line)).is_none(), "{line}");
        }
    }
}
