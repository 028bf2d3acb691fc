//! HTTP and HTTPS receivers of any [`Shape`].

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flate2::write::GzEncoder;
use nabe_event::alert::Alert;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use super::shape::Shape;
use super::{Channel, Error, Failure};

/// How a receiver is reached.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to: `http` or `https`; a user and password in it become an `Authorization` header.
    pub url: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Who we say we are.
    pub user_agent: String,
    /// Any certificate will do.
    pub insecure: bool,
    /// Authorities to believe instead of the system's: files in PEM.
    pub authorities: Vec<PathBuf>,
    /// Our certificate and its key, in PEM.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Compress bodies with gzip.
    pub compress: bool,
    /// Keep the connection for the next request.
    pub keep_alive: bool,
    /// How long a request may take.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: String::new(),
            headers: Vec::new(),
            user_agent: concat!("nabe/", env!("CARGO_PKG_VERSION")).into(),
            insecure: false,
            authorities: Vec::new(),
            client: None,
            compress: false,
            keep_alive: true,
            timeout: Duration::from_secs(10),
        }
    }
}

/// Where Linux systems keep the authorities that they believe.
const SYSTEM_AUTHORITIES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The most of an answer that is read.
const ANSWER: u64 = 1 << 20;

/// The most of an answer that is repeated in a message, in characters.
const REPEATED: usize = 200;

/// A receiver.
pub struct Http {
    shape: Box<dyn Shape>,
    agent: ureq::Agent,
    url: String,
    headers: Vec<(String, String)>,
    compress: bool,
}

impl Http {
    /// Prepares requests; nothing is sent yet.
    ///
    /// # Errors
    /// When the address is none, or a certificate cannot be read.
    pub fn new(shape: Box<dyn Shape>, options: Options) -> Result<Self, Error> {
        let (url, authorization) = split_credentials(&options.url)?;
        let mut headers = options.headers;
        headers.extend(authorization.map(|value| ("Authorization".to_owned(), value)));
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(options.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(if options.keep_alive { 2 } else { 0 })
            .user_agent(options.user_agent)
            .tls_config(tls(&url, options.insecure, &options.authorities, options.client.as_ref())?)
            .build();
        Ok(Self { shape, agent: config.into(), url, headers, compress: options.compress })
    }

    fn post(&self, alerts: &[Arc<Alert>]) -> Result<(), (bool, Error)> {
        let mut request = self.agent.post(&self.url).content_type(self.shape.content_type());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let body = self.shape.body(alerts);
        let sent = if self.compress {
            request.header("Content-Encoding", "gzip").send(&compressed(body.as_bytes())[..])
        } else {
            request.send(body.as_bytes())
        };
        let unanswered = |error| (true, Error::Request { url: self.url.clone(), source: Box::new(error) });
        let mut response = sent.map_err(unanswered)?;
        let status = response.status().as_u16();
        let answer = response.body_mut().with_config().limit(ANSWER).lossy_utf8(true).read_to_string();
        let answer = answer.unwrap_or_default();
        let refused = |retry, answer: &str| {
            let body = answer.trim().chars().take(REPEATED).collect();
            Err((retry, Error::Status { url: self.url.clone(), status, body }))
        };
        match status {
            200..300 => match self.shape.objection(&answer) {
                Some(objection) => refused(false, &objection),
                None => Ok(()),
            },
            408 | 425 | 429 | 500..600 => refused(true, &answer),
            _ => refused(false, &answer),
        }
    }
}

impl Channel for Http {
    fn name(&self) -> &str {
        self.shape.name()
    }

    fn batch(&self) -> usize {
        self.shape.batch()
    }

    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        match self.post(alerts) {
            Ok(()) => Ok(()),
            Err((true, error)) => Err(Failure::passing(0, error)),
            Err((false, error)) => {
                // One bad alert must not take the others of its request with it.
                if alerts.len() > 1 {
                    for (at, alert) in alerts.iter().enumerate() {
                        self.post(core::slice::from_ref(alert)).map_err(|(retry, error)| Failure {
                            delivered: at,
                            retry,
                            error,
                        })?;
                    }
                    return Ok(());
                }
                Err(Failure::lasting(0, error))
            }
        }
    }
}

fn compressed(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

/// The address without its user and password, and these as a header.
fn split_credentials(url: &str) -> Result<(String, Option<String>), Error> {
    let wrong = || Error::Address { url: url.to_owned() };
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    if !matches!(scheme, "http" | "https") || rest.is_empty() {
        return Err(wrong());
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, authorization) = match authority.rsplit_once('@') {
        Some((user, host)) => (host, Some(format!("Basic {}", base64(user.as_bytes())))),
        None => (authority, None),
    };
    if host.is_empty() {
        return Err(Error::Address { url: format!("{scheme}://{path}") });
    }
    Ok((format!("{scheme}://{host}{path}"), authorization))
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn tls(
    url: &str,
    insecure: bool,
    authorities: &[PathBuf],
    client: Option<&(PathBuf, PathBuf)>,
) -> Result<TlsConfig, Error> {
    let mut builder = TlsConfig::builder().disable_verification(insecure);
    if url.starts_with("https:") {
        let system: Vec<PathBuf> = SYSTEM_AUTHORITIES.iter().map(PathBuf::from).collect();
        let files = if authorities.is_empty() {
            system.into_iter().filter(|path| path.exists()).take(1).collect()
        } else {
            authorities.to_vec()
        };
        let mut certificates = Vec::new();
        for file in &files {
            certificates.extend(certificates_in(file)?);
        }
        if !certificates.is_empty() {
            builder = builder.root_certs(RootCerts::new_with_certs(&certificates));
        }
    }
    if let Some((certificate, key)) = client {
        let chain = certificates_in(certificate)?;
        let key_bytes = read(key)?;
        let unusable =
            |error: ureq::Error| Error::Certificate { path: key.clone(), reason: error.to_string() };
        let key = PrivateKey::from_pem(&key_bytes).map_err(unusable)?;
        builder = builder.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
    }
    Ok(builder.build())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Open { path: path.to_path_buf(), source })
}

/// All certificates of a PEM file; at least one.
fn certificates_in(path: &Path) -> Result<Vec<Certificate<'static>>, Error> {
    let wrong = |reason: String| Error::Certificate { path: path.to_path_buf(), reason };
    let bytes = read(path)?;
    let mut found = Vec::new();
    for item in parse_pem(&bytes) {
        match item.map_err(|error| wrong(error.to_string()))? {
            PemItem::Certificate(certificate) => found.push(certificate.to_owned()),
            PemItem::PrivateKey(_) => {}
            _ => {}
        }
    }
    if found.is_empty() {
        return Err(wrong("no certificate in PEM form".into()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_address() {
        let (url, authorization) = split_credentials("https://me:secret@host:8/x@y").unwrap();
        assert_eq!(url, "https://host:8/x@y");
        assert_eq!(authorization.as_deref(), Some("Basic bWU6c2VjcmV0"));
        for wrong in ["", "host", "ftp://host", "http://", "http:///path", "http://me@"] {
            assert!(split_credentials(wrong).is_err(), "{wrong}");
        }
        assert!(!split_credentials("http://me:secret@").unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn a_file_without_certificates_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, "rubbish").unwrap();
        let error = certificates_in(&path).unwrap_err();
        assert!(error.to_string().contains("no certificate in PEM form"), "{error}");
    }
}
