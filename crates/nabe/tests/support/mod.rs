//! What the live tests share: the built binary, run as a user runs it, and one odd process at a time
//! (`stage.c`).
//!
//! The environment is cleaned, so that neither the machine's configuration nor its terminal decides a
//! test. What cannot be tested here prints `SKIP test: reason` (see `xtask/src/tally.rs`).

#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod bundle;
pub(crate) mod engines;
pub(crate) mod registry;
pub(crate) mod suite;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary under test.
pub(crate) const NABE: &str = env!("CARGO_BIN_EXE_nabe");

/// How long anything may take before a test gives up waiting for it. No result depends on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a run said.
#[derive(Debug)]
pub(crate) struct Run {
    /// Exit status; `None` when a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self {
            status: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The run, which must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, Some(0), "stdout: {}\nstderr: {}", self.text(), self.stderr);
        self
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }

    /// The answer of `--json`.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let read = serde_json::from_slice(&self.stdout);
        read.unwrap_or_else(|error| panic!("{error}: {}\nstderr: {}", self.text(), self.stderr))
    }

    /// What stands on stderr beside notes: other tests may have containers just now that are worth one.
    pub(crate) fn complaints(&self) -> String {
        complaints(&self.stderr)
    }

    /// Sentences on stderr that begin with `nabe: note:`.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.stderr.lines().filter_map(|line| line.strip_prefix("nabe: note: ")).map(str::to_owned).collect()
    }
}

/// What stands in `stderr` beside notes.
pub(crate) fn complaints(stderr: &str) -> String {
    stderr.lines().filter(|line| !line.starts_with("nabe: note: ")).collect::<Vec<_>>().join("\n")
}

/// A command in the environment of the tests.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env_clear().env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C.UTF-8");
    command.env("TZ", "UTC").env("HOME", "/nonexistent").env("NABE_CONFIG", "/dev/null");
    command.env("NABE_CACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/nabe-cache"));
    // A busy machine is no dead engine.
    command.env("NABE_ENGINE_DEADLINE", "30s");
    if let Some(directory) = std::env::var_os("TMPDIR") {
        command.env("TMPDIR", directory);
    }
    command
}

/// `nabe ARGUMENTS…`, to be run.
pub(crate) fn nabe_command<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = command(NABE);
    command.args(arguments);
    command
}

/// Runs `nabe ARGUMENTS…`.
pub(crate) fn nabe<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Run {
    Run::of(&mut nabe_command(arguments))
}

/// Runs `nabe ps ARGUMENTS…`, whatever comes of it.
pub(crate) fn ps<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Run {
    let mut command = nabe_command(["ps"]);
    command.args(arguments);
    Run::of(&mut command)
}

/// The rows of `nabe ps --json ARGUMENTS…`, which must succeed.
#[track_caller]
pub(crate) fn rows<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Vec<Value> {
    let mut command = nabe_command(["ps", "--json"]);
    command.args(arguments);
    let run = Run::of(&mut command).ok();
    match run.json() {
        Value::Array(rows) => rows,
        other => panic!("no array: {other}"),
    }
}

/// The only row about process `pid`, with these columns.
#[track_caller]
pub(crate) fn row_of(pid: u32, columns: &str) -> Value {
    let mut rows = rows([format!("process.pid == {pid}").as_str(), "-o", columns]);
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

/// Every row about process `pid` with a descriptor in it.
#[track_caller]
pub(crate) fn fds_of(pid: u32, columns: &str) -> Vec<Value> {
    rows([format!("process.pid == {pid}").as_str(), "-o", &format!("process.pid,file.fd,{columns}")])
}

/// The row of one descriptor.
#[track_caller]
pub(crate) fn fd_row(rows: &[Value], fd: u64) -> &Value {
    let found = rows.iter().find(|row| row["file.fd"] == fd);
    found.unwrap_or_else(|| panic!("no descriptor {fd} in {rows:#?}"))
}

/// What a test may need of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    Root,
    /// BPF programs load.
    Bpf,
    /// A program in `PATH`.
    Program(&'static str),
}

/// Whether all of it is here; prints why not.
pub(crate) fn has(test: &str, needs: &[Need]) -> bool {
    for need in needs {
        let missing = match need {
            Need::Root => (!is_root()).then(|| "needs root".to_owned()),
            Need::Bpf => bpf_missing(),
            Need::Program(name) => program(name).is_none().then(|| format!("{name} is not installed")),
        };
        if let Some(reason) = missing {
            skip(test, &reason);
            return false;
        }
    }
    true
}

/// Says that a test cannot run here.
pub(crate) fn skip(test: &str, reason: &str) {
    eprintln!("SKIP {test}: {}", reason.trim().replace('\n', "; "));
}

/// Whether live events can be had; otherwise a line says why not.
pub(crate) fn is_live(test: &str) -> bool {
    let run = nabe(["trace", "-q", "-M", "0.05"]);
    if run.status == Some(0) {
        return true;
    }
    skip(test, run.stderr.lines().next().unwrap_or("no live events"));
    false
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn bpf_missing() -> Option<String> {
    static WHY: OnceLock<Option<String>> = OnceLock::new();
    let try_it = || {
        let run = ps(["--source", "bpf", "--count"]);
        (run.status != Some(0)).then(|| format!("no BPF here: {}", run.stderr.trim()))
    };
    WHY.get_or_init(try_it).clone()
}

pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    path.split(':').map(|directory| Path::new(directory).join(name)).find(|file| file.is_file())
}

/// A temporary directory that anybody may enter; it goes with its owner.
pub(crate) fn directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::Builder::new().prefix("nabe-test-").tempdir().expect("a temporary directory");
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("its mode");
    directory
}

