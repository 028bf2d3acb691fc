//! Names of images: `[registry/]repository[:tag][@digest]`, with Docker's defaults.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, Result};

/// The registry of a name without one.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// A complete reference: registry, repository, and a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Host and port, such as `docker.io` or `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path inside the registry, such as `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` was put in when neither tag nor digest was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, which wins over the tag.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The name as Docker shows it: without its own registry and `library/`.
    pub fn familiar_name(&self) -> &str {
        familiar(&self.registry, &self.repository).unwrap_or(&self.repository)
    }

    /// What stands after `/manifests/` in a request.
    pub fn object(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }
}

/// The short form for images of Docker Hub.
fn familiar<'a>(registry: &str, repository: &'a str) -> Option<&'a str> {
    (registry == DEFAULT_REGISTRY).then(|| repository.strip_prefix("library/").unwrap_or(repository))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |reason| Error::Reference { text: text.chars().take(300).collect(), reason };
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (rest, None),
        };
        let (registry, repository) = match path.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
            _ => (DEFAULT_REGISTRY, path),
        };
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        if !is_host(registry) {
            return Err(wrong("the registry is no host[:port]"));
        }
        let library = registry == DEFAULT_REGISTRY && !repository.contains('/');
        let repository = if library { format!("library/{repository}") } else { repository.to_owned() };
        if registry.len() + repository.len() > 255 {
            return Err(wrong("the name has more than 255 characters"));
        }
        if !repository.split('/').all(is_component) {
            return Err(wrong("a name has lower-case letters and digits, separated by . _ __ - /"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("a tag has at most 128 letters, digits, and _ . -"));
        }
        let tag = tag.or(if digest.is_none() { Some("latest") } else { None }).map(str::to_owned);
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

/// `host`, `host:port`, `[v6]:port`.
pub(crate) fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let v6 = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let named = match v6 {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty()
                && name.split('.').all(|label| !label.is_empty() && !label.starts_with('-'))
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        }
    };
    named && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// One component of a repository (distribution-spec, "Pulling manifests").
fn is_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inside = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.bytes().next().is_some_and(alphanumeric)
        && text.bytes().last().is_some_and(alphanumeric)
        && inside.into_iter().all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
        })
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || b".-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn defaults_are_dockers() {
        let digest = Digest::of(b"x");
        for (typed, meant) in [
            ("busybox", "docker.io/library/busybox:latest".to_owned()),
            ("index.docker.io/busybox:1", "docker.io/library/busybox:1".to_owned()),
            ("a/b:1.2_x", "docker.io/a/b:1.2_x".to_owned()),
            ("localhost/a", "localhost/a:latest".to_owned()),
            ("localhost:5000/a/b/c", "localhost:5000/a/b/c:latest".to_owned()),
            ("[::1]:5000/a", "[::1]:5000/a:latest".to_owned()),
            (&format!("quay.io/a/b@{digest}"), format!("quay.io/a/b@{digest}")),
            (&format!("quay.io/a/b:t@{digest}"), format!("quay.io/a/b:t@{digest}")),
        ] {
            assert_eq!(typed.parse::<Reference>().unwrap().to_string(), meant, "{typed}");
        }
        assert_eq!("busybox".parse::<Reference>().unwrap().familiar_name(), "busybox");
    }

    #[test]
    fn nonsense_is_refused() {
        let long = "a/".repeat(200);
        for wrong in [
            "",
            "/",
            "A",
            "a//b",
            "../a",
            "a/../b",
            "a:",
            "a:-x",
            "a b",
            "a@sha256:1",
            "a:b:c",
            "h.x:99999/a",
            ".x/a",
            "a@b@c",
            "-a",
            "a-",
            "a._b",
            "a___b",
            "a\n",
            "http://a.b/c",
            long.as_str(),
        ] {
            assert!(wrong.parse::<Reference>().is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged_and_prints_what_parses(text in "\\PC{0,40}|[a-z0-9./:@_-]{1,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                let again: Reference = reference.to_string().parse().unwrap();
                prop_assert_eq!(again, reference);
            }
        }
    }
}
