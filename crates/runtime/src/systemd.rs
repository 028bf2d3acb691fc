//! systemd as the maker of cgroups: a container is a transient scope in a slice.
//!
//! The scope is asked for with the pid of a process of ours that waits (a scope without a process is none), with
//! `Delegate=yes` and the limits as properties, and it is there when its job has ended. systemd moves the process,
//! also for an ordinary user who could not; what it has no property for is written to the cgroup's files, as the
//! cgroupfs driver does. The cgroup is then like any other, but that it ends with its unit.

mod bus;
mod property;
mod variant;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::spec::Resources;
use bus::{Bus, Fault};
use property::{Property, Setting};

/// The transient unit of a container, as its state has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unit {
    /// `prefix-name.scope`.
    pub name: String,
    /// The slice that it is in, `machine.slice`; `-.slice` is the root.
    pub slice: String,
    /// It belongs to the manager of a user.
    pub user: bool,
}

impl Unit {
    /// The unit for a `linux.cgroupsPath` of the form `slice:prefix:name`, or for none.
    pub(crate) fn of(path: &str, id: &str, user: bool) -> Result<Self> {
        let wrong = |why: String| Error::Config { at: "linux.cgroupsPath".into(), why };
        let parts: Vec<&str> = path.split(':').collect();
        let (slice, name) = match parts.as_slice() {
            [""] => ("", format!("nabe-{}.scope", escape(id))),
            [_, _, name] if name.ends_with(".slice") => {
                return Err(wrong(format!("{name} is a slice, and processes are in scopes only")));
            }
            [_, _, ""] => return Err(wrong("has no name after the second colon".into())),
            [slice, prefix, name] => (*slice, format!("{prefix}-{name}.scope")),
            _ => {
                let why =
                    format!("\"{path}\" is not slice:prefix:name, which the systemd cgroup driver needs");
                return Err(wrong(why));
            }
        };
        let slice = match (slice, user) {
            ("", true) => "user.slice",
            ("", false) => "system.slice",
            ("-", _) => "-.slice",
            (slice, _) => slice,
        };
        expand(slice).ok_or_else(|| wrong(format!("\"{slice}\" is no name of a slice")))?;
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@');
        if name.len() > 255 || !name.chars().all(fine) {
            return Err(wrong(format!("\"{name}\" is no name of a unit")));
        }
        Ok(Self { name, slice: slice.into(), user })
    }

    /// Its cgroup below that of its manager.
    fn path(&self) -> PathBuf {
        expand(&self.slice).unwrap_or_default().join(&self.name)
    }
}

/// Letters that names of units cannot have, as systemd-escape(1) writes them.
fn escape(id: &str) -> String {
    let mut text = String::with_capacity(id.len());
    for c in id.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.') => text.push(c),
            c => c.to_string().bytes().for_each(|byte| text.push_str(&format!("\\x{byte:02x}"))),
        }
    }
    text
}

/// `a-b.slice` is in `a.slice`: the path of a slice below the root; `None` when it is no name of one.
fn expand(slice: &str) -> Option<PathBuf> {
    let name = slice.strip_suffix(".slice")?;
    if name == "-" {
        return Some(PathBuf::new());
    }
    let mut path = PathBuf::new();
    let mut end = 0;
    for part in name.split('-') {
        end += part.len();
        if part.is_empty() || part.contains('/') {
            return None;
        }
        path.push(format!("{}.slice", name.get(..end)?));
        end += 1;
    }
    Some(path)
}

/// A manager of units: the system's, or the user's.
#[derive(Debug)]
pub(crate) struct Systemd {
    bus: Bus,
    user: bool,
    version: Option<u32>,
}

