//! Documents of images: descriptors, manifests, indexes, configs, in OCI's and Docker's media types.
//!
//! Sources: opencontainers/image-spec v1.1 (descriptor.md, manifest.md, image-index.md, config.md) and
//! Docker's "Image Manifest Version 2, Schema 2". Fields that nobody here reads are skipped; the bytes
//! of every document are kept as they came, because their digest is their name.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};

/// Bytes that a manifest or an index may have (distribution-spec asks registries to take 4 MiB).
pub const MAX_MANIFEST: u64 = 4 << 20;
/// Bytes that a config may have.
pub const MAX_CONFIG: u64 = 8 << 20;
/// Layers that an image may have; Docker stops at 127, overlayfs at 500.
pub const MAX_LAYERS: usize = 500;

/// OCI's manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI's index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI's config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI's layer: a plain tar.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Docker's manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's index.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What is asked of a registry.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// Where content is and how it is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default)]
    pub media_type: String,
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// The machine that an image of an index is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Free words; the store keeps an image's name here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

/// A machine: operating system, processor, and its variant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Such as `linux`.
    #[serde(default)]
    pub os: String,
    /// Such as `amd64` (Go's words).
    #[serde(default)]
    pub architecture: String,
    /// Such as `v7` of arm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// This machine.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        let variant = variant.map(str::to_owned);
        Self { os: "linux".into(), architecture: architecture.into(), variant }
    }

    /// How well an image for `offered` runs on `self`: smaller is better, `None` not at all.
    ///
    /// A processor runs images for its own variant and those below; an image without a variant is
    /// taken for arm v7 and arm64 v8, as containerd does.
    fn distance(&self, offered: &Self) -> Option<u32> {
        let same = self.os == offered.os && self.architecture == offered.architecture;
        let ours = self.level()?;
        let theirs = offered.level()?;
        (same && theirs <= ours).then(|| ours - theirs)
    }

    /// The variant as a number; `None` when it is no `v<number>`.
    fn level(&self) -> Option<u32> {
        match (self.variant.as_deref().unwrap_or_default(), self.architecture.as_str()) {
            ("", "arm") => Some(7),
            ("", "arm64") => Some(8),
            ("", "amd64") => Some(1),
            ("", _) => Some(0),
            (variant, _) => {
                let number = variant.strip_prefix('v')?;
                number.split('.').next()?.parse().ok().filter(|level| *level < 1000)
            }
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// `os/architecture[/variant]`, or only the architecture.
    fn from_str(text: &str) -> Result<Self> {
        let mut parts: Vec<&str> = text.split('/').collect();
        if parts.len() == 1 {
            parts.insert(0, "linux");
        }
        let (os, machine, variant) = match parts.as_slice() {
            [os, machine] => (*os, *machine, None),
            [os, machine, variant] if !variant.is_empty() => (*os, *machine, Some((*variant).to_owned())),
            _ => ("", "", None),
        };
        let (architecture, implied) = match machine {
            "x86_64" | "x86-64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "armhf" => ("arm", Some("v7")),
            "armel" => ("arm", Some("v6")),
            "i386" | "i686" => ("386", None),
            other => (other, None),
        };
        if os.is_empty() || architecture.is_empty() {
            let reason = format!("{text:?} is no os/architecture[/variant]");
            return Err(Error::Setting { key: "platform".into(), reason });
        }
        let variant = variant.or(implied.map(str::to_owned));
        Ok(Self { os: os.into(), architecture: architecture.into(), variant })
    }
}

/// A manifest or an index.
#[derive(Clone, Debug)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Images for several platforms.
    Index(Index),
}

/// One image: a config and layers, lowest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The image's config.
    pub config: Descriptor,
    /// Layers, lowest first.
    pub layers: Vec<Descriptor>,
}

/// A list of manifests.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Images, or further indexes.
    pub manifests: Vec<Descriptor>,
}

/// An image's config: how to run it, and the digests of its layers once decompressed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Config {
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The processor.
    #[serde(default)]
    pub architecture: String,
    /// Its variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The operating system.
    #[serde(default)]
    pub os: String,
    /// How to run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Execution>,
    /// What it is made of.
    pub rootfs: RootFs,
}

/// Digests of the layers' tar archives.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Lowest first.
    pub diff_ids: Vec<Digest>,
}

