//! The Kafka channel against a broker that speaks just enough: versions, metadata, produce. What it was
//! sent is looked at byte by byte where it matters, so that no library of ours reads what it wrote itself.
#![cfg(feature = "kafka")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use nabe_event::alert::{Alert, Datum, Priority};
use nabe_output::channel::kafka::Kafka;
use nabe_output::{Channel as _, Render};

const PRODUCE: i16 = 0;
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
/// "The version of API is not supported."
const UNSUPPORTED: i16 = 35;

/// What a producer sent: a topic, a partition, its records.
type Sent = (String, i32, Vec<u8>);

/// Reads big-endian numbers, texts and bytes from the front.
struct Wire<'a>(&'a [u8]);

impl<'a> Wire<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(count);
        self.0 = rest;
        front
    }
    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take(2).try_into().unwrap())
    }
    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().unwrap())
    }
    fn text(&mut self) -> Option<String> {
        let len = usize::try_from(self.i16()).ok()?;
        Some(String::from_utf8(self.take(len).to_vec()).unwrap())
    }
}

/// Builds an answer.
#[derive(Default)]
struct Answer(Vec<u8>);

impl Answer {
    fn i16(mut self, number: i16) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }
    fn i32(mut self, number: i32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }
    fn i64(mut self, number: i64) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }
    fn text(self, text: &str) -> Self {
        let mut answer = self.i16(i16::try_from(text.len()).unwrap());
        answer.0.extend(text.as_bytes());
        answer
    }
}

/// Answers the requests of one connection until it ends. `topic` is the only one there is; `error` is
/// what each record gets.
fn converse(mut stream: TcpStream, at: SocketAddr, topic: &str, error: i16, sent: &Sender<Sent>) {
    loop {
        let mut size = [0; 4];
        if stream.read_exact(&mut size).is_err() {
            return;
        }
        let mut request = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
        stream.read_exact(&mut request).unwrap();
        let mut wire = Wire(&request);
        let (api, version, correlation) = (wire.i16(), wire.i16(), wire.i32());
        let answer = Answer::default().i32(correlation);
        let answer = match api {
            API_VERSIONS if version > 0 => answer.i16(UNSUPPORTED).i32(0),
            API_VERSIONS => {
                let apis = [(PRODUCE, 3), (METADATA, 0), (API_VERSIONS, 0)];
                apis.iter().fold(answer.i16(0).i32(3), |answer, (api, version)| {
                    answer.i16(*api).i16(*version).i16(*version)
                })
            }
            METADATA => {
                let broker = answer.i32(1).i32(7).text(&at.ip().to_string()).i32(i32::from(at.port()));
                // One topic with one partition, which the broker leads.
                broker.i32(1).i16(0).text(topic).i32(1).i16(0).i32(0).i32(7).i32(1).i32(7).i32(1).i32(7)
            }
            PRODUCE => {
                let _client = wire.text();
                let (_transaction, _acks, _timeout) = (wire.text(), wire.i16(), wire.i32());
                assert_eq!(wire.i32(), 1, "topics");
                let name = wire.text().unwrap();
                assert_eq!(wire.i32(), 1, "partitions");
                let partition = wire.i32();
                let len = usize::try_from(wire.i32()).unwrap();
                sent.send((name.clone(), partition, wire.take(len).to_vec())).unwrap();
                answer.i32(1).text(&name).i32(1).i32(partition).i16(error).i64(0).i64(-1).i32(0)
            }
            other => panic!("request {other} of version {version}"),
        };
        stream.write_all(&i32::try_from(answer.0.len()).unwrap().to_be_bytes()).unwrap();
        stream.write_all(&answer.0).unwrap();
    }
}

fn broker(topic: &'static str, error: i16) -> (String, Receiver<Sent>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let (sender, sent) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            std::thread::spawn(move || converse(stream, at, topic, error, &sender));
        }
    });
    (at.to_string(), sent)
}

fn alert(number: u64) -> Arc<Alert> {
    Arc::new(Alert {
        ts_ns: 1_470_327_477_881_781_397,
        priority: Priority::Warning,
        rule: "Read sensitive file".into(),
        source: "syscall".into(),
        hostname: "h".into(),
        tags: Box::new([]),
        message: format!("alert number {number}").into(),
        fields: [("n".into(), Datum::Uint(number))].into(),
    })
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn alerts_arrive_as_records_with_their_rule_as_key() {
    let (address, sent) = broker("alerts", 0);
    let render = Render { json: true, ..Render::default() };
    let mut channel = Kafka::new(vec![address], "alerts", Render::default()).unwrap();
    let all: Vec<_> = (1..=3).map(alert).collect();
    channel.deliver(&all[..2]).unwrap();
    // The connection is kept.
    channel.deliver(&all[2..]).unwrap();
    let (first, second) = (sent.recv().unwrap(), sent.recv().unwrap());
    for ((topic, partition, records), alerts) in [(&first, &all[..2]), (&second, &all[2..])] {
        assert_eq!((topic.as_str(), *partition), ("alerts", 0));
        // A batch of the current format: base offset, length, epoch, magic 2; 57 bytes in, its count.
        let mut head = Wire(records);
        head.take(16);
        assert_eq!(head.take(1), [2]);
        head.take(40);
        assert_eq!(usize::try_from(head.i32()).unwrap(), alerts.len());
        for alert in alerts {
            assert!(holds(records, "Read sensitive file") && holds(records, &render.line(alert)));
        }
    }
    assert!(!holds(&second.2, "alert number 1"));
}

#[test]
fn what_a_broker_refuses_is_told() {
    // Error 29: the topic may not be written to.
    let (address, _sent) = broker("alerts", 29);
    let mut channel = Kafka::new(vec![address.clone()], "alerts", Render::default()).unwrap();
    let failure = channel.deliver(&[alert(1)]).unwrap_err();
    assert_eq!(failure.delivered, 0);
    let told = failure.error.to_string();
    assert!(told.contains("alerts") && told.contains(&address), "{told}");
}
