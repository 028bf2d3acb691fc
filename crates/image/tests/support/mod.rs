//! What the tests share: archives made byte by byte, images made from them, and a registry that
//! misbehaves as it is told.

#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use nabe_image::{Digest, Reference, Settings, Store};
use serde_json::json;

/// A tar archive under construction.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Any entry.
    pub(crate) fn raw(
        mut self,
        name: &[u8],
        flag: u8,
        mode: u32,
        link: &[u8],
        device: (u32, u32),
        data: &[u8],
    ) -> Self {
        let mut block = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &name[..name.len().min(100)]);
        put(100, format!("{mode:07o}").as_bytes());
        put(108, b"0000000\x000000000");
        put(124, format!("{:011o}", data.len()).as_bytes());
        put(136, b"00000000001");
        put(148, b"        ");
        put(156, &[flag]);
        put(157, &link[..link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}\0{:07o}", device.0, device.1).as_bytes());
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Self {
        self.raw(name.as_bytes(), b'0', 0o644, b"", (0, 0), data)
    }

    pub(crate) fn directory(self, name: &str) -> Self {
        self.raw(name.as_bytes(), b'5', 0o755, b"", (0, 0), b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(name.as_bytes(), b'2', 0o777, target.as_bytes(), (0, 0), b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.raw(name.as_bytes(), b'1', 0o644, target.as_bytes(), (0, 0), b"")
    }

    /// A pax header with these bytes.
    pub(crate) fn pax(self, records: &[u8]) -> Self {
        self.raw(b"pax", b'x', 0o644, b"", (0, 0), records)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// An image: manifest, config and layers with their digests.
pub(crate) struct Made {
    pub(crate) manifest: Vec<u8>,
    pub(crate) blobs: Vec<(Digest, Vec<u8>)>,
}

/// An image of plain tar layers.
pub(crate) fn image(layers: &[Vec<u8>]) -> Made {
    let ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": { "Cmd": ["/bin/sh"] },
        "rootfs": { "type": "layers", "diff_ids": ids },
    });
    let config = serde_json::to_vec(&config).unwrap();
    let describe = |bytes: &[u8], kind: &str| json!({ "mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len() });
    let described: Vec<_> =
        layers.iter().map(|layer| describe(layer, "application/vnd.oci.image.layer.v1.tar")).collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": describe(&config, "application/vnd.oci.image.config.v1+json"), "layers": described,
    });
    let mut blobs = vec![(Digest::of(&config), config)];
    blobs.extend(layers.iter().map(|layer| (Digest::of(layer), layer.clone())));
    Made { manifest: serde_json::to_vec(&manifest).unwrap(), blobs }
}

/// A request as the server sees it.
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    /// How many requests for this path came before.
    pub(crate) before: usize,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What the server says.
pub(crate) enum Answer {
    Say(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes, and nothing of HTTP.
    Raw(Vec<u8>),
    /// A length, and fewer bytes.
    Cut(u16, Vec<(&'static str, String)>, Vec<u8>, usize),
    /// Nothing, until the client goes.
    Hang,
}

pub(crate) fn ok(bytes: &[u8]) -> Answer {
    Answer::Say(200, vec![], bytes.to_vec())
}

/// A server on loopback. It ends with this.
pub(crate) struct Server {
    pub(crate) host: String,
    stop: Arc<AtomicBool>,
    pub(crate) paths: Arc<Mutex<Vec<String>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let paths: Arc<Mutex<Vec<String>>> = Arc::default();
        let (answer, ends, seen) = (Arc::new(answer), stop.clone(), paths.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                let (answer, seen, ends) = (answer.clone(), seen.clone(), ends.clone());
                std::thread::spawn(move || serve(stream.unwrap(), answer.as_ref(), &seen, &ends));
            }
        });
        Self { host, stop, paths, thread: Some(thread) }
    }

    /// A registry with this image under every tag, which asks `twist` first.
    pub(crate) fn registry(
        made: Made,
        twist: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |request| {
            if let Some(answer) = twist(request) {
                return answer;
            }
            if request.path.contains("/manifests/") {
                let kind = "application/vnd.oci.image.manifest.v1+json".to_owned();
                return Answer::Say(200, vec![("Content-Type", kind)], made.manifest.clone());
            }
            let blob = made.blobs.iter().find(|(digest, _)| request.path.ends_with(&digest.to_string()));
            blob.map_or(Answer::Say(404, vec![], vec![]), |(_, bytes)| ok(bytes))
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(&self.host);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(
    stream: TcpStream,
    answer: &dyn Fn(&Request) -> Answer,
    paths: &Mutex<Vec<String>>,
    stop: &AtomicBool,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut out = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap_or(0);
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let length =
            headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, v)| v.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap_or_default();
        let before = {
            let mut paths = paths.lock().unwrap();
            let before = paths.iter().filter(|known| **known == path).count();
            paths.push(path.clone());
            before
        };
        let (status, headers, body, sent) = match answer(&Request { path, headers, before }) {
            Answer::Say(status, headers, body) => (status, headers, body.clone(), body.len()),
            Answer::Cut(status, headers, body, sent) => (status, headers, body, sent),
            Answer::Raw(bytes) => {
                let _ = out.write_all(&bytes);
                return;
            }
            Answer::Hang => {
                while !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                return;
            }
        };
        let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        if out.write_all(head.as_bytes()).and_then(|()| out.write_all(&body[..sent])).is_err()
            || sent < body.len()
        {
            return;
        }
    }
}

/// Settings that ask nobody's configuration, and do not wait long.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings::default();
    for (key, value) in [
        ("plain_http", "*"),
        ("registries_conf", "/dev/null"),
        ("auth_file", "/dev/null"),
        ("timeout", "2"),
        ("retries", "2"),
    ] {
        settings.set(key, value).unwrap();
    }
    settings
}

pub(crate) fn reference(host: &str, rest: &str) -> Reference {
    format!("{host}/{rest}").parse().unwrap()
}

pub(crate) fn pull(store: &Store, host: &str) -> nabe_image::Result<nabe_image::Pulled> {
    pull_with(store, host, &settings())
}

pub(crate) fn pull_with(
    store: &Store,
    host: &str,
    settings: &Settings,
) -> nabe_image::Result<nabe_image::Pulled> {
    nabe_image::pull(store, &reference(host, "a/b:1"), settings, &nabe_image::Options::default(), &())
}

/// The message with its causes.
pub(crate) fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// How many files there are below.
pub(crate) fn files(path: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries.map(|entry| entry.unwrap().path()).map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

/// Whether a program is there; says so when a test cannot run without it.
pub(crate) fn has(test: &str, program: &str) -> bool {
    let paths = std::env::var("PATH").unwrap_or_default();
    let there = paths.split(':').any(|path| Path::new(path).join(program).exists());
    if !there {
        eprintln!("SKIP {test}: no {program} here");
    }
    there
}
