//! The way to systemd: one connection, calls, and the end of a job.
//!
//! systemd listens on a private socket (root's `/run/systemd/private`, a user's
//! `$XDG_RUNTIME_DIR/systemd/private`), on which `systemctl` talks to it, and on the message bus. On the
//! private socket there is no bus: no name to ask for, no match to add, and signals come to everybody.
//!
//! Bytes of a connection, as the D-Bus specification has them: a zero byte; lines of SASL until `BEGIN`;
//! then messages. A message is a header of 16 bytes (byte order, type, flags, version, length of the
//! body, serial, length of the fields), an array of fields `(code, variant)`, padding to 8, and the body.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeStruct as _, Serializer};
use zbus::wire::serialized::{Context, Data};
use zbus::wire::{DynamicType, Endian, ObjectPath, Signature, Str, Type, Variant, to_bytes};

/// How long systemd may take for an answer or a job, as runc has it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest message that is read; systemd's answers to us are a few hundred bytes.
const LONGEST: usize = 1 << 20;

/// systemd's name, object and interface.
const NAME: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";

const CALL: u8 = 1;
const REPLY: u8 = 2;
const FAILURE: u8 = 3;
const SIGNAL: u8 = 4;

/// What goes wrong between systemd and us.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The connection broke, or nothing came in time.
    #[error("the connection to systemd")]
    Socket(#[from] io::Error),
    /// The other side does not want us, or speaks something else.
    #[error("{0}")]
    Protocol(&'static str),
    /// A value that cannot be written or read.
    #[error("a D-Bus value")]
    Value(#[from] zbus::Error),
    /// systemd said no.
    #[error("{text} ({name})")]
    Refused { name: String, text: String },
    /// A job ended otherwise than done.
    #[error("its job ended as \"{0}\"")]
    Job(String),
}

impl Fault {
    /// Whether systemd said no with this error of its own.
    pub(crate) fn is(&self, error: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name.strip_prefix(NAME) == Some(error))
    }
}

/// Where a connection may be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// systemd itself.
    Private(PathBuf),
    /// A message bus in the file system.
    Bus(PathBuf),
    /// A message bus by an abstract name.
    AbstractBus(Vec<u8>),
}

/// The places of the system's manager, or of the user's, the most direct first. `variable` reads the environment.
pub(crate) fn places(user: bool, variable: impl Fn(&str) -> Option<OsString>) -> Vec<Place> {
    let address = |name| variable(name).map(|text| bus_places(&text.into_vec())).unwrap_or_default();
    if !user {
        let mut places = vec![Place::Private("/run/systemd/private".into())];
        places.extend(address("DBUS_SYSTEM_BUS_ADDRESS"));
        places.push(Place::Bus("/run/dbus/system_bus_socket".into()));
        return places;
    }
    let own = variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let mut places: Vec<Place> = own.iter().map(|own| Place::Private(own.join("systemd/private"))).collect();
    places.extend(address("DBUS_SESSION_BUS_ADDRESS"));
    places.extend(own.map(|own| Place::Bus(own.join("bus"))));
    places
}

/// Reads `unix:path=/run/user/7/bus,guid=…;unix:abstract=…`; other transports are passed over.
fn bus_places(text: &[u8]) -> Vec<Place> {
    let place = |address: &[u8]| {
        let rest = address.strip_prefix(b"unix:")?;
        rest.split(|byte| *byte == b',').find_map(|pair| {
            if let Some(path) = pair.strip_prefix(b"path=") {
                return Some(Place::Bus(OsString::from_vec(unescape(path)).into()));
            }
            pair.strip_prefix(b"abstract=").map(|name| Place::AbstractBus(unescape(name)))
        })
    };
    text.split(|byte| *byte == b';').filter_map(place).collect()
}

/// `%2f` and the like.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let number =
            tail.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        let (next, left) = match number.filter(|_| byte == b'%') {
            Some(number) => (number, tail.get(2..).unwrap_or_default()),
            None => (byte, tail),
        };
        plain.push(next);
        rest = left;
    }
    plain
}

