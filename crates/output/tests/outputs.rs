//! Channels that work, refuse, hang and come back: what was accepted is delivered or accounted for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use nabe_event::alert::{Alert, Datum, Priority};
use nabe_output::channel::http::{Http, Options};
use nabe_output::channel::shape::{Elasticsearch, Falco};
use nabe_output::spill::Spill;
use nabe_output::{Channel, Failure, Limits, Outputs, Overflow, Render, Stats};

fn alert(number: u64) -> Alert {
    Alert {
        ts_ns: number,
        priority: Priority::Warning,
        rule: "rule".into(),
        source: "syscall".into(),
        hostname: "host".into(),
        tags: Box::new([]),
        message: format!("number {number}").into(),
        fields: [("evt.num".into(), Datum::Uint(number))].into(),
    }
}

/// What a channel of a test was given, and whether it takes it.
#[derive(Default)]
struct Place {
    got: Mutex<Vec<u64>>,
    /// Tries that fail before one works.
    failures: AtomicUsize,
    open: Mutex<bool>,
    opened: Condvar,
}

struct Test(Arc<Place>);

impl Channel for Test {
    fn name(&self) -> &str {
        "test"
    }

    fn batch(&self) -> usize {
        3
    }

    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        let mut open = self.0.open.lock().unwrap();
        while !*open {
            open = self.0.opened.wait(open).unwrap();
        }
        let failed = |left: usize| left.checked_sub(1);
        if self.0.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, failed).is_ok() {
            let source = std::io::Error::other("down");
            return Err(Failure::passing(
                0,
                nabe_output::channel::Error::Write { name: "test".into(), source },
            ));
        }
        self.0.got.lock().unwrap().extend(alerts.iter().map(|alert| alert.ts_ns));
        Ok(())
    }
}

impl Place {
    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn got(&self) -> Vec<u64> {
        self.got.lock().unwrap().clone()
    }
}

fn quick() -> Limits {
    Limits {
        first_retry: Duration::from_millis(1),
        last_retry: Duration::from_millis(4),
        grace: Some(Duration::from_secs(20)),
        ..Limits::default()
    }
}

fn stats(outputs: &Outputs) -> Stats {
    outputs.stats().next().unwrap().1
}

#[track_caller]
fn adds_up(stats: &Stats) {
    let settled = stats.delivered + stats.refused + stats.dropped + stats.spilled + stats.waiting;
    assert_eq!(stats.accepted, settled, "{stats:?}");
}

#[test]
fn a_channel_that_fails_for_a_while_gets_everything_in_order() {
    let place = Arc::new(Place::default());
    place.open();
    place.failures.store(5, Ordering::SeqCst);
    let mut outputs = Outputs::new();
    outputs.add(Box::new(Test(Arc::clone(&place))), quick()).unwrap();
    (0..100).for_each(|number| outputs.send(alert(number)));
    outputs.finish();
    assert_eq!(place.got(), (0..100).collect::<Vec<_>>());
    let stats = stats(&outputs);
    assert_eq!((stats.delivered, stats.retries), (100, 5));
    assert_eq!(stats.last_error.as_deref(), Some("cannot write to test: down"));
    adds_up(&stats);
}

#[test]
fn a_dead_channel_stops_nobody_and_its_drops_are_counted() {
    let place = Arc::new(Place::default());
    let mut outputs = Outputs::new();
    let limits = Limits { capacity: 10, grace: Some(Duration::ZERO), ..quick() };
    outputs.add(Box::new(Test(Arc::clone(&place))), limits).unwrap();
    (0..100).for_each(|number| outputs.send(alert(number)));
    let before = stats(&outputs);
    assert_eq!((before.accepted, before.dropped, before.waiting), (100, 90, 10));
    outputs.finish();
    let after = stats(&outputs);
    assert_eq!((after.dropped, after.delivered, after.waiting), (100, 0, 0));
    adds_up(&after);
    place.open();
}