/// A copy of a program that can be run at once. By another process: while we have it open for
/// writing, so has each child that another thread forks, and the kernel says "text file busy".
pub(crate) fn copy_program(from: impl AsRef<OsStr>, to: &Path) {
    let status = command("cp").arg(from).arg(to).status().expect("cp runs");
    assert!(status.success(), "{} is not copied", to.display());
}

/// A program that plays a role until it is dropped.
#[derive(Debug)]
pub(crate) struct Stage {
    child: Child,
    input: Option<ChildStdin>,
    /// The process that the role is about.
    pub(crate) pid: u32,
    words: HashMap<String, u64>,
}

impl Stage {
    /// Plays `role`; `None`, with the reason printed for `test`, when that is not possible here.
    pub(crate) fn play<A: AsRef<OsStr>>(
        test: &str,
        role: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Option<Self> {
        Self::start(test, command(stage()).arg(role).args(arguments))
    }

    /// Starts a command that ends as a role of `stage`.
    pub(crate) fn start(test: &str, command: &mut Command) -> Option<Self> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut line = String::new();
        let output = child.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("its first line");
        let words = line.split_whitespace().filter_map(|word| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        let words: HashMap<String, u64> = words.collect();
        let input = child.stdin.take();
        let pid = words.get("pid").and_then(|pid| u32::try_from(*pid).ok());
        let mut stage = Self { child, input, pid: pid.unwrap_or(0), words };
        if pid.is_none() {
            stage.end();
            let Some(reason) = line.strip_prefix("CANNOT ") else { panic!("{command:?}: {line:?}") };
            skip(test, reason);
            return None;
        }
        Some(stage)
    }

    /// The process that we started, which may be the parent of `pid`.
    pub(crate) fn parent(&self) -> u32 {
        self.child.id()
    }

    /// A number that the role tells of itself.
    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> u64 {
        *self.words.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.words))
    }

    fn end(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.end();
    }
}

/// The compiled `stage.c`, shared by all tests.
pub(crate) fn stage() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/stage.c");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nabe-stage");
        let time = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
        if time(&program).is_some_and(|made| time(Path::new(source)).is_some_and(|written| written < made)) {
            return program;
        }
        // Made beside and renamed: several test programs may be at it.
        let beside = program.with_extension(std::process::id().to_string());
        let status = Command::new("cc").args(["-O1", "-pthread", "-o"]).arg(&beside).arg(source).status();
        assert!(status.expect("cc runs").success(), "stage.c does not compile");
        std::fs::rename(&beside, &program).expect("renamed");
        program
    };
    PROGRAM.get_or_init(build)
}

/// `/proc/PID/NAME` as text.
#[track_caller]
pub(crate) fn proc_file(pid: u32, name: &str) -> String {
    let path = format!("/proc/{pid}/{name}");
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A line of `/proc/PID/status`, without its name.
#[track_caller]
pub(crate) fn status_of(pid: u32, name: &str) -> String {
    let text = proc_file(pid, "status");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
}

/// The fields of `/proc/PID/stat` behind the name: the first is the state.
#[track_caller]
pub(crate) fn stat_of(pid: u32) -> Vec<String> {
    let text = proc_file(pid, "stat");
    let (_, rest) = text.rsplit_once(')').expect("a name in parentheses");
    rest.split_whitespace().map(str::to_owned).collect()
}

/// The inode number of a namespace.
#[track_caller]
pub(crate) fn namespace_of(pid: u32, name: &str) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let path = format!("/proc/{pid}/ns/{name}");
    std::fs::metadata(&path).unwrap_or_else(|error| panic!("{path}: {error}")).ino()
}

