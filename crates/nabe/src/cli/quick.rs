//! The verbs whose start counts, parsed without the others: building the arguments of all of them takes
//! half a millisecond.

use std::ffi::OsString;

use clap::{Args, Command, FromArgMatches as _};

use super::{Cli, detect, ps, record, replay, run, sandbox, trace};

/// What these arguments say, when they name one of these verbs and there is nothing to complain of or to
/// print. Everything else is for the whole tree, which says it in its own words.
pub(super) fn parse(arguments: &[OsString]) -> Option<Cli> {
    let verb = match arguments.get(1)?.to_str()? {
        "detect" => detect::Args::augment_args(Command::new("detect")),
        "ps" => ps::Args::augment_args(Command::new("ps")),
        "record" => record::Args::augment_args(Command::new("record")),
        "replay" => replay::Args::augment_args(Command::new("replay")),
        "run" => run::Args::augment_args(Command::new("run")),
        "sandbox" => sandbox::Args::augment_args(Command::new("sandbox")),
        "trace" => trace::Args::augment_args(Command::new("trace")),
        _ => return None,
    };
    let command = Command::new("nabe").subcommand_required(true).subcommand(verb);
    Cli::from_arg_matches(&command.try_get_matches_from(arguments).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn it_reads_what_the_whole_tree_reads() {
        for line in [
            "nabe ps",
            "nabe ps -t pid==1",
            "nabe trace",
            "nabe record -w x.scap",
            "nabe replay x.scap",
            "nabe detect",
            "nabe run --rm -it x sh -c --help",
            "nabe sandbox x",
        ] {
            let line = words(line);
            let quick = parse(&line).unwrap_or_else(|| panic!("{line:?}"));
            let whole = super::super::command().try_get_matches_from(&line).expect("parsed");
            let whole = Cli::from_arg_matches(&whole).expect("read");
            assert_eq!(format!("{quick:?}"), format!("{whole:?}"), "{line:?}");
        }
    }

    #[test]
    fn the_rest_is_for_the_whole_tree() {
        for line in [
            "nabe",
            "nabe version",
            "nabe ps --help",
            "nabe ps --version",
            "nabe trace --no-such",
            "nabe help ps",
        ] {
            assert!(parse(&words(line)).is_none(), "{line}");
        }
    }
}
