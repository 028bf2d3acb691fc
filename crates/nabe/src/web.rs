//! A small HTTP(S) server for pages that are made when they are asked for: health, versions, metrics.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::{Semaphore, oneshot};

use crate::error::{CliError, Result};

/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 64;

/// How long a request's head may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A page: its content type and its text.
pub struct Page {
    pub content_type: &'static str,
    pub text: String,
}

/// Makes the page of a path; `None` where there is none.
pub type Pages = dyn Fn(&str) -> Option<Page> + Send + Sync;

/// A server on a thread of its own; it ends when this is dropped.
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts to listen; `tls` is a PEM file with certificate and key.
    pub fn start(address: SocketAddr, tls: Option<&Path>, pages: Arc<Pages>) -> Result<Self> {
        let about = |error: &dyn std::error::Error| {
            CliError::failed(format_args!("cannot serve on {address}")).because(error)
        };
        let acceptor = tls.map(acceptor).transpose()?;
        let listener = std::net::TcpListener::bind(address).map_err(|error| about(&error))?;
        listener.set_nonblocking(true).map_err(|error| about(&error))?;
        let address = listener.local_addr().map_err(|error| about(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| about(&error))?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("web".into())
            .spawn(move || runtime.block_on(serve(listener, acceptor, pages, stopped)))
            .map_err(|error| about(&error))?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say at its end.
            let _ = thread.join();
        }
    }
}

fn acceptor(pem: &Path) -> Result<tokio_rustls::TlsAcceptor> {
    let about = |error: &dyn std::error::Error| {
        CliError::failed(format_args!("cannot use the certificate and key in {}", pem.display()))
            .because(error)
    };
    let chain = CertificateDer::pem_file_iter(pem)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|error| about(&error))?;
    let key = PrivateKeyDer::from_pem_file(pem).map_err(|error| about(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| about(&error))?;
    Ok(Arc::new(config).into())
}

async fn serve(
    listener: std::net::TcpListener,
    acceptor: Option<tokio_rustls::TlsAcceptor>,
    pages: Arc<Pages>,
    mut stopped: oneshot::Receiver<Infallible>,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let accept = async {
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            let stream = tokio::select! {
                _ = &mut stopped => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(_) => {
                        // No descriptors left: some come back.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            let (pages, acceptor) = (Arc::clone(&pages), acceptor.clone());
            tokio::task::spawn_local(async move {
                match acceptor {
                    None => connection(TokioIo::new(stream), pages).await,
                    Some(acceptor) => {
                        let shaken = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await;
                        if let Ok(Ok(stream)) = shaken {
                            connection(TokioIo::new(stream), pages).await;
                        }
                    }
                }
                drop(place);
            });
        }
    };
    tokio::task::LocalSet::new().run_until(accept).await;
}

async fn connection<S>(stream: S, pages: Arc<Pages>)
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    let service = hyper::service::service_fn(move |request| {
        let response = answer(&request, &*pages);
        async move { Ok::<_, Infallible>(response) }
    });
    // What goes wrong on a connection ends it, no more.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(stream, service)
        .await;
}

fn answer(request: &Request<Incoming>, pages: &Pages) -> Response<Full<Bytes>> {
    let plain = |status, text: &'static str| {
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        response
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let Some(page) = pages(request.uri().path()) else {
        return plain(StatusCode::NOT_FOUND, "not found\n");
    };
    let mut response = Response::new(Full::new(Bytes::from(page.text)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_made_when_asked_for() {
        let pages = |path: &str| {
            (path == "/healthz").then(|| Page { content_type: "application/json", text: "{}".into() })
        };
        let server = Server::start("127.0.0.1:0".parse().unwrap(), None, Arc::new(pages)).unwrap();
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let get = |path: &str| {
            let mut response = agent.get(format!("http://{}{path}", server.address())).call().unwrap();
            (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
        };
        assert_eq!(get("/healthz"), (200, "{}".into()));
        assert_eq!(get("/other"), (404, "not found\n".into()));
        let posted = agent.post(format!("http://{}/healthz", server.address())).send_empty().unwrap();
        assert_eq!(posted.status().as_u16(), 405);
    }
}
