//! Where a new container's cgroups will be, who makes them, and the limits in them.

use crate::cgroup::{self, Cgroup, CgroupDriver, Hierarchy};
use crate::error::{Error, Result};
use crate::spec::{Resources, Spec};
use crate::state::State;
use crate::systemd::{self, Systemd, Unit};

/// The unit of systemd that a container is to be in.
pub(super) struct Scope {
    systemd: Systemd,
    pub(super) unit: Unit,
}

/// Where its cgroups will be, and who makes them when we do not.
pub(super) fn locate(
    spec: &Spec,
    id: &str,
    driver: CgroupDriver,
    hierarchies: &[Hierarchy],
    lenient: bool,
) -> Result<(Cgroup, Option<Scope>)> {
    let given = spec.linux.cgroups_path.as_str();
    match driver {
        CgroupDriver::Disabled => Ok((Cgroup::default(), None)),
        CgroupDriver::Cgroupfs => {
            // Below a directory that tells whose it is, unless the bundle or our rights say otherwise.
            let path = if given.is_empty() && !lenient { format!("/nabe/{id}") } else { given.to_owned() };
            Ok((Cgroup::locate(hierarchies, &path, id)?, None))
        }
        CgroupDriver::Systemd => {
            let unit = Unit::of(given, id, lenient)?;
            if lenient && !matches!(hierarchies, [only] if only.is_unified()) {
                return Err(Error::Refused(
                    "the systemd cgroup driver of an ordinary user needs cgroup v2 alone: use the cgroupfs \
                     driver, without --systemd-cgroup"
                        .into(),
                ));
            }
            let mut systemd = Systemd::connect(lenient)?;
            let cgroup = Cgroup::of_unit(hierarchies, &systemd.place(&unit)?, lenient);
            Ok((cgroup, Some(Scope { systemd, unit })))
        }
    }
}

pub(super) fn asks_more_than_devices(limits: &Resources) -> bool {
    Resources { devices: Vec::new(), ..limits.clone() } != Resources::default()
}

/// Applies the limits of a configuration.
pub(super) fn limit(cgroup: &Cgroup, limits: &Resources, lenient: bool) -> Result<()> {
    if !lenient {
        return cgroup.limit(limits, false);
    }
    let amounts = cgroup.limit_amounts(limits, false);
    // What devices an ordinary user may use is decided already, and he may not load a program to that end.
    cgroup.limit_devices(limits).ok();
    amounts
}

impl Scope {
    /// Has systemd make the unit around a process.
    pub(super) fn start(&mut self, pid: i32, spec: &Spec, state: &State) -> Result<()> {
        let unified = state.cgroup_paths.only_unified();
        self.systemd.start(&self.unit, &state.id, pid, unified, &spec.linux.resources, &spec.annotations)
    }

    /// Does what systemd leaves open: hierarchies and limits that it does not know.
    pub(super) fn complete(
        &self,
        pid: i32,
        spec: &Spec,
        state: &State,
        hierarchies: &[Hierarchy],
        lenient: bool,
    ) -> Result<()> {
        let (cgroup, limits) = (&state.cgroup_paths, &spec.linux.resources);
        if !cgroup.directories().any(|path| cgroup::holds(path, pid)) {
            let name = &self.unit.name;
            let why = format!("process {pid} is not in the cgroup of {name}, where systemd was to put it");
            return Err(Error::Refused(why));
        }
        cgroup.adopt(hierarchies, pid)?;
        if !limits.hugepage_limits.is_empty() || !limits.rdma.is_empty() {
            cgroup.hand_controllers_down(hierarchies)?;
        }
        limit(cgroup, &systemd::rounded(limits), lenient)
    }
}
