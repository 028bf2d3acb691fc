//! A client of the distribution protocol (opencontainers/distribution-spec v1.1, "Pull"), with token
//! (Docker's "Token Authentication Specification") and basic authentication.
//!
//! Everything that comes is limited, timed, and verified by the caller's digest. Hosts that answers
//! redirect to get no credentials.

mod challenge;
mod tls;

use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde::Deserialize;
use ureq::http::{Response, header};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector as _, TcpConnector};
use ureq::{Agent, Body};

use crate::auth::{self, Credentials};
use crate::digest::Digest;
use crate::endpoints::Endpoint;
use crate::error::{Error, Result};
use crate::manifest::{ACCEPT, Descriptor, MAX_MANIFEST};
use crate::progress::Progress;
use crate::reference::Reference;
use crate::settings::Settings;
use crate::store::Ingest;
use challenge::Challenge;

/// Bytes that a token's answer may have.
const MAX_TOKEN: u64 = 256 << 10;
/// Redirects that are followed.
const MAX_REDIRECTS: u32 = 5;
/// Bytes of an error's answer that are looked at.
const MAX_ERROR: u64 = 16 << 10;
/// Bytes a second below which a registry is taken for dead, over [`SLOW_WINDOWS`] waiting times.
const SLOWEST: u64 = 256;
/// See [`SLOWEST`].
const SLOW_WINDOWS: u32 = 4;

/// A repository of one registry or mirror.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    endpoint: Endpoint,
    reference: &'a Reference,
    settings: &'a Settings,
    agent: Agent,
    /// The Authorization header that worked last.
    authorization: Mutex<Option<String>>,
    cancel: &'a AtomicBool,
}

impl<'a> Client<'a> {
    pub(crate) fn new(
        endpoint: Endpoint,
        reference: &'a Reference,
        settings: &'a Settings,
        cancel: &'a AtomicBool,
    ) -> Result<Self> {
        let agent = agent(&endpoint, settings)?;
        Ok(Self { endpoint, reference, settings, agent, authorization: Mutex::default(), cancel })
    }

    /// Host and port.
    pub(crate) fn host(&self) -> &str {
        &self.endpoint.host
    }

    /// Whether it may be asked for this reference.
    pub(crate) fn serves(&self, reference: &Reference) -> bool {
        !self.endpoint.digest_only || reference.digest().is_some()
    }

