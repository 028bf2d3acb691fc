//! The verbs about images: `pull`, `images`, `inspect-image`, `rmi`, `prune`, `import`, `export`, `unpack`.

pub mod export;
pub mod import;
pub mod inspect;
pub mod list;
mod progress;
pub mod prune;
pub mod pull;
pub mod remove;
pub mod unpack;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nabe_image::manifest::Platform;
use nabe_image::{Image, LeftOut, Options, Reference, Settings, Store};
use serde_json::{Value, json};

use crate::config;
use crate::error::{CliError, Result};

/// Where images are.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// Where nabe keeps images and containers [default: /var/lib/nabe, or ~/.local/share/nabe]
    #[arg(long, value_name = "DIR", env = "NABE_ROOT")]
    root: Option<PathBuf>,
}

impl Place {
    /// Where nabe keeps images and containers.
    pub fn root(&self) -> PathBuf {
        self.root.clone().unwrap_or_else(Store::default_root)
    }

    /// The store, with its files as whom they belong to: nobody but root can do that without a user
    /// namespace.
    pub fn store(&self) -> Result<Store> {
        let root = self.root.clone().unwrap_or_else(Store::default_root);
        nabe_image::enter_user_namespace()?;
        Ok(Store::open(&root)?)
    }

    /// The store, for what belongs to the caller alone.
    pub fn own_store(&self) -> Result<Store> {
        Ok(Store::open(&self.root.clone().unwrap_or_else(Store::default_root))?)
    }
}

/// How registries are asked.
#[derive(Debug, clap::Args)]
pub struct Network {
    /// Ask the registry without TLS
    #[arg(long)]
    plain_http: bool,
    /// Believe the certificates of this file, too (PEM)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Whether the registry's certificate must be believed
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: Option<bool>,
    /// Credentials file [default: $REGISTRY_AUTH_FILE, containers' auth.json, ~/.docker/config.json]
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
    /// Mirrors and registries in containers' format [default: /etc/containers/registries.conf]
    #[arg(long, value_name = "FILE")]
    registries_conf: Option<PathBuf>,
    /// Seconds that a registry may say nothing
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: Option<u64>,
    /// Further attempts after a failure that may pass
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=100))]
    retries: Option<u32>,
    /// Layers fetched at the same time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: Option<u8>,
}

impl Network {
    /// The config file's settings with the flags over them.
    pub fn settings(&self) -> Result<Settings> {
        let mut settings = config::images()?;
        if self.plain_http {
            settings.plain_http.push("*".into());
        }
        settings.ca = self.ca.clone().or(settings.ca);
        settings.tls_verify = self.tls_verify.unwrap_or(settings.tls_verify);
        settings.auth_file = self.auth_file.clone().or(settings.auth_file);
        settings.registries_conf = self.registries_conf.clone().or(settings.registries_conf);
        settings.timeout = self.timeout.map_or(settings.timeout, Duration::from_secs);
        settings.retries = self.retries.unwrap_or(settings.retries);
        settings.parallel = self.parallel.map_or(settings.parallel, usize::from);
        Ok(settings)
    }
}

/// Which image is wanted, where it comes from, and where it is kept.
#[derive(Debug, clap::Args)]
pub struct Fetch {
    /// Choose this image of a multi-platform index: os/architecture[/variant]
    #[arg(long)]
    platform: Option<String>,
    /// Show no progress of pulling
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    pub place: Place,
}

/// When an image is pulled that is to be run or unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum PullPolicy {
    /// When it is not here
    #[default]
    Missing,
    /// Always
    Always,
    /// Never: it must be here
    Never,
}

impl Fetch {
    /// What is pulled.
    fn options(&self, no_unpack: bool) -> Result<Options> {
        let platform = self.platform.as_deref().map(str::parse::<Platform>).transpose()?;
        Ok(Options { platform, no_unpack })
    }

