//! A small HTTP(S) server for pages that are made when they are asked for: health, versions, metrics.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use nabe_audit::serve::{self, Answer, Limits};

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
pub struct Server(serve::Server);

impl Server {
    /// Starts to listen; `tls` is a PEM file with certificate and key.
    pub fn start(address: SocketAddr, tls: Option<&Path>, pages: Arc<Pages>) -> Result<Self> {
        let limits = Limits { connections: CONNECTIONS, patience: PATIENCE };
        let started = serve::Server::start("web", address, tls.map(|pem| (pem, pem)), limits, Site(pages));
        started
            .map(Self)
            .map_err(|error| CliError::failed(format_args!("cannot serve on {address}")).because(&error))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

/// Answers with pages.
struct Site(Arc<Pages>);

impl Answer for Site {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        answer(&request, &*self.0)
    }
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
