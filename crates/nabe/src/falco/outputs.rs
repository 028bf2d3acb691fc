//! The channels that a configuration names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use nabe_event::alert::Priority;
use nabe_output::channel::file::{Appender, Stdout};
use nabe_output::channel::http::{Http, Options};
use nabe_output::channel::program::Program;
use nabe_output::channel::shape::{self, Shape};
use nabe_output::channel::syslog::Syslog;
use nabe_output::spill::Spill;
use nabe_output::{Channel, Limits, Outputs, Overflow, Render, TimeFormat};

use super::config::{Config, Reader};
use super::signals::Signals;
use super::tree::Tree;
use crate::error::{CliError, Result};

/// How long a channel that hangs may hold up a stream that can wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// Kinds of `nabe.outputs`.
const KINDS: &[&str] = &[
    "stdout",
    "file",
    "syslog",
    "program",
    "http",
    "webhook",
    "slack",
    "alertmanager",
    "elasticsearch",
    "loki",
    "otlp",
    "pagerduty",
    "kafka",
];

/// How alerts of this configuration are written.
pub fn render(config: &Config) -> Render {
    Render {
        json: config.json,
        time: if config.iso_8601 { TimeFormat::Iso8601 } else { TimeFormat::TimeOfDay },
        include_output: config.include_output,
        include_fields: config.include_fields,
        include_tags: config.include_tags,
        include_message: config.include_message,
        zone: TimeZone::system(),
    }
}

/// Starts the channels. `live` streams do not wait for them; a closed standard output ends the run.
pub fn start(config: &Config, live: bool, signals: &Signals) -> Result<Outputs> {
    let mut maker = Maker { config, live, signals, outputs: Outputs::new() };
    let reader = config.reader();
    if reader.flag("stdout_output.enabled", false)? {
        let stdout = maker.stdout(render(config));
        maker.add(stdout, maker.local())?;
    }
    if reader.flag("file_output.enabled", false)? {
        let path = reader.filled("file_output.filename")?;
        let path = path.ok_or_else(|| reader.wrong("file_output.filename", "expected a path"))?;
        let keep = reader.flag("file_output.keep_alive", false)?;
        maker.add(Box::new(Appender::new(Path::new(&path), render(config), keep)), maker.local())?;
    }
    if reader.flag("syslog_output.enabled", false)? {
        let render = Render { json: config.json, ..render(config) };
        maker.add(Box::new(Syslog::new(Path::new("/dev/log"), "nabe", render)), maker.remote())?;
    }
    if reader.flag("program_output.enabled", false)? {
        let command = reader.filled("program_output.program")?;
        let command = command.ok_or_else(|| reader.wrong("program_output.program", "expected a command"))?;
        let keep = reader.flag("program_output.keep_alive", false)?;
        maker.add(Box::new(Program::new(&command, render(config), keep)), maker.local())?;
    }
    if reader.flag("http_output.enabled", false)? {
        let http = http(&reader, config)?;
        maker.add(Box::new(http), maker.remote())?;
    }
    for item in config.tree.at("nabe.outputs").map(Tree::items).unwrap_or_default() {
        maker.own(item)?;
    }
    Ok(maker.outputs)
}

