//! Registries that lie, hang, stutter or send people elsewhere.

mod support;

use nabe_image::{Digest, Error, Store};
use support::{Answer, Made, Request, Server, Tar, image, ok, pull, pull_with, reference, settings, words};

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    (directory, store)
}

fn layer() -> Vec<u8> {
    Tar::new().directory("d").file("d/f", &vec![b'x'; 300_000]).end()
}

fn made() -> Made {
    image(&[layer()])
}

fn is_layer(request: &Request) -> bool {
    request.path.ends_with(&Digest::of(&layer()).to_string())
}

#[track_caller]
fn fails(twist: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static) -> String {
    let (_directory, store) = store();
    let server = Server::registry(made(), twist);
    let error = pull(&store, &server.host).map(|_| ()).expect_err("the pull succeeded");
    assert!(store.images().unwrap().is_empty());
    words(&error)
}

#[test]
fn an_honest_one_is_believed() {
    let (_directory, store) = store();
    let server = Server::registry(made(), |_| None);
    let pulled = pull(&store, &server.host).unwrap();
    assert!(!pulled.up_to_date && pulled.fetched > 300_000);
    let again = pull(&store, &server.host).unwrap();
    assert!(again.up_to_date && again.fetched == 0);
    let lower = again.image.lower_dirs().unwrap();
    assert_eq!(std::fs::read(lower[0].join("d/f")).unwrap(), vec![b'x'; 300_000]);
}

#[test]
fn garbage_is_named() {
    for garbage in ["<html>", "{}", "[1]", "null", "{\"schemaVersion\":1,\"fsLayers\":[]}"] {
        let text = fails(move |request| request.path.contains("manifests").then(|| ok(garbage.as_bytes())));
        assert!(text.contains("is invalid"), "{garbage}: {text}");
    }
    let text = fails(|_| Some(Answer::Raw(b"SSH-2.0-x\r\n\r\n".to_vec())));
    assert!(text.starts_with("cannot get manifest"), "{text}");
    let text = fails(|request| request.path.contains("manifests").then(|| ok(&vec![b' '; 5 << 20])));
    assert!(text.contains("expected 4194304"), "{text}");
}

#[test]
fn wrong_content_is_not_taken() {
    let mut other = layer();
    other[600] ^= 1;
    let text = fails(move |request| is_layer(request).then(|| ok(&other)));
    assert!(text.contains("has digest"), "{text}");
    let text = fails(|request| is_layer(request).then(|| ok(&layer()[..1000])));
    assert!(text.contains("has 1000 bytes"), "{text}");
    let text = fails(|request| is_layer(request).then(|| ok(&[layer(), layer()].concat())));
    assert!(text.contains("bytes, expected"), "{text}");
    let lie = Digest::of(b"something else").to_string();
    let text = fails(move |request| {
        let headers = vec![("Docker-Content-Digest", lie.clone())];
        request.path.contains("manifests").then(|| Answer::Say(200, headers, made().manifest))
    });
    assert!(text.contains("has digest"), "{text}");
}

#[test]
fn one_that_hangs_is_given_up() {
    let mut short = settings();
    short.set("timeout", "1").unwrap();
    for hang_at in ["manifests", "blobs"] {
        let (_directory, store) = store();
        let server =
            Server::registry(made(), move |request| request.path.contains(hang_at).then_some(Answer::Hang));
        let error = pull_with(&store, &server.host, &short).map(|_| ()).unwrap_err();
        assert!(words(&error).contains("timeout"), "{hang_at}: {}", words(&error));
    }
}

#[test]
fn redirects_end() {
    let text = fails(|request| Some(Answer::Say(307, vec![("Location", request.path.clone())], vec![])));
    assert!(text.contains("redirect"), "{text}");
}

