//! Pulling from registries as they are in the wild: certificates of one's own, token services,
//! credential helpers, other compressions. docker-registry and openssl are Debian's.

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use support::registry::Registry;
use support::{Need, Run, command, has};

/// Bytes of a file in the image, which has six.
const BYTES: usize = 20_000;

/// A CA, certificates of it for servers (`server` by address, `other` by another name, `old` run out) and for
/// a client, and such that are CA and server at once, as Docker's recipe makes them: `own` is for the address,
/// `named` for another name, `used` for clients, `old` has run out, `below` has another CA above it.
const CERTIFICATES: &str = r#"cd "$1"
    request() { openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -subj "/CN=$1" -out "$1.csr" 2>/dev/null; }
    sign() { openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days "$2" -extfile "$1.ext" -out "$1.crt" 2>/dev/null; }
    openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -subj /CN=test-ca -days 2 -out ca.crt 2>/dev/null
    echo 'subjectAltName = IP:127.0.0.1' > server.ext
    echo 'subjectAltName = DNS:registry.lan' > other.ext
    echo 'extendedKeyUsage = clientAuth' > client.ext
    for name in server other client; do request $name; sign $name 2; done
    own() { openssl req -x509 -newkey rsa:2048 -nodes -keyout "$1.key" -subj "/CN=$1" -addext "subjectAltName = $2" -addext "$3" -days 2 -out "$1.crt" 2>/dev/null; }
    own own IP:127.0.0.1 keyUsage=digitalSignature,keyCertSign
    own named DNS:registry.lan keyUsage=digitalSignature,keyCertSign
    own used IP:127.0.0.1 extendedKeyUsage=clientAuth
    printf 'basicConstraints = CA:TRUE\nsubjectAltName = IP:127.0.0.1\n' > below.ext
    request below; sign below 2
    printf '[ca]\ndefault_ca=d\n[d]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n[e]\nbasicConstraints=CA:TRUE\nsubjectAltName=IP:127.0.0.1\n' > old.conf
    : > index; request old
    openssl ca -config old.conf -selfsign -batch -create_serial -keyfile old.key -in old.csr -out old.crt -notext -startdate 20200101000000Z -enddate 20200102000000Z 2>/dev/null"#;

struct Place {
    registry: Registry,
    root: u32,
}

impl Place {
    fn new(test: &str) -> Option<Self> {
        Self::pushed_with(test, &[])
    }

    fn pushed_with(test: &str, options: &[&str]) -> Option<Self> {
        if !has(test, &[Need::Program("openssl")]) {
            return None;
        }
        let registry = Registry::start_with(test, BYTES, options)?;
        let place = registry.path("").display().to_string();
        Run::of(command("sh").args(["-ec", CERTIFICATES, "sh", &place])).ok();
        Some(Self { registry, root: 0 })
    }

    fn at(&self, name: &str) -> String {
        self.registry.path(name).display().to_string()
    }

