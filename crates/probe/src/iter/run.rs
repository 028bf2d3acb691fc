//! Runs of the programs: maps made, configuration set, programs loaded, records read.

use std::cell::{OnceCell, RefCell};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::Error;
use super::config;
use super::object::{self, Relocated};
use super::sys::{self, Walk};

/// Programs with one configuration.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    relocated: &'a Relocated,
    config: Vec<u8>,
    pids: RefCell<Vec<(u32, From)>>,
    /// Made when a program first refers to them.
    maps: Vec<OnceCell<OwnedFd>>,
    remembers_cgroups: bool,
}

/// From where on arguments are wanted: `struct nabe_from`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct From {
    pub(crate) argv: u32,
    pub(crate) env: u32,
}

impl From {
    /// Nothing more: `FROM_NOTHING`.
    pub(crate) const NOTHING: Self = Self { argv: u32::MAX, env: u32::MAX };

    fn bytes(self) -> [u8; 8] {
        (u64::from(self.argv) | u64::from(self.env) << 32).to_le_bytes()
    }
}

impl<'a> Session<'a> {
    /// With a frozen configuration and, when it selects by pid, these pids.
    pub(crate) fn new(
        relocated: &'a Relocated,
        config: &[u8],
        pids: Vec<(u32, From)>,
        remembers_cgroups: bool,
    ) -> Self {
        let maps = relocated.maps.iter().map(|_| OnceCell::new()).collect();
        Self { relocated, config: config.to_vec(), pids: RefCell::new(pids), maps, remembers_cgroups }
    }

    fn index(&self, name: &str) -> Result<usize, Error> {
        self.relocated.maps.iter().position(|map| map.name == name).ok_or(Error::Absent)
    }

    /// The descriptor of map `index`, made when it is not there yet.
    fn map(&self, index: usize) -> Result<&OwnedFd, Error> {
        let (Some(map), Some(cell)) = (self.relocated.maps.get(index), self.maps.get(index)) else {
            return Err(Error::Absent);
        };
        if let Some(made) = cell.get() {
            return Ok(made);
        }
        let failed = |source| Error::map(&map.name, source);
        let mut shape = map.shape();
        match map.name.as_str() {
            "pids" => shape.max_entries = (self.pids.borrow().len() as u32).max(1),
            "seen" if !self.remembers_cgroups => shape.max_entries = 1,
            _ => {}
        }
        let fd = sys::map_create(&shape).map_err(failed)?;
        let zero = 0_u32.to_le_bytes();
        match map.name.as_str() {
            // The configuration is the first constant; what follows are the object's own.
            ".rodata" => {
                let mut value = map.initial.clone();
                value.iter_mut().zip(&self.config).for_each(|(to, from)| *to = *from);
                let anchor = self.map(self.index("cpu_anchor")?)?.as_raw_fd().to_le_bytes();
                value.iter_mut().skip(config::ANCHOR.start).zip(anchor).for_each(|(to, from)| *to = from);
                sys::map_update(&fd, &shape, &zero, &value).map_err(failed)?;
                sys::map_freeze(&fd).map_err(failed)?;
            }
            "pids" => {
                for (pid, from) in self.pids.borrow().iter() {
                    sys::map_update(&fd, &shape, &pid.to_le_bytes(), &from.bytes()).map_err(failed)?;
                }
            }
            _ if map.initial.iter().any(|byte| *byte != 0) => {
                sys::map_update(&fd, &shape, &zero, &map.initial).map_err(failed)?;
            }
            _ => {}
        }
        Ok(cell.get_or_init(|| fd))
    }

    /// Says anew from where on the arguments of `pid`, which was among the pids, are wanted.
    pub(crate) fn set_from(&self, pid: u32, from: From) -> Result<(), Error> {
        let index = self.index("pids")?;
        let shape = self.relocated.maps.get(index).map(object::Map::shape).ok_or(Error::Absent)?;
        sys::map_update(self.map(index)?, &shape, &pid.to_le_bytes(), &from.bytes())
            .map_err(|source| Error::map("pids", source))
    }

    /// Loads a program.
    pub(crate) fn load(&self, name: &'static str) -> Result<Loaded, Error> {
        let program = self.relocated.program(name).ok_or(Error::Absent)?;
        let fd = program.load(name, |map| self.map(map).map(AsRawFd::as_raw_fd))?;
        Ok(Loaded { name, fd })
    }
}

/// A program in the kernel.
#[derive(Debug)]
pub(crate) struct Loaded {
    name: &'static str,
    fd: OwnedFd,
}

impl Loaded {
    /// Appends the records of one run to `out`.
    pub(crate) fn run(&self, walk: Walk, out: &mut Vec<u8>) -> Result<(), Error> {
        let failed = |source| Error::Run { program: self.name, source };
        let run = sys::iterate(self.fd.as_fd(), walk).map_err(failed)?;
        sys::read_all(&run, out).map_err(failed)
    }
}