/// How to run an image. Absent and `null` are the same.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Execution {
    /// `user[:group]`, names or numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `NAME=value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// The program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Its default arguments, or the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Where it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// `port/protocol`, as keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    /// Directories meant for volumes, as keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<BTreeMap<String, serde_json::Value>>,
    /// The signal that asks the program to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
}

impl Document {
    /// Reads a manifest or an index; `media_type` is what the sender called it, when it did.
    ///
    /// What the document says of itself must not differ from that (CVE-2021-41190: one document, two
    /// readings).
    pub fn parse(what: &str, bytes: &[u8], media_type: Option<&str>) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            schema_version: Option<u32>,
            media_type: Option<String>,
            config: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        let wrong = |reason: &dyn ToString| Error::document(what, reason.to_string());
        let bytes = limited(what, bytes, MAX_MANIFEST)?;
        let shape: Shape = serde_json::from_slice(bytes).map_err(|error| wrong(&error))?;
        match shape.schema_version {
            Some(2) => {}
            Some(1) => return Err(wrong(&"schema 1 carries no verifiable layers; push the image again")),
            _ => return Err(wrong(&"no schemaVersion 2")),
        }
        let image = shape.config.is_some() || shape.layers.is_some();
        if image == shape.manifests.is_some() {
            return Err(wrong(&"it must be either a manifest or an index"));
        }
        let known = |kind: &str| match kind {
            OCI_MANIFEST | DOCKER_MANIFEST => Some(true),
            OCI_INDEX | DOCKER_INDEX => Some(false),
            _ => None,
        };
        let said = shape.media_type.as_deref().or(media_type);
        if let Some(kind) = said.and_then(known)
            && kind != image
        {
            return Err(wrong(&"its media type and its content differ"));
        }
        if let Some(said) = &shape.media_type
            && known(said).is_none()
        {
            return Err(wrong(&format!("its media type is {said:?}")));
        }
        if image {
            let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| wrong(&error))?;
            manifest.check(what)?;
            return Ok(Self::Manifest(manifest));
        }
        Ok(Self::Index(serde_json::from_slice(bytes).map_err(|error| wrong(&error))?))
    }
}

impl Manifest {
    fn check(&self, what: &str) -> Result<()> {
        if self.layers.len() > MAX_LAYERS {
            let reason = format!("{} layers, at most {MAX_LAYERS} are taken", self.layers.len());
            return Err(Error::document(what, reason));
        }
        if self.config.size > MAX_CONFIG {
            return Err(Error::document(what, format!("a config of {} bytes", self.config.size)));
        }
        let total = self.layers.iter().try_fold(0u64, |sum, layer| sum.checked_add(layer.size));
        if total.is_none() {
            return Err(Error::document(what, "its layers' sizes have no sum"));
        }
        for layer in &self.layers {
            Compression::of(&layer.media_type).ok_or_else(|| {
                Error::document(what, format!("unknown layer media type {:?}", layer.media_type))
            })?;
        }
        Ok(())
    }
}

/// How a layer is packed. What the bytes say wins over the media type, as with every engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// A plain tar.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// What the media type says; `None` when it is no layer.
    pub fn of(media_type: &str) -> Option<Self> {
        Some(match media_type {
            OCI_LAYER | "application/vnd.oci.image.layer.nondistributable.v1.tar" => Self::None,
            "application/vnd.docker.image.rootfs.diff.tar" => Self::None,
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => Self::Gzip,
            "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Self::Zstd,
            _ => return None,
        })
    }

    /// What the first bytes say.
    pub fn sniff(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// OCI's media type of a layer packed like this.
    pub fn media_type(self) -> String {
        match self {
            Self::None => OCI_LAYER.to_owned(),
            Self::Gzip => format!("{OCI_LAYER}+gzip"),
            Self::Zstd => format!("{OCI_LAYER}+zstd"),
        }
    }
}