    /// A part of docker-registry's `http` section.
    fn tls(&self, name: &str) -> String {
        format!(
            ", tls: {{certificate: {}, key: {}}}",
            self.at(&format!("{name}.crt")),
            self.at(&format!("{name}.key"))
        )
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.registry.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    /// Pulls into a store of its own, with our directory as home.
    fn pull(&mut self, host: &str, options: &[&str], variables: &[(&str, &str)]) -> Run {
        self.root += 1;
        let root = self.registry.path(&format!("root{}", self.root));
        let image = format!("{host}/x:1");
        let mut pull = self.registry.command(&root, &["pull", "--retries", "0", &image]);
        pull.args(options).env("HOME", self.registry.path("")).envs(variables.iter().copied());
        let run = Run::of(&mut pull);
        if run.status == Some(0) {
            self.registry.check(&root, &image);
        }
        run
    }

    #[track_caller]
    fn fails(&mut self, host: &str, options: &[&str], words: &[&str]) {
        let run = self.pull(host, options, &[]);
        assert_eq!(run.status, Some(1), "{}", run.stderr);
        for words in words {
            assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
        }
    }
}

#[test]
fn certificates_are_believed_when_somebody_says_so() {
    let Some(mut place) = Place::new("registries::certificates") else { return };
    let front = place.registry.front(&place.tls("server"), "");
    let host = front.host.as_str();
    place.fails(host, &[], &["certificate", "hint: nobody whom this machine believes", "--ca FILE"]);
    place.fails(host, &["--plain-http"], &["answered 400"]);
    let ca = place.at("ca.crt");
    place.pull(host, &["--ca", &ca], &[]).ok();
    place.pull(host, &["--ca", &ca, "--tls-verify"], &[]).ok();
    place.pull(host, &["--tls-verify=false"], &[]).ok();
    place.pull(host, &[], &[("SSL_CERT_FILE", &ca)]).ok();
    place.write("config.toml", &format!("[images]\nca = \"{ca}\"\n"));
    place.pull(host, &[], &[("NABE_CONFIG", &place.at("config.toml"))]).ok();
    place.write("insecure.conf", &format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n"));
    place.pull(host, &["--registries-conf", &place.at("insecure.conf")], &[]).ok();
    let text = std::fs::read_to_string(&ca).expect("the CA");
    place.write(&format!(".config/containers/certs.d/{host}/ca.crt"), &text);
    place.pull(host, &[], &[]).ok();
    // What is there must be of use.
    place.fails(host, &["--ca", "/nonexistent/ca"], &["cannot read /nonexistent/ca"]);
    place.fails(host, &["--ca", &place.at("ca.key")], &["ca.key is invalid", "no certificate"]);
}

#[test]
fn wrong_certificates_are_explained() {
    let Some(mut place) = Place::new("registries::wrong") else { return };
    let ca = place.at("ca.crt");
    let other = place.registry.front(&place.tls("other"), "");
    place.fails(&other.host, &["--ca", &ca], &["hint: the certificate is not for the name 127.0.0.1"]);
    let plain = place.registry.host.clone();
    place.fails(&plain, &[], &["hint: 127.0.0.1:", "does not speak TLS; --plain-http asks it without"]);
}

/// Docker's recipe: one certificate that is CA and server, given to those who pull.
#[test]
fn a_ca_that_serves_is_believed_when_it_is_named_itself() {
    let Some(mut place) = Place::new("registries::own") else { return };
    let own = place.registry.front(&place.tls("own"), "");
    place.fails(&own.host, &[], &["hint: the certificate of", "must be believed itself"]);
    place.fails(&own.host, &["--ca", &place.at("ca.crt")], &["CaUsedAsEndEntity"]);
    place.pull(&own.host, &["--ca", &place.at("own.crt")], &[]).ok();
    let text = std::fs::read_to_string(place.at("own.crt")).expect("made");
    place.write(&format!(".config/containers/certs.d/{}/ca.crt", own.host), &text);
    place.pull(&own.host, &[], &[]).ok();

    // Named, but not for this name, this use, this time; and not named, though a believed CA signed it.
    for (name, ca, words) in [
        ("named", "named", "hint: the certificate is not for the name 127.0.0.1"),
        ("used", "used", "InvalidPurpose"),
        ("old", "old", "hint: renew the registry's certificate"),
        ("below", "ca", "CaUsedAsEndEntity"),
    ] {
        let front = place.registry.front(&place.tls(name), "");
        place.fails(&front.host, &["--ca", &place.at(&format!("{ca}.crt"))], &[words]);
    }
    let below = place.registry.front(&place.tls("below"), "");
    place.pull(&below.host, &["--ca", &place.at("below.crt")], &[]).ok();
}

/// A registry without TLS may send us to a place that has it.
#[test]
fn a_plain_registry_leads_to_tls() {
    let Some(mut place) = Place::new("registries::redirect") else { return };
    let front = place.registry.front(&place.tls("server"), "");
    let (base, ca) = (format!("https://{}", front.host), place.at("ca.crt"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("its address").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
            let mut first = String::new();
            reader.read_line(&mut first).expect("a line");
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
                line.clear();
            }
            let path = first.split(' ').nth(1).unwrap_or_default();
            let answer = format!(
                "HTTP/1.1 307 X\r\nLocation: {base}{path}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).expect("sent");
        }
    });
    place.pull(&host, &["--plain-http", "--ca", &ca], &[]).ok();
    place.fails(&host, &["--plain-http"], &["UnknownIssuer"]);
}

#[test]
fn certificates_of_ours_are_shown() {
    let Some(mut place) = Place::new("registries::client") else { return };
    let clients =
        place.tls("server").replace("tls: {", &format!("tls: {{clientcas: [{}], ", place.at("ca.crt")));
    let front = place.registry.front(&clients, "");
    let ca = place.at("ca.crt");
    place.fails(&front.host, &["--ca", &ca], &["hint: 127.0.0.1:", "wants to see a certificate of ours"]);
    let read = |name: &str| std::fs::read_to_string(place.registry.path(name)).expect("made");
    let (certificate, key) = (read("client.crt"), read("client.key"));
    let directory = format!(".config/containers/certs.d/{}", front.host);
    place.write(&format!("{directory}/client.cert"), &certificate);
    place.fails(&front.host, &["--ca", &ca], &["cannot read", "client.key"]);
    place.write(&format!("{directory}/client.key"), &key);
    place.pull(&front.host, &["--ca", &ca], &[]).ok();
}

/// A token service: a token that opens, or one that does not, by what it is shown.
struct Tokens {
    host: String,
    /// What was asked: method, path, body.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tokens {
    /// Its thread ends with the test's process.
    fn start(opens: String, closed: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = listener.local_addr().expect("its address").to_string();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &opens, &closed, &seen);
            }
        });
        Self { host, asked }
    }
}