    /// Whether progress is to be shown.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// The image of this name or id, pulled when that is needed; layers stay packed.
    pub fn image(&self, store: &Store, text: &str, policy: PullPolicy) -> Result<Image> {
        let options = self.options(true)?;
        let settings = self.network.settings()?;
        if policy != PullPolicy::Always {
            let fits = |image: &Image| match &options.platform {
                Some(wanted) => {
                    (&wanted.os, &wanted.architecture) == (&image.config.os, &image.config.architecture)
                }
                None => true,
            };
            match store.resolve(text).and_then(|id| store.image(&id)) {
                Ok(image) if fits(&image) => return Ok(image),
                Err(error)
                    if policy == PullPolicy::Never || !matches!(error, nabe_image::Error::Unknown { .. }) =>
                {
                    return Err(error.into());
                }
                Ok(image) if policy == PullPolicy::Never => {
                    let platform = platform(&image);
                    return Err(CliError::failed(format_args!(
                        "the image {text} that is here is for {platform}"
                    )));
                }
                _ => {}
            }
        }
        let reference: Reference =
            text.parse().map_err(|error| CliError::from(error).hint("it is no id of an image, either"))?;
        let shown = progress::Shown::new(self.quiet);
        Ok(nabe_image::pull(store, &reference, &settings, &options, &shown)?.image)
    }
}

/// Says what could not be unpacked.
fn left_out(what: LeftOut) {
    if what.devices > 0 {
        eprintln!("nabe: note: {} device nodes below /dev left out: making them needs root", what.devices);
    }
    if what.xattrs > 0 {
        eprintln!(
            "nabe: note: {} extended attributes left out: not permitted, or not on this file system",
            what.xattrs
        );
    }
}

/// The words that machines get about an image everywhere.
fn brief(image: &Image) -> Value {
    json!({
        "id": image.id.config.to_string(),
        "digest": image.id.manifest.to_string(),
        "names": image.names,
        "repoDigests": image.repo_digests,
        "created": image.config.created,
        "platform": platform(image),
        "size": image.packed_size(),
        "layers": image.manifest.layers.len(),
    })
}

fn platform(image: &Image) -> String {
    let variant = image.config.variant.as_deref().map(|variant| format!("/{variant}")).unwrap_or_default();
    format!("{}/{}{variant}", image.config.os, image.config.architecture)
}

/// Prints a JSON value on lines of its own.
pub(in crate::cli) fn print_json(value: &Value) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| CliError::failed(&error))?;
    text.push(b'\n');
    crate::output::write(&text)
}

/// Bytes as Docker writes them: decimal, three digits.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            return if unit == "B" || value >= 99.95 {
                format!("{value:.0}{unit}")
            } else if value >= 9.995 {
                format!("{value:.1}{unit}")
            } else {
                format!("{value:.2}{unit}")
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1}TB")
}

/// How long ago an RFC 3339 time is, as Docker says it.
fn ago(created: Option<&str>) -> String {
    let Some(then) = created.and_then(seconds) else { return "N/A".into() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs().cast_signed());
    let elapsed = now - then;
    let (count, unit) = match elapsed {
        ..0 => return "in the future".into(),
        0..60 => (elapsed, "second"),
        60..3600 => (elapsed / 60, "minute"),
        3600..172_800 => (elapsed / 3600, "hour"),
        172_800..1_209_600 => (elapsed / 86_400, "day"),
        1_209_600..5_184_000 => (elapsed / 604_800, "week"),
        5_184_000..63_072_000 => (elapsed / 2_592_000, "month"),
        _ => (elapsed / 31_536_000, "year"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// Seconds since 1970 of `YYYY-MM-DDThh:mm:ss…`; the offset of the zone is within what [`ago`] rounds off,
/// except for `+hh:mm`, which is taken off.
fn seconds(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Howard Hinnant's days_from_civil.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let zone = text.get(19..).and_then(|rest| rest.rfind(['+', '-']).and_then(|at| rest.get(at..)));
    let offset = zone.and_then(|zone| {
        let sign = if zone.starts_with('-') { -1 } else { 1 };
        Some(sign * (zone.get(1..3)?.parse::<i64>().ok()? * 3600 + zone.get(4..6)?.parse::<i64>().ok()? * 60))
    });
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - offset.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (bytes, text) in
            [(0, "0B"), (999, "999B"), (1000, "1.00kB"), (4_261_550, "4.26MB"), (99_990_000, "100MB")]
        {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(u64::MAX), "18446744.1TB");
    }

    #[test]
    fn times_are_read() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2024-02-29T12:00:00.123456789Z"), Some(1_709_208_000));
        assert_eq!(seconds("2024-02-29T14:00:00+02:00"), Some(1_709_208_000));
        assert_eq!(seconds("yesterday"), None);
        assert_eq!(ago(None), "N/A");
    }
}
