//! An HTTP(S) server on a thread of its own: it takes connections, at most so many at a time, and reads
//! requests whose heads come in time. What is answered is its owner's.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::{Semaphore, oneshot};

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
    #[error("cannot start a server's thread")]
    Start(#[source] io::Error),
}

/// Who answers requests.
pub trait Answer: Send + Sync + 'static {
    /// The answer to a request. Requests wait side by side on one thread: an answer must not block it.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Full<Bytes>>>;
}

/// How much is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// How long a handshake and the head of a request may take.
    pub patience: Duration,
}

/// A server; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts to listen, on a thread called `name`; `tls` are PEM files with the certificate and its key,
    /// which may be one.
    ///
    /// # Errors
    /// When the address cannot be had or the certificate not be used.
    pub fn start(
        name: &str,
        address: SocketAddr,
        tls: Option<(&Path, &Path)>,
        limits: Limits,
        answer: impl Answer,
    ) -> Result<Self, Error> {
        let acceptor = tls.map(|(certificate, key)| acceptor(certificate, key)).transpose()?;
        let listen = |source| Error::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (stop, stopped) = oneshot::channel();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
        let answer = Arc::new(answer);
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || runtime.block_on(serve(listener, acceptor, limits, answer, stopped)))
            .map_err(Error::Start)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
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

async fn serve(
    listener: std::net::TcpListener,
    acceptor: Option<tokio_rustls::TlsAcceptor>,
    limits: Limits,
    answer: Arc<impl Answer>,
    mut stopped: oneshot::Receiver<Infallible>,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let room = Arc::new(Semaphore::new(limits.connections));
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
            let (answer, acceptor) = (Arc::clone(&answer), acceptor.clone());
            tokio::task::spawn_local(async move {
                match acceptor {
                    None => connection(TokioIo::new(stream), limits, answer).await,
                    Some(acceptor) => {
                        let shaken = tokio::time::timeout(limits.patience, acceptor.accept(stream)).await;
                        if let Ok(Ok(stream)) = shaken {
                            connection(TokioIo::new(stream), limits, answer).await;
                        }
                    }
                }
                drop(place);
            });
        }
    };
    tokio::task::LocalSet::new().run_until(accept).await;
}

async fn connection<S>(stream: S, limits: Limits, answer: Arc<impl Answer>)
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    let service = hyper::service::service_fn(move |request| {
        let answer = Arc::clone(&answer);
        async move { Ok::<_, Infallible>(answer.answer(request).await) }
    });
    // What goes wrong on a connection ends it, no more.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.patience)
        .serve_connection(stream, service)
        .await;
}
