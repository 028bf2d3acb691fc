//! What views ask of the state: threads, their descriptors, containers.

use std::cell::{OnceCell, RefCell};

use nabe_chisel::{Container, Machine};
use nabe_event::field::event as e;
use nabe_event::raw::{Event, Params};
use nabe_event::table::EventId;
use nabe_event::{FieldId, Fields, Item, Missing, Value};
use nabe_state::stream::container::Container as Known;
use nabe_state::stream::{Seen, Stream, Thread};

/// The state behind the trait. Threads and descriptors are asked of a copy, through events that nobody
/// made and that change nothing; it is made once, when the first view asks.
pub(super) struct State<'a> {
    stream: &'a Stream,
    copy: OnceCell<RefCell<Copy>>,
}

struct Copy {
    stream: Stream,
    /// Threads and their descriptors.
    threads: Vec<(i64, Vec<i64>)>,
    containers: Vec<Known>,
    ts_ns: u64,
}

impl<'a> State<'a> {
    pub(super) fn new(stream: &'a Stream) -> Self {
        Self { stream, copy: OnceCell::new() }
    }

    fn copy(&self) -> &RefCell<Copy> {
        self.copy.get_or_init(|| {
            let mut copy =
                Copy { stream: Stream::new(), threads: Vec::new(), containers: Vec::new(), ts_ns: 0 };
            copy.stream.style = self.stream.style;
            self.stream.items(|_: &Thread| true, &mut |item| {
                match &item {
                    Item::Thread(thread) => copy.threads.push((thread.tid, Vec::new())),
                    Item::Descriptor(descriptor) => {
                        let at = copy.threads.binary_search_by_key(&descriptor.tid, |(tid, _)| *tid);
                        if let Some((_, numbers)) = at.ok().and_then(|at| copy.threads.get_mut(at)) {
                            numbers.push(descriptor.fd);
                        }
                    }
                    Item::Event(event) => {
                        copy.ts_ns = event.ts_ns;
                        copy.containers.extend(event.text(2).and_then(Known::parse));
                    }
                    _ => {}
                }
                copy.stream.item(&item);
            });
            RefCell::new(copy)
        })
    }
}

impl Copy {
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
        let tids: Vec<i64> = copy.threads.iter().map(|(tid, _)| *tid).collect();
        tids.into_iter().for_each(|tid| copy.ask(tid, None, visit));
    }

    fn descriptors(&self, tid: i64, visit: &mut dyn FnMut(&dyn Fields)) {
        let Ok(mut copy) = self.copy().try_borrow_mut() else { return };
        let at = copy.threads.binary_search_by_key(&tid, |(tid, _)| *tid);
        let numbers = at.ok().and_then(|at| copy.threads.get(at)).map(|(_, numbers)| numbers.clone());
        numbers.unwrap_or_default().into_iter().for_each(|number| copy.ask(tid, Some(number), visit));
    }

    fn containers(&self, visit: &mut dyn FnMut(Container<'_>)) {
        let Ok(copy) = self.copy().try_borrow() else { return };
        for Known { id, name, image, runtime, .. } in &copy.containers {
            visit(Container { id, name, image, engine: runtime });
        }
    }
}