impl Systemd {
    /// Finds it.
    ///
    /// # Errors
    /// [`Error::Refused`] with what to do when systemd does not run here; [`Error::Systemd`] when it does not answer.
    pub(crate) fn connect(user: bool) -> Result<Self> {
        if !Path::new("/run/systemd/system").is_dir() {
            return Err(Error::Refused(
                "the systemd cgroup driver needs systemd, which does not run here (there is no \
                 /run/systemd/system): use the cgroupfs driver, without --systemd-cgroup"
                    .into(),
            ));
        }
        Self::connect_to(&bus::places(user, |name| std::env::var_os(name)), user)
    }

    fn connect_to(places: &[bus::Place], user: bool) -> Result<Self> {
        let whose = match user {
            true => "be reached as the user's manager (it needs XDG_RUNTIME_DIR, and a session or lingering)",
            false => "be reached",
        };
        let bus = Bus::open(places).map_err(|fault| failed(whose, fault))?;
        Ok(Self { bus, user, version: None })
    }

    /// The cgroup below which it has its units, from the hierarchy's root.
    pub(crate) fn root(&mut self) -> Result<PathBuf> {
        if !self.user {
            return Ok(PathBuf::new());
        }
        let path = self.bus.property("ControlGroup").map_err(|fault| failed("say its cgroup", fault))?;
        Ok(path.trim_start_matches('/').into())
    }

    /// The place of a unit below a hierarchy's root.
    pub(crate) fn place(&mut self, unit: &Unit) -> Result<PathBuf> {
        Ok(self.root()?.join(unit.path()))
    }

    /// Makes the scope around a process, and returns when it is there.
    pub(crate) fn start(
        &mut self,
        unit: &Unit,
        id: &str,
        process: i32,
        unified: bool,
        limits: &Resources,
        annotations: &BTreeMap<String, String>,
    ) -> Result<()> {
        let mut properties: Vec<Property> = vec![
            ("Description".into(), format!("nabe container {id}").into()),
            ("Slice".into(), unit.slice.clone().into()),
            ("Delegate".into(), true.into()),
            ("PIDs".into(), vec![u32::try_from(process).unwrap_or(0)].into()),
            // As the files count whether they are asked or not.
            ("MemoryAccounting".into(), true.into()),
            ("CPUAccounting".into(), true.into()),
            (if unified { "IOAccounting" } else { "BlockIOAccounting" }.into(), true.into()),
            ("TasksAccounting".into(), true.into()),
            // It must not end before the engine that ends it in its own way.
            ("DefaultDependencies".into(), false.into()),
        ];
        properties.extend(property::of_limits(limits, self.setting(limits, unified, false)?)?);
        // Last: people who write them mean them.
        properties.extend(property::of_annotations(annotations)?);
        let others: Vec<(String, Vec<Property>)> = Vec::new();
        let call = (&unit.name, "replace", properties, others);
        let mut done = self.bus.job("StartTransientUnit", &call);
        if done.as_ref().is_err_and(|fault| fault.is(".UnitExists")) {
            // What is left of one of this name that failed; one that runs stays, and we are refused again.
            self.bus.tell("ResetFailedUnit", &unit.name).ok();
            done = self.bus.job("StartTransientUnit", &call);
        }
        done.map_err(|fault| {
            if matches!(fault, Fault::Job(_)) {
                self.bus.tell("ResetFailedUnit", &unit.name).ok();
            }
            failed(&format!("make the unit {}", unit.name), fault)
        })
    }

    /// Changes limits.
    pub(crate) fn set(&mut self, unit: &Unit, unified: bool, limits: &Resources) -> Result<()> {
        let properties = property::of_limits(limits, self.setting(limits, unified, true)?)?;
        if properties.is_empty() {
            return Ok(());
        }
        // For this boot only: there is no file of it.
        let done = self.bus.tell("SetUnitProperties", &(&unit.name, true, properties));
        done.map_err(|fault| failed(&format!("change the unit {}", unit.name), fault))
    }

    /// Moves a process into the unit's cgroup, or one below it (`/a`).
    pub(crate) fn attach(&mut self, unit: &Unit, below: &str, process: i32) -> Result<()> {
        let call = (&unit.name, below, vec![u32::try_from(process).unwrap_or(0)]);
        let done = self.bus.tell("AttachProcessesToUnit", &call);
        done.map_err(|fault| failed(&format!("move a process into {}", unit.name), fault))
    }