/// Runs a command on a terminal of so many columns and 50 rows; what it printed, and its status.
pub(crate) fn on_terminal(columns: usize, line: &str, environment: &[(&str, &str)]) -> (String, i32) {
    let log = tempfile::NamedTempFile::new().expect("a file");
    let mut script = command("script");
    script.args(["-qec", &format!("stty cols {columns} rows 50; {line}")]).arg(log.path());
    script.env("TERM", "xterm").env("SHELL", "/bin/sh").envs(environment.iter().copied());
    script.stdin(Stdio::null()).stdout(Stdio::null());
    let status = script.status().expect("script runs").code().unwrap_or(-1);
    let bytes = std::fs::read(log.path()).expect("its log");
    let text = String::from_utf8_lossy(&bytes).replace('\r', "");
    // `script` frames what was printed with two lines of its own.
    let body = text
        .lines()
        .filter(|line| !line.starts_with("Script started on ") && !line.starts_with("Script done on "));
    (body.collect::<Vec<_>>().join("\n"), status)
}

/// Text without colours.
pub(crate) fn without_color(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == '\x1b' {
            rest.by_ref().find(|c| c.is_ascii_alphabetic());
        } else {
            out.push(c);
        }
    }
    out
}

/// Waits until `done`; a test that waits too long fails.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what}: waited in vain");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A running process that is killed and waited for on drop.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) child: Child,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).spawn();
        Self { child: child.unwrap_or_else(|error| panic!("{command:?}: {error}")) }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a pid"), signal).expect("a signal to our child");
    }

    /// The rest of its output and its status.
    pub(crate) fn finish(mut self) -> (Vec<u8>, String, Option<i32>) {
        let (mut out, mut err) = (Vec::new(), String::new());
        if let Some(mut pipe) = self.child.stdout.take() {
            pipe.read_to_end(&mut out).expect("its output");
        }
        if let Some(mut pipe) = self.child.stderr.take() {
            pipe.read_to_string(&mut err).expect("its errors");
        }
        let status = self.child.wait().expect("its status");
        (out, err, status.code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A cgroup in the v2 hierarchy with processes of ours; removed on drop.
#[derive(Debug)]
pub(crate) struct Cgroup {
    root: PathBuf,
    made: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes `path`; `None`, with the reason printed for `test`, when that is not possible here.
    pub(crate) fn make(test: &str, path: &str) -> Option<Self> {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let Some(root) = roots.into_iter().find(|root| root.join("cgroup.controllers").exists()) else {
            skip(test, "no cgroup v2 here");
            return None;
        };
        let mut cgroup = Self { root: root.to_owned(), made: Vec::new() };
        let mut directory = root.to_owned();
        for part in path.split('/') {
            directory.push(part);
            match std::fs::create_dir(&directory) {
                Ok(()) => cgroup.made.push(directory.clone()),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    skip(test, &format!("cannot make the cgroup {}: {error}", directory.display()));
                    return None;
                }
            }
        }
        Some(cgroup)
    }

    /// Moves a process into it.
    #[track_caller]
    pub(crate) fn take(&self, pid: u32) {
        move_to(self.made.last().expect("a directory of ours"), pid).expect("moved");
    }
}

fn move_to(cgroup: &Path, pid: u32) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).open(cgroup.join("cgroup.procs"))?;
    file.write_all(pid.to_string().as_bytes())
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for directory in self.made.iter().rev() {
            let left = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            for pid in left.lines().filter_map(|pid| pid.parse().ok()) {
                let _ = move_to(&self.root, pid);
            }
            let _ = std::fs::remove_dir(directory);
        }
    }
}

/// An engine's socket that takes connections and never answers.
#[derive(Debug)]
pub(crate) struct MuteEngine {
    directory: tempfile::TempDir,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl MuteEngine {
    pub(crate) fn start() -> Self {
        use std::sync::atomic::Ordering;
        let directory = directory();
        let listener =
            std::os::unix::net::UnixListener::bind(directory.path().join("e.sock")).expect("bound");
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let asked = std::sync::Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut held = Vec::new();
            while let Ok((peer, _)) = listener.accept() {
                if asked.load(Ordering::Relaxed) {
                    return;
                }
                held.push(peer);
            }
        });
        Self { directory, stop, thread: Some(thread) }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("e.sock")
    }
}

impl Drop for MuteEngine {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        // Wakes it.
        let _ = std::os::unix::net::UnixStream::connect(self.socket());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Bytes as an argument.
pub(crate) fn bytes(text: &[u8]) -> &OsStr {
    OsStr::from_bytes(text)
}
