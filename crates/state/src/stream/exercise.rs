//! Any sequence of events and items through the state, for fuzzing and property tests: bytes are read
//! as a program that says which event comes next and what its parameters are.

use nabe_event::field::all;
use nabe_event::item::{self, Item};
use nabe_event::raw::{Event, Params};
use nabe_event::table::{EventId, Flags, ParamType};
use nabe_event::{FieldId, Fields, Value};

use super::{Stream, Verdicts, is_of_image};

/// Numbers that mean something: threads, descriptors, results, ends of ranges.
const NUMBERS: [i64; 16] =
    [0, 1, 2, 3, 4, 7, 10, 11, 20, 64, -1, -2, -100, 1 << 13 | 1, i64::MAX, u32::MAX as i64];
const TEXTS: [&[u8]; 12] = [
    b"",
    b"/etc/hosts\0",
    b"../x\0",
    b"a\0b\0c\0",
    b"bash\0",
    b"container\0",
    b"loss\0",
    b"{\"container\":{\"id\":\"abababababab\",\"Healthcheck\":{\"Test\":[\"CMD\",\"bash\"]}}}\0",
    b"cpu=/docker/abababababababababababababababababababababababababababababababab\0",
    b"\x02\x0a\x00\x00\x01\x50\x00\x01\x02\x03\x04\x51\x00",
    b"\x02\x00\x03\0\0\0\0\0\0\0\x01\0\x04\0\0\0\0\0\0\0\x04\0",
    b"\x18\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x03\0\0\0\x04\0\0\0",
];

/// What is left of the program.
struct Program<'a>(&'a [u8]);

impl Program<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> i64 {
        let at = usize::from(self.next());
        let shift = if at >= 128 { i64::from(self.next()) } else { 0 };
        NUMBERS.get(at % NUMBERS.len()).copied().unwrap_or(0).wrapping_add(shift)
    }

    fn text(&mut self) -> Vec<u8> {
        let at = usize::from(self.next());
        match TEXTS.get(at % (TEXTS.len() + 1)) {
            Some(text) => text.to_vec(),
            None => (0..self.next() % 40).map(|_| self.next()).collect(),
        }
    }

    /// The bytes of a parameter: of its type mostly, else of any length.
    fn value(&mut self, ty: ParamType) -> Vec<u8> {
        let how = self.next();
        match ty.width() {
            _ if how >= 250 => Vec::new(),
            Some(width) if how < 240 && ty.is_integer() => {
                self.number().to_le_bytes().get(..width).unwrap_or_default().to_vec()
            }
            _ => self.text(),
        }
    }
}

/// Takes in what `bytes` say, reading fields on the way.
///
/// # Panics
/// When the tables contradict themselves or an image says two things, an error of this crate,
/// whatever the bytes.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    let fields: Vec<FieldId> = all().map(|field| field.id).collect();
    let mut program = Program(bytes);
    let mut stream = Stream::new();
    let mut verdicts = Verdicts::default();
    let mut ts_ns = 1_000_000_000;
    while !program.0.is_empty() {
        ts_ns += u64::from(program.next()) << (program.next() % 32);
        match program.next() {
            255 => stream.section(),
            254 => {
                let (tid, env) = (program.number(), program.text());
                let thread = item::Thread {
                    tid,
                    pid: program.number(),
                    ptid: program.number(),
                    env: &env,
                    ..item::Thread::UNKNOWN
                };
                stream.item(&Item::Thread(Box::new(thread)));
            }
            253 => {
                let name = program.text();
                let target = item::Target::File { open_flags: 4097, path: &name, device: None };
                let found =
                    item::Descriptor { tid: program.number(), fd: program.number(), inode: 1, target };
                stream.item(&Item::Descriptor(found));
            }
            252 => {
                let mut again = Stream::new();
                stream.items(|_| true, &mut |item| {
                    again.item(&item);
                });
                again.check();
            }
            low => event(&mut stream, &mut program, &mut verdicts, &fields, low, ts_ns),
        }
    }
    stream.check();
}

fn event(
    stream: &mut Stream,
    program: &mut Program<'_>,
    verdicts: &mut Verdicts,
    fields: &[FieldId],
    low: u8,
    ts_ns: u64,
) {
    let number = (u16::from(low) | u16::from(program.next() & 1) << 8) % EventId::COUNT;
    let Some(id) = EventId::new(number) else { return };
    let (mut lengths, mut data) = (Vec::new(), Vec::new());
    let missing = usize::from(program.next() / 240);
    for param in id.row().params.iter().take(id.row().params.len().saturating_sub(missing)) {
        let value = program.value(param.ty);
        if id.row().flags.has(Flags::LARGE_PAYLOAD) {
            lengths.extend(u32::try_from(value.len()).unwrap_or(0).to_le_bytes());
        } else {
            lengths.extend(u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
        }
        data.extend(value);
    }
    let Some(params) = Params::new(id, &lengths, &data) else { return };
    let event = Event { id, cpu: u16::from(program.next()), flags: 0, ts_ns, tid: program.number(), params };
    let taken = stream.take(&event);
    let seen = stream.seen(&event);
    for _ in 0..3 {
        let at = usize::from(program.next()) | usize::from(program.next()) << 8;
        let Some(field) = fields.get(at % fields.len().max(1)) else { continue };
        let arg = [None, Some(&b"1"[..]), Some(b"fd"), Some(b"7")].get(at >> 10 & 3).copied().flatten();
        let value = seen.get(*field, arg);
        if is_of_image(*field) && seen.image() == 0 && seen.thread().is_some() {
            // Only who tells of containers has no image.
            assert!(matches!(id.name(), "container"), "{id:?}");
        }
        let _ = format!("{value:?}");
    }
    let name = |seen: &super::Seen<'_>| {
        let value = seen.get(nabe_event::field::process::NAME, None);
        matches!(value, Value::Text(b"bash"))
    };
    assert_eq!(verdicts.get(&taken, || name(&seen)), name(&seen), "{id:?}");
}
