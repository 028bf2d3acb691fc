//! Threads that a filter of containers can never select are left out in the kernel, by their cgroups.
//!
//! Every cgroup is seen until it is judged: by the first event of a thread in it, once the container's
//! name is known. A new container is in a new cgroup, so nothing of it is missed.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use nabe_filter::Program;
use nabe_probe::live::{Distance, Hierarchies, Live, Place};
use nabe_state::stream::{Seen, Stream};

use super::{Sink, Wants};
use crate::error::Result;

/// More cgroups than this are not judged at a time; what was judged is forgotten then.
const MOST: usize = 16_384;

/// What was judged since the last time: a place, and how far it is from what is wanted.
type Verdicts = Rc<RefCell<Vec<(Place, Option<Distance>)>>>;

/// Brings verdicts to the probe.
#[derive(Default)]
pub struct Strangers {
    verdicts: Verdicts,
}

impl Strangers {
    /// The sink that judges for `program`, when it is about containers.
    pub fn judge(&self, program: &Program) -> Option<Judge> {
        Some(Judge {
            part: program.container_part()?,
            hierarchies: Hierarchies::read(),
            places: HashMap::new(),
            known: HashMap::new(),
            settled: HashSet::new(),
            verdicts: Rc::clone(&self.verdicts),
        })
    }

    /// Tells the probe what was judged since the last time.
    pub fn tell(&self, live: &mut Live) {
        for (place, distance) in self.verdicts.borrow_mut().drain(..) {
            // Where there is no room for it, it is seen, and the filter leaves it out.
            let _ = live.leave_out(place, distance);
        }
    }
}

/// Judges the cgroups of threads.
pub struct Judge {
    /// What the filter says of containers.
    part: Program,
    hierarchies: Hierarchies,
    /// Places by their texts.
    places: HashMap<Box<[u8]>, Option<Place>>,
    known: HashMap<Place, Known>,
    /// Where texts are that were judged; another text may come to stand there, and is not judged.
    settled: HashSet<usize>,
    verdicts: Verdicts,
}

/// A place that was judged.
struct Known {
    container: Box<[u8]>,
    left_out: bool,
}

impl Judge {
    fn look(&mut self, seen: &Seen<'_>) {
        let Some(thread) = seen.thread().filter(|thread| !thread.cgroups.is_empty()) else { return };
        let address = thread.cgroups.as_ptr().addr();
        if self.settled.contains(&address) {
            return;
        }
        // A container whose image is not known is one of which more is still to be learnt.
        if !thread.container.is_empty() && seen.container().is_none_or(|known| known.image.is_empty()) {
            return;
        }
        if self.settled.len().max(self.places.len()) >= MOST {
            self.settled.clear();
            self.places.clear();
        }
        self.settled.insert(address);
        let place = match self.places.get(&*thread.cgroups) {
            Some(place) => *place,
            None => {
                let place = self.hierarchies.place(&thread.cgroups);
                self.places.insert((&*thread.cgroups).into(), place);
                place
            }
        };
        let Some(place) = place else { return };
        match self.known.get_mut(&place) {
            // The hierarchies do not tell these two apart.
            Some(known) if *known.container != *thread.container => {
                if std::mem::take(&mut known.left_out) {
                    self.verdicts.borrow_mut().push((place, None));
                }
            }
            Some(_) => {}
            None => {
                let left_out = !self.part.matches(seen);
                if left_out {
                    let host = thread.container.is_empty();
                    let distance = if host { Distance::Apart } else { Distance::Far };
                    self.verdicts.borrow_mut().push((place, Some(distance)));
                }
                self.known.insert(place, Known { container: (&*thread.container).into(), left_out });
            }
        }
    }
}

impl Sink for Judge {
    fn wants(&self) -> Wants {
        Wants::All
    }
    fn seen(&mut self, seen: &Seen<'_>) -> Result<()> {
        self.look(seen);
        Ok(())
    }
    fn other(&mut self, seen: &Seen<'_>, _: bool) -> Result<()> {
        self.look(seen);
        Ok(())
    }
    fn finish(&mut self, _: &Stream) -> Result<()> {
        Ok(())
    }
}
