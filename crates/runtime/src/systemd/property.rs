//! `linux.resources` and annotations as properties of a unit, the way runc (1.3, its module cgroups/systemd) and
//! crun (1.2x, cgroup-systemd.c) map them; see systemd.resource-control(5).
//!
//! What systemd has no property for stays with the cgroup's files, which are written afterwards in any case.

use std::collections::BTreeMap;

use zbus::wire::Variant;

use super::variant;
use crate::cgroup::{Allowed, memory_values, weight_of_io, weight_of_shares};
use crate::error::{Error, Result};
use crate::spec::{Cpu, Resources};

/// Prefix of annotations that are properties of the unit.
const ANNOTATION: &str = "org.systemd.property.";

/// Without a limit, as systemd writes it.
const INFINITY: u64 = u64::MAX;

/// The kernel's period when none is set, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

/// systemd keeps a quota as whole percents of a processor: so many microseconds of a second.
const PERCENT: u64 = 10_000;

/// A property by its name.
pub(super) type Property = (String, Variant<'static>);

/// What the properties depend on beside the limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// Whether v2 is all there is.
    pub(super) unified: bool,
    /// Whether it is the manager of a user, who may not filter devices.
    pub(super) user: bool,
    /// systemd's version.
    pub(super) version: u32,
    /// Whether the unit is there already; then what is not named stays as it is.
    pub(super) update: bool,
}

/// The properties for limits. Some say the same twice: what comes later holds, as the files have it.
pub(super) fn of_limits(limits: &Resources, setting: Setting) -> Result<Vec<Property>> {
    let mut list = List { properties: Vec::new(), setting };
    if !setting.user && (!setting.update || !limits.devices.is_empty()) {
        list.devices(limits)?;
    }
    if setting.unified {
        list.unified_memory(limits)?;
    } else if let Some(limit) = limits.memory.limit.filter(|limit| *limit != 0) {
        list.number("MemoryLimit", amount(limit));
    }
    list.cpu(&limits.cpu)?;
    if let Some(weight) = limits.block_io.weight.filter(|weight| *weight != 0) {
        match setting.unified {
            true => list.number("IOWeight", weight_of_io(weight)),
            false => list.number("BlockIOWeight", weight.into()),
        }
    }
    if setting.unified {
        for device in &limits.block_io.weight_device {
            let Some(weight) = device.weight.filter(|weight| *weight != 0) else { continue };
            list.device_weight(format!("{}:{}", device.major, device.minor), weight_of_io(weight));
        }
    }
    if let Some(limit) = limits.pids.limit.filter(|limit| *limit != 0 || setting.update) {
        list.number("TasksMax", if limit <= 0 { INFINITY } else { amount(limit) });
    }
    if setting.unified {
        list.files(&limits.unified)?;
    }
    Ok(list.properties)
}

/// -1 without a limit.
fn amount(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(INFINITY)
}

struct List {
    properties: Vec<Property>,
    setting: Setting,
}

impl List {
    fn push(&mut self, name: &str, value: impl Into<Variant<'static>>) {
        self.properties.push((name.into(), value.into()));
    }

    fn number(&mut self, name: &str, value: u64) {
        self.push(name, value);
    }

    fn unified_memory(&mut self, limits: &Resources) -> Result<()> {
        let (limit, swap) = memory_values(&limits.memory)?;
        if let Some(limit) = limit {
            self.number("MemoryMax", amount(limit));
        }
        if let Some(reservation) = limits.memory.reservation.filter(|low| *low != 0) {
            self.number("MemoryLow", amount(reservation));
        }
        if let Some(swap) = swap {
            self.number("MemorySwapMax", amount(swap));
        }
        Ok(())
    }

    fn cpu(&mut self, cpu: &Cpu) -> Result<()> {
        let shares = cpu.shares.filter(|shares| *shares != 0);
        // systemd has it since 252: a weight of 0 is idle.
        let idle = self.setting.unified && cpu.idle == Some(1) && self.setting.version >= 252;
        match (self.setting.unified, shares) {
            (true, _) if idle => self.number("CPUWeight", 0),
            (true, Some(shares)) => self.number("CPUWeight", weight_of_shares(shares)),
            (false, Some(shares)) => self.number("CPUShares", shares),
            (_, None) => {}
        }
        self.quota(cpu.quota.unwrap_or(0), cpu.period.unwrap_or(0));
        for (name, field, text) in
            [("AllowedCPUs", "cpus", &cpu.cpus), ("AllowedMemoryNodes", "mems", &cpu.mems)]
        {
            if !text.is_empty() && self.setting.version >= 244 {
                let at = format!("linux.resources.cpu.{field}");
                self.push(name, bits(text).ok_or_else(|| not_a_list(at, text))?);
            }
        }
        Ok(())
    }