/// A message that came.
#[derive(Debug, Default)]
struct Message {
    kind: u8,
    answers: Option<u32>,
    sender: Option<String>,
    member: Option<String>,
    error: Option<String>,
    body: Vec<u8>,
    big: bool,
}

impl Message {
    fn read<T: DeserializeOwned + Type>(&self) -> Result<T, Fault> {
        let context = Context::new(if self.big { Endian::Big } else { Endian::Little }, 0);
        Ok(Data::new(self.body.as_slice(), context).deserialize::<T>()?.0)
    }
}

/// A connection to systemd.
#[derive(Debug)]
pub(crate) struct Bus {
    socket: UnixStream,
    serial: u32,
    /// There is no bus between.
    direct: bool,
    /// Signals that came before somebody waited for them.
    signals: VecDeque<Message>,
}

impl Bus {
    /// The first place where systemd answers.
    pub(crate) fn open(places: &[Place]) -> Result<Self, Fault> {
        let mut first = None;
        for place in places {
            match Self::open_one(place) {
                Ok(bus) => return Ok(bus),
                // What comes later is the second choice, and tells less.
                Err(fault) => first = first.or(Some(fault)),
            }
        }
        Err(first.unwrap_or(Fault::Protocol("nothing says where its bus is (XDG_RUNTIME_DIR is not set)")))
    }

