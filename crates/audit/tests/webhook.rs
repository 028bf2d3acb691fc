//! The webhook as the Kubernetes API server, and as others, meet it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use nabe_audit::webhook::{Options, Webhook};
use nabe_audit::{Format, Limits, parse};

const EVENT: &str = r#"{"kind":"EventList","items":[{"kind":"Event","auditID":"1","stageTimestamp":"2018-10-26T19:28:10Z"}]}"#;

/// No result depends on it.
const PATIENCE: Duration = Duration::from_secs(30);

fn options() -> Options {
    Options {
        address: "127.0.0.1:0".parse().unwrap(),
        path: "/k8s-audit".into(),
        tls: None,
        payload_bytes: 1 << 16,
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

fn post(agent: &ureq::Agent, url: &str, content_type: &str, body: &str) -> u16 {
    agent.post(url).content_type(content_type).send(body).unwrap().status().as_u16()
}

#[test]
fn what_is_posted_arrives_and_what_is_wrong_is_refused() {
    let hook = Webhook::start(&options()).unwrap();
    let url = format!("http://{}/k8s-audit", hook.address());
    let agent = agent();
    assert_eq!(post(&agent, &url, "application/json; charset=utf-8", EVENT), 200);
    let payload = hook.next(PATIENCE).unwrap();
    let parsed = parse(&payload, Format::K8sAudit, &Limits::default(), 0);
    assert_eq!((parsed.events.len(), parsed.refusals.len()), (1, 0));
    assert_eq!(post(&agent, &url, "text/plain", EVENT), 400);
    assert_eq!(post(&agent, &url.replace("k8s-audit", "other"), "application/json", EVENT), 404);
    assert_eq!(agent.get(&url).call().unwrap().status().as_u16(), 405);
    let large = " ".repeat((1 << 16) + 1);
    assert_eq!(post(&agent, &url, "application/json", &large), 413);
    assert!(hook.next(Duration::ZERO).is_none());
}

#[test]
fn nobody_who_takes_payloads_is_told_to_the_sender() {
    let hook = Webhook::start(&options()).unwrap();
    let url = format!("http://{}/k8s-audit", hook.address());
    let agent = agent();
    let answers: Vec<u16> = (0..70).map(|_| post(&agent, &url, "application/json", EVENT)).collect();
    let taken = answers.iter().filter(|status| **status == 200).count();
    assert_eq!((taken, answers.last()), (64, Some(&503)));
    // What was answered with 200 is there.
    assert_eq!((0..70).filter_map(|_| hook.next(Duration::ZERO)).count(), 64);
    assert_eq!(post(&agent, &url, "application/json", EVENT), 200);
}

#[test]
fn rubbish_and_half_requests_hold_nobody_up() {
    let hook = Webhook::start(&options()).unwrap();
    let mut half = TcpStream::connect(hook.address()).unwrap();
    half.write_all(
        b"POST /k8s-audit HTTP/1.1\r\nContent-Length: 10\r\nContent-Type: application/json\r\n\r\nabc",
    )
    .unwrap();
    let mut rubbish = TcpStream::connect(hook.address()).unwrap();
    rubbish.write_all(b"\x16\x03\x01\x00\x00rubbish\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = rubbish.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"));
    let url = format!("http://{}/k8s-audit", hook.address());
    assert_eq!(post(&agent(), &url, "application/json", EVENT), 200);
}

#[test]
fn it_speaks_tls() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let both = dir.path().join("falco.pem");
    std::fs::write(&both, format!("{}{}", certificate.pem(), key.serialize_pem())).unwrap();
    let hook = Webhook::start(&Options { tls: Some((both.clone(), both)), ..options() }).unwrap();
    let url = format!("https://localhost:{}/k8s-audit", hook.address().port());
    let root = ureq::tls::Certificate::from_pem(certificate.pem().as_bytes()).unwrap().to_owned();
    let tls =
        ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::new_with_certs(&[root])).build();
    let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(tls).build().into();
    assert_eq!(post(&agent, &url, "application/json", EVENT), 200);
    assert!(hook.next(PATIENCE).is_some());
}

#[test]
fn an_address_in_use_and_a_missing_certificate_are_told() {
    let hook = Webhook::start(&options()).unwrap();
    let error = Webhook::start(&Options { address: hook.address(), ..options() }).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {}", hook.address()));
    let missing = PathBuf::from("/nowhere.pem");
    let error = Webhook::start(&Options { tls: Some((missing.clone(), missing)), ..options() }).unwrap_err();
    assert_eq!(error.to_string(), "cannot read a certificate or key from /nowhere.pem");
}
