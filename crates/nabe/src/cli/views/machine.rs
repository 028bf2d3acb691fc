//! What views ask of the state: threads, their descriptors, containers.

use std::cell::{OnceCell, RefCell};
use std::collections::HashSet;

use nabe_chisel::{Container, Machine};
use nabe_event::field::event as e;
use nabe_event::item::{Descriptor, Target};
use nabe_event::raw::{Event, Params};
use nabe_event::table::EventId;
use nabe_event::{FieldId, Fields, Item, Missing, Value};
use nabe_state::stream::{Seen, Stream, Thread};

/// The state behind the trait. Threads and descriptors are asked of a copy, through events that nobody
/// made and that change nothing; it is made once, when the first view asks.
pub(super) struct State<'a> {
    stream: &'a Stream,
    copy: OnceCell<RefCell<Copy>>,
}

struct Copy {
    stream: Stream,
    /// Ordered by number.
    threads: Vec<Known>,
    ts_ns: u64,
}

/// A thread.
struct Known {
    tid: i64,
    /// Whose descriptors it uses.
    owner: i64,
    descriptors: Vec<i64>,
}

/// CLONE_FILES and CLONE_THREAD in the schema's numbers.
const SHARES: u32 = 1 | 1 << 13;

impl<'a> State<'a> {
    pub(super) fn new(stream: &'a Stream) -> Self {
        Self { stream, copy: OnceCell::new() }
    }

    fn copy(&self) -> &RefCell<Copy> {
        self.copy.get_or_init(|| {
            let mut servers = HashSet::new();
            self.stream.items(|_: &Thread| true, &mut |item| {
                if let Item::Descriptor(Descriptor { target: Target::Listener { local, .. }, .. }) = item {
                    servers.insert(local.port());
                }
            });
            let mut copy = Copy { stream: Stream::new(), threads: Vec::new(), ts_ns: 0 };
            copy.stream.style = self.stream.style;
            self.stream.items(|_: &Thread| true, &mut |item| copy.learn(item, &servers));
            RefCell::new(copy)
        })
    }
}

impl Copy {
    fn learn(&mut self, mut item: Item<'_>, servers: &HashSet<u16>) {
        match &mut item {
            Item::Thread(thread) => {
                // Threads have the descriptors of their process.
                let shares = thread.tid != thread.pid && thread.flags & SHARES != 0;
                let owner = if shares { thread.pid } else { thread.tid };
                self.threads.push(Known { tid: thread.tid, owner, descriptors: Vec::new() });
            }
            Item::Descriptor(descriptor) => {
                // A connection that was there before the first event has its local end first; the
                // server is the end that somebody waits at.
                if let Target::Connection { source, destination, .. } = &mut descriptor.target {
                    for end in [&mut *source, &mut *destination] {
                        end.set_ip(end.ip().to_canonical());
                    }
                    if servers.contains(&source.port()) {
                        core::mem::swap(source, destination);
                    }
                }
                if let Some(at) = self.position(descriptor.tid)
                    && let Some(known) = self.threads.get_mut(at)
                {
                    known.descriptors.push(descriptor.fd);
                }
            }
            Item::Event(event) => self.ts_ns = event.ts_ns,
            _ => {}
        }
        self.stream.item(&item);
    }

    fn position(&self, tid: i64) -> Option<usize> {
        self.threads.binary_search_by_key(&tid, |known| known.tid).ok()
    }

    /// The descriptors that a thread uses.
    fn descriptors(&self, tid: i64) -> Option<&[i64]> {
        let owner = self.threads.get(self.position(tid)?)?.owner;
        let owner = self.position(owner).or_else(|| self.position(tid))?;
        self.threads.get(owner).map(|known| known.descriptors.as_slice())
    }

    /// Calls `visit` with an event of thread `tid` on descriptor `number`, or on none.
    fn ask(&mut self, tid: i64, number: Option<i64>, visit: &mut dyn FnMut(&dyn Fields)) {
        let mut data = [0; 17];
        let (id, params) = match number {
            Some(number) => {
                if let Some(place) = data.first_chunk_mut() {
                    *place = number.to_le_bytes();
                }
                let lengths: &[u8] = &[8, 0, 8, 0, 1, 0];
                (EventId::SYSCALL_LSEEK_E, Params::new(EventId::SYSCALL_LSEEK_E, lengths, &data))
            }
            None => (EventId::SYSCALL_GETCWD_E, Some(Params::NONE)),
        };
        let params = params.unwrap_or(Params::NONE);
        let event = Event { id, cpu: 0, flags: 0, ts_ns: self.ts_ns, tid, params };
        if let Some(seen) = self.stream.item(&Item::Event(event)) {
            visit(&Asked { seen });
        }
    }
}

/// A thread or descriptor as an event that is none.
struct Asked<'a> {
    seen: Seen<'a>,
}

impl Fields for Asked<'_> {
    fn get(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        match field {
            e::TYPE => Value::Text(b"scapevent"),
            e::SYSCALL_TYPE | e::CATEGORY | e::ARG | e::ARGS | e::RAWARG | e::DIR => {
                Value::Missing(Missing::Unset)
            }
            _ => self.seen.get(field, arg),
        }
    }
    fn related(&self, relation: FieldId, visit: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
        self.seen.related(relation, visit)
    }
}

impl Machine for State<'_> {
    fn threads(&self, visit: &mut dyn FnMut(&dyn Fields)) {
        let Ok(mut copy) = self.copy().try_borrow_mut() else { return };
        let tids: Vec<i64> = copy.threads.iter().map(|known| known.tid).collect();
        tids.into_iter().for_each(|tid| copy.ask(tid, None, visit));
    }

    fn descriptors(&self, tid: i64, visit: &mut dyn FnMut(&dyn Fields)) {
        let Ok(mut copy) = self.copy().try_borrow_mut() else { return };
        let numbers = copy.descriptors(tid).unwrap_or_default().to_vec();
        numbers.into_iter().for_each(|number| copy.ask(tid, Some(number), visit));
    }

    fn containers(&self, visit: &mut dyn FnMut(Container<'_>)) {
        for container in self.stream.containers() {
            let nabe_state::stream::Container { id, name, image, runtime, .. } = container;
            visit(Container { id, name, image, engine: runtime });
        }
    }
}
