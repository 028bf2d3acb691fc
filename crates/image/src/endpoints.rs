//! Where a registry is: mirrors, plain HTTP, certificates; from containers-registries.conf(5), version 2,
//! and our own settings.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::reference::{Reference, is_host};
use crate::settings::Settings;

/// One place to ask for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Host and port.
    pub(crate) host: String,
    /// The repository there.
    pub(crate) repository: String,
    /// Without TLS.
    pub(crate) plain: bool,
    /// Said to be insecure in registries.conf: any certificate will do, or none.
    pub(crate) insecure: bool,
    /// Whether it may only be asked by digest.
    pub(crate) digest_only: bool,
}

impl Endpoint {
    /// What comes before `/v2/`. Docker's own registry answers under another name.
    pub(crate) fn base(&self) -> String {
        let host = if self.host == "docker.io" { "registry-1.docker.io" } else { &self.host };
        format!("{}://{host}", if self.plain { "http" } else { "https" })
    }
}

#[derive(Debug, Default, Deserialize)]
struct File {
    #[serde(default)]
    registry: Vec<Registry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Registry {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<Mirror>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    location: Option<String>,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<String>,
}

/// Where to ask for an image, in this order.
pub(crate) fn endpoints(reference: &Reference, settings: &Settings) -> Result<Vec<Endpoint>> {
    let files = match settings.registries_conf.clone() {
        Some(path) => vec![path],
        None => usual_files(),
    };
    let mut registries = Vec::new();
    for path in files {
        if let Some(file) = read(&path, settings.registries_conf.is_some())? {
            registries.extend(file.registry);
        }
    }
    let name = reference.name();
    let prefix = |registry: &Registry| {
        registry.prefix.clone().or_else(|| registry.location.clone()).unwrap_or_default()
    };
    let matching = registries.iter().filter(|registry| matches(&prefix(registry), &name));
    let chosen = matching.max_by_key(|registry| prefix(registry).len());
    let plain = |host: &str| settings.plain_http.iter().any(|known| known == host || known == "*");
    let mut endpoints = Vec::new();
    let mut add = |location: &str, prefix: &str, insecure: bool, digest_only: bool| {
        let rest = name.get(prefix.len()..).filter(|_| !prefix.starts_with("*.")).unwrap_or_default();
        let whole = if prefix.starts_with("*.") || location.is_empty() {
            name.clone()
        } else {
            format!("{location}{rest}")
        };
        let (host, repository) = whole.split_once('/').unwrap_or((whole.as_str(), ""));
        if !is_host(host) || repository.is_empty() {
            return Err(Error::document(
                "registries.conf",
                format!("{location:?} is no place of a registry"),
            ));
        }
        endpoints.push(Endpoint {
            host: host.to_owned(),
            repository: repository.to_owned(),
            plain: plain(host),
            insecure,
            digest_only,
        });
        Ok(())
    };
    for (key, mirrors) in &settings.mirrors {
        if matches(key, &name) {
            for mirror in mirrors {
                add(mirror, key, false, false)?;
            }
        }
    }
    let Some(registry) = chosen else {
        add("", "", false, false)?;
        return Ok(endpoints);
    };
    if registry.blocked {
        return Err(Error::Blocked { host: reference.registry().to_owned() });
    }
    let prefix = prefix(registry);
    for mirror in &registry.mirror {
        let when = mirror.pull_from_mirror.as_deref();
        if when == Some("tag-only") && reference.digest().is_some() {
            continue;
        }
        let by_digest = registry.mirror_by_digest_only || when == Some("digest-only");
        add(mirror.location.as_deref().unwrap_or_default(), &prefix, mirror.insecure, by_digest)?;
    }
    add(registry.location.as_deref().unwrap_or_default(), &prefix, registry.insecure, false)?;
    Ok(endpoints)
}

/// Whether `name` is `prefix` or inside it; `*.example.com` is every host below.
fn matches(prefix: &str, name: &str) -> bool {
    if let Some(domain) = prefix.strip_prefix('*') {
        let host = name.split('/').next().unwrap_or_default();
        return domain.len() > 1 && host.ends_with(domain);
    }
    let rest = name.strip_prefix(prefix);
    !prefix.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
}

fn usual_files() -> Vec<PathBuf> {
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    let user = home.map(|path| path.join("containers/registries.conf")).filter(|path| path.exists());
    // The user's file replaces the machine's, as containers' tools do.
    let main = user.unwrap_or_else(|| PathBuf::from("/etc/containers/registries.conf"));
    let mut files = vec![main];
    let mut parts: Vec<PathBuf> = fs::read_dir("/etc/containers/registries.conf.d")
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    parts.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    parts.sort();
    files.extend(parts);
    files
}

fn read(path: &Path, asked: bool) -> Result<Option<File>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !asked => return Ok(None),
        Err(error) => return Err(Error::file("read", path)(error)),
    };
    let file = toml::from_str(&text)
        .map_err(|error| Error::document(path.display().to_string(), error.message()))?;
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(conf: &str, image: &str) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registries.conf");
        fs::write(&path, conf).unwrap();
        let settings = Settings { registries_conf: Some(path), ..Settings::default() };
        match endpoints(&image.parse().unwrap(), &settings) {
            Ok(endpoints) => endpoints.iter().map(|one| format!("{}/{}", one.host, one.repository)).collect(),
            Err(error) => vec![error.to_string()],
        }
    }

    #[test]
    fn mirrors_come_first() {
        let conf = r#"
            unqualified-search-registries = ["docker.io"]
            [[registry]]
            prefix = "docker.io"
            location = "docker.io"
            [[registry.mirror]]
            location = "mirror.lan:5000/hub"
            insecure = true
            [[registry]]
            prefix = "quay.io/team"
            location = "other.lan/x"
            [[registry]]
            location = "bad.lan"
            blocked = true
            [[registry]]
            prefix = "*.wild.lan"
            [[registry.mirror]]
            location = "h.lan/w"
            pull-from-mirror = "digest-only"
        "#;
        for (image, want) in [
            ("busybox", &["mirror.lan:5000/hub/library/busybox", "docker.io/library/busybox"][..]),
            ("quay.io/team/a", &["other.lan/x/a"]),
            ("quay.io/teams/a", &["quay.io/teams/a"]),
            ("bad.lan/a", &["registry bad.lan is blocked in registries.conf"]),
        ] {
            assert_eq!(places(conf, image), want, "{image}");
        }
        assert_eq!(places("[[registry]]\nlocation = 5", "a").len(), 1);
    }

    #[test]
    fn own_mirrors_need_no_file() {
        let mut settings = Settings { registries_conf: Some("/dev/null".into()), ..Settings::default() };
        settings.set("mirrors", "docker.io=m.lan:1").unwrap();
        settings.set("plain_http", "m.lan:1").unwrap();
        let found = endpoints(&"busybox".parse().unwrap(), &settings).unwrap();
        assert_eq!(found[0].base(), "http://m.lan:1");
        assert_eq!(found[0].repository, "library/busybox");
        assert_eq!(found[1].base(), "https://registry-1.docker.io");
    }
}