    fn open_one(place: &Place) -> Result<Self, Fault> {
        let socket = match place {
            Place::Private(path) | Place::Bus(path) => UnixStream::connect(path)?,
            Place::AbstractBus(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        };
        let direct = matches!(place, Place::Private(_));
        let mut bus = Self { socket, serial: 0, direct, signals: VecDeque::new() };
        bus.greet()?;
        if !direct {
            let daemon = Target { name: "org.freedesktop.DBus", object: "/org/freedesktop/DBus" };
            bus.call_at(&daemon, "org.freedesktop.DBus", "Hello", &())?;
            let rule = format!(
                "type='signal',sender='{NAME}',path='{OBJECT}',interface='{INTERFACE}',member='JobRemoved'"
            );
            bus.call_at(&daemon, "org.freedesktop.DBus", "AddMatch", &rule)?;
            // Without a subscriber, systemd tells nobody.
            bus.call("Subscribe", &())?;
        }
        Ok(bus)
    }

    /// Says who we are without saying it: the other side asks the kernel. A number of ours would be wrong in a
    /// user namespace.
    ///
    /// All at once, as systemd's own clients do. A call that comes together with `BEGIN` stays in systemd's buffer
    /// until more comes (sd-bus, `bus_socket_auth_verify_server`), and we would wait for each other.
    fn greet(&mut self) -> Result<(), Fault> {
        let deadline = Instant::now() + PATIENCE;
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let asked = self.line(deadline)?;
        if asked == b"DATA" && self.line(deadline)?.starts_with(b"OK") {
            return Ok(());
        }
        Err(Fault::Protocol("it does not let us in"))
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.socket.set_write_timeout(Some(PATIENCE))?;
        Ok(self.socket.write_all(bytes)?)
    }

    fn fill(&mut self, bytes: &mut [u8], deadline: Instant) -> Result<(), Fault> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.read(rest) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A line of the greeting; byte by byte, as what follows it is not ours to take.
    fn line(&mut self, deadline: Instant) -> Result<Vec<u8>, Fault> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            self.fill(&mut byte, deadline)?;
            line.push(byte[0]);
            if let Some(whole) = line.strip_suffix(b"\r\n") {
                return Ok(whole.to_vec());
            }
            if line.len() > 1024 {
                return Err(Fault::Protocol("it does not speak D-Bus"));
            }
        }
    }

    fn receive(&mut self, deadline: Instant) -> Result<Message, Fault> {
        let mut head = [0; 16];
        self.fill(&mut head, deadline)?;
        let big = match head[0] {
            b'l' => false,
            b'B' => true,
            _ => return Err(Fault::Protocol("it does not speak D-Bus")),
        };
        let number = |bytes: [u8; 4]| {
            let number = if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
            usize::try_from(number).unwrap_or(usize::MAX)
        };
        let [_, kind, _, version, b0, b1, b2, b3, _, _, _, _, f0, f1, f2, f3] = head;
        let (body, fields) = (number([b0, b1, b2, b3]), number([f0, f1, f2, f3]));
        if version != 1 || body > LONGEST || fields > LONGEST {
            return Err(Fault::Protocol("it does not speak D-Bus"));
        }
        // The fields with their length before them, as an array is written.
        let mut list = vec![0; 4 + fields.next_multiple_of(8)];
        self.fill(list.get_mut(4..).unwrap_or_default(), deadline)?;
        if let Some(length) = list.get_mut(..4) {
            length.copy_from_slice(&[f0, f1, f2, f3]);
        }
        list.truncate(4 + fields);
        let mut message = Message { kind, big, body: vec![0; body], ..Message::default() };
        self.fill(&mut message.body, deadline)?;
        let context = Context::new(if big { Endian::Big } else { Endian::Little }, 12);
        let list = Data::new(list, context);
        for (code, value) in list.deserialize::<Vec<(u8, Variant<'_>)>>()?.0 {
            let text = |value: Variant<'_>| match value {
                Variant::Str(text) => Some(text.as_str().to_owned()),
                _ => None,
            };
            match (code, value) {
                (3, value) => message.member = text(value),
                (4, value) => message.error = text(value),
                (5, Variant::U32(serial)) => message.answers = Some(serial),
                (7, value) => message.sender = text(value),
                _ => {}
            }
        }
        Ok(message)
    }

    /// Calls a method of systemd's manager and waits for the answer.
    fn call<T: Serialize + DynamicType>(&mut self, member: &str, body: &T) -> Result<Message, Fault> {
        self.call_at(&Target { name: NAME, object: OBJECT }, INTERFACE, member, body)
    }

    fn call_at<T: Serialize + DynamicType>(
        &mut self,
        target: &Target,
        interface: &str,
        member: &str,
        body: &T,
    ) -> Result<Message, Fault> {
        self.serial += 1;
        let serial = self.serial;
        let message = encode(CALL, serial, target, interface, member, body)?;
        self.send(&message)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = self.receive(deadline)?;
            match message.kind {
                REPLY if message.answers == Some(serial) => return Ok(message),
                FAILURE if message.answers == Some(serial) => {
                    let text = message.read::<String>().unwrap_or_default();
                    return Err(Fault::Refused { name: message.error.unwrap_or_default(), text });
                }
                SIGNAL if message.member.as_deref() == Some("JobRemoved") => self.signals.push_back(message),
                _ => {}
            }
        }
    }

    /// Calls a method that answers nothing of interest.
    pub(crate) fn tell<T: Serialize + DynamicType>(&mut self, member: &str, body: &T) -> Result<(), Fault> {
        self.call(member, body).map(drop)
    }

    /// Calls a method that answers with a job, and waits until that has ended as done.
    pub(crate) fn job<T: Serialize + DynamicType>(&mut self, member: &str, body: &T) -> Result<(), Fault> {
        let answer = self.call(member, body)?;
        let job = answer.read::<zbus::OwnedObjectPath>()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let signal = match self.signals.pop_front() {
                Some(signal) => signal,
                None => self.receive(deadline)?,
            };
            // On a bus anybody may send us a signal; the bus says who it was.
            if signal.kind != SIGNAL
                || signal.member.as_deref() != Some("JobRemoved")
                || (!self.direct && signal.sender != answer.sender)
            {
                continue;
            }
            let (_, ended, _, result) = signal.read::<(u32, zbus::OwnedObjectPath, String, String)>()?;
            if ended == job {
                return if result == "done" { Ok(()) } else { Err(Fault::Job(result)) };
            }
        }
    }

    /// A property of the manager that is text.
    pub(crate) fn property(&mut self, name: &str) -> Result<String, Fault> {
        let target = Target { name: NAME, object: OBJECT };
        let answer = self.call_at(&target, "org.freedesktop.DBus.Properties", "Get", &(INTERFACE, name))?;
        match answer.read::<zbus::OwnedVariant>().map(String::try_from) {
            Ok(Ok(text)) => Ok(text),
            _ => Err(Fault::Protocol("a property of systemd's manager is no text")),
        }
    }
}

