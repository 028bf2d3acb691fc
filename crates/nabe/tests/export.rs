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
