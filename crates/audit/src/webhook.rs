//! An HTTP(S) server to which the Kubernetes API server, or anything else that has JSON, posts.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::{Semaphore, oneshot};

/// Payloads that wait to be taken.
const WAITING: usize = 64;

/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 256;

/// How long a request's head, and then its body, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address; port 0 for any.
    pub address: SocketAddr,
    /// The path that takes payloads: `/k8s-audit`.
    pub path: String,
    /// PEM files with the certificate and with its key; both may be one file.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Bytes of a payload.
    pub payload_bytes: usize,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A certificate or key cannot be read.
    #[error("cannot read a certificate or key from {path}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key cannot be used.
    #[error("cannot use the certificate in {path}")]
    Tls {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The system has no thread, or nothing to wait with.
    #[error("cannot start the webhook's thread")]
    Start(#[source] io::Error),
}

/// What was answered.
#[derive(Debug, Default)]
pub struct Counters {
    /// Payloads handed on.
    pub accepted: AtomicU64,
    /// Payloads refused because nobody took those before.
    pub busy: AtomicU64,
    /// Requests refused for what they were.
    pub refused: AtomicU64,
}

/// A server on a thread of its own. It ends when this is dropped.
#[derive(Debug)]
pub struct Webhook {
    address: SocketAddr,
    payloads: Receiver<Bytes>,
    counters: Arc<Counters>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Webhook {
    /// Starts to listen.
    ///
    /// # Errors
    /// When the address cannot be had or the certificate not be used.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let acceptor = match &options.tls {
            Some((certificate, key)) => Some(acceptor(certificate, key)?),
            None => None,
        };
        let listen = |source| Error::Listen { address: options.address, source };
        let listener = std::net::TcpListener::bind(options.address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (sender, payloads) = sync_channel(WAITING);
        let (stop, stopped) = oneshot::channel();
        let counters = Arc::new(Counters::default());
        let hook = Arc::new(Hook {
            path: options.path.clone(),
            payload_bytes: options.payload_bytes,
            sender,
            counters: Arc::clone(&counters),
        });
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
        let thread = std::thread::Builder::new()
            .name("webhook".into())
            .spawn(move || runtime.block_on(serve(listener, acceptor, hook, stopped)))
            .map_err(Error::Start)?;
        Ok(Self { address, payloads, counters, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it answered so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The next payload, when one comes within `patience`.
    #[must_use]
    pub fn next(&self, patience: Duration) -> Option<Bytes> {
        self.payloads.recv_timeout(patience).ok()
    }
}

impl Webhook {
    /// Listens no more. What was accepted until now can still be taken with [`Self::next`].
    pub fn close(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say at its end.
            let _ = thread.join();
        }
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.close();
    }
}

fn acceptor(certificate: &Path, key: &Path) -> Result<tokio_rustls::TlsAcceptor, Error> {
    let pem = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Pem { path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(pem(certificate))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(pem(key))?;
    let wrong = |source| Error::Tls { path: certificate.to_path_buf(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(wrong)?;
    Ok(Arc::new(config).into())
}

/// What each connection needs.
struct Hook {
    path: String,
    payload_bytes: usize,
    sender: SyncSender<Bytes>,
    counters: Arc<Counters>,
}

async fn serve(
    listener: std::net::TcpListener,
    acceptor: Option<tokio_rustls::TlsAcceptor>,
    hook: Arc<Hook>,
    mut stopped: oneshot::Receiver<Infallible>,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let tasks = tokio::task::LocalSet::new();
    tasks
        .run_until(async {
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
                let (hook, acceptor) = (Arc::clone(&hook), acceptor.clone());
                tokio::task::spawn_local(async move {
                    match acceptor {
                        None => connection(TokioIo::new(stream), hook).await,
                        Some(acceptor) => {
                            let shaken = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await;
                            if let Ok(Ok(stream)) = shaken {
                                connection(TokioIo::new(stream), hook).await;
                            }
                        }
                    }
                    drop(place);
                });
            }
        })
        .await;
}

async fn connection<S>(stream: S, hook: Arc<Hook>)
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    let service = hyper::service::service_fn(move |request| {
        let hook = Arc::clone(&hook);
        async move { Ok::<_, Infallible>(hook.answer(request).await) }
    });
    // What goes wrong on a connection ends it, no more.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(stream, service)
        .await;
}

impl Hook {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let refuse = |status, text: &'static str| {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            said(status, text)
        };
        if request.uri().path() != self.path {
            return refuse(StatusCode::NOT_FOUND, "not found\n");
        }
        if request.method() != Method::POST {
            let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "method not allowed: POST it\n");
            response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("POST"));
            return response;
        }
        let content = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !content.is_some_and(|content| content.contains("application/json")) {
            return refuse(StatusCode::BAD_REQUEST, "wrong content type: application/json is wanted\n");
        }
        let body = Limited::new(request.into_body(), self.payload_bytes).collect();
        let payload = match tokio::time::timeout(PATIENCE, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return refuse(StatusCode::PAYLOAD_TOO_LARGE, "payload too large\n");
            }
            Ok(Err(_)) => return refuse(StatusCode::BAD_REQUEST, "the body cannot be read\n"),
            Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the body took too long\n"),
        };
        match self.sender.try_send(payload) {
            Ok(()) => {
                self.counters.accepted.fetch_add(1, Ordering::Relaxed);
                said(StatusCode::OK, "")
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counters.busy.fetch_add(1, Ordering::Relaxed);
                let mut response = said(StatusCode::SERVICE_UNAVAILABLE, "busy: try again\n");
                response.headers_mut().insert(RETRY_AFTER, hyper::header::HeaderValue::from_static("1"));
                response
            }
        }
    }
}

fn said(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}
