//! Settings of images: limits, registries, waiting times; from the `[images]` section and flags.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};

/// What a layer may cost, so that a small download cannot fill a disk or the memory.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes that one layer may unpack to.
    pub bytes: u64,
    /// Entries that one layer may have.
    pub entries: u64,
    /// How many times its packed size a layer may unpack to, beyond the first GiB. gzip can do 1030.
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 2_000_000, ratio: 200 }
    }
}

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits of layers.
    pub limits: Limits,
    /// Layers fetched and unpacked at the same time.
    pub parallel: usize,
    /// How often a request is tried again after a failure that may pass.
    pub retries: u32,
    /// How long a registry may say nothing.
    pub timeout: Duration,
    /// Registries that are asked without TLS.
    pub plain_http: Vec<String>,
    /// Certificates in PEM that are believed beside the machine's.
    pub ca: Option<PathBuf>,
    /// Whether certificates must be believed.
    pub tls_verify: bool,
    /// Registries, or registries with the beginning of a path, and where to ask first.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// containers' registries.conf; `None` means its usual places.
    pub registries_conf: Option<PathBuf>,
    /// The auth file; `None` means the usual places.
    pub auth_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            parallel: 4,
            retries: 4,
            timeout: Duration::from_secs(30),
            plain_http: Vec::new(),
            ca: None,
            tls_verify: true,
            mirrors: BTreeMap::new(),
            registries_conf: None,
            auth_file: None,
        }
    }
}

impl Settings {
    /// Sets one key of the `[images]` section.
    ///
    /// `plain_http` and the right sides of `mirrors` are lists with commas;
    /// `mirrors = "docker.io=mirror.lan:5000"`.
    pub fn set(&mut self, key: &str, text: &str) -> Result<()> {
        let wrong = |reason: &str| Error::Setting { key: key.to_owned(), reason: reason.to_owned() };
        let number = |least: u64| match text.parse::<u64>() {
            Ok(number) if number >= least => Ok(number),
            _ => Err(wrong("expected a number")),
        };
        match key {
            "max_layer_bytes" => self.limits.bytes = number(1)?,
            "max_layer_entries" => self.limits.entries = number(1)?,
            "max_ratio" => self.limits.ratio = number(1)?,
            "parallel" => self.parallel = usize::try_from(number(1)?).unwrap_or(1).min(64),
            "retries" => self.retries = u32::try_from(number(0)?).map_err(|_| wrong("too many"))?.min(100),
            "timeout" => self.timeout = Duration::from_secs(number(1)?),
            "plain_http" => self.plain_http = list(text),
            "ca" => self.ca = Some(text.into()),
            "tls_verify" => {
                self.tls_verify = text.parse().map_err(|_| wrong("expected true or false"))?;
            }
            "registries_conf" => self.registries_conf = Some(text.into()),
            "auth_file" => self.auth_file = Some(text.into()),
            "mirrors" => {
                for pair in list(text) {
                    let (registry, mirror) =
                        pair.split_once('=').ok_or_else(|| wrong("expected registry=mirror"))?;
                    self.mirrors.entry(registry.into()).or_default().push(mirror.into());
                }
            }
            _ => return Err(wrong("no such setting")),
        }
        Ok(())
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}