    /// Both 0 when nothing is asked.
    fn quota(&mut self, quota: i64, period: u64) {
        if period != 0 && self.setting.version >= 242 {
            self.number("CPUQuotaPeriodUSec", period);
        }
        if quota != 0 || period != 0 {
            let value = per_second(quota, period).unwrap_or(INFINITY);
            self.number("CPUQuotaPerSecUSec", value);
        }
    }

    fn device_weight(&mut self, device: String, weight: u64) {
        self.push("IODeviceWeight", vec![(format!("/dev/block/{device}"), weight)]);
    }

    /// systemd knows only what is allowed. Ours may therefore be wider here than the rules; the program (or the v1
    /// files) that the rules themselves become narrows it again.
    fn devices(&mut self, limits: &Resources) -> Result<()> {
        // An empty list first: the next one would be added to what is there.
        self.push("DeviceAllow", Vec::<(String, String)>::new());
        let Some(allowed) = Allowed::of(&limits.devices)? else {
            self.push("DevicePolicy", "auto");
            return Ok(());
        };
        self.push("DevicePolicy", "strict");
        self.push("DeviceAllow", allowed.entries());
        Ok(())
    }

    /// `linux.resources.unified`, as far as systemd has a property for a file.
    fn files(&mut self, files: &BTreeMap<String, String>) -> Result<()> {
        let idle =
            files.get("cpu.idle").is_some_and(|value| value.trim() == "1") && self.setting.version >= 252;
        for (file, value) in files {
            let value = value.trim();
            let wrong = || Error::Config {
                at: format!("linux.resources.unified.{file}"),
                why: format!("\"{value}\" is no value of it"),
            };
            let number = || match value {
                "max" => Ok(INFINITY),
                value => value.parse::<u64>().map_err(|_| wrong()),
            };
            match file.as_str() {
                "cpu.idle" if idle => self.number("CPUWeight", 0),
                "cpu.weight" if !idle => self.number("CPUWeight", number()?),
                "cpu.max" => {
                    let mut words = value.split_whitespace();
                    let quota = match words.next().ok_or_else(wrong)? {
                        "max" => 0,
                        quota => quota.parse::<i64>().map_err(|_| wrong())?,
                    };
                    let period = words.next().map(|period| period.parse::<u64>().map_err(|_| wrong()));
                    self.quota(quota, period.transpose()?.unwrap_or(DEFAULT_PERIOD));
                }
                "cpuset.cpus" | "cpuset.mems" if self.setting.version >= 244 => {
                    let name = if file == "cpuset.cpus" { "AllowedCPUs" } else { "AllowedMemoryNodes" };
                    self.push(name, bits(value).ok_or_else(wrong)?);
                }
                "memory.min" => self.number("MemoryMin", number()?),
                "memory.low" => self.number("MemoryLow", number()?),
                "memory.high" => self.number("MemoryHigh", number()?),
                "memory.max" => self.number("MemoryMax", number()?),
                "memory.swap.max" => self.number("MemorySwapMax", number()?),
                "memory.zswap.max" if self.setting.version >= 253 => self.number("MemoryZSwapMax", number()?),
                // systemd takes no 0.
                "pids.max" => self.number("TasksMax", number()?.max(1)),
                "io.weight" => self.weights(value).ok_or_else(wrong)?,
                // Since 253, and only at the start.
                "memory.oom.group" if self.setting.version >= 253 && !self.setting.update => match value {
                    "0" => self.push("OOMPolicy", "continue"),
                    "1" => self.push("OOMPolicy", "kill"),
                    _ => return Err(wrong()),
                },
                _ => {}
            }
        }
        Ok(())
    }

    fn weights(&mut self, value: &str) -> Option<()> {
        for line in value.lines() {
            let mut words = line.split_whitespace();
            let (first, second) = (words.next()?, words.next());
            let weight = second.unwrap_or(first).parse().ok()?;
            match (first, second) {
                ("default", _) | (_, None) => self.number("IOWeight", weight),
                (device, _) => self.device_weight(device.into(), weight),
            }
        }
        Some(())
    }
}