/// One request, one answer. `user:sesame` and the refresh token `refresh me` are good.
fn answer(mut stream: TcpStream, opens: &str, closed: &str, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    let (mut first, mut shown, mut length) = (String::new(), None, 0);
    reader.read_line(&mut first).expect("a line");
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        let lower = line.trim_end().to_ascii_lowercase();
        let Some((name, value)) = lower.split_once(": ") else { break };
        match name {
            "authorization" => shown = line.trim_end().split_once(": ").map(|(_, value)| value.to_owned()),
            "content-length" => length = value.parse().expect("a number"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    let body = String::from_utf8_lossy(&body).into_owned();
    let asked: Vec<&str> = first.split(' ').collect();
    seen.lock().expect("whole").push(format!("{} {} {body}", asked[0], asked[1]));
    let refreshed = body.contains("grant_type=refresh_token") && body.contains("refresh_token=refresh");
    let (status, text) = match (asked[0], shown.as_deref()) {
        ("POST", _) if refreshed => (200, format!(r#"{{"access_token":"{opens}"}}"#)),
        ("GET", Some("Basic dXNlcjpzZXNhbWU=")) => (200, format!(r#"{{"token":"{opens}"}}"#)),
        ("GET", None) => (200, format!(r#"{{"token":"{closed}"}}"#)),
        _ => (401, r#"{"details":"incorrect username or password"}"#.to_owned()),
    };
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
    stream.write_all((head + &text).as_bytes()).expect("sent");
}

/// A JSON web token, signed with the CA's key: $2 is what it opens.
const TOKEN: &str = r#"cd "$1"
    url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
    now=$(date +%s)
    head=$(printf '{"typ":"JWT","alg":"RS256","x5c":["%s"]}' "$(openssl x509 -in ca.crt -outform DER | openssl base64 -A)" | url)
    claims=$(printf '{"iss":"issuer","sub":"user","aud":"service","exp":%d,"nbf":%d,"iat":%d,"jti":"1","access":%s}' \
        $((now + 3600)) $((now - 60)) "$now" "$2" | url)
    printf '%s.%s.%s' "$head" "$claims" "$(printf '%s.%s' "$head" "$claims" | openssl dgst -sha256 -sign ca.key -binary | url)""#;

#[test]
fn tokens_passwords_and_helpers() {
    let Some(mut place) = Place::new("registries::tokens") else { return };
    let directory = place.at("");
    let token =
        |access: &str| Run::of(command("sh").args(["-ec", TOKEN, "sh", &directory, access])).ok().text();
    let tokens =
        Tokens::start(token(r#"[{"type":"repository","name":"x","actions":["pull"]}]"#), token("[]"));
    let auth = format!(
        "auth: {{token: {{realm: 'http://{}/token', service: service, issuer: issuer, rootcertbundle: {}}}}}\n",
        tokens.host,
        place.at("ca.crt")
    );
    let front = place.registry.front("", &auth);
    let host = front.host.as_str();
    let plain = &["--plain-http"][..];
    place.fails(host, plain, &["answered 401", "hint: log in with `podman login 127.0.0.1:"]);
    let asked = || std::mem::take(&mut *tokens.asked.lock().expect("whole"));
    assert_eq!(asked(), ["GET /token?scope=repository%3Ax%3Apull&service=service "]);

    // A file of Docker's, and one of containers'.
    let entry = |pair: &str| format!(r#"{{"auths":{{"{host}":{{"auth":"{pair}"}}}}}}"#);
    place.write(".docker/config.json", &entry("dXNlcjpzZXNhbWU="));
    place.pull(host, plain, &[]).ok();
    place.write(".docker/config.json", &entry("dXNlcjp3cm9uZw=="));
    place.fails(host, plain, &["answered 401 for a token: incorrect username or password"]);
    place.write("run/containers/auth.json", &entry("dXNlcjpzZXNhbWU="));
    place.pull(host, plain, &[("XDG_RUNTIME_DIR", &place.at("run"))]).ok();
    place.pull(host, plain, &[("REGISTRY_AUTH_FILE", &place.at("run/containers/auth.json"))]).ok();
    place.pull(host, &["--plain-http", "--auth-file", &place.at("run/containers/auth.json")], &[]).ok();

    // An identity token is traded for others.
    asked();
    place.write(
        ".docker/config.json",
        &format!(r#"{{"auths":{{"{host}":{{"identitytoken":"refresh me"}}}}}}"#),
    );
    place.pull(host, plain, &[]).ok();
    assert!(asked()[0].starts_with("POST /token grant_type=refresh_token&"));

    // Helpers: the registry's own, then the one for all.
    let path = format!("{}:{}", place.at("bin"), std::env::var("PATH").unwrap_or_default());
    let helped = |place: &mut Place, answer: &str, config: &str| {
        place.write(
            "bin/docker-credential-test",
            &format!("#!/bin/sh\n[ \"$1\" = get ] && cat > {}\n{answer}\n", place.at("helped")),
        );
        let helper = place.registry.path("bin/docker-credential-test");
        std::fs::set_permissions(helper, std::fs::Permissions::from_mode(0o755)).expect("its mode");
        place.write(".docker/config.json", config);
        place.pull(host, plain, &[("PATH", &path)])
    };
    let own = format!(r#"{{"credHelpers":{{"{host}":"test"}}}}"#);
    let all = r#"{"auths":{},"credsStore":"test"}"#;
    let good = r#"echo '{"ServerURL":"x","Username":"user","Secret":"sesame"}'"#;
    for config in [own.as_str(), all] {
        helped(&mut place, good, config).ok();
        assert_eq!(std::fs::read_to_string(Path::new(&place.at("helped"))).expect("asked"), host);
    }
    helped(&mut place, r#"echo '{"Username":"<token>","Secret":"refresh me"}'"#, all).ok();
    for (answer, config, words) in [
        ("echo 'credentials not found in native keychain'; exit 1", all, "answered 401 for manifest"),
        ("echo 'no keychain is open'; exit 1", all, "from docker-credential-test: no keychain is open"),
        ("echo garbage", all, "from docker-credential-test: expected value"),
        (good, r#"{"credsStore":"absent"}"#, "from docker-credential-absent: No such file"),
    ] {
        let run = helped(&mut place, answer, config);
        assert_eq!(run.status, Some(1), "{answer}");
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
}

#[test]
fn layers_of_zstd_and_a_mirror_that_died() {
    let zstd = ["--dest-compress", "--dest-compress-format", "zstd"];
    let Some(mut place) = Place::pushed_with("registries::zstd", &zstd) else { return };
    let original = place.registry.host.clone();
    place.pull(&original, &["--plain-http"], &[]).ok();
    let image = place.registry.image();
    let listed = place.registry.nabe(&place.registry.path("root1"), &["inspect-image", &image]);
    let layer = listed.ok().json()[0]["layers"][0].to_string();
    assert!(layer.contains("zstd"), "{layer}");

    // The mirror goes away, the registry answers; then the registry is gone, and its mirror does.
    let mirror = place.registry.front("", "");
    let conf = format!(
        "[[registry]]\nlocation = \"{original}\"\n[[registry.mirror]]\nlocation = \"127.0.0.1:1\"\n[[registry.mirror]]\nlocation = \"{}\"\n",
        mirror.host
    );
    place.write("registries.conf", &conf);
    let conf = place.at("registries.conf");
    place.registry.end();
    let pulled = place.pull(&original, &["--plain-http", "--registries-conf", &conf], &[]).ok();
    assert!(pulled.stderr.contains("instead"), "{}", pulled.stderr);
}
