//! The event programs in the kernel: their maps, what is loaded, what is attached.

use std::cell::OnceCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use libbpf_sys as bpf;
use nabe_event::{Interest, Needs};

use super::cgroup::{Distance, Place};
use super::control::{Control, RING};
use super::sys as live_sys;
use super::{Floor, Tried};
use crate::iter::Error;
use crate::iter::config::{self, Reader};
use crate::iter::object::{self, Relocated};
use crate::iter::sys;

/// The program at the end of every system call.
const EXIT: &str = "nabe_exit";
/// Processors that share a ring.
const SHARING: u32 = 16;
/// `SCRATCHES` of `event_file.h`.
const SCRATCHES: u32 = 4;
/// Entries of `pids` beyond those that were asked for: children that are followed.
const FOLLOWED: u32 = 16_384;

/// How the rings are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Of each ring.
    bytes: u32,
    /// As `ring_shift` of `bpf/nabe.h`.
    shift: u32,
}

impl Layout {
    /// One ring.
    pub(crate) fn single(bytes: usize) -> Self {
        Self { bytes: bytes as u32, shift: 0 }
    }

    /// A ring for every `sharing` processors (made a power of two); by default one ring as far as its
    /// lock holds no one up, several beyond.
    pub(crate) fn new(bytes: usize, cpus: u32, sharing: Option<u32>) -> Self {
        let sharing = sharing.unwrap_or(SHARING).max(1).next_power_of_two();
        let shift = if cpus <= sharing { 0 } else { sharing.trailing_zeros() + 1 };
        Self { bytes: bytes as u32, shift }
    }
}