#[test]
fn what_a_spill_file_kept_comes_with_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spill");
    let spill = || Some(Spill::open(&path, 1 << 20).unwrap());
    let place = Arc::new(Place::default());
    place.open();
    place.failures.store(usize::MAX, Ordering::SeqCst);
    let mut outputs = Outputs::new();
    let limits = Limits { capacity: 4, grace: Some(Duration::ZERO), spill: spill(), ..quick() };
    outputs.add(Box::new(Test(place)), limits).unwrap();
    (0..20).for_each(|number| outputs.send(alert(number)));
    outputs.finish();
    let first = stats(&outputs);
    assert_eq!((first.spilled, first.dropped, first.delivered), (20, 0, 0));
    adds_up(&first);

    let place = Arc::new(Place::default());
    place.open();
    let mut outputs = Outputs::new();
    outputs.add(Box::new(Test(Arc::clone(&place))), Limits { spill: spill(), ..quick() }).unwrap();
    outputs.send(alert(20));
    outputs.finish();
    let mut got = place.got();
    got.sort_unstable();
    assert_eq!(got, (0..=20).collect::<Vec<_>>());
    adds_up(&stats(&outputs));
}

#[test]
fn who_can_wait_loses_nothing() {
    let place = Arc::new(Place::default());
    let mut outputs = Outputs::new();
    let limits =
        Limits { capacity: 2, overflow: Overflow::Wait(Duration::from_secs(60)), grace: None, ..quick() };
    outputs.add(Box::new(Test(Arc::clone(&place))), limits).unwrap();
    let opener = {
        let place = Arc::clone(&place);
        std::thread::spawn(move || place.open())
    };
    (0..200).for_each(|number| outputs.send(alert(number)));
    outputs.finish();
    opener.join().unwrap();
    assert_eq!(place.got(), (0..200).collect::<Vec<_>>());
}

#[test]
fn small_alerts_stay_away_from_a_channel_for_grave_ones() {
    let place = Arc::new(Place::default());
    place.open();
    let mut outputs = Outputs::new();
    let limits = Limits { least: Priority::Error, ..quick() };
    outputs.add(Box::new(Test(Arc::clone(&place))), limits).unwrap();
    outputs.send(alert(1));
    outputs.send(Alert { priority: Priority::Critical, ..alert(2) });
    outputs.finish();
    assert_eq!(place.got(), [2]);
}

/// A request as a receiver sees it.
#[derive(Debug)]
struct Request {
    head: Vec<String>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

fn read_request(stream: &mut impl Read) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let mut request = Request { head, body: Vec::new() };
    if let Some(length) = request.header("content-length") {
        request.body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut request.body).ok()?;
    } else {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            if size == 0 {
                break;
            }
            request.body.extend_from_slice(&chunk[..size]);
        }
    }
    Some(request)
}

/// A receiver that answers with these statuses, then with 200, one request a connection.
fn receiver(statuses: &'static [u16], requests: usize) -> (String, std::thread::JoinHandle<Vec<Request>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        (0..requests)
            .map(|at| {
                let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
                let request = read_request(&mut stream).unwrap();
                let status = statuses.get(at).copied().unwrap_or(200);
                let answer = if status == 400 { "bad alert" } else { "" };
                write!(
                    stream,
                    "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
                    answer.len()
                )
                .unwrap();
                request
            })
            .collect()
    });
    (format!("http://user:word@{address}/hook"), thread)
}

fn json() -> Box<Falco> {
    Box::new(Falco { name: "http", render: Render { json: true, ..Render::default() } })
}