/// Falco's `http_output`.
fn http(reader: &Reader<'_>, config: &Config) -> Result<Http> {
    let text = |key: &str| reader.filled(&format!("http_output.{key}"));
    let flag = |key: &str, default| reader.flag(&format!("http_output.{key}"), default);
    let url =
        text("url")?.ok_or_else(|| reader.wrong("http_output.url", "expected the address of a receiver"))?;
    let mut authorities: Vec<PathBuf> = Vec::new();
    authorities.extend(text("ca_cert")?.map(PathBuf::from));
    authorities.extend(text("ca_bundle")?.map(PathBuf::from));
    if let Some(folder) = text("ca_path")? {
        authorities.extend(authorities_in(Path::new(&folder))?);
    }
    let client = match (flag("mtls", false)?, text("client_cert")?, text("client_key")?) {
        (false, ..) => None,
        (true, Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        (true, ..) => return Err(reader.wrong("http_output.mtls", "needs client_cert and client_key")),
    };
    let options = Options {
        url,
        user_agent: text("user_agent")?.unwrap_or_else(|| "falcosecurity/falco".into()),
        insecure: flag("insecure", false)?,
        authorities,
        client,
        compress: flag("compress_uploads", false)?,
        keep_alive: flag("keep_alive", false)?,
        timeout: config.output_timeout.max(Duration::from_millis(100)),
        ..Options::default()
    };
    let shape = shape::Falco { name: "http", render: render(config) };
    Http::new(Box::new(shape), options).map_err(|error| CliError::failed("http_output").because(&error))
}

/// The certificates of a folder: files in PEM by their name, as openssl's c_rehash finds them.
fn authorities_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let about = |error: std::io::Error| CliError::file("read", folder, &error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(about)? {
        let path = entry.map_err(about)?.path();
        let is_one =
            path.extension().is_some_and(|end| ["pem", "crt", "cer", "0"].iter().any(|known| end == *known));
        if is_one && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

struct Maker<'a> {
    config: &'a Config,
    live: bool,
    signals: &'a Signals,
    outputs: Outputs,
}

impl Maker<'_> {
    fn add(&mut self, channel: Box<dyn Channel>, limits: Limits) -> Result<()> {
        let added = self.outputs.add(channel, limits);
        added.map_err(|error| CliError::failed("cannot start a thread for an output").because(&error))
    }

    fn stdout(&self, render: Render) -> Box<dyn Channel> {
        let signals = self.signals.clone();
        Box::new(Stdout::new(render, move || signals.stop()))
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        if self.config.queue_capacity > 0 {
            limits.capacity = self.config.queue_capacity;
        }
        if !self.live {
            limits.overflow = Overflow::Wait(PATIENCE);
        }
        limits
    }

    /// Of channels on this machine: a reader who takes his time, such as a pager, is waited for when
    /// the stream can wait.
    fn local(&self) -> Limits {
        let mut limits = self.limits();
        if !self.live {
            limits.overflow = Overflow::Wait(Duration::from_secs(24 * 3600));
            limits.grace = None;
        }
        limits
    }

    /// Of channels that may be dead.
    fn remote(&self) -> Limits {
        self.limits()
    }

    /// An item of `nabe.outputs`.
    fn own(&mut self, item: &Tree) -> Result<()> {
        let reader = Reader::of(item);
        let kind = reader.filled("type")?.ok_or_else(|| {
            CliError::failed(format_args!("{}: an output without a type", item.origin))
                .hint(format_args!("one of {}", KINDS.join(", ")))
        })?;
        let is_local = matches!(&*kind, "stdout" | "file" | "program");
        let mut limits = if is_local { self.local() } else { self.remote() };
        if let Some(least) = reader.filled("minimum_priority")? {
            let wrong = |_| reader.wrong("minimum_priority", "expected a priority");
            limits.least = least.parse::<Priority>().map_err(wrong)?;
        }
        let capacity = reader.number("capacity", limits.capacity as u64)?;
        limits.capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        if let Some(path) = reader.filled("spill.path")? {
            let most = reader.number("spill.max_bytes", 64 << 20)?;
            let spill = Spill::open(Path::new(&path), most);
            limits.spill = Some(spill.map_err(|error| CliError::failed("nabe.outputs").because(&error))?);
        }
        let channel = self.channel(&kind, &reader, item)?;
        self.add(channel, limits)
    }

    fn channel(&self, kind: &str, reader: &Reader<'_>, item: &Tree) -> Result<Box<dyn Channel>> {
        let need = |key: &str| {
            let missing =
                || CliError::failed(format_args!("{}: an output of type {kind} needs {key}", item.origin));
            reader.filled(key)?.ok_or_else(missing)
        };
        let render = render(self.config);
        let json = Render { json: true, ..render.clone() };
        let shape: Box<dyn Shape> = match kind {
            "stdout" => return Ok(self.stdout(render)),
            "file" => {
                let keep = reader.flag("keep_alive", true)?;
                return Ok(Box::new(Appender::new(Path::new(&need("filename")?), render, keep)));
            }
            "syslog" => return Ok(Box::new(Syslog::new(Path::new("/dev/log"), "nabe", render))),
            "program" => {
                let keep = reader.flag("keep_alive", true)?;
                return Ok(Box::new(Program::new(&need("program")?, render, keep)));
            }
            "kafka" => return kafka(reader, &need("topic")?, json),
            "http" => Box::new(shape::Falco { name: "http", render }),
            "webhook" => Box::new(shape::Falco { name: "webhook", render: json }),
            "slack" => {
                let username = reader.filled("username")?.unwrap_or_else(|| "nabe".into());
                Box::new(shape::Slack { channel: reader.filled("channel")?, username })
            }
            "alertmanager" => Box::new(shape::Alertmanager { lasts_s: 300 }),
            "elasticsearch" => Box::new(shape::Elasticsearch {
                index: reader.filled("index")?.unwrap_or_else(|| "falco".into()),
            }),
            "loki" => Box::new(shape::Loki { labels: reader.texts("labels")? }),
            "otlp" => Box::new(shape::Otlp),
            "pagerduty" => Box::new(shape::PagerDuty { routing_key: need("routing_key")? }),
            _ => {
                let near = nabe_event::field::nearest(kind, KINDS.iter().copied());
                let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                return Err(CliError::failed(format_args!("{}: unknown output {kind}{near}", item.origin))
                    .hint(format_args!("one of {}", KINDS.join(", "))));
            }
        };
        let url = match kind {
            "pagerduty" => {
                reader.filled("url")?.unwrap_or_else(|| "https://events.pagerduty.com/v2/enqueue".into())
            }
            _ => need("url")?,
        };
        let client = match (reader.filled("client_cert")?, reader.filled("client_key")?) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            _ => return Err(reader.wrong("client_cert", "client_cert and client_key go together")),
        };
        let options = Options {
            url: path_of(kind, url),
            headers: reader.pairs("headers")?,
            insecure: reader.flag("insecure", false)?,
            authorities: reader.filled("ca_cert")?.into_iter().map(PathBuf::from).collect(),
            client,
            compress: reader.flag("compress", false)?,
            timeout: reader.span("timeout", Duration::from_secs(10))?,
            ..Options::default()
        };
        let http = Http::new(shape, options);
        let http = http.map_err(|error| CliError::failed(format_args!("{}", item.origin)).because(&error))?;
        Ok(Box::new(http))
    }
}

