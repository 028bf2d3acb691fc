//! `--export`: what other tools get is whole, in their formats.

#[path = "../../scap/tests/shared/mod.rs"]
mod shared;
mod support;

use serde_json::Value;
use support::nabe;

#[test]
fn formats_are_whole() {
    let Some(data) = shared::data("formats_are_whole") else { return };
    let capture = data.join("scap/libs/curl_google.scap");
    let capture = capture.to_str().unwrap();
    let export = |format: &str| nabe(["replay", capture, "--export", format]).ok();
    let events = nabe(["replay", capture, "--count"]).ok().text().trim().parse::<usize>().unwrap();

    let lines = export("ndjson").lines();
    assert_eq!(lines.len(), events);
    for line in &lines {
        let event: Value = serde_json::from_str(line).unwrap();
        assert!(event["ts_ns"].is_u64() && event["type"].is_string() && event["args"].is_object(), "{line}");
    }

    let chrome: Value = serde_json::from_slice(&export("chrome").stdout).unwrap();
    let slices = chrome["traceEvents"].as_array().unwrap();
    assert!(slices.iter().filter(|event| event["ph"] == "X").count() > 300, "{}", slices.len());

    messages(&export("perfetto").stdout);
    packets(&export("pcapng").stdout);
    assert!(export("strace").text().contains("connect("));
}

/// Walks a protobuf message of messages: everything is of field 1, and its lengths add up.
fn messages(mut bytes: &[u8]) {
    let mut count = 0;
    while let [tag, rest @ ..] = bytes {
        assert_eq!(*tag, 1 << 3 | 2);
        let (mut len, mut shift, mut at) = (0usize, 0, 0);
        loop {
            len |= usize::from(rest[at] & 0x7f) << shift;
            shift += 7;
            at += 1;
            if rest[at - 1] < 0x80 {
                break;
            }
        }
        bytes = &rest[at + len..];
        count += 1;
    }
    assert!(count > 600, "{count}");
}

/// Walks pcapng: lengths fit, and a TCP flow's numbers follow each other.
fn packets(mut bytes: &[u8]) {
    let mut next: std::collections::HashMap<Vec<u8>, u32> = std::collections::HashMap::new();
    let (mut payload, mut opened) = (0usize, 0);
    while !bytes.is_empty() {
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let len = number(4);
        assert_eq!(number(len - 4), len);
        if number(0) == 6 {
            let (captured, original) = (number(20), number(24));
            let packet = &bytes[28..28 + captured];
            assert!(captured <= original);
            let (head, ends, protocol) =
                if packet[0] >> 4 == 4 { (20, 12..20, packet[9]) } else { (40, 8..40, packet[6]) };
            if protocol == 6 {
                let tcp = &packet[head..];
                let key = [&packet[ends], &tcp[..4]].concat();
                let sequence = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
                let is_syn = tcp[13] & 2 != 0;
                opened += usize::from(is_syn);
                let len = original - head - 20;
                payload += len;
                if !is_syn {
                    assert_eq!(*next.get(&key).unwrap_or(&1), sequence);
                }
                next.insert(key, sequence + len as u32 + u32::from(is_syn));
            }
        }
        bytes = &bytes[len..];
    }
    // A request of 78 bytes and its answer.
    assert!(opened >= 2 && payload > 6000, "{opened} {payload}");
}

#[test]
fn wrong_formats_are_told() {
    let run = nabe(["replay", "x", "--export", "csv"]);
    assert_eq!(run.status, Some(2));
    assert!(run.stderr.contains("unknown export format"), "{}", run.stderr);
}

#[test]
fn parquet_is_a_feature() {
    let Some(data) = shared::data("parquet_is_a_feature") else { return };
    let capture = data.join("scap/libs/curl_google.scap");
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("out.parquet");
    let (capture, to) = (capture.to_str().unwrap(), file.to_str().unwrap());
    for arguments in
        [&["--export", "parquet", "-o", to][..], &["--export", &format!("parquet:{to}")], &["--export", to]]
    {
        let run = nabe(["replay", capture].into_iter().chain(arguments.iter().copied()));
        if cfg!(feature = "parquet") {
            run.ok();
            let bytes = std::fs::read(&file).unwrap();
            assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"), "{arguments:?}");
        } else {
            assert_eq!(run.status, Some(2), "{arguments:?}: {}", run.stderr);
            assert!(run.stderr.contains("--features parquet"), "{}", run.stderr);
            assert!(!file.exists());
        }
    }
}

#[test]
fn an_export_goes_where_it_is_to() {
    let Some(data) = shared::data("an_export_goes_where_it_is_to") else { return };
    let capture = data.join("scap/falco-0.34.1/cat_write.scap");
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("out");
    let (capture, to) = (capture.to_str().unwrap(), file.to_str().unwrap());
    let want = nabe(["replay", capture, "--export", "ndjson"]).ok().stdout;
    // Lines of events have stdout for themselves.
    let run = nabe(["replay", capture, "--export", "ndjson", "-o", to]).ok();
    assert_eq!(run.stdout, nabe(["replay", capture]).ok().stdout);
    assert_eq!(std::fs::read(&file).unwrap(), want);
    for wrong in [
        &["-o", to][..],
        &["--export", "ndjson:x", "-o", to],
        &["--export", "ndjson", "--export", "chrome", "-o", to],
    ] {
        let run = nabe(["replay", capture].into_iter().chain(wrong.iter().copied()));
        assert_eq!(run.status, Some(2), "{wrong:?}: {}", run.stderr);
    }
}