/// Microseconds of processor in a second, in whole percents of a processor; `None` without a limit.
fn per_second(quota: i64, period: u64) -> Option<u64> {
    let quota = u64::try_from(quota).ok().filter(|quota| *quota != 0)?;
    let period = if period == 0 { DEFAULT_PERIOD } else { period };
    let exact = u128::from(quota) * 1_000_000 / u128::from(period);
    Some(u64::try_from(exact).ok()?.checked_next_multiple_of(PERCENT).unwrap_or(INFINITY))
}

/// The quota that a cgroup gets from systemd for a quota that was asked for: whole percents of a processor. What is
/// written to the cgroup's file itself must say the same.
pub(super) fn rounded_quota(quota: i64, period: u64) -> i64 {
    let period = if period == 0 { DEFAULT_PERIOD } else { period };
    match per_second(quota, period) {
        Some(value) if value != INFINITY => {
            i64::try_from(u128::from(value) * u128::from(period) / 1_000_000).unwrap_or(quota)
        }
        _ => quota,
    }
}

/// Bits of `0-2,5`, the first in the lowest bit of the first byte; `None` when it is no list, or an empty one.
fn bits(list: &str) -> Option<Vec<u8>> {
    /// More processors or nodes than any kernel has.
    const MOST: usize = 1 << 16;
    let mut bits: Vec<u8> = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        for number in first..=last {
            if bits.len() <= number / 8 {
                bits.resize(number / 8 + 1, 0);
            }
            *bits.get_mut(number / 8)? |= 1 << (number % 8);
        }
    }
    (!bits.is_empty()).then_some(bits)
}

fn not_a_list(at: String, text: &str) -> Error {
    Error::Config { at, why: format!("\"{text}\" is no list of numbers") }
}