struct Target {
    name: &'static str,
    object: &'static str,
}

/// The value of a field: a variant. The types of a body stand there without the brackets that they have as one
/// structure, which a variant would write.
enum Field {
    Value(Variant<'static>),
    Types(String),
}

impl Type for Field {
    const SIGNATURE: &'static Signature = &Signature::Variant;
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(serializer),
            Self::Types(types) => {
                let mut variant = serializer.serialize_struct("Variant", 2)?;
                variant.serialize_field("signature", &Signature::Signature)?;
                variant.serialize_field("value", types)?;
                variant.end()
            }
        }
    }
}

fn encode<T: Serialize + DynamicType>(
    kind: u8,
    serial: u32,
    target: &Target,
    interface: &str,
    member: &str,
    body: &T,
) -> Result<Vec<u8>, Fault> {
    let signature = body.signature();
    let empty = signature == Signature::Unit;
    let body =
        if empty { Vec::new() } else { to_bytes(Context::new(Endian::Little, 0), body)?.bytes().to_vec() };
    let text = |text: &str| Field::Value(Variant::Str(Str::from(text.to_owned())));
    let mut fields = vec![
        (1u8, Field::Value(Variant::ObjectPath(ObjectPath::try_from(target.object)?))),
        (2, text(interface)),
        (3, text(member)),
        (6, text(target.name)),
    ];
    if !empty {
        fields.push((8, Field::Types(signature.to_string_no_parens())));
    }
    let length = u32::try_from(body.len()).map_err(|_| Fault::Protocol("the message is too long"))?;
    let head = (b'l', kind, 0u8, 1u8, length, serial, fields);
    let mut message = to_bytes(Context::new(Endian::Little, 0), &head)?.bytes().to_vec();
    message.resize(message.len().next_multiple_of(8), 0);
    message.extend(body);
    Ok(message)
}

#[cfg(test)]
pub(super) mod fake {
    //! The other end of a connection, for tests: it writes down what it is told, and answers as it was told.

    use std::os::unix::net::UnixListener;
    use std::thread::JoinHandle;

    use super::*;

    /// What comes back for one call, in this order.
    pub(crate) struct Answer {
        pub(crate) messages: Vec<Vec<u8>>,
    }

    /// Answers a call, whose member and body come in.
    pub(crate) type Script = Box<dyn FnMut(&str, u32, &[u8]) -> Answer + Send>;

    /// A message as the other side writes it: `(kind, reply to, member, error, sender)`.
    pub(crate) fn message<T: Serialize + DynamicType>(
        kind: u8,
        answers: Option<u32>,
        words: &[(u8, &str)],
        body: &T,
    ) -> Vec<u8> {
        let text = |text: &str| Field::Value(Variant::Str(Str::from(text.to_owned())));
        let mut fields: Vec<(u8, Field)> = words.iter().map(|(code, word)| (*code, text(word))).collect();
        fields.extend(answers.map(|serial| (5, Field::Value(Variant::U32(serial)))));
        let signature = body.signature();
        let empty = signature == Signature::Unit;
        let context = Context::new(Endian::Big, 0);
        let body = if empty { vec![] } else { to_bytes(context, body).expect("body").bytes().to_vec() };
        if !empty {
            fields.push((8, Field::Types(signature.to_string_no_parens())));
        }
        let head = (b'B', kind, 0u8, 1u8, body.len() as u32, 1u32, fields);
        let mut bytes = to_bytes(context, &head).expect("head").bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(body);
        bytes
    }

    pub(crate) fn reply<T: Serialize + DynamicType>(serial: u32, body: &T) -> Vec<u8> {
        message(REPLY, Some(serial), &[(7, ":1.1")], body)
    }