    /// Ends the unit, and forgets that it failed. One that is gone already is none to worry about.
    pub(crate) fn stop(&mut self, unit: &Unit) -> Result<()> {
        let stopped = self.bus.job("StopUnit", &(&unit.name, "replace"));
        self.bus.tell("ResetFailedUnit", &unit.name).ok();
        match stopped {
            Err(fault) if !fault.is(".NoSuchUnit") => {
                Err(failed(&format!("stop the unit {}", unit.name), fault))
            }
            _ => Ok(()),
        }
    }

    /// What the properties depend on; systemd's version is only asked when one of them needs a newer one.
    fn setting(&mut self, limits: &Resources, unified: bool, update: bool) -> Result<Setting> {
        let needed = limits.cpu != crate::spec::Cpu::default() || !limits.unified.is_empty();
        let version = match self.version {
            Some(version) => version,
            None if !needed => 0,
            None => {
                let text = self.bus.property("Version").map_err(|fault| failed("say its version", fault))?;
                *self.version.insert(version_of(&text))
            }
        };
        Ok(Setting { unified, user: self.user, version, update })
    }
}

/// Limits as systemd will have them: whole percents of a processor.
pub(crate) fn rounded(limits: &Resources) -> Resources {
    let mut limits = limits.clone();
    if let Some(quota) = limits.cpu.quota {
        limits.cpu.quota = Some(property::rounded_quota(quota, limits.cpu.period.unwrap_or(0)));
    }
    limits
}