    /// A manifest or index by tag or digest: bytes, digest, media type.
    pub(crate) fn manifest(
        &self,
        object: &str,
        expected: Option<&Descriptor>,
        progress: &dyn Progress,
    ) -> Result<(Vec<u8>, Digest, Option<String>)> {
        let what = format!("manifest {}:{object}", self.reference.name());
        self.retrying(progress, || {
            let url = format!("{}/v2/{}/manifests/{object}", self.endpoint.base(), self.endpoint.repository);
            let response = self.get(&what, &url, Some(ACCEPT), None)?;
            let response = self.expect(&what, response, &[200])?;
            let text = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.trim().to_owned());
            let said: Option<String> = text("docker-content-digest");
            let kind =
                text("content-type").map(|kind| kind.split(';').next().unwrap_or_default().trim().to_owned());
            let bytes = self.read(&what, response, MAX_MANIFEST)?;
            let found = Digest::of(&bytes);
            let promised = match (expected, said) {
                (Some(expected), _) if bytes.len() as u64 != expected.size => {
                    let found = bytes.len() as u64;
                    return Err(Error::Size { what: what.clone(), expected: expected.size, found });
                }
                (Some(expected), _) => Some(expected.digest),
                (None, _) if object.contains(':') => Some(object.parse()?),
                // A digest that we cannot compute says nothing to us.
                (None, Some(said)) if said.starts_with("sha256:") => Some(said.parse()?),
                (None, _) => None,
            };
            match promised {
                Some(expected) if expected != found => {
                    Err(Error::Mismatch { what: what.clone(), expected, found })
                }
                _ => Ok((bytes, found, kind)),
            }
        })
    }

    /// Fetches what is missing of a blob. It is full afterwards, but not verified.
    pub(crate) fn blob(&self, blob: &Descriptor, ingest: &mut Ingest, progress: &dyn Progress) -> Result<()> {
        let what = format!("blob {}", blob.digest);
        let mut failures = 0;
        while !ingest.is_full() {
            let before = ingest.written();
            match self.blob_once(&what, blob, ingest, progress) {
                Ok(()) => {}
                Err(error) if is_passing(&error) => {
                    // Something came: the registry lives.
                    failures = if ingest.written() > before { 1 } else { failures + 1 };
                    self.pause(failures, error, progress)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn blob_once(
        &self,
        what: &str,
        blob: &Descriptor,
        ingest: &mut Ingest,
        progress: &dyn Progress,
    ) -> Result<()> {
        let url = format!("{}/v2/{}/blobs/{}", self.endpoint.base(), self.endpoint.repository, blob.digest);
        let from = ingest.written();
        let range = (from > 0).then(|| format!("bytes={from}-"));
        let response = self.get(what, &url, None, range.as_deref())?;
        let failed = |source| Error::File { action: "write", path: self.host().into(), source };
        if response.status() == 416 && from > 0 {
            return ingest.restart().map_err(failed);
        }
        let response = self.expect(what, response, &[200, 206])?;
        let resumed = response.status() == 206
            && response.headers().get(header::CONTENT_RANGE).and_then(|range| {
                range.to_str().ok()?.trim().strip_prefix("bytes ")?.split('-').next()?.parse().ok()
            }) == Some(from);
        if from > 0 && !resumed {
            if response.status() == 206 {
                return Err(self.protocol(what, "it resumes elsewhere than it was asked to"));
            }
            ingest.restart().map_err(failed)?;
        }
        let rest = blob.size - ingest.written();
        if let Some(length) = response.body().content_length()
            && length != rest
        {
            let found = ingest.written().saturating_add(length);
            return Err(Error::Size { what: what.to_owned(), expected: blob.size, found });
        }
        let mut reader = response.into_body().into_with_config().limit(rest + 1).reader();
        let mut buffer = vec![0; 128 << 10];
        let (mut window, mut arrived) = (Instant::now(), 0u64);
        loop {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            let count = reader.read(&mut buffer).map_err(|error| self.transport(what, error))?;
            if count == 0 {
                break;
            }
            ingest.append(buffer.get(..count).unwrap_or_default())?;
            progress.fetched(&blob.digest, ingest.written());
            arrived += count as u64;
            let elapsed = window.elapsed();
            if elapsed > self.settings.timeout * SLOW_WINDOWS {
                if arrived < SLOWEST.saturating_mul(elapsed.as_secs()) {
                    let slow = std::io::Error::new(std::io::ErrorKind::TimedOut, "hardly anything arrives");
                    return Err(self.transport(what, slow));
                }
                (window, arrived) = (Instant::now(), 0);
            }
        }
        if ingest.is_full() {
            return Ok(());
        }
        let early = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the connection ended early");
        Err(self.transport(what, early))
    }

    /// GET, authenticating when asked to.
    fn get(
        &self,
        what: &str,
        url: &str,
        accept: Option<&str>,
        range: Option<&str>,
    ) -> Result<Response<Body>> {
        let known = self.authorization.lock().unwrap_or_else(|broken| broken.into_inner()).clone();
        let (response, ours) = self.send(what, url, accept, range, known.as_deref())?;
        // Another host's challenge would make us show it the registry's credentials.
        if response.status() != 401 || !ours {
            return Ok(response);
        }
        let Some(fresh) = self.authenticate(what, &response)? else { return Ok(response) };
        *self.authorization.lock().unwrap_or_else(|broken| broken.into_inner()) = Some(fresh.clone());
        self.send(what, url, accept, range, Some(&fresh)).map(|(response, _)| response)
    }

    /// Follows redirects; credentials stay with the scheme, host and port that they are for, which
    /// ureq's own redirects do not look at so closely. Says whether the answer is still from there.
    fn send(
        &self,
        what: &str,
        url: &str,
        accept: Option<&str>,
        range: Option<&str>,
        authorization: Option<&str>,
    ) -> Result<(Response<Body>, bool)> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let ours = authority(&url) == authority(&self.endpoint.base());
            let mut request = self.agent.get(&url);
            let shown = authorization.filter(|_| ours);
            let headers = [(header::ACCEPT, accept), (header::RANGE, range), (header::AUTHORIZATION, shown)];
            for (name, value) in headers {
                if let Some(value) = value {
                    request = request.header(name, value);
                }
            }
            let response = request.call().map_err(|error| self.transport(what, error))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((response, ours));
            }
            let location =
                response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
            url = match location {
                Some(location) if location.starts_with("//") || !location.starts_with('/') => {
                    location.to_owned()
                }
                Some(path) => format!("{}{path}", authority(&url)),
                None => return Err(self.protocol(what, "a redirect to nowhere")),
            };
            if !url.starts_with("https://") && !url.starts_with("http://") {
                return Err(self.protocol(what, "a redirect to something that is no HTTP address"));
            }
        }
        Err(self.protocol(what, "it redirects without end"))
    }

    fn protocol(&self, what: &str, reason: &str) -> Error {
        Error::Protocol { what: what.to_owned(), host: self.host().to_owned(), reason: reason.to_owned() }
    }

    /// The Authorization header that a 401 asks for; `None` when we have nothing to show.
    fn authenticate(&self, what: &str, response: &Response<Body>) -> Result<Option<String>> {
        let texts = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
        let challenges: Vec<Challenge> =
            texts.filter_map(|text| text.to_str().ok()).flat_map(Challenge::parse).collect();
        let credentials = auth::find(self.host(), self.reference, self.settings.auth_file.as_deref())?;
        let bearer = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service, scope } => {
                Some((realm, service.as_deref(), scope.as_deref()))
            }
            Challenge::Basic => None,
        });
        if let Some((realm, service, scope)) = bearer {
            let token = self.token(realm, service, scope, credentials.as_ref())?;
            return Ok(Some(format!("Bearer {token}")));
        }
        if !challenges.contains(&Challenge::Basic) {
            return Err(self.protocol(what, "401 without a challenge that is known"));
        }
        Ok(credentials.as_ref().and_then(basic))
    }

    /// Asks the token service.
    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
        credentials: Option<&Credentials>,
    ) -> Result<String> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let what = "a token";
        let usual = format!("repository:{}:pull", self.endpoint.repository);
        let scope = scope.unwrap_or(&usual);
        let answer = match credentials {
            Some(Credentials::Identity(refresh)) => {
                let service = service.unwrap_or_default();
                let form = [
                    ("grant_type", "refresh_token"),
                    ("client_id", "nabe"),
                    ("service", service),
                    ("scope", scope),
                    ("refresh_token", refresh),
                ];
                self.agent.post(realm).send_form(form)
            }
            _ => {
                let mut request = self.agent.get(realm).query("scope", scope);
                if let Some(service) = service {
                    request = request.query("service", service);
                }
                if let Some(header) = credentials.and_then(basic) {
                    request = request.header(header::AUTHORIZATION, header);
                }
                request.call()
            }
        };
        let response = answer.map_err(|error| self.transport(what, error))?;
        let response = self.expect(what, response, &[200])?;
        let bytes = self.read(what, response, MAX_TOKEN)?;
        let wrong =
            |reason: String| Error::Protocol { what: what.into(), host: self.host().to_owned(), reason };
        let answer: Answer = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| wrong("no token in it".into()))?;
        if token.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(token)
        } else {
            Err(wrong("a malformed token".into()))
        }
    }

    /// The response, when its status is one of these.
    fn expect(&self, what: &str, response: Response<Body>, wanted: &[u16]) -> Result<Response<Body>> {
        let status = response.status().as_u16();
        if wanted.contains(&status) {
            return Ok(response);
        }
        let mut bytes = Vec::new();
        let reader = response.into_body().into_with_config().limit(MAX_ERROR).reader();
        // What can be read of an explanation helps; the status is the error.
        let _ = reader.take(MAX_ERROR).read_to_end(&mut bytes);
        let detail = explanation(&bytes).map(|text| format!(": {text}")).unwrap_or_default();
        Err(Error::Status { what: what.to_owned(), host: self.host().to_owned(), status, detail })
    }

    fn read(&self, what: &str, response: Response<Body>, limit: u64) -> Result<Vec<u8>> {
        let too_large = |found| Error::Size { what: what.to_owned(), expected: limit, found };
        if let Some(length) = response.body().content_length().filter(|length| *length > limit) {
            return Err(too_large(length));
        }
        let mut bytes = Vec::new();
        let reader = response.into_body().into_with_config().limit(limit + 2).reader();
        reader.take(limit + 1).read_to_end(&mut bytes).map_err(|error| self.transport(what, error))?;
        if bytes.len() as u64 > limit {
            return Err(too_large(bytes.len() as u64));
        }
        Ok(bytes)
    }

    fn transport(&self, what: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Transport { what: what.to_owned(), host: self.host().to_owned(), source: error.into() }
    }

    fn retrying<T>(&self, progress: &dyn Progress, mut once: impl FnMut() -> Result<T>) -> Result<T> {
        let mut failures = 0;
        loop {
            match once() {
                Err(error) if is_passing(&error) => {
                    failures += 1;
                    self.pause(failures, error, progress)?;
                }
                other => return other,
            }
        }
    }

    /// Waits before the next attempt, or gives the error up. One who says nothing for the whole waiting
    /// time gets one more chance, not all of them.
    fn pause(&self, failures: u32, error: Error, progress: &dyn Progress) -> Result<()> {
        let most = if is_timeout(&error) { self.settings.retries.min(1) } else { self.settings.retries };
        if failures > most || self.cancel.load(Ordering::Relaxed) {
            return Err(error);
        }
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        progress.note(&format!("{error}{cause}; trying again ({failures} of {most})"));
        let wait = Duration::from_millis(250 << failures.min(6));
        let until = Instant::now() + wait;
        while Instant::now() < until {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// Scheme, host and port of an address.
fn authority(url: &str) -> &str {
    let after = url.find("://").map_or(0, |at| at + 3);
    let end = url.get(after..).and_then(|rest| rest.find(['/', '?', '#'])).map_or(url.len(), |at| after + at);
    url.get(..end).unwrap_or(url)
}

fn basic(credentials: &Credentials) -> Option<String> {
    match credentials {
        Credentials::Basic { user, password } => {
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            Some(format!("Basic {pair}"))
        }
        Credentials::Identity(_) => None,
    }
}

fn agent(endpoint: &Endpoint, settings: &Settings) -> Result<Agent> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .https_only(!endpoint.plain)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("nabe/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(settings.timeout.min(Duration::from_secs(15))))
        .timeout_resolve(Some(settings.timeout))
        .timeout_recv_response(Some(settings.timeout))
        .timeout_per_read(Some(settings.timeout))
        .timeout_per_write(Some(settings.timeout))
        .input_buffer_size(256 << 10);
    // Also for a registry without TLS: its token service or its storage may be elsewhere.
    let connector =
        ().chain(ConnectProxyConnector::default())
            .chain(TcpConnector::default())
            .chain(tls::of(endpoint, settings)?);
    Ok(Agent::with_parts(config.build(), connector, DefaultResolver::default()))
}

/// Whether the same request may succeed a moment later.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
        Error::Transport { source, .. } => {
            let known = source.downcast_ref::<ureq::Error>();
            // ureq hides its own errors in those of reading a body.
            let inner = source.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
            let known = known.or_else(|| inner.and_then(|inner| inner.downcast_ref::<ureq::Error>()));
            !matches!(
                known,
                Some(
                    ureq::Error::TooManyRedirects
                        | ureq::Error::RedirectFailed
                        | ureq::Error::RequireHttpsOnly(_)
                        | ureq::Error::BadUri(_)
                        | ureq::Error::Http(_)
                        | ureq::Error::Tls(_)
                        | ureq::Error::Protocol(_)
                        | ureq::Error::LargeResponseHeader(..)
                        | ureq::Error::HostNotFound
                )
            ) && !refused(source.as_ref())
        }
        _ => false,
    }
}