#[test]
fn an_http_receiver_is_tried_again_until_it_takes_the_alert() {
    let (url, thread) = receiver(&[503, 429], 4);
    let options = Options { url, compress: true, ..Options::default() };
    let mut outputs = Outputs::new();
    outputs.add(Box::new(Http::new(json(), options).unwrap()), quick()).unwrap();
    outputs.send(alert(1));
    outputs.send(alert(2));
    outputs.finish();
    let requests = thread.join().unwrap();
    let numbers: Vec<u64> = requests
        .iter()
        .map(|request| {
            assert_eq!(request.header("authorization"), Some("Basic dXNlcjp3b3Jk"));
            assert_eq!(request.header("content-type"), Some("application/json"));
            assert_eq!(request.header("content-encoding"), Some("gzip"));
            let mut text = String::new();
            flate2::read::GzDecoder::new(&request.body[..]).read_to_string(&mut text).unwrap();
            let body: serde_json::Value = serde_json::from_str(&text).unwrap();
            body["output_fields"]["evt.num"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(numbers, [1, 1, 1, 2]);
    let stats = stats(&outputs);
    assert_eq!((stats.delivered, stats.retries, stats.refused), (2, 2, 0));
}

#[test]
fn an_alert_that_a_receiver_refuses_does_not_hold_up_the_next() {
    let (url, thread) = receiver(&[400], 2);
    let mut outputs = Outputs::new();
    let options = Options { url, ..Options::default() };
    outputs.add(Box::new(Http::new(json(), options).unwrap()), quick()).unwrap();
    outputs.send(alert(1));
    outputs.send(alert(2));
    outputs.finish();
    thread.join().unwrap();
    let stats = stats(&outputs);
    assert_eq!((stats.delivered, stats.refused), (1, 1));
    let error = stats.last_error.unwrap();
    assert!(error.ends_with("/hook answered 400: bad alert") && !error.contains("word"), "{error}");
}

#[test]
fn a_bulk_that_is_refused_is_sent_one_by_one() {
    let (url, thread) = receiver(&[400, 200, 400, 200], 4);
    let options = Options { url, ..Options::default() };
    let mut channel = Http::new(Box::new(Elasticsearch { index: "falco".into() }), options).unwrap();
    let alerts: Vec<_> = (0..3).map(|number| Arc::new(alert(number))).collect();
    let failure = channel.deliver(&alerts).unwrap_err();
    assert_eq!((failure.delivered, failure.retry), (1, false));
    channel.deliver(&alerts[2..]).unwrap();
    assert_eq!(thread.join().unwrap().len(), 4);
}

#[test]
fn a_receiver_that_never_answers_is_left_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let options = Options { url, timeout: Duration::from_millis(50), ..Options::default() };
    let mut outputs = Outputs::new();
    let limits = Limits { grace: Some(Duration::from_millis(100)), ..quick() };
    outputs.add(Box::new(Http::new(json(), options).unwrap()), limits).unwrap();
    (0..3).for_each(|number| outputs.send(alert(number)));
    outputs.finish();
    let stats = stats(&outputs);
    assert_eq!((stats.delivered, stats.dropped), (0, 3));
    assert!(stats.last_error.unwrap().contains("no answer from http://127.0.0.1"));
}

#[test]
fn certificates_are_asked_for_and_shown() {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(params, authority_key);
    let make = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap(), key)
    };
    let (server, server_key) = make("localhost");
    let (client, client_key) = make("client");
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ca = put("ca.pem", authority.pem());
    let pair = (put("client.pem", client.pem()), put("client.key", client_key.serialize_pem()));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let key = rustls::pki_types::PrivateKeyDer::try_from(server_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![server.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let thread = std::thread::spawn(move || {
        // Three callers: one that does not know the authority, one without a certificate, one as it should be.
        let config = Arc::new(config);
        let mut served = 0;
        for _ in 0..3 {
            let (stream, _) = listener.accept().unwrap();
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(session, stream);
            if read_request(&mut stream).is_some() {
                served += 1;
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    .unwrap();
                stream.flush().unwrap();
            }
        }
        served
    });
    let send = |options: Options| Http::new(json(), options).unwrap().deliver(&[Arc::new(alert(1))]);
    let base = Options { url, ..Options::default() };
    assert!(send(base.clone()).is_err());
    assert!(send(Options { authorities: vec![ca.clone()], ..base.clone() }).is_err());
    send(Options { authorities: vec![ca], client: Some(pair), ..base }).unwrap();
    assert_eq!(thread.join().unwrap(), 1);
}
