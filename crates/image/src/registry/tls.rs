//! TLS with one registry: whose certificates are believed, and which of ours is shown.
//!
//! The machine's certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` replace them), those of the settings, and
//! those that are put down for the registry as for Podman and Docker (containers-certs.d(5)):
//! `certs.d/HOST:PORT/*.crt` are believed, `NAME.cert` is shown with `NAME.key`.

mod connect;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::endpoints::Endpoint;
use crate::error::{Error, Result};
use crate::settings::Settings;

/// Bytes that a file of certificates or a key may have.
const MAX_FILE: u64 = 4 << 20;

/// What is shown to a registry that asks for it: certificates, and the key of the first.
type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// TLS for everything that one registry makes us connect to.
pub(super) fn of(endpoint: &Endpoint, settings: &Settings) -> Result<connect::Tls> {
    let mut believed = rustls_native_certs::load_native_certs().certs;
    if let Some(path) = &settings.ca {
        believed.extend(certificates(path)?);
    }
    let mut shown = None;
    for directory in directories() {
        let found = of_host(&directory.join(&endpoint.host))?;
        believed.extend(found.0);
        shown = shown.or(found.1);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let wrong = |error: rustls::Error| Error::document("the TLS settings", error.to_string());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .map_err(wrong)?
        .dangerous()
        .with_custom_certificate_verifier(match endpoint.insecure || !settings.tls_verify {
            true => Arc::new(verify::Unseen { taken: true }),
            false => verify::named(believed, provider),
        });
    let config = match shown {
        Some((certificates, key)) => builder.with_client_auth_cert(certificates, key).map_err(|error| {
            Error::document(format!("client key for {}", endpoint.host), error.to_string())
        })?,
        None => builder.with_no_client_auth(),
    };
    Ok(connect::Tls(Arc::new(config)))
}

/// Where certificates of registries are, the nearest first.
fn directories() -> impl Iterator<Item = PathBuf> {
    let filled = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = filled("XDG_CONFIG_HOME").or_else(|| Some(filled("HOME")?.join(".config")));
    let machine = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    config.map(|path| path.join("containers/certs.d")).into_iter().chain(machine)
}

/// What one directory of a registry has. One that is not there, or not ours to read, has nothing.
fn of_host(directory: &Path) -> Result<(Vec<CertificateDer<'static>>, Option<Shown>)> {
    let (mut believed, mut shown) = (Vec::new(), None);
    let Ok(entries) = fs::read_dir(directory) else { return Ok((believed, shown)) };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => believed.extend(certificates(&path)?),
            Some("cert") if shown.is_none() => {
                let key = key(&path.with_extension("key"))?;
                shown = Some((certificates(&path)?, key));
            }
            _ => {}
        }
    }
    Ok((believed, shown))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let size = fs::metadata(path).map_err(Error::file("read", path))?.len();
    if size > MAX_FILE {
        return Err(Error::document(path.display().to_string(), "it is too large"));
    }
    fs::read(path).map_err(Error::file("read", path))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = read(path)?;
    let found: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem).flatten().collect();
    if found.is_empty() {
        return Err(Error::document(path.display().to_string(), "there is no certificate in PEM in it"));
    }
    Ok(found)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let pem = read(path)?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| Error::document(path.display().to_string(), "there is no private key in PEM in it"))
}