/// Nobody listens there: a registry that is only busy does.
fn refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = match error.downcast_ref::<ureq::Error>() {
        Some(ureq::Error::Io(io)) => Some(io),
        _ => error.downcast_ref::<std::io::Error>(),
    };
    io.is_some_and(|io| {
        matches!(io.kind(), std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::InvalidData)
    })
}

fn is_timeout(error: &Error) -> bool {
    let Error::Transport { source, .. } = error else { return false };
    if let Some(ureq::Error::Timeout(_)) = source.downcast_ref::<ureq::Error>() {
        return true;
    }
    source.downcast_ref::<std::io::Error>().is_some_and(|error| {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
        error.kind() == std::io::ErrorKind::TimedOut || matches!(inner, Some(ureq::Error::Timeout(_)))
    })
}

/// The words of a registry's error, made harmless.
fn explanation(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        errors: Vec<Fault>,
        #[serde(default)]
        details: Option<String>,
    }
    #[derive(Deserialize)]
    struct Fault {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let answer: Answer = serde_json::from_slice(bytes).ok()?;
    let first = answer.errors.first().map(|fault| format!("{} ({})", fault.message, fault.code));
    let text: String = first.or(answer.details)?.chars().filter(|c| !c.is_control()).take(200).collect();
    Some(text)
}
