//! An HTTP(S) server to which the Kubernetes API server, or anything else that has JSON, posts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};

pub use crate::serve::Error;
use crate::serve::{Answer, Limits, Server};

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
    server: Option<Server>,
}

impl Webhook {
    /// Starts to listen.
    ///
    /// # Errors
    /// When the address cannot be had or the certificate not be used.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let (sender, payloads) = sync_channel(WAITING);
        let counters = Arc::new(Counters::default());
        let hook = Hook {
            path: options.path.clone(),
            payload_bytes: options.payload_bytes,
            sender,
            counters: Arc::clone(&counters),
        };
        let tls = options.tls.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        let limits = Limits { connections: CONNECTIONS, patience: PATIENCE };
        let server = Server::start("webhook", options.address, tls, limits, hook)?;
        Ok(Self { address: server.address(), payloads, counters, server: Some(server) })
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
        drop(self.server.take());
    }
}

/// What each connection needs.
struct Hook {
    path: String,
    payload_bytes: usize,
    sender: SyncSender<Bytes>,
    counters: Arc<Counters>,
}

impl Answer for Hook {
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
