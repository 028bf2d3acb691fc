//! The config file: `$NABE_CONFIG`, else `$XDG_CONFIG_HOME/nabe/config.toml` (`~/.config`), else
//! `/etc/nabe/config.toml`. Flags win over the environment, the environment over the file.
//!
//! ```toml
//! [engines]
//! sockets = "docker=/srv/docker.sock,containerd=/run/k3s/containerd/containerd.sock"
//! roots = "docker=/srv/docker"
//! deadline = "250ms"
//!
//! [images]
//! mirrors = "docker.io=mirror.lan:5000"
//! plain_http = "mirror.lan:5000"
//! ```

use std::path::PathBuf;

use nabe_container::Config as Engines;

use crate::error::{CliError, Result};

/// Engine settings from the file and the environment; flags are added by the verb.
pub fn engines() -> Result<Engines> {
    let mut engines = Engines::from_env()?;
    each("engines", |key, text| engines.set(key, text).map_err(|error| error.to_string()))?;
    Ok(engines)
}

/// Settings of images from the file; flags are added by the verb.
pub fn images() -> Result<nabe_image::Settings> {
    let mut settings = nabe_image::Settings::default();
    each("images", |key, text| settings.set(key, text).map_err(|error| error.to_string()))?;
    Ok(settings)
}

/// The sections that the file may have.
const SECTIONS: [&str; 2] = ["engines", "images"];

/// Hands the keys of one section to `set`. Sections that nobody knows are an error.
fn each(wanted: &str, mut set: impl FnMut(&str, &str) -> std::result::Result<(), String>) -> Result<()> {
    let Some((path, asked)) = path() else { return Ok(()) };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !asked => return Ok(()),
        Err(error) => return Err(CliError::file("read the config file", &path, &error)),
    };
    let wrong = |message: String| CliError::usage(format_args!("{}: {message}", path.display()));
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
    for (section, value) in &table {
        let Some(settings) = value.as_table().filter(|_| SECTIONS.contains(&section.as_str())) else {
            let known = SECTIONS.map(|section| format!("[{section}]")).join(" or ");
            return Err(wrong(format!("unknown section \"{section}\": expected {known}")));
        };
        for (key, value) in settings.iter().filter(|_| section == wanted) {
            let text = match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Boolean(value) => value.to_string(),
                toml::Value::Integer(value) if section != "engines" => value.to_string(),
                _ => return Err(wrong(format!("{section}.{key}: expected a string or a boolean"))),
            };
            set(key, &text).map_err(|error| wrong(format!("{section}.{key}: {error}")))?;
        }
    }
    Ok(())
}

/// Where the file is, and whether somebody asked for this one by name.
fn path() -> Option<(PathBuf, bool)> {
    if let Some(path) = std::env::var_os("NABE_CONFIG").filter(|path| !path.is_empty()) {
        return Some((path.into(), true));
    }
    let own = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")))
        .map(|directory| directory.join("nabe/config.toml"));
    let all = PathBuf::from("/etc/nabe/config.toml");
    Some((own.filter(|path| path.exists()).unwrap_or(all), false))
}

/// Where relocated BPF programs are kept between runs: root's cache, else the user's.
pub fn cache() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("NABE_CACHE") {
        return (!path.is_empty()).then(|| path.into());
    }
    if is_root() {
        return Some(PathBuf::from("/var/cache/nabe"));
    }
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .or_else(home)?;
    Some(base.join("nabe"))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