impl Index {
    /// The image for this platform: the nearest variant, and of equals the first.
    pub fn choose(&self, what: &str, platform: &Platform) -> Result<&Descriptor> {
        let images = self.manifests.iter().filter(|image| {
            let kind = image.media_type.as_str();
            matches!(kind, "" | OCI_MANIFEST | DOCKER_MANIFEST | OCI_INDEX | DOCKER_INDEX)
        });
        let fit = images.clone().filter_map(|image| {
            let distance = match &image.platform {
                Some(offered) => platform.distance(offered)?,
                // Indexes inside indexes, and those of one image, often say nothing.
                None => u32::MAX,
            };
            Some((distance, image))
        });
        // `min_by_key` keeps the first of equals.
        fit.min_by_key(|(distance, _)| *distance).map(|(_, image)| image).ok_or_else(|| {
            let offered = images.filter_map(|image| image.platform.as_ref().map(Platform::to_string));
            let mut offered: Vec<String> = offered.take(20).collect();
            if offered.is_empty() {
                offered.push("nothing".into());
            }
            let (what, platform) = (what.to_owned(), platform.to_string());
            Error::Platform { what, platform, offered: offered.join(", ") }
        })
    }
}

impl Config {
    /// Reads a config.
    pub fn parse(what: &str, bytes: &[u8]) -> Result<Self> {
        let bytes = limited(what, bytes, MAX_CONFIG)?;
        let config: Self = serde_json::from_slice(bytes).map_err(|error| Error::document(what, error))?;
        if config.rootfs.diff_ids.len() > MAX_LAYERS {
            return Err(Error::document(what, "too many layers"));
        }
        Ok(config)
    }

    /// The chain id of every layer, lowest first.
    pub fn chain_ids(&self) -> Vec<Digest> {
        let mut chain: Vec<Digest> = Vec::new();
        for diff_id in &self.rootfs.diff_ids {
            chain.push(Digest::chain(chain.last(), diff_id));
        }
        chain
    }
}

fn limited<'a>(what: &str, bytes: &'a [u8], limit: u64) -> Result<&'a [u8]> {
    if bytes.len() as u64 > limit {
        return Err(Error::document(what, format!("more than {limit} bytes")));
    }
    // serde would take an array for a struct.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Error::document(what, "no JSON object"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn descriptor(platform: &str) -> Descriptor {
        Descriptor {
            media_type: OCI_MANIFEST.into(),
            digest: Digest::of(platform.as_bytes()),
            size: 1,
            platform: Some(platform.parse().unwrap()),
            annotations: None,
        }
    }

    fn chosen(offered: &[&str], asked: &str) -> Option<String> {
        let manifests = offered.iter().map(|text| descriptor(text)).collect();
        let index = Index { schema_version: 2, media_type: None, manifests };
        let found = index.choose("x", &asked.parse().unwrap()).ok()?;
        found.platform.as_ref().map(Platform::to_string)
    }

    #[test]
    fn the_nearest_variant_is_chosen() {
        let all = ["linux/amd64", "linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm64/v8"];
        for (asked, want) in [
            ("linux/amd64", Some("linux/amd64")),
            ("amd64", Some("linux/amd64")),
            ("linux/arm", Some("linux/arm/v7")),
            ("linux/arm/v6", Some("linux/arm/v6")),
            ("linux/arm64", Some("linux/arm64/v8")),
            ("linux/s390x", None),
            ("windows/amd64", None),
        ] {
            assert_eq!(chosen(&all, asked).as_deref(), want, "{asked}");
        }
        assert_eq!(chosen(&["linux/arm/v8"], "linux/arm/v7"), None);
        assert_eq!(chosen(&["linux/amd64/v3", "linux/amd64"], "linux/amd64").as_deref(), Some("linux/amd64"));
    }

    #[test]
    fn a_document_is_one_thing() {
        let layer = |media_type: &str| {
            format!(
                r#"{{"schemaVersion":2,"config":{{"digest":"{0}","size":1}},"layers":[{{"digest":"{0}","size":1,"mediaType":"{media_type}"}}]}}"#,
                Digest::of(b"")
            )
        };
        let parse = |text: &str, kind| Document::parse("m", text.as_bytes(), kind);
        assert!(parse(&layer("application/vnd.oci.image.layer.v1.tar+gzip"), None).is_ok());
        assert!(parse(&layer("text/html"), None).is_err());
        assert!(parse(&layer(OCI_LAYER), Some(OCI_INDEX)).is_err());
        for wrong in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"schemaVersion":1}"#,
            r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#,
            r#"{"schemaVersion":2,"mediaType":"text/plain","manifests":[]}"#,
            r#"{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x","size":1}]}"#,
            r#"{"schemaVersion":2,"manifests":[{"digest":"sha256:","size":-1}]}"#,
        ] {
            assert!(parse(wrong, None).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Document::parse("m", &bytes, None);
            let _ = Config::parse("c", &bytes);
        }
    }
}
