//! Credentials from the files and helper programs of Docker and of containers' tools.
//!
//! Sources: containers-auth.json(5), Docker's "docker login" reference (credential stores, helpers).

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::reference::Reference;

/// Bytes that an auth file may have.
const MAX_FILE: u64 = 1 << 20;
/// Where Docker keeps the credentials of its own registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// What is shown to a registry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// A name and a password.
    Basic { user: String, password: String },
    /// A refresh token for the token service.
    Identity(String),
}

impl std::fmt::Debug for Credentials {
    /// Secrets are not printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic",
            Self::Identity(_) => "Identity",
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthFile {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
}

/// Credentials for an image on `host` (its registry, or a mirror); `None` when nobody logged in.
pub(crate) fn find(host: &str, reference: &Reference, file: Option<&Path>) -> Result<Option<Credentials>> {
    let explicit = file.map(Path::to_owned).or_else(|| variable("REGISTRY_AUTH_FILE").map(PathBuf::from));
    let files = match explicit {
        Some(file) => vec![file],
        None => usual_files(),
    };
    for file in files {
        if let Some(found) = find_in(&file, host, reference)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn usual_files() -> Vec<PathBuf> {
    let home = variable("HOME").map(PathBuf::from);
    let uid = rustix::process::getuid().as_raw();
    let runtime = variable("XDG_RUNTIME_DIR").map(|path| PathBuf::from(path).join("containers/auth.json"));
    let config =
        variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".config")));
    let docker =
        variable("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".docker")));
    let root = (uid == 0).then(|| PathBuf::from("/run/containers/0/auth.json"));
    let config = config.map(|path| path.join("containers/auth.json"));
    [runtime, root, config, docker.map(|path| path.join("config.json"))].into_iter().flatten().collect()
}

fn find_in(path: &Path, host: &str, reference: &Reference) -> Result<Option<Credentials>> {
    let wrong = |reason: String| Error::Credentials {
        host: host.to_owned(),
        from: path.display().to_string(),
        reason,
    };
    let bytes = match fs::metadata(path) {
        Ok(found) if found.len() > MAX_FILE => return Err(wrong("the file is too large".into())),
        Ok(_) => fs::read(path).map_err(|error| wrong(error.to_string()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        // Somebody else's home is no reason to fail.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
    };
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    let auth: AuthFile = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    let server = if host == "docker.io" { DOCKER_HUB } else { host };
    if let Some(helper) = auth.cred_helpers.get(host).or_else(|| auth.cred_helpers.get(server)) {
        return ask_helper(helper, server, host);
    }
    if let Some(entry) = lookup(&auth.auths, host, reference)
        && let Some(found) = entry.credentials().map_err(wrong)?
    {
        return Ok(Some(found));
    }
    match &auth.creds_store {
        Some(helper) if !helper.is_empty() => ask_helper(helper, server, host),
        _ => Ok(None),
    }
}

/// The entry of the longest path that the image is in, else the host's in any of Docker's spellings.
fn lookup<'a>(auths: &'a BTreeMap<String, Entry>, host: &str, reference: &Reference) -> Option<&'a Entry> {
    let mut name = if host == reference.registry() { reference.name() } else { host.to_owned() };
    loop {
        if let Some(entry) = auths.get(&name) {
            return Some(entry);
        }
        match name.rsplit_once('/') {
            Some((shorter, _)) => name = shorter.to_owned(),
            None => break,
        }
    }
    let plain = |key: &str| {
        let key = key.split_once("://").map_or(key, |(_, rest)| rest);
        let key = key.split('/').next().unwrap_or_default();
        if matches!(key, "index.docker.io" | "registry-1.docker.io") {
            "docker.io".to_owned()
        } else {
            key.to_owned()
        }
    };
    // `registry/path` without a scheme is for that path only.
    let whole = |key: &str| key.contains("://") || !key.contains('/');
    auths.iter().find(|(key, _)| whole(key) && plain(key) == host).map(|(_, entry)| entry)
}

impl Entry {
    fn credentials(&self) -> std::result::Result<Option<Credentials>, String> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = filled(&self.identitytoken) {
            return Ok(Some(Credentials::Identity(token)));
        }
        if let (Some(user), Some(password)) = (filled(&self.username), filled(&self.password)) {
            return Ok(Some(Credentials::Basic { user, password }));
        }
        let Some(auth) = filled(&self.auth) else { return Ok(None) };
        let decoded = base64::engine::general_purpose::STANDARD.decode(auth.trim());
        let text = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = text.as_deref().and_then(|text| text.split_once(':'));
        let (user, password) = pair.ok_or("an entry's auth is no base64 of user:password")?;
        Ok(Some(Credentials::Basic { user: user.into(), password: password.trim_end_matches('\0').into() }))
    }
}

/// Asks `docker-credential-<helper> get`.
fn ask_helper(helper: &str, server: &str, host: &str) -> Result<Option<Credentials>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let program = format!("docker-credential-{helper}");
    let wrong = |reason: String| Error::Credentials { host: host.to_owned(), from: program.clone(), reason };
    if helper.contains('/') {
        return Err(wrong("a helper's name has no /".into()));
    }
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| wrong(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read says so by its answer.
        let _ = stdin.write_all(server.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| wrong(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        if said.contains("credentials not found") {
            return Ok(None);
        }
        let first = said.lines().next().unwrap_or("it failed").to_owned();
        return Err(wrong(first));
    }
    let answer: Answer = serde_json::from_slice(&output.stdout).map_err(|error| wrong(error.to_string()))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credentials::Identity(answer.secret),
        _ => Credentials::Basic { user: answer.username, password: answer.secret },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_text(text: &str, image: &str) -> Result<Option<Credentials>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth.json");
        fs::write(&path, text).unwrap();
        let reference: Reference = image.parse().unwrap();
        find_in(&path, reference.registry(), &reference)
    }

    #[test]
    fn the_nearest_entry_is_taken() {
        // a:b, c:d
        let text = r#"{"auths": {"quay.io": {"auth": "YTpi"}, "quay.io/team": {"auth": "Yzpk"},
            "https://index.docker.io/v1/": {"auth": "YTpi"}, "https://h.x:5000": {"identitytoken": "t"}}}"#;
        let basic = |user: &str, password: &str| {
            Some(Credentials::Basic { user: user.into(), password: password.into() })
        };
        for (image, want) in [
            ("quay.io/x", basic("a", "b")),
            ("quay.io/team/x", basic("c", "d")),
            ("busybox", basic("a", "b")),
            ("h.x:5000/a/b", Some(Credentials::Identity("t".into()))),
            ("h.x/a", None),
        ] {
            assert!(find_text(text, image).unwrap() == want, "{image}");
        }
    }

    #[test]
    fn a_broken_file_is_named() {
        for text in ["{", "5", r#"{"auths": {"quay.io": {"auth": "!!"}}}"#, r#"{"credsStore": "../x"}"#] {
            let error = find_text(text, "quay.io/x").unwrap_err().to_string();
            assert!(error.contains("quay.io"), "{error}");
        }
        assert_eq!(find_text("", "quay.io/x").unwrap(), None);
    }
}