/// The address with the path of the interface, when it has none.
fn path_of(kind: &str, url: String) -> String {
    let path = match kind {
        "alertmanager" => "/api/v2/alerts",
        "elasticsearch" => "/_bulk",
        "loki" => "/loki/api/v1/push",
        "otlp" => "/v1/logs",
        _ => return url,
    };
    let bare = url.trim_end_matches('/');
    let host = bare.split_once("://").map_or(bare, |(_, rest)| rest);
    if host.contains('/') { url } else { format!("{bare}{path}") }
}

#[cfg(feature = "kafka")]
fn kafka(reader: &Reader<'_>, topic: &str, render: Render) -> Result<Box<dyn Channel>> {
    let brokers = reader.texts("brokers")?;
    if brokers.is_empty() {
        return Err(reader.wrong("brokers", "an output of type kafka needs brokers, as host:port"));
    }
    let channel = nabe_output::channel::kafka::Kafka::new(brokers, topic, render);
    Ok(Box::new(channel.map_err(|error| CliError::failed("nabe.outputs").because(&error))?))
}

#[cfg(not(feature = "kafka"))]
fn kafka(_: &Reader<'_>, _: &str, _: Render) -> Result<Box<dyn Channel>> {
    Err(CliError::failed("this nabe was built without Kafka")
        .hint("build it with `cargo build --release --features kafka`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_have_their_paths() {
        for (kind, url, expected) in [
            ("loki", "http://h:3100", "http://h:3100/loki/api/v1/push"),
            ("loki", "http://h:3100/", "http://h:3100/loki/api/v1/push"),
            ("loki", "http://h/custom", "http://h/custom"),
            ("slack", "https://hooks/x", "https://hooks/x"),
        ] {
            assert_eq!(path_of(kind, url.into()), expected);
        }
    }
}
