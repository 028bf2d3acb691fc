//! `nabe sandbox`: runs a program that nobody trusts, and says what it did.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nabe_sandbox::{Report, Verdict};

use crate::error::{CliError, Result};
use crate::output;
use crate::sandbox::judge::{self, Rules};
use crate::sandbox::yara::Scanner;
use crate::sandbox::{batch, run};
use crate::stream::stop::Stop;

/// Run a program that is not trusted, confined, and judge what it does.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe sandbox ./suspect -v                    run it, judge it
  nabe sandbox --timeout 30 --network fake ./suspect
  nabe sandbox --entry run.sh ./bundle.tar.gz  an archive and what to start in it
  nabe sandbox --image debian:12 /bin/sh -c 'rm -rf /etc'
  nabe sandbox --keep evidence --html report.html ./suspect
  nabe sandbox --replay evidence/capture.scap  judge it again
  nabe sandbox --keep all ./folder             each file in it, evidence in all/FILE, and a table

The specimen has its own namespaces and user ids, no capability, no network unless asked for, and a copy
of this host's programs without homes, keys and passwords. What it writes is kept with --keep.

Exit status: 0 clean, 10 suspicious, 20 malicious, 1 failed, 2 wrong usage. Of a folder: the worst.")]
pub struct Args {
    /// The program: ELF, script, archive (with --entry), or a folder of them
    #[arg(value_name = "SPECIMEN", required_unless_present = "replay")]
    pub specimen: Option<PathBuf>,
    /// Its arguments
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<String>,
    /// Judge this capture instead of running anything
    #[arg(long, value_name = "FILE", conflicts_with_all = ["specimen", "keep", "capture", "image"])]
    replay: Option<PathBuf>,
    /// With --replay: only this container, by name or id
    #[arg(long, value_name = "NAME", requires = "replay")]
    container: Option<String>,
    /// Rules beside the built-in ones: TOML files or folders of them (kombu's work unchanged)
    #[arg(long, value_name = "FILE")]
    rules: Vec<PathBuf>,
    /// Leave the built-in rules out
    #[arg(long)]
    no_built_in: bool,
    /// Falco rules to judge by as well: files or folders
    #[arg(long, value_name = "FILE")]
    falco: Vec<PathBuf>,
    /// YARA rules for the specimen and for what it leaves: files or folders
    #[arg(long, value_name = "FILE")]
    yara: Vec<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Write the report as one HTML page, too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    pub how: How,
}

/// How the specimen is confined.
#[derive(Debug, clap::Args)]
pub struct How {
    /// What to start in an archive
    #[arg(long, value_name = "PATH")]
    pub entry: Option<String>,
    /// Run it in this image of the store instead of a copy of the host's programs
    #[arg(long, value_name = "IMAGE", conflicts_with = "replay")]
    pub image: Option<String>,
    /// Network: none, fake (answers DNS, HTTP and TCP itself, and logs it), or bridge (the real one)
    #[arg(long, value_name = "KIND", default_value = "none", value_parser = ["none", "fake", "bridge"])]
    pub network: String,
    /// Show a file or folder of the host inside, read-only unless :rw
    #[arg(long, value_name = "HOST:INSIDE[:rw]")]
    pub mount: Vec<String>,
    /// Set a variable of its environment
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Run it as this user inside
    #[arg(long, value_name = "UID[:GID]", default_value = "0")]
    pub user: String,
    /// Seconds until it is killed
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub timeout: f64,
    /// Memory it may use
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = super::record::size)]
    pub memory: usize,
    /// Processors it may use
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub cpus: f64,
    /// Processes and threads it may have
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub pids: u32,
    /// Bytes it may write to files
    #[arg(long, value_name = "SIZE", default_value = "128M", value_parser = super::record::size)]
    pub disk: usize,
    /// Keep the evidence in this folder: capture, reports, files, output
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Write the capture there
    #[arg(long, value_name = "FILE")]
    pub capture: Option<PathBuf>,
    /// Where nabe keeps images [default: /var/lib/nabe]
    #[arg(long, value_name = "DIR", env = "NABE_ROOT")]
    pub root: Option<PathBuf>,
}

