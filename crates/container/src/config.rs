//! Where engines are looked for, and how long they may take.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Engine;

/// Where engines are looked for, and how long they may take.
///
/// [`Config::default`] knows the places that distributions use. More come from
/// the environment ([`Config::from_env`]) and from key and value pairs of a
/// configuration file or flags ([`Config::set`]); they are tried first.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The host's root directory: "/" but in tests, or "/host" in a container
    /// that has the host's files there. Default places lie below it.
    pub root: PathBuf,
    /// Additional sockets by engine. An engine that has one here is not looked
    /// for at its default sockets.
    pub sockets: Vec<(Engine, PathBuf)>,
    /// Additional state or data directories by engine: Docker's data-root,
    /// containerd's root and state, the graphroot and runroot of containers/storage,
    /// the `--root` of a plain runtime.
    pub roots: Vec<(Engine, PathBuf)>,
    /// How long one call of `Resolver::resolve` or `engines` may wait.
    pub deadline: Duration,
    /// How long to wait for a sign of life from an engine whose files already
    /// told everything, only to report that it does not answer. Zero: don't ask.
    pub ping: Duration,
    /// Ask the engines' sockets for what the files did not say.
    pub api: bool,
    /// `$XDG_RUNTIME_DIR`, for the rootless engines of the caller.
    pub runtime_dir: Option<PathBuf>,
}

/// A user whose rootless engines may hold containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's id on the host.
    pub uid: u32,
    /// Home directory, below [`Config::root`].
    pub home: PathBuf,
}

/// An engine setting that makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// No such setting.
    #[error("unknown engine setting \"{0}\": expected sockets, roots, deadline, ping or api")]
    Key(String),
    /// A list item without `=`.
    #[error("\"{0}\" is not of the form engine=/path")]
    Item(String),
    /// An engine that does not exist.
    #[error("unknown engine \"{0}\": expected docker, containerd, cri-o, podman, runc, crun or youki")]
    Engine(String),
    /// A path that depends on the working directory.
    #[error("\"{0}\" is not an absolute path")]
    Relative(String),
    /// A socket that is not on this machine's file system.
    #[error("\"{0}\" is not a unix socket: only unix:///path is supported")]
    NotUnix(String),
    /// A time without a unit.
    #[error("\"{0}\" is not a duration such as 250ms or 2s, at most 60s")]
    Duration(String),
    /// Neither yes nor no.
    #[error("\"{0}\" is neither true nor false")]
    Bool(String),
}

impl Default for Config {
    fn default() -> Self {
        Config {
            root: PathBuf::from("/"),
            sockets: Vec::new(),
            roots: Vec::new(),
            deadline: Duration::from_millis(250),
            ping: Duration::from_millis(100),
            api: true,
            runtime_dir: None,
        }
    }
}

impl Config {
    /// The defaults with what the environment says: `NABE_ENGINE_SOCKETS` and
    /// `NABE_ENGINE_ROOTS` (`docker=/path,containerd=/state:/root`),
    /// `NABE_ENGINE_DEADLINE` (`250ms`), then `DOCKER_HOST`, `CONTAINER_HOST`,
    /// `CONTAINERD_ADDRESS` and `XDG_RUNTIME_DIR` as the engines' own clients
    /// read them. A `DOCKER_HOST` that is not a unix socket says nothing about
    /// this machine's containers and is passed over.
    ///
    /// # Errors
    /// A `NABE_…` variable that cannot be understood.
    pub fn from_env() -> Result<Config, ConfigError> {
        Config::from_vars(|name| std::env::var(name).ok())
    }