/// The number in `252.39-1~deb12u1`, `v245.4` and the like.
fn version_of(text: &str) -> u32 {
    let text = text.trim_start_matches('v');
    text.get(..text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn failed(what: &str, fault: Fault) -> Error {
    Error::Systemd { what: what.into(), source: Box::new(fault) }
}

#[cfg(test)]
mod tests {
    use zbus::wire::ObjectPath;

    use super::bus::Place;
    use super::bus::fake::{Answer, refusal, removed, reply, serve};
    use super::*;

    #[test]
    fn a_path_names_a_unit_in_a_slice() {
        for (path, user, name, slice, place) in [
            ("", false, "nabe-web.scope", "system.slice", "system.slice/nabe-web.scope"),
            ("", true, "nabe-web.scope", "user.slice", "user.slice/nabe-web.scope"),
            ("::a", false, "-a.scope", "system.slice", "system.slice/-a.scope"),
            (
                "machine.slice:libpod:7f",
                false,
                "libpod-7f.scope",
                "machine.slice",
                "machine.slice/libpod-7f.scope",
            ),
            ("-:p:a", false, "p-a.scope", "-.slice", "p-a.scope"),
            (
                "user-1000-x.slice:p:a",
                true,
                "p-a.scope",
                "user-1000-x.slice",
                "user.slice/user-1000.slice/user-1000-x.slice/p-a.scope",
            ),
        ] {
            let unit = Unit::of(path, "web", user).expect(path);
            assert_eq!((unit.name.as_str(), unit.slice.as_str(), unit.user), (name, slice, user), "{path}");
            assert_eq!(unit.path(), Path::new(place), "{path}");
        }
        assert_eq!(Unit::of("", "a+b", false).expect("escaped").name, "nabe-a\\x2bb.scope");
        for path in [
            "/a",
            "a",
            "a:b",
            "a:b:c:d",
            "a:b:c",
            "a.slice:b:",
            ".slice:b:c",
            "a--b.slice:b:c",
            "-a.slice:b:c",
            "a/b.slice:b:c",
            "a.slice:b:c/d",
            "a.slice:b:c d",
            "a.slice:b:c.slice",
            "..slice/../x.slice:a:b",
        ] {
            let error = Unit::of(path, "web", false).expect_err(path).to_string();
            assert!(error.contains("linux.cgroupsPath"), "{error}");
        }
    }

    #[test]
    fn versions_are_read() {
        for (text, version) in [
            ("v245.4-1.fc32", 245),
            ("252.39-1~deb12u1", 252),
            ("245", 245),
            ("v245-1.fc32", 245),
            ("", 0),
            ("x", 0),
        ] {
            assert_eq!(version_of(text), version, "{text}");
        }
    }

    /// Runs against a manager that answers `script`; gives what was called.
    fn against(
        script: impl FnMut(&str, u32, &[u8]) -> Answer + Send + 'static,
        run: impl FnOnce(&mut Systemd),
    ) -> Vec<String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("private");
        let other = serve(&path, &["DATA", "OK 1"], Box::new(script));
        let mut systemd = Systemd::connect_to(&[Place::Private(path)], false).expect("connected");
        run(&mut systemd);
        drop(systemd);
        other.join().expect("joined")
    }

    fn done(serial: u32) -> Answer {
        let job = "/org/freedesktop/systemd1/job/7";
        let answer = reply(serial, &ObjectPath::try_from(job).expect("path"));
        Answer { messages: vec![answer, removed("", job, "done")] }
    }

    #[test]
    fn a_unit_that_failed_before_makes_room() {
        let limits = Resources::default();
        let unit = Unit::of("", "web", false).expect("unit");
        let mut tries = 0;
        let script = move |member: &str, serial: u32, body: &[u8]| match member {
            "StartTransientUnit" => {
                tries += 1;
                let has = |text: &[u8]| body.windows(text.len()).any(|part| part == text);
                assert!(has(b"nabe-web.scope") && has(b"Delegate") && has(b"PIDs") && has(b"system.slice"));
                assert!(has(b"DevicePolicy") && has(b"TasksAccounting") && has(b"CollectMode"));
                if tries == 1 {
                    return Answer { messages: vec![refusal(serial, "org.freedesktop.systemd1.UnitExists")] };
                }
                done(serial)
            }
            _ => Answer { messages: vec![reply(serial, &())] },
        };
        let annotations = BTreeMap::from([("org.systemd.property.CollectMode".into(), "'inactive'".into())]);
        let called = against(script, |systemd| {
            systemd.start(&unit, "web", 7, true, &limits, &annotations).expect("started");
        });
        assert_eq!(called, ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]);
    }

    #[test]
    fn a_unit_that_is_gone_is_stopped() {
        let unit = Unit::of("", "web", false).expect("unit");
        let stop = |error: &'static str| {
            let script =
                move |_: &str, serial: u32, _: &[u8]| Answer { messages: vec![refusal(serial, error)] };
            let mut result = None;
            let called = against(script, |systemd| result = Some(systemd.stop(&unit)));
            assert_eq!(called, ["StopUnit", "ResetFailedUnit"]);
            result.expect("tried").map_err(|error| error.line())
        };
        assert_eq!(stop("org.freedesktop.systemd1.NoSuchUnit"), Ok(()));
        let refused = stop("org.freedesktop.DBus.Error.AccessDenied").expect_err("refused");
        let words =
            "systemd cannot stop the unit nabe-web.scope: no (org.freedesktop.DBus.Error.AccessDenied)";
        assert_eq!(refused, words);
    }

    #[test]
    fn only_changes_are_told() {
        let unit = Unit::of("", "web", false).expect("unit");
        let script = |_: &str, serial: u32, body: &[u8]| {
            assert!(body.windows(8).any(|part| part == b"TasksMax"));
            Answer { messages: vec![reply(serial, &())] }
        };
        let called = against(script, |systemd| {
            systemd.set(&unit, true, &Resources::default()).expect("nothing to do");
            let limits: Resources = serde_json::from_str(r#"{"pids": {"limit": 7}}"#).expect("resources");
            systemd.set(&unit, true, &limits).expect("set");
        });
        assert_eq!(called, ["SetUnitProperties"]);
    }
}