/// Properties that annotations ask for.
pub(super) fn of_annotations(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>> {
    let named = annotations.iter().filter_map(|(key, text)| Some((key, key.strip_prefix(ANNOTATION)?, text)));
    named
        .map(|(key, name, text)| {
            let wrong = |why: String| Error::Config { at: format!("annotations.{key}"), why };
            if name.len() < 3 || !name.chars().all(|c| c.is_ascii_alphabetic()) {
                return Err(wrong(format!("\"{name}\" is no name of a property")));
            }
            let value = variant::parse(text).map_err(wrong)?;
            // Times are microseconds for systemd, whatever their documentation calls them.
            match name.strip_suffix("Sec") {
                Some(start) if start.ends_with(|c: char| c.is_ascii_lowercase()) => {
                    let time = microseconds(&value).ok_or_else(|| wrong("is no number of seconds".into()))?;
                    Ok((format!("{start}USec"), Variant::U64(time)))
                }
                _ => Ok((name.to_owned(), value)),
            }
        })
        .collect()
}

fn microseconds(value: &Variant<'_>) -> Option<u64> {
    let whole: u64 = match value {
        Variant::U8(value) => (*value).into(),
        Variant::U16(value) => (*value).into(),
        Variant::U32(value) => (*value).into(),
        Variant::U64(value) => *value,
        Variant::I16(value) => (*value).try_into().ok()?,
        Variant::I32(value) => (*value).try_into().ok()?,
        Variant::I64(value) => (*value).try_into().ok()?,
        Variant::F64(value) if *value >= 0.0 && *value < 1e12 => {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10^18")]
            let time = (*value * 1e6) as u64;
            return Some(time);
        }
        _ => return None,
    };
    whole.checked_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: Setting = Setting { unified: true, user: false, version: 252, update: true };

    fn limits(json: &str) -> Resources {
        serde_json::from_str(json).expect("resources")
    }

    /// Properties as text, `Name=value`.
    fn shown(json: &str, setting: Setting) -> Vec<String> {
        let properties = of_limits(&limits(json), setting).expect("properties");
        properties.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn lists_become_bits() {
        // The cases of runc's own test of this.
        let cases: [(&str, Option<&[u8]>); 21] = [
            ("", None),
            ("0", Some(&[1])),
            ("1", Some(&[2])),
            ("0-1", Some(&[3])),
            ("0,1", Some(&[3])),
            (",0,1,", Some(&[3])),
            ("0-3", Some(&[0x0f])),
            ("0,1,2-3", Some(&[0x0f])),
            ("4-7", Some(&[0xf0])),
            ("0-7", Some(&[0xff])),
            ("0-15", Some(&[0xff, 0xff])),
            ("16", Some(&[0, 0, 1])),
            ("0-3,32-33", Some(&[0x0f, 0, 0, 0, 3])),
            ("1, 2, 1-2", Some(&[6])),
            ("    , 1   , 3  ,  5-7,\t", Some(&[0xea])),
            ("128-130,1", Some(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7])),
            ("-", None),
            ("1-", None),
            ("-3", None),
            ("54-53", None),
            ("1 - 2", None),
        ];
        for (list, found) in cases {
            assert_eq!(bits(list).as_deref(), found, "{list:?}");
        }
        assert_eq!(bits("0-4294967295"), None);
    }

    #[test]
    fn quotas_are_whole_percents() {
        // The cases of runc's own test of this.
        for (quota, period, second, written) in [
            (500_000, 1_000_000, 500_000, 500_000),
            (123_456, 0, 1_240_000, 124_000),
            (500_000, 900_000, 560_000, 504_000),
        ] {
            assert_eq!(per_second(quota, period), Some(second), "{quota} of {period}");
            assert_eq!(rounded_quota(quota, period), written, "{quota} of {period}");
        }
        assert_eq!(per_second(-1, 100_000), None);
        assert_eq!(rounded_quota(-1, 100_000), -1);
        assert_eq!(rounded_quota(i64::MAX, 1), i64::MAX);
    }

    #[test]
    fn limits_are_the_properties_that_runc_sends() {
        for (json, found) in [
            ("{}", "[]"),
            (
                r#"{"memory": {"limit": 33554432, "reservation": 16777216, "swap": 41943040}}"#,
                r#"["MemoryMax=33554432", "MemoryLow=16777216", "MemorySwapMax=8388608"]"#,
            ),
            (
                r#"{"memory": {"limit": -1}}"#,
                r#"["MemoryMax=18446744073709551615", "MemorySwapMax=18446744073709551615"]"#,
            ),
            (r#"{"cpu": {"shares": 100}}"#, r#"["CPUWeight=17"]"#),
            (r#"{"cpu": {"shares": 100, "idle": 1}}"#, r#"["CPUWeight=0"]"#),
            (
                r#"{"cpu": {"quota": 500000, "period": 1000000}}"#,
                r#"["CPUQuotaPeriodUSec=1000000", "CPUQuotaPerSecUSec=500000"]"#,
            ),
            (r#"{"cpu": {"quota": -1}}"#, r#"["CPUQuotaPerSecUSec=18446744073709551615"]"#),
            (r#"{"cpu": {"cpus": "0-1", "mems": "0"}}"#, r#"["AllowedCPUs=[3]", "AllowedMemoryNodes=[1]"]"#),
            (r#"{"pids": {"limit": 20}}"#, r#"["TasksMax=20"]"#),
            (r#"{"pids": {"limit": -1}}"#, r#"["TasksMax=18446744073709551615"]"#),
            (r#"{"blockIO": {"weight": 1000}}"#, r#"["IOWeight=10000"]"#),
            (r#"{"unified": {"cpu.idle": "1", "cpu.weight": "1000"}}"#, r#"["CPUWeight=0"]"#),
            (r#"{"unified": {"cpu.idle": "0", "cpu.weight": "1000"}}"#, r#"["CPUWeight=1000"]"#),
            (
                r#"{"unified": {"memory.high": "max", "pids.max": "0", "cpu.max": "20000 100000"}}"#,
                r#"["CPUQuotaPeriodUSec=100000", "CPUQuotaPerSecUSec=200000", "MemoryHigh=18446744073709551615", "TasksMax=1"]"#,
            ),
            (
                r#"{"unified": {"io.weight": "default 200\n8:0 300"}}"#,
                r#"["IOWeight=200", "IODeviceWeight=[(/dev/block/8:0, 300)]"]"#,
            ),
            (r#"{"unified": {"memory.oom.group": "1"}}"#, "[]"),
            (r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}"#, "[]"),
        ] {
            let shown = format!("{:?}", shown(json, V2)).replace("uint64 ", "").replace("byte ", "");
            let plain = shown.replace("\\\"", "").replace("0x", "");
            assert_eq!(plain.replace("[03]", "[3]").replace("[01]", "[1]"), found, "{json}");
        }
    }

    #[test]
    fn older_ones_and_v1_have_other_names() {
        let v1 = Setting { unified: false, ..V2 };
        let names = |json, setting| -> Vec<String> {
            of_limits(&limits(json), setting).expect("properties").into_iter().map(|(name, _)| name).collect()
        };
        let all = r#"{"memory": {"limit": 1, "swap": 2, "reservation": 1}, "blockIO": {"weight": 10},
            "cpu": {"shares": 100, "quota": 1, "period": 2, "cpus": "0"}, "pids": {"limit": 1}}"#;
        let found = names(all, v1);
        let cpu = ["CPUShares", "CPUQuotaPeriodUSec", "CPUQuotaPerSecUSec", "AllowedCPUs"];
        assert_eq!(found, [&["MemoryLimit"], cpu.as_slice(), &["BlockIOWeight", "TasksMax"]].concat());
        let old = names(all, Setting { version: 241, ..V2 });
        let cpu = ["CPUWeight", "CPUQuotaPerSecUSec"];
        assert_eq!(
            old,
            [&["MemoryMax", "MemoryLow", "MemorySwapMax"], cpu.as_slice(), &["IOWeight", "TasksMax"]]
                .concat()
        );
    }

    #[test]
    fn devices_are_named_at_the_start_and_for_root() {
        let names = |json, setting| -> Vec<String> {
            let found = of_limits(&limits(json), setting).expect("properties");
            found.iter().map(|(name, value)| format!("{name}:{}", value.value_signature())).collect()
        };
        let start = Setting { update: false, ..V2 };
        let strict = ["DeviceAllow:a(ss)", "DevicePolicy:s", "DeviceAllow:a(ss)"];
        assert_eq!(names("{}", start), strict);
        assert_eq!(names("{}", Setting { user: true, ..start }), [""; 0]);
        assert_eq!(names("{}", V2), [""; 0]);
        let all = r#"{"devices": [{"allow": true, "access": "rwm"}]}"#;
        assert_eq!(names(all, V2), ["DeviceAllow:a(ss)", "DevicePolicy:s"]);
        assert_eq!(shown(all, V2)[1], "DevicePolicy=\"auto\"");
    }

    #[test]
    fn nonsense_is_named() {
        for (json, at) in [
            (r#"{"cpu": {"cpus": "a"}}"#, "linux.resources.cpu.cpus"),
            (r#"{"memory": {"swap": 7}}"#, "linux.resources.memory.swap"),
            (r#"{"unified": {"memory.max": "-1"}}"#, "linux.resources.unified.memory.max"),
            (r#"{"unified": {"cpu.max": ""}}"#, "linux.resources.unified.cpu.max"),
        ] {
            let error = of_limits(&limits(json), V2).expect_err("nonsense").to_string();
            assert!(error.contains(&format!("{at}:")), "{error}");
        }
    }

    #[test]
    fn annotations_are_properties() {
        let of = |key: &str, text: &str| {
            let map = BTreeMap::from([(key.to_owned(), text.to_owned()), ("other".into(), "x".into())]);
            of_annotations(&map).map_err(|error| error.to_string())
        };
        let one = |name: &str, value: Variant<'static>| Ok(vec![(name.to_owned(), value)]);
        assert_eq!(
            of("org.systemd.property.TimeoutStopUSec", "uint64 123456789"),
            one("TimeoutStopUSec", Variant::U64(123_456_789))
        );
        assert_eq!(
            of("org.systemd.property.TimeoutStopSec", "7"),
            one("TimeoutStopUSec", Variant::U64(7_000_000))
        );
        assert_eq!(
            of("org.systemd.property.TimeoutStopSec", "1.5"),
            one("TimeoutStopUSec", Variant::U64(1_500_000))
        );
        assert_eq!(
            of("org.systemd.property.CollectMode", "'inactive-or-failed'"),
            one("CollectMode", "inactive-or-failed".to_owned().into())
        );
        assert_eq!(
            of("org.systemd.property.After", "['a.service']"),
            one("After", vec!["a.service".to_owned()].into())
        );
        assert_eq!(of("org.systemd", "7"), Ok(vec![]));
        for (name, text) in
            [("A b", "1"), ("Ab", "1"), ("TimeoutStopSec", "'a'"), ("TimeoutStopSec", "-1"), ("Delegate", "")]
        {
            let error = of(&format!("org.systemd.property.{name}"), text).expect_err("nonsense");
            assert!(error.contains(&format!("annotations.org.systemd.property.{name}:")), "{error}");
        }
    }
}
