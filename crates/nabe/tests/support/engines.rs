//! Private container engines, by `tests/engines/engines.sh`.

use std::process::{Command, Output};

use serde_json::Value;

use super::{Run, nabe_command, skip};

/// Engines below a directory of their own; everything of theirs goes with them.
#[derive(Debug)]
pub(crate) struct Engines {
    directory: tempfile::TempDir,
    variables: Vec<(String, String)>,
    settings: Vec<(&'static str, &'static str)>,
}

impl Engines {
    /// Starts `wanted`; with `runc-only` no daemon. `None`, with the reason printed for `test`, when
    /// none is installed.
    pub(crate) fn up(test: &str, wanted: &[&str]) -> Option<Self> {
        Self::up_with(test, wanted, &[])
    }

    /// The same with variables for `engines.sh`.
    pub(crate) fn up_with(
        test: &str,
        wanted: &[&str],
        settings: &[(&'static str, &'static str)],
    ) -> Option<Self> {
        // Sockets live in it, whose paths are short.
        let directory = tempfile::Builder::new().prefix("nb").tempdir_in("/tmp").expect("a directory");
        let mut engines = Self { directory, variables: Vec::new(), settings: settings.to_vec() };
        if wanted != ["runc-only"] {
            let mut arguments = vec!["up"];
            arguments.extend(wanted);
            engines.try_run(test, &arguments)?;
        }
        let lines = engines.run(&["env"]);
        let pairs = lines.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        engines.variables = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Some(engines)
    }

    /// A verb of `engines.sh`, to be run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/engines/engines.sh");
        let mut command = Command::new(script);
        command.args(arguments).env("NABE_ENGINES_DIR", self.directory.path().join("e"));
        command.envs(self.settings.iter().copied());
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("engines.sh runs")
    }

    /// Runs a verb of `engines.sh`, which must succeed.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Runs a verb that may not be possible here: then says why.
    #[track_caller]
    pub(crate) fn try_run(&self, test: &str, arguments: &[&str]) -> Option<String> {
        let output = self.output(arguments);
        if output.status.code() == Some(77) {
            let why = String::from_utf8_lossy(&output.stderr);
            skip(test, why.trim().trim_start_matches("skip: "));
            return None;
        }
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// `nabe ARGUMENTS…` that knows these engines.
    pub(crate) fn nabe(&self, arguments: &[&str]) -> Command {
        let mut command = nabe_command(arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The rows of `nabe ps --json ARGUMENTS…`.
    #[track_caller]
    pub(crate) fn rows(&self, arguments: &[&str]) -> Vec<Value> {
        let mut command = self.nabe(&["ps", "--json"]);
        let run = Run::of(command.args(arguments)).ok();
        run.json().as_array().expect("an array").clone()
    }

    /// The only row about process `pid`.
    #[track_caller]
    pub(crate) fn row_of(&self, pid: u32, columns: &str) -> Value {
        let mut rows = self.rows(&[&format!("process.pid == {pid}"), "-o", columns]);
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.remove(0)
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        self.output(&["down"]);
    }
}