impl Args {
    /// The words of a run of one file, with `--json` and a place of its own for what is written.
    fn words(&self, file: &Path) -> Vec<OsString> {
        let how = &self.how;
        let mut words: Vec<OsString> = vec!["sandbox".into(), "--json".into()];
        let mut say = |name: &str, value: &OsStr| {
            let mut word = OsString::from(name);
            word.push("=");
            word.push(value);
            words.push(word);
        };
        let lists = [("--rules", &self.rules), ("--falco", &self.falco), ("--yara", &self.yara)];
        for (name, path) in lists.iter().flat_map(|(name, paths)| paths.iter().map(move |path| (*name, path)))
        {
            say(name, path.as_os_str());
        }
        let texts = [("--mount", &how.mount), ("--env", &how.env)];
        for (name, text) in texts.iter().flat_map(|(name, texts)| texts.iter().map(move |text| (*name, text)))
        {
            say(name, text.as_ref());
        }
        let own = file.file_name().unwrap_or_default();
        for (name, path, suffix) in
            [("--html", &self.html, ".html"), ("--keep", &how.keep, ""), ("--capture", &how.capture, ".scap")]
        {
            if let Some(path) = path {
                let mut path = path.join(own).into_os_string();
                path.push(suffix);
                say(name, &path);
            }
        }
        for (name, text) in [
            ("--entry", how.entry.clone()),
            ("--root", how.root.as_ref().map(|root| root.to_string_lossy().into_owned())),
            ("--network", Some(how.network.clone())),
            ("--user", Some(how.user.clone())),
            ("--timeout", Some(how.timeout.to_string())),
            ("--memory", Some(how.memory.to_string())),
            ("--cpus", Some(how.cpus.to_string())),
            ("--pids", Some(how.pids.to_string())),
            ("--disk", Some(how.disk.to_string())),
        ] {
            if let Some(text) = text {
                say(name, text.as_ref());
            }
        }
        words.extend(self.no_built_in.then(|| "--no-built-in".into()));
        words.push("--".into());
        words.push(file.into());
        words.extend(self.args.iter().map(Into::into));
        words
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let rules = Rules::load(&args.rules, !args.no_built_in, &args.falco)?;
    let scanner = Scanner::load(&args.yara)?;
    let stop = Stop::listen()?;
    if let Some(folder) = args.specimen.as_deref().filter(|path| path.is_dir() && args.how.image.is_none()) {
        run::check(&args.how)?;
        return batch::run(folder, args.json, &|file| args.words(file), &stop);
    }
    let report = match (&args.replay, &args.specimen) {
        (Some(capture), _) => {
            judge::judge(&rules, capture, args.container.as_deref(), &stop).map(|(report, _)| report)?
        }
        (None, Some(specimen)) => run::run(specimen, args, &rules, &scanner, &stop)?,
        (None, None) => return Err(CliError::usage("no specimen is given")),
    };
    if let Some(path) = &args.html {
        write(path, &report.html())?;
    }
    if let Some(folder) = &args.how.keep {
        write(&folder.join("report.json"), &(report.json() + "\n"))?;
        write(&folder.join("report.html"), &report.html())?;
    }
    let text = if args.json { report.json() + "\n" } else { report.text() };
    output::write(text.as_bytes())?;
    Ok(ExitCode::from(status(&report)))
}

fn write(path: &Path, text: &str) -> Result<()> {
    make_parent(path)?;
    std::fs::write(path, text).map_err(|error| CliError::file("write", path, &error))
}

/// Makes the folder that a file goes to: those of a folder's specimens have one.
pub(crate) fn make_parent(path: &Path) -> Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => {
            std::fs::create_dir_all(parent).map_err(|error| CliError::file("make", parent, &error))
        }
        None => Ok(()),
    }
}

fn status(report: &Report) -> u8 {
    match report.verdict {
        Verdict::Clean => 0,
        Verdict::Suspicious => 10,
        Verdict::Malicious => 20,
    }
}