    pub(crate) fn refusal(serial: u32, name: &str) -> Vec<u8> {
        message(FAILURE, Some(serial), &[(4, name), (7, ":1.1")], &"no")
    }

    pub(crate) fn removed(sender: &str, job: &str, result: &str) -> Vec<u8> {
        let job = ObjectPath::try_from(job.to_owned()).expect("path");
        message(SIGNAL, None, &[(3, "JobRemoved"), (7, sender)], &(1u32, job, "x.scope", result))
    }

    /// Listens at a path, serves one connection until it is closed, and gives the members that were called.
    pub(crate) fn serve(
        path: &std::path::Path,
        greeting: &'static [&'static str],
        mut script: Script,
    ) -> JoinHandle<Vec<String>> {
        let listener = UnixListener::bind(path).expect("bound");
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("accepted");
            let mut bus = Bus {
                socket: socket.try_clone().expect("cloned"),
                serial: 0,
                direct: true,
                signals: VecDeque::new(),
            };
            let deadline = Instant::now() + PATIENCE;
            for asked in [b"\0AUTH EXTERNAL".as_slice(), b"DATA", b"BEGIN"] {
                assert_eq!(bus.line(deadline).expect("line"), asked);
            }
            for answer in greeting {
                socket.write_all(format!("{answer}\r\n").as_bytes()).expect("written");
            }
            let mut called = Vec::new();
            // A call's serial is its number: it counts from 1.
            while let Ok(message) = bus.receive(deadline) {
                let member = message.member.clone().unwrap_or_default();
                let serial = called.len() as u32 + 1;
                let answer = script(&member, serial, &message.body);
                called.push(member);
                for bytes in answer.messages {
                    socket.write_all(&bytes).expect("written");
                }
            }
            called
        })
    }
}

#[cfg(test)]
mod tests {
    use super::fake::{Answer, message, refusal, removed, reply, serve};
    use super::*;