#[test]
fn credentials_do_not_follow_a_redirect() {
    let target = Server::start(|request| {
        assert_eq!(request.header("authorization"), None);
        ok(&layer())
    });
    let elsewhere = format!("http://{}/blob", target.host);
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let server = Server::registry(made(), move |request| {
        if request.header("authorization") != Some("Basic YTpi") {
            return Some(Answer::Say(401, vec![("WWW-Authenticate", "Basic realm=\"x\"".into())], vec![]));
        }
        is_layer(request).then(|| Answer::Say(307, vec![("Location", elsewhere.clone())], vec![]))
    });
    let auth = directory.path().join("auth.json");
    std::fs::write(&auth, format!(r#"{{"auths":{{"{}":{{"auth":"YTpi"}}}}}}"#, server.host)).unwrap();
    let mut settings = settings();
    settings.auth_file = Some(auth);
    pull_with(&store, &server.host, &settings).unwrap();
    assert_eq!(target.paths.lock().unwrap().len(), 1);
}

#[test]
fn tokens_are_fetched_and_renewed() {
    let (_directory, store) = store();
    let tokens = Server::start(|request| {
        assert!(request.path.contains("scope=repository%3Aa%2Fb%3Apull"), "{}", request.path);
        assert!(request.path.contains("service=here"), "{}", request.path);
        ok(format!(r#"{{"token":"t{}"}}"#, request.before).as_bytes())
    });
    let realm = format!(
        "Bearer realm=\"http://{}/token\",service=\"here\",scope=\"repository:a/b:pull\"",
        tokens.host
    );
    let server = Server::registry(made(), move |request| {
        // The first token has run out when the layer is asked for.
        let wanted = if is_layer(request) { "Bearer t1" } else { "Bearer t" };
        let fine = request.header("authorization").is_some_and(|shown| shown.starts_with(wanted));
        (!fine).then(|| Answer::Say(401, vec![("WWW-Authenticate", realm.clone())], vec![]))
    });
    pull(&store, &server.host).unwrap();
    assert_eq!(tokens.paths.lock().unwrap().len(), 2);
}

#[test]
fn a_wrong_password_is_said() {
    let text = fails(|_| {
        let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#.to_vec();
        Some(Answer::Say(401, vec![("WWW-Authenticate", "Basic realm=\"x\"".into())], body))
    });
    assert!(text.contains("answered 401") && text.contains("authentication required"), "{text}");
}

#[test]
fn what_may_pass_is_tried_again() {
    let (_directory, store) = store();
    let server =
        Server::registry(made(), |request| (request.before == 0).then(|| Answer::Say(503, vec![], vec![])));
    pull(&store, &server.host).unwrap();
    let text = fails(|_| Some(Answer::Say(500, vec![], vec![])));
    assert!(text.contains("answered 500"), "{text}");
}

#[test]
fn a_blob_is_resumed_where_it_broke_off() {
    for honours_ranges in [true, false] {
        let (_directory, store) = store();
        let server = Server::registry(made(), move |request| {
            if !is_layer(request) {
                return None;
            }
            let whole = layer();
            let from: usize = match request.header("range") {
                Some(range) if honours_ranges => {
                    range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()?
                }
                _ => 0,
            };
            let range = format!("bytes {from}-{}/{}", whole.len() - 1, whole.len());
            let (status, headers) =
                if from > 0 { (206, vec![("Content-Range", range)]) } else { (200, vec![]) };
            let rest = whole[from..].to_vec();
            if request.before == 0 {
                return Some(Answer::Cut(status, headers, rest, 100_000));
            }
            if honours_ranges {
                assert!(from > 0, "it was not resumed");
            }
            Some(Answer::Say(status, headers, rest))
        });
        let pulled = pull(&store, &server.host).unwrap();
        assert!(pulled.image.lower_dirs().unwrap()[0].join("d/f").exists());
    }
}

#[test]
fn a_damaged_beginning_is_fetched_again() {
    let (directory, store) = store();
    let digest = Digest::of(&layer());
    std::fs::write(directory.path().join("images/ingest").join(digest.hex()), vec![0; 1000]).unwrap();
    let server = Server::registry(made(), |request| {
        if !is_layer(request) {
            return None;
        }
        let from: usize = request.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()?;
        let whole = layer();
        let range = format!("bytes {from}-{}/{}", whole.len() - 1, whole.len());
        Some(Answer::Say(206, vec![("Content-Range", range)], whole[from..].to_vec()))
    });
    pull(&store, &server.host).unwrap();
}

#[test]
fn a_mirror_is_asked_first_and_may_fail() {
    let (_directory, store) = store();
    let mirror = Server::start(|_| Answer::Say(404, vec![], vec![]));
    let server = Server::registry(made(), |_| None);
    let mut settings = settings();
    settings.set("mirrors", &format!("{}={}/m", server.host, mirror.host)).unwrap();
    pull_with(&store, &server.host, &settings).unwrap();
    assert_eq!(*mirror.paths.lock().unwrap(), ["/v2/m/a/b/manifests/1"]);
}

#[test]
fn an_index_is_chosen_from() {
    let (_directory, store) = store();
    let image = made();
    let digest = Digest::of(&image.manifest);
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
        {{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":5,"platform":{{"os":"linux","architecture":"s390x"}}}},
        {{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{},"platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}}]}}"#,
        Digest::of(b"other"),
        image.manifest.len()
    );
    let server =
        Server::registry(image, move |request| request.path.ends_with("/1").then(|| ok(index.as_bytes())));
    let pull = |platform: &str| {
        let options = nabe_image::Options { platform: Some(platform.parse().unwrap()), no_unpack: false };
        nabe_image::pull(&store, &reference(&server.host, "a/b:1"), &settings(), &options, &())
    };
    assert_eq!(pull("linux/arm64").unwrap().image.id.manifest, digest);
    let error = pull("linux/riscv64").map(|_| ()).unwrap_err();
    assert!(matches!(&error, Error::Platform { offered, .. } if offered.contains("linux/s390x")), "{error}");
    let error = pull("linux/s390x").map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("expected 5"), "{error}");
}

/// An image of one layer, packed.
fn packed_image(whole: &[u8], packed: Vec<u8>, kind: &str) -> Made {
    let mut made = image(&[whole.to_vec()]);
    let manifest = String::from_utf8(made.manifest.clone()).unwrap();
    let manifest = manifest
        .replace(&Digest::of(whole).to_string(), &Digest::of(&packed).to_string())
        .replace(&format!("\"size\":{}", whole.len()), &format!("\"size\":{}", packed.len()))
        .replace("layer.v1.tar\"", &format!("layer.v1.{kind}\""));
    assert!(manifest.contains(kind));
    made.manifest = manifest.into_bytes();
    made.blobs[1] = (Digest::of(&packed), packed);
    made
}

#[test]
fn a_bomb_is_named_by_its_digest() {
    use std::io::Write as _;
    let long = [Tar::new().file("f", b"1").end(), vec![0; 4 << 20]].concat();
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&long).unwrap();
    let packed = packer.finish().unwrap();
    let digest = Digest::of(&packed).to_string();
    let server = Server::registry(packed_image(&long, packed, "tar+gzip"), |_| None);
    let (directory, store) = store();
    let mut settings = settings();
    settings.set("max_layer_bytes", "1000000").unwrap();
    settings.set("max_layer_entries", "10").unwrap();
    let text = words(&pull_with(&store, &server.host, &settings).map(|_| ()).unwrap_err());
    assert!(text.starts_with(&format!("layer {digest} refused")), "{text}");
    assert!(text.contains("a decompression bomb"), "{text}");
    assert_eq!(support::files(&directory.path().join("images/layers")), 0);
}

/// Layers as lazy pullers make them: gzip of several members (eStargz), zstd of several frames with others to be
/// skipped between them (zstd:chunked).
#[test]
fn layers_in_several_pieces_are_whole() {
    use std::io::Write as _;
    let whole = layer();
    let gzip = |bytes: &[u8]| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"toc"].concat();
    let (one, two) = whole.split_at(1000);
    for (kind, packed) in [
        ("tar+gzip", [gzip(one), gzip(two), gzip(b"")].concat()),
        ("tar+zstd", [zstd(one), skipped.clone(), zstd(two), skipped].concat()),
    ] {
        let (_directory, store) = store();
        let image = packed_image(&whole, packed, kind);
        let server = Server::registry(image, |_| None);
        let pulled = pull(&store, &server.host).unwrap();
        let lower = pulled.image.lower_dirs().unwrap();
        assert_eq!(std::fs::read(lower[0].join("d/f")).unwrap(), vec![b'x'; 300_000], "{kind}");
    }
}