/// Programs and maps of one probe.
#[derive(Debug)]
pub(crate) struct Programs {
    relocated: Relocated,
    ring_bytes: u32,
    /// 0 for one ring, or one more than the bits of a processor's number below its ring's.
    ring_shift: u32,
    /// The rings of groups of processors.
    group_rings: OnceCell<Vec<OwnedFd>>,
    cpus: u32,
    floor: Option<Floor>,
    maps: Vec<OnceCell<OwnedFd>>,
    loaded: Vec<(&'static str, OwnedFd)>,
    links: Vec<(&'static str, OwnedFd)>,
    /// Programs behind the first one that the kernel does not take.
    pub(crate) refused: Vec<Error>,
    /// What the maps `pids` and `cgroups` hold now.
    pids: Vec<u32>,
    cgroups: Vec<u64>,
    /// What was applied last.
    control: Control,
    /// The hierarchies in which strangers are told apart; 0 while there are none.
    hierarchies: u32,
}

impl Programs {
    pub(crate) fn new(relocated: Relocated, layout: Layout, cpus: u32, floor: Option<Floor>) -> Self {
        let maps = relocated.maps.iter().map(|_| OnceCell::new()).collect();
        Self {
            relocated,
            ring_bytes: layout.bytes,
            ring_shift: layout.shift,
            group_rings: OnceCell::new(),
            cpus,
            floor,
            maps,
            loaded: Vec::new(),
            links: Vec::new(),
            refused: Vec::new(),
            pids: Vec::new(),
            cgroups: Vec::new(),
            control: Control::nothing(),
            hierarchies: 0,
        }
    }

    fn index(&self, name: &str) -> Result<usize, Error> {
        self.relocated.maps.iter().position(|map| map.name == name).ok_or(Error::Absent)
    }

    /// The map with this name, made when it is not there yet.
    pub(crate) fn map(&self, name: &str) -> Result<&OwnedFd, Error> {
        self.map_at(self.index(name)?)
    }

    fn map_at(&self, index: usize) -> Result<&OwnedFd, Error> {
        let (Some(map), Some(cell)) = (self.relocated.maps.get(index), self.maps.get(index)) else {
            return Err(Error::Absent);
        };
        if let Some(made) = cell.get() {
            return Ok(made);
        }
        let failed = |source| Error::map(&map.name, source);
        let mut shape = map.shape();
        match map.name.as_str() {
            // Where groups have their own, it is only referred to.
            "ring" if self.ring_shift != 0 => shape.max_entries = rustix::param::page_size() as u32,
            "ring" => shape.max_entries = self.ring_bytes,
            "rings" => {
                shape.max_entries = self.groups();
                let fd = self.make_rings(&shape).map_err(failed)?;
                return Ok(cell.get_or_init(|| fd));
            }
            "scratch" => shape.max_entries = SCRATCHES * self.cpus,
            "pids" | "cgroups" | "strangers" => {
                shape.max_entries = FOLLOWED;
                shape.flags |= bpf::BPF_F_NO_PREALLOC;
            }
            _ => {}
        }
        let fd = sys::map_create(&shape).map_err(failed)?;
        let zero = 0_u32.to_le_bytes();
        match map.name.as_str() {
            ".rodata" => {
                // The configuration is the first constant; what follows are the object's own.
                let config = config::encode(&Interest::all(Needs::NONE), Reader::this(), false);
                let mut value = map.initial.clone();
                value.iter_mut().zip(&config).for_each(|(to, from)| *to = *from);
                let shift = self.ring_shift.to_le_bytes();
                value.iter_mut().skip(config::RING_SHIFT.start).zip(shift).for_each(|(to, from)| *to = from);
                sys::map_update(&fd, &shape, &zero, &value).map_err(failed)?;
                sys::map_freeze(&fd).map_err(failed)?;
            }
            _ if map.initial.iter().any(|byte| *byte != 0) => {
                sys::map_update(&fd, &shape, &zero, &map.initial).map_err(failed)?;
            }
            _ => {}
        }
        Ok(cell.get_or_init(|| fd))
    }

    /// How many groups of processors have rings of their own; 1 when there is but one ring.
    fn groups(&self) -> u32 {
        self.ring_shift.checked_sub(1).map_or(1, |shift| (self.cpus.saturating_sub(1) >> shift) + 1)
    }

    /// Makes the rings of groups, as many as are used.
    fn make_rings(&self, shape: &sys::MapShape) -> io::Result<OwnedFd> {
        let ring = sys::MapShape {
            kind: bpf::BPF_MAP_TYPE_RINGBUF,
            key_size: 0,
            value_size: 0,
            max_entries: if self.ring_shift == 0 {
                rustix::param::page_size() as u32
            } else {
                self.ring_bytes
            },
            flags: 0,
        };
        let made = (0..self.groups()).map(|_| sys::map_create(&ring)).collect::<io::Result<Vec<_>>>()?;
        let first = made.first().ok_or(io::ErrorKind::InvalidInput)?;
        let outer = sys::map_of_maps_create(shape, first)?;
        for (at, fd) in (0_u32..).zip(&made) {
            let shape = sys::MapShape { key_size: 4, value_size: 4, ..*shape };
            sys::map_update(&outer, &shape, &at.to_le_bytes(), &fd.as_raw_fd().to_le_bytes())?;
        }
        let _ = self.group_rings.set(made);
        Ok(outer)
    }

    /// The rings that are written to, with the size of each.
    pub(crate) fn rings(&self) -> Result<(Vec<&OwnedFd>, usize), Error> {
        self.map("rings")?;
        let rings = match self.group_rings.get() {
            Some(rings) if self.ring_shift != 0 => rings.iter().collect(),
            _ => vec![self.map("ring")?],
        };
        Ok((rings, self.ring_bytes as usize))
    }

    fn set(&self, name: &str, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let index = self.index(name)?;
        let shape = self.relocated.maps.get(index).map(object::Map::shape).ok_or(Error::Absent)?;
        sys::map_update(self.map_at(index)?, &shape, key, value).map_err(|source| Error::map(name, source))
    }

    /// Loads a program, once.
    pub(crate) fn load(&mut self, name: &'static str) -> Result<usize, Error> {
        if let Some(at) = self.loaded.iter().position(|(known, _)| *known == name) {
            return Ok(at);
        }
        let program = self.relocated.program(name).ok_or(Error::Absent)?;
        let fd = program.load(name, |map| self.map_at(map).map(AsRawFd::as_raw_fd))?;
        self.loaded.push((name, fd));
        Ok(self.loaded.len() - 1)
    }

    /// Loads every program of the object.
    pub(crate) fn try_all(&mut self) -> Vec<Tried> {
        let names: Vec<String> = self.relocated.programs.iter().map(|program| program.name.clone()).collect();
        let load = |name: String| {
            // Once for each program of the object, for messages.
            let lasting: &'static str = Box::leak(name.clone().into_boxed_str());
            (name, self.load(lasting).map(drop))
        };
        names.into_iter().map(load).collect()
    }

    /// Loads what `control` needs, tells the programs, and attaches and detaches so that exactly
    /// what is wanted runs.
    /// A refused program behind the first one costs its parameters only: its calls become generic.
    pub(crate) fn apply(&mut self, control: &mut Control) -> Result<(), Error> {
        for (slot, program) in control.handlers.clone() {
            let at = match self.load(program) {
                Ok(at) => at,
                Err(error @ Error::Program { .. }) => {
                    control.make_generic(slot);
                    self.refused.push(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some((_, fd)) = self.loaded.get(at) {
                let fd = fd.as_raw_fd() as u32;
                self.set("handlers", &u32::from(slot).to_le_bytes(), &fd.to_le_bytes())?;
            }
        }
        self.fill(control)?;
        control.set_floor(self.floor.map_or(0, Floor::bytes));
        if self.hierarchies != 0 {
            control.set_strangers(self.hierarchies);
        }
        self.set(".data.control", &0_u32.to_le_bytes(), &control.bytes)?;
        self.control.clone_from(control);
        let exit = match self.floor {
            Some(Floor::Empty) => Some("nabe_floor_empty"),
            Some(Floor::Record(_)) => Some("nabe_floor_record"),
            None => control.exits.then_some(EXIT),
        };
        let wanted: Vec<&'static str> = control.hooks.iter().copied().chain(exit).collect();
        self.links.retain(|(name, _)| wanted.contains(name));
        for name in wanted {
            match self.attach(name) {
                // A comfort: without it descriptors have no names that come through an io_uring.
                Err(Error::OldKernel { .. }) if name == RING => {}
                Err(error @ Error::Program { .. }) if name == RING => self.refused.push(error),
                result => result?,
            }
        }
        Ok(())
    }

    /// Members of the maps: new ones first, then the old ones go.
    fn fill(&mut self, control: &Control) -> Result<(), Error> {
        for pid in &control.pids {
            self.set("pids", &pid.to_le_bytes(), &[0; 8])?;
        }
        for cgroup in &control.cgroups {
            self.set("cgroups", &cgroup.to_le_bytes(), &[0])?;
        }
        for pid in self.pids.iter().filter(|pid| !control.pids.contains(pid)) {
            live_sys::map_remove(self.map("pids")?, &pid.to_le_bytes());
        }
        for cgroup in self.cgroups.iter().filter(|id| !control.cgroups.contains(id)) {
            live_sys::map_remove(self.map("cgroups")?, &cgroup.to_le_bytes());
        }
        self.pids.clone_from(&control.pids);
        self.cgroups.clone_from(&control.cgroups);
        Ok(())
    }

    /// Looks no more at threads that are there (`Some`), or looks at them again.
    pub(crate) fn set_stranger(&mut self, place: Place, distance: Option<Distance>) -> Result<(), Error> {
        let key = place.key.to_le_bytes();
        let Some(distance) = distance else {
            live_sys::map_remove(self.map("strangers")?, &key);
            return Ok(());
        };
        self.set("strangers", &key, &[distance as u8])?;
        if self.hierarchies == 0 {
            self.hierarchies = place.hierarchies;
            self.control.set_strangers(place.hierarchies);
            self.set(".data.control", &0_u32.to_le_bytes(), &self.control.bytes)?;
        }
        Ok(())
    }

    fn attach(&mut self, name: &'static str) -> Result<(), Error> {
        if self.links.iter().any(|(known, _)| *known == name) {
            return Ok(());
        }
        let at = self.load(name)?;
        let (_, program) = self.loaded.get(at).ok_or(Error::Absent)?;
        let link = live_sys::attach(program).map_err(|source| Error::Run { program: name, source })?;
        self.links.push((name, link));
        Ok(())
    }

    /// Ends the flow of events.
    pub(crate) fn detach(&mut self) {
        self.links.clear();
    }

    /// How often programs were skipped since one ran already on that processor.
    pub(crate) fn skipped(&self) -> u64 {
        self.loaded.iter().map(|(_, program)| live_sys::skipped(program.as_fd())).sum()
    }

    /// A map's bytes, shared with the kernel.
    pub(crate) fn share(&self, name: &str) -> Result<live_sys::Shared, Error> {
        let index = self.index(name)?;
        let len = self.relocated.maps.get(index).map_or(0, |map| map.value_size as usize);
        let fd = self.map_at(index)?;
        live_sys::Shared::map(fd, 0, len.next_multiple_of(rustix::param::page_size()), false)
            .map_err(|source: io::Error| Error::map(name, source))
    }
}