    /// [`Config::from_env`] with the environment given as a function.
    ///
    /// # Errors
    /// A `NABE_…` variable that cannot be understood.
    pub fn from_vars(get: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        let ours = [
            ("NABE_ENGINE_SOCKETS", "sockets"),
            ("NABE_ENGINE_ROOTS", "roots"),
            ("NABE_ENGINE_DEADLINE", "deadline"),
        ];
        for (variable, key) in ours {
            if let Some(value) = get(variable).filter(|value| !value.is_empty()) {
                config.set(key, &value)?;
            }
        }
        let theirs = [
            ("DOCKER_HOST", Engine::Docker),
            ("CONTAINER_HOST", Engine::Podman),
            ("CONTAINERD_ADDRESS", Engine::Containerd),
        ];
        for (variable, engine) in theirs {
            let Some(value) = get(variable).filter(|value| !value.is_empty()) else {
                continue;
            };
            if !config.sockets.iter().any(|(known, _)| *known == engine)
                && let Ok(path) = socket_path(&value)
            {
                config.sockets.push((engine, path));
            }
        }
        config.runtime_dir = get("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
        Ok(config)
    }

    /// Sets one key as a configuration file or a flag gives it: `sockets` and
    /// `roots` add a comma-separated list of `engine=/path` (several paths of
    /// one engine joined by `:`), `deadline` and `ping` take a duration, `api`
    /// true or false.
    ///
    /// # Errors
    /// An unknown key, engine or unit; a relative path.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        match key {
            "sockets" => {
                for item in parse_list(value)? {
                    self.sockets.push((item.0, socket_path(item.1)?));
                }
            }
            "roots" => {
                for (engine, paths) in parse_list(value)? {
                    for path in paths.split(':') {
                        self.roots.push((engine, absolute(path)?));
                    }
                }
            }
            "deadline" => self.deadline = parse_duration(value)?,
            "ping" => self.ping = parse_duration(value)?,
            "api" => {
                self.api = match value.trim() {
                    "true" => true,
                    "false" => false,
                    other => return Err(ConfigError::Bool(other.to_owned())),
                }
            }
            other => return Err(ConfigError::Key(other.to_owned())),
        }
        Ok(())
    }

    /// A place of the host below [`Config::root`].
    pub(crate) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        if self.root == Path::new("/") {
            return path.to_path_buf();
        }
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Configured directories of an engine, then the given defaults.
    pub(crate) fn roots_of<'a>(
        &'a self,
        engine: Engine,
        defaults: &'a [&'a str],
    ) -> impl Iterator<Item = PathBuf> + 'a {
        self.roots
            .iter()
            .filter(move |(known, _)| *known == engine)
            .map(|(_, path)| path.clone())
            .chain(defaults.iter().map(|path| self.at(path)))
    }
}

fn parse_list(value: &str) -> Result<Vec<(Engine, &str)>, ConfigError> {
    value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(|item| {
            let (name, path) = item.split_once('=').ok_or_else(|| ConfigError::Item(item.to_owned()))?;
            let engine =
                Engine::from_name(name.trim()).ok_or_else(|| ConfigError::Engine(name.trim().to_owned()))?;
            Ok((engine, path.trim()))
        })
        .collect()
}

fn absolute(path: &str) -> Result<PathBuf, ConfigError> {
    if path.starts_with('/') { Ok(PathBuf::from(path)) } else { Err(ConfigError::Relative(path.to_owned())) }
}

fn socket_path(value: &str) -> Result<PathBuf, ConfigError> {
    let path = value.strip_prefix("unix://").unwrap_or(value);
    if path.contains("://") {
        return Err(ConfigError::NotUnix(value.to_owned()));
    }
    absolute(path)
}

fn parse_duration(value: &str) -> Result<Duration, ConfigError> {
    let wrong = || ConfigError::Duration(value.to_owned());
    let text = value.trim();
    let (digits, millis) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(digits), _) => (digits, 1.0),
        (None, Some(digits)) => (digits, 1000.0),
        (None, None) => return Err(wrong()),
    };
    let amount: f64 = digits.trim().parse().map_err(|_| wrong())?;
    let amount = amount * millis;
    if !(0.0..=60_000.0).contains(&amount) {
        return Err(wrong());
    }
    Ok(Duration::from_secs_f64(amount / 1000.0))
}