    /// Byte by byte as the D-Bus specification has it.
    #[test]
    fn a_call_is_written_as_the_specification_has_it() {
        let target = Target { name: "n.n", object: "/o" };
        let found = encode(CALL, 7, &target, "i.i", "M", &("a", 5u32)).expect("written");
        let expected = [
            b"l\x01\0\x01".as_slice(),
            // Length of the body, serial, length of the fields.
            b"\x0c\0\0\0\x07\0\0\0\x48\0\0\0",
            b"\x01\x01o\0\x02\0\0\0/o\0\0\0\0\0\0",
            b"\x02\x01s\0\x03\0\0\0i.i\0\0\0\0\0",
            b"\x03\x01s\0\x01\0\0\0M\0\0\0\0\0\0\0",
            b"\x06\x01s\0\x03\0\0\0n.n\0\0\0\0\0",
            b"\x08\x01g\0\x02su\0",
            b"\x01\0\0\0a\0\0\0\x05\0\0\0",
        ]
        .concat();
        assert_eq!(found.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    #[test]
    fn places_are_found_as_others_find_them() {
        let of = |user, variables: &[(&str, &str)]| {
            let variables: Vec<(String, OsString)> =
                variables.iter().map(|(key, value)| ((*key).to_owned(), OsString::from(value))).collect();
            places(user, |name| variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()))
        };
        let private = |path: &str| Place::Private(path.into());
        let bus = |path: &str| Place::Bus(path.into());
        assert_eq!(of(false, &[]), [private("/run/systemd/private"), bus("/run/dbus/system_bus_socket")]);
        let system = ("DBUS_SYSTEM_BUS_ADDRESS", "tcp:host=x;unix:path=/a%20b,guid=7");
        assert_eq!(of(false, &[system])[1], bus("/a b"));
        let own = ("XDG_RUNTIME_DIR", "/run/user/7");
        let session = ("DBUS_SESSION_BUS_ADDRESS", "unix:abstract=/tmp/x,guid=1");
        assert_eq!(
            of(true, &[own, session]),
            [
                private("/run/user/7/systemd/private"),
                Place::AbstractBus(b"/tmp/x".to_vec()),
                bus("/run/user/7/bus")
            ]
        );
        assert_eq!(of(true, &[("XDG_RUNTIME_DIR", "relative")]), []);
        assert!(Bus::open(&[]).is_err());
    }

    #[test]
    fn a_job_is_waited_for_by_its_own_name_and_sender() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("bus");
        let script = |member: &str, serial: u32, body: &[u8]| {
            let job = ObjectPath::try_from("/org/freedesktop/systemd1/job/7").expect("path");
            let messages = match member {
                "StopUnit" => {
                    assert_eq!(body, b"\x07\0\0\0x.scope\0\x07\0\0\0replace\0");
                    vec![
                        // Before the answer, of another sender, of another job: none of them is meant.
                        removed(":1.1", "/org/freedesktop/systemd1/job/6", "failed"),
                        removed(":1.66", "/org/freedesktop/systemd1/job/7", "failed"),
                        reply(serial, &job),
                        message(REPLY, Some(serial + 7), &[(7, ":1.1")], &()),
                        removed(":1.66", "/org/freedesktop/systemd1/job/7", "failed"),
                        removed(":1.1", "/org/freedesktop/systemd1/job/7", "done"),
                    ]
                }
                "StartTransientUnit" => {
                    vec![reply(serial, &job), removed(":1.1", "/org/freedesktop/systemd1/job/7", "timeout")]
                }
                "ResetFailedUnit" => vec![refusal(serial, "org.freedesktop.systemd1.NoSuchUnit")],
                "Get" => vec![reply(serial, &Variant::from("252.39-1~deb12u1"))],
                _ => vec![reply(serial, &())],
            };
            Answer { messages }
        };
        let other = serve(&path, &["DATA", "OK 1234"], Box::new(script));
        let mut bus =
            Bus::open(&[Place::Bus(directory.path().join("none")), Place::Bus(path)]).expect("open");
        bus.job("StopUnit", &("x.scope", "replace")).expect("stopped");
        let failed = bus.job("StartTransientUnit", &("x.scope", "replace")).expect_err("failed");
        assert!(matches!(failed, Fault::Job(result) if result == "timeout"));
        let refused = bus.tell("ResetFailedUnit", &"x.scope").expect_err("refused");
        assert!(refused.is(".NoSuchUnit") && !refused.is(".UnitExists"), "{refused}");
        assert_eq!(bus.property("Version").expect("version"), "252.39-1~deb12u1");
        drop(bus);
        let called = other.join().expect("joined");
        let last = ["StopUnit", "StartTransientUnit", "ResetFailedUnit", "Get"];
        assert_eq!(called, [&["Hello", "AddMatch", "Subscribe"], last.as_slice()].concat());
    }

    #[test]
    fn who_is_refused_or_hears_nonsense_says_so() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("refuses");
        let other = serve(&path, &["REJECTED EXTERNAL"], Box::new(|_, _, _| unreachable!("no call comes")));
        let fault = Bus::open(&[Place::Private(path)]).expect_err("refused");
        assert!(matches!(fault, Fault::Protocol(_)), "{fault:?}");
        assert_eq!(other.join().expect("joined"), [""; 0]);
        for garbage in [
            b"x".repeat(16),
            [b"l\x02\0\x01".as_slice(), &[0xff; 12]].concat(),
            [b"l\x02\0\x01\0\0\0\0\x01\0\0\0\x08\0\0\0".as_slice(), &[0xff; 8]].concat(),
            b"l\x02".to_vec(),
        ] {
            let path = directory.path().join("talks nonsense");
            let script = move |_: &str, _: u32, _: &[u8]| Answer { messages: vec![garbage.clone()] };
            let other = serve(&path, &["DATA", "OK 1"], Box::new(script));
            let mut bus = Bus::open(&[Place::Private(path.clone())]).expect("open");
            bus.socket.shutdown(std::net::Shutdown::Write).ok();
            assert!(bus.property("Version").is_err());
            drop(bus);
            other.join().expect("joined");
            std::fs::remove_file(&path).expect("removed");
        }
    }
}
