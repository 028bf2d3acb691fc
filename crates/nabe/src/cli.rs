//! The command line: one tree of verbs, from which help, man pages and completions are made.

mod detect;
mod doctor;
mod events;
mod explain;
mod falco;
mod fields;
mod generate;
mod hold;
mod image;
mod language;
mod oci;
mod ps;
mod quick;
mod record;
pub mod replay;
mod rules;
pub mod run;
pub mod sandbox;
mod sysdig;
mod trace;
mod views;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::Result;

/// Shows, records, judges and confines what every process and container does, as the kernel sees it.
#[derive(Debug, Parser)]
#[command(
    name = "nabe",
    version,
    max_term_width = 100,
    propagate_version = true,
    after_help = "Exit status: 0 done (also when nothing matches), 1 failed, 2 wrong usage or expression.\n\
                  Configuration: /etc/nabe/config.toml, ~/.config/nabe/config.toml; see nabe-ps(1)."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List processes, open files and sockets with their containers
    Ps(Box<ps::Args>),
    /// Say why a process, port, file or container is there
    Explain(explain::Args),
    /// Show events while they happen
    Trace(Box<trace::Args>),
    /// Print the events of captures, filtered and formatted
    Replay(Box<replay::Args>),
    /// Write events into capture files
    Record(Box<record::Args>),
    /// Check, list, explain and test Falco's rules
    Rules(rules::Args),
    /// Say which of what happens is suspicious, by Falco's rules
    Detect(Box<detect::Args>),
    /// Run a program that is not trusted, confined, and judge what it does
    Sandbox(Box<sandbox::Args>),
    /// Run as Falco, with its own flags and its own configuration
    Falco(Box<falco::Args>),
    /// Take sysdig's own flags
    Sysdig(sysdig::Args),
    /// List views of events: top lists, spies, heat maps, or your own
    Views(views::Args),
    /// Fetch an image from a registry
    Pull(image::pull::Args),
    /// List the images of the store
    Images(image::list::Args),
    /// Show everything about images as JSON
    InspectImage(image::inspect::Args),
    /// Remove images by name or id
    Rmi(image::remove::Args),
    /// Remove images and layers that nobody uses
    Prune(image::prune::Args),
    /// Take images from archives, layouts and root file systems
    Import(image::import::Args),
    /// Write an image to an archive or layout
    Export(image::export::Args),
    /// Make a runtime bundle from an image
    Unpack(image::unpack::Args),
    /// Run an image, or a bundle with --bundle
    Run(Box<run::Args>),
    /// Show what a detached container wrote
    Logs(run::stay::LogsArgs),
    /// Copy files into a container or out of it
    Cp(run::copy::Args),
    /// End containers
    Stop(run::stay::StopArgs),
    /// Remove containers that were made from images
    Rm(run::stay::RemoveArgs),
    /// List, make and remove named volumes
    Volume(run::volume::Args),
    #[command(flatten)]
    Oci(oci::Verb),
    /// List the fields, constants and presets of expressions and columns
    Fields(fields::Args),
    /// Say what this kernel, these privileges and these engines allow
    Doctor(doctor::Args),
    /// Print the version
    Version,
    /// Print a completion script
    Completion(generate::CompletionArgs),
    /// Wait until a tracer lets go, then run a command
    #[command(hide = true)]
    Hold(hold::Args),
    /// Write man pages or completions into a directory
    #[command(hide = true)]
    Gen(generate::Args),
}

/// The command tree, for help, man pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with these arguments, the first being its name.
pub fn run(arguments: Vec<OsString>) -> Result<ExitCode> {
    if let Some(done) = oci::take(&arguments) {
        return done;
    }
    let arguments = as_psc(arguments);
    let cli = quick::parse(&arguments).unwrap_or_else(|| {
        let matches = command().get_matches_from(arguments);
        Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    });
    match cli.verb {
        Verb::Ps(args) => ps::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Trace(args) => trace::run(&args),
        Verb::Replay(args) => replay::run(&args),
        Verb::Record(args) => record::run(&args),
        Verb::Rules(args) => rules::run(&args),
        Verb::Detect(args) => detect::run(&args),
        Verb::Sandbox(args) => sandbox::run(&args),
        Verb::Falco(args) => falco::run(&args),
        Verb::Sysdig(args) => sysdig::run(&args, run),
        Verb::Views(args) => views::run(&args),
        Verb::Pull(args) => image::pull::run(&args),
        Verb::Images(args) => image::list::run(&args),
        Verb::InspectImage(args) => image::inspect::run(&args),
        Verb::Rmi(args) => image::remove::run(&args),
        Verb::Prune(args) => image::prune::run(&args),
        Verb::Import(args) => image::import::run(&args),
        Verb::Export(args) => image::export::run(&args),
        Verb::Unpack(args) => image::unpack::run(&args),
        Verb::Run(args) => run::run(&args),
        Verb::Logs(args) => run::stay::logs(&args),
        Verb::Cp(args) => run::copy::run(&args),
        Verb::Stop(args) => run::stay::stop(&args),
        Verb::Rm(args) => run::stay::remove(&args),
        Verb::Volume(args) => run::volume::run(&args),
        Verb::Oci(verb) => oci::run(verb),
        Verb::Fields(args) => fields::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Version => generate::version(),
        Verb::Completion(args) => generate::completion(&args),
        Verb::Hold(args) => hold::run(&args),
        Verb::Gen(args) => generate::run(&args),
    }
}

/// psc's own verbs, which `nabe ps` and a `psc` link to nabe take unchanged.
const PSC_VERBS: [&str; 4] = ["fields", "version", "completion", "help"];

/// Rewrites `psc …` and `nabe ps VERB …` to nabe's own words.
fn as_psc(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let called = arguments.first().map(|name| Path::new(name).file_name().unwrap_or_default().to_owned());
    let is_verb = |at: usize| arguments.get(at).is_some_and(|arg| PSC_VERBS.iter().any(|verb| arg == *verb));
    if called.as_ref().is_some_and(|name| name == "falco") {
        arguments.insert(1, "falco".into());
    } else if called.as_ref().is_some_and(|name| name == "sysdig") {
        arguments.insert(1, "sysdig".into());
    } else if called.is_some_and(|name| name == "psc") {
        if !is_verb(1) {
            arguments.insert(1, "ps".into());
        }
    } else if arguments.get(1).is_some_and(|verb| verb == "ps") && is_verb(2) {
        arguments.remove(1);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn psc_words_become_ours() {
        for (typed, meant) in [
            ("psc", "psc ps"),
            ("/usr/bin/psc -t", "/usr/bin/psc ps -t"),
            ("psc fields", "psc fields"),
            ("nabe ps fields", "nabe fields"),
            ("nabe ps completion bash", "nabe completion bash"),
            ("nabe ps pid", "nabe ps pid"),
        ] {
            assert_eq!(as_psc(words(typed)), words(meant), "{typed}");
        }
    }

    #[test]
    fn the_tree_is_sound() {
        command().debug_assert();
    }
}
