//! Limits of a configuration, as values of cgroup files.

use std::path::Path;

use super::{Cgroup, Version, device, write};
use crate::error::{Error, Result};
use crate::spec::{BlockIo, Cpu, Memory, Resources, ThrottleDevice};

/// Writes values of one controller, and says which setting was not possible.
struct Files<'a> {
    at: &'a str,
    directory: &'a Path,
}

impl Files<'_> {
    fn set(&self, file: &str, setting: &str, value: impl ToString) -> Result<()> {
        let path = self.directory.join(file);
        if !path.exists() {
            let why = format!("this kernel's cgroup has no {file} here ({})", self.directory.display());
            return Err(Error::Config { at: format!("linux.resources.{}.{setting}", self.at), why });
        }
        write(&path, &value.to_string())
    }

    fn maybe<T: ToString>(&self, file: &str, setting: &str, value: Option<T>) -> Result<()> {
        value.map_or(Ok(()), |value| self.set(file, setting, value))
    }
}

fn missing(at: &str, controller: &str) -> Error {
    let why = format!("no cgroup hierarchy here has the {controller} controller");
    Error::Config { at: format!("linux.resources.{at}"), why }
}

/// -1 as v2 writes it.
fn or_max(value: i64) -> String {
    if value < 0 { "max".into() } else { value.to_string() }
}

impl Cgroup {
    fn files<'a>(&'a self, controller: &str, at: &'a str) -> Result<(Files<'a>, Version)> {
        let (directory, version) = self.controller(controller).ok_or_else(|| missing(at, controller))?;
        Ok((Files { at, directory }, version))
    }

    /// Limits of an update with what belongs to them as it is now: quota and period are one value, and swap is
    /// counted together with the limit of memory.
    pub(crate) fn completed(&self, limits: &Resources) -> Resources {
        let mut limits = limits.clone();
        let cpu = &mut limits.cpu;
        let (quota, period) =
            (cpu.quota.filter(|quota| *quota != 0), cpu.period.filter(|period| *period != 0));
        if quota.is_some() != period.is_some()
            && let Some((quota_now, period_now)) = self.quota_now()
        {
            cpu.quota = quota.or(Some(quota_now));
            cpu.period = period.or(Some(period_now));
        }
        let memory = &mut limits.memory;
        let asks = |value: Option<i64>| value.is_some_and(|value| value != 0);
        if asks(memory.swap)
            && !asks(memory.limit)
            && let Some((directory, Version::V2)) = self.controller("memory")
            && let Ok(text) = std::fs::read_to_string(directory.join("memory.max"))
        {
            memory.limit = match text.trim() {
                "max" => Some(-1),
                number => number.parse().ok(),
            };
        }
        limits
    }

    /// Quota (negative without) and period.
    fn quota_now(&self) -> Option<(i64, u64)> {
        let (directory, version) = self.controller("cpu")?;
        let read = |file: &str| std::fs::read_to_string(directory.join(file)).ok();
        if version == Version::V1 {
            let quota = read("cpu.cfs_quota_us")?.trim().parse().ok()?;
            return Some((quota, read("cpu.cfs_period_us")?.trim().parse().ok()?));
        }
        let text = read("cpu.max")?;
        let (quota, period) = text.trim().split_once(' ')?;
        Some((if quota == "max" { -1 } else { quota.parse().ok()? }, period.parse().ok()?))
    }

    /// Applies limits; `update` leaves devices alone when none are named.
    pub(crate) fn limit(&self, limits: &Resources, update: bool) -> Result<()> {
        self.limit_amounts(limits, update)?;
        if !update || !limits.devices.is_empty() {
            self.limit_devices(limits)?;
        }
        Ok(())
    }

    /// Applies limits other than those of devices.
    pub(crate) fn limit_amounts(&self, limits: &Resources, update: bool) -> Result<()> {
        if limits.memory != Memory::default() {
            self.memory(&limits.memory)?;
        }
        if limits.cpu != Cpu::default() {
            self.cpu(&limits.cpu)?;
        }
        if let Some(limit) = limits.pids.limit.filter(|limit| *limit != 0 || update) {
            let (files, _) = self.files("pids", "pids")?;
            let value = if limit <= 0 { "max".into() } else { limit.to_string() };
            files.set("pids.max", "limit", value)?;
        }
        if limits.block_io != BlockIo::default() {
            self.block_io(&limits.block_io)?;
        }
        self.others(limits)?;
        for (file, value) in &limits.unified {
            self.unified_file(file, value)?;
        }
        Ok(())
    }

    /// Applies which devices may be used.
    pub(crate) fn limit_devices(&self, limits: &Resources) -> Result<()> {
        let rules = device::with_defaults(&limits.devices)?;
        match self.controller("devices") {
            Some((path, Version::V1)) => device::write_rules(path, &rules),
            // Without a hierarchy of its own in v2, a program decides. In hybrid mode v1 has it.
            Some((path, Version::V2)) => device::attach(path, &rules),
            None => Ok(()),
        }
    }

    fn unified_file(&self, file: &str, value: &str) -> Result<()> {
        let wrong =
            |why: &str| Error::Config { at: format!("linux.resources.unified.{file}"), why: why.into() };
        if file.contains('/') || !file.contains('.') {
            return Err(wrong("is not a name of a cgroup file"));
        }
        let Some(path) = self.unified() else { return Err(wrong("there is no cgroup v2 here")) };
        if !path.join(file).exists() {
            return Err(wrong("this kernel has no such file, or the controller is not in the v2 hierarchy"));
        }
        value.lines().try_for_each(|line| write(&path.join(file), line))
    }

    fn memory(&self, memory: &Memory) -> Result<()> {
        let (files, version) = self.files("memory", "memory")?;
        if version == Version::V2 {
            let (limit, swap) = memory_values(memory)?;
            // A kernel without swap has no limit of it either.
            let swap = swap.filter(|swap| *swap >= 0 || files.directory.join("memory.swap.max").exists());
            files.maybe("memory.swap.max", "swap", swap.map(or_max))?;
            files.maybe("memory.max", "limit", limit.map(or_max))?;
            return files.maybe("memory.low", "reservation", memory.reservation.map(or_max));
        }
        legacy_memory(&files, memory)?;
        files.maybe("memory.soft_limit_in_bytes", "reservation", memory.reservation)?;
        files.maybe("memory.kmem.tcp.limit_in_bytes", "kernelTCP", memory.kernel_tcp)?;
        files.maybe("memory.swappiness", "swappiness", memory.swappiness)?;
        if memory.disable_oom_killer {
            files.set("memory.oom_control", "disableOOMKiller", 1)?;
        }
        Ok(())
    }

    fn cpu(&self, cpu: &Cpu) -> Result<()> {
        let sets = !cpu.cpus.is_empty() || !cpu.mems.is_empty();
        if sets {
            let (files, _) = self.files("cpuset", "cpu")?;
            files.maybe("cpuset.cpus", "cpus", Some(&cpu.cpus).filter(|list| !list.is_empty()))?;
            files.maybe("cpuset.mems", "mems", Some(&cpu.mems).filter(|list| !list.is_empty()))?;
        }
        if *cpu == (Cpu { cpus: cpu.cpus.clone(), mems: cpu.mems.clone(), ..Cpu::default() }) {
            return Ok(());
        }
        let (files, version) = self.files("cpu", "cpu")?;
        let shares = cpu.shares.filter(|shares| *shares != 0);
        if version == Version::V2 {
            files.maybe("cpu.idle", "idle", cpu.idle)?;
            files.maybe("cpu.weight", "shares", shares.map(weight_of_shares))?;
            let quota = cpu.quota.filter(|quota| *quota != 0);
            if quota.is_some() || cpu.period.is_some() {
                let quota = quota.filter(|quota| *quota > 0).map_or("max".into(), |quota| quota.to_string());
                let period = cpu.period.filter(|period| *period != 0).unwrap_or(100_000);
                files.set("cpu.max", "quota", format!("{quota} {period}"))?;
            }
            return files.maybe("cpu.max.burst", "burst", cpu.burst);
        }
        files.maybe("cpu.idle", "idle", cpu.idle)?;
        files.maybe("cpu.shares", "shares", shares)?;
        // The kernel compares quota and period: whichever order it takes.
        let period = cpu.period.filter(|period| *period != 0);
        let quota = cpu.quota.filter(|quota| *quota != 0);
        if files.maybe("cpu.cfs_period_us", "period", period).is_err() {
            files.maybe("cpu.cfs_quota_us", "quota", quota)?;
            files.maybe("cpu.cfs_period_us", "period", period)?;
        }
        files.maybe("cpu.cfs_quota_us", "quota", quota)?;
        files.maybe("cpu.cfs_burst_us", "burst", cpu.burst)?;
        let period = cpu.realtime_period.filter(|period| *period != 0);
        let runtime = cpu.realtime_runtime.filter(|time| *time != 0);
        if files.maybe("cpu.rt_period_us", "realtimePeriod", period).is_err() {
            files.maybe("cpu.rt_runtime_us", "realtimeRuntime", runtime)?;
            files.maybe("cpu.rt_period_us", "realtimePeriod", period)?;
        }
        files.maybe("cpu.rt_runtime_us", "realtimeRuntime", runtime)
    }

    fn block_io(&self, limits: &BlockIo) -> Result<()> {
        let (files, version) = self.files("blkio", "blockIO")?;
        let weight = limits.weight.filter(|weight| *weight != 0);
        if version == Version::V2 {
            if let Some(weight) = weight {
                if files.directory.join("io.bfq.weight").exists() {
                    files.set("io.bfq.weight", "weight", weight)?;
                } else {
                    files.set("io.weight", "weight", format!("default {}", weight_of_io(weight)))?;
                }
            }
            for device in &limits.weight_device {
                let Some(weight) = device.weight else { continue };
                let bfq = files.directory.join("io.bfq.weight").exists();
                let (file, weight) =
                    if bfq { ("io.bfq.weight", weight.into()) } else { ("io.weight", weight_of_io(weight)) };
                files.set(file, "weightDevice", format!("{}:{} {weight}", device.major, device.minor))?;
            }
            for (list, key) in throttles(limits).into_iter().zip(["rbps", "wbps", "riops", "wiops"]) {
                for device in list.1 {
                    let value = format!("{}:{} {key}={}", device.major, device.minor, device.rate);
                    files.set("io.max", list.0, value)?;
                }
            }
            return Ok(());
        }
        if let Some(weight) = weight {
            let bfq = files.directory.join("blkio.bfq.weight").exists();
            files.set(if bfq { "blkio.bfq.weight" } else { "blkio.weight" }, "weight", weight)?;
        }
        let bfq = files.directory.join("blkio.bfq.weight_device").exists();
        let by_device = if bfq { "blkio.bfq.weight_device" } else { "blkio.weight_device" };
        files.maybe("blkio.leaf_weight", "leafWeight", limits.leaf_weight.filter(|weight| *weight != 0))?;
        for device in &limits.weight_device {
            let line = |weight| format!("{}:{} {weight}", device.major, device.minor);
            files.maybe(by_device, "weightDevice", device.weight.map(line))?;
            files.maybe("blkio.leaf_weight_device", "weightDevice", device.leaf_weight.map(line))?;
        }
        let names = ["read_bps_device", "write_bps_device", "read_iops_device", "write_iops_device"];
        for (list, name) in throttles(limits).into_iter().zip(names) {
            for device in list.1 {
                let line = format!("{}:{} {}", device.major, device.minor, device.rate);
                files.set(&format!("blkio.throttle.{name}"), list.0, line)?;
            }
        }
        Ok(())
    }

    fn others(&self, limits: &Resources) -> Result<()> {
        for page in &limits.hugepage_limits {
            let (files, version) = self.files("hugetlb", "hugepageLimits")?;
            let end = if version == Version::V2 { "max" } else { "limit_in_bytes" };
            files.set(&format!("hugetlb.{}.{end}", page.page_size), &page.page_size, page.limit)?;
            // Reservations, too, where the kernel counts them (5.7).
            let reserved = format!("hugetlb.{}.rsvd.{end}", page.page_size);
            if files.directory.join(&reserved).exists() {
                files.set(&reserved, &page.page_size, page.limit)?;
            }
        }
        if let Some(class) = limits.network.class_id.filter(|class| *class != 0) {
            let directory = self.paths.get("net_cls").ok_or_else(|| missing("network.classID", "net_cls"))?;
            write(&directory.join("net_cls.classid"), &class.to_string())?;
        }
        for priority in &limits.network.priorities {
            let directory =
                self.paths.get("net_prio").ok_or_else(|| missing("network.priorities", "net_prio"))?;
            write(
                &directory.join("net_prio.ifpriomap"),
                &format!("{} {}", priority.name, priority.priority),
            )?;
        }
        for (device, limit) in &limits.rdma {
            let (files, _) = self.files("rdma", "rdma")?;
            let part =
                |name, value: Option<u32>| value.map(|value| format!(" {name}={value}")).unwrap_or_default();
            let handles = part("hca_handle", limit.hca_handles);
            files.set(
                "rdma.max",
                device,
                format!("{device}{handles}{}", part("hca_object", limit.hca_objects)),
            )?;
        }
        Ok(())
    }
}

/// Limit and limit with swap: the kernel wants the second never below the first, also in between.
fn legacy_memory(files: &Files<'_>, memory: &Memory) -> Result<()> {
    const LIMIT: &str = "memory.limit_in_bytes";
    const BOTH: &str = "memory.memsw.limit_in_bytes";
    // Zero means that nothing is asked, as engines write it.
    let limit = memory.limit.filter(|limit| *limit != 0);
    // Unlimited memory needs unlimited swap; a kernel without swap accounting has no such file.
    let swap = memory.swap.filter(|swap| *swap != 0).or(limit.filter(|limit| *limit < 0));
    let swap = swap.filter(|swap| *swap > 0 || files.directory.join(BOTH).exists());
    if let (Some(limit), Some(swap)) = (limit, swap) {
        let now = std::fs::read_to_string(files.directory.join(LIMIT)).ok();
        let now = now.and_then(|text| text.trim().parse::<i64>().ok()).unwrap_or(i64::MAX);
        if swap < 0 || now < swap {
            files.set(BOTH, "swap", swap)?;
            return files.set(LIMIT, "limit", limit);
        }
    }
    files.maybe(LIMIT, "limit", limit)?;
    files.maybe(BOTH, "swap", swap)
}

/// Limits of memory and of swap alone, as v2 counts (the spec counts both together); negative is unlimited, and 0
/// asks for nothing, as engines write it.
pub(crate) fn memory_values(memory: &Memory) -> Result<(Option<i64>, Option<i64>)> {
    let wrong = |why: &str| Error::Config { at: "linux.resources.memory.swap".into(), why: why.into() };
    let limit = memory.limit.filter(|limit| *limit != 0);
    let swap = match (limit, memory.swap.filter(|swap| *swap != 0)) {
        // As v1 has it: unlimited memory is unlimited swap.
        (Some(limit), None) if limit < 0 => Some(-1),
        (_, None) => None,
        (_, Some(both)) if both < 0 => Some(-1),
        (None, Some(_)) => return Err(wrong("needs a memory limit: it counts memory and swap together")),
        (Some(limit), both) if limit < 0 => both,
        (Some(limit), Some(both)) if both >= limit => Some(both - limit),
        (Some(_), Some(_)) => return Err(wrong("is smaller than the memory limit")),
    };
    Ok((limit, swap))
}

/// 10 … 1000 to 1 … 10000, as the other runtimes do.
pub(crate) fn weight_of_io(weight: u16) -> u64 {
    1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990
}

/// 2 … 262144 to 1 … 10000 so that the default of the one, 1024, is that of the other, 100: the curve through
/// these three points that runc (1.3.2) and crun (1.23) have agreed upon.
pub(crate) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        shares => {
            #[expect(clippy::cast_precision_loss, reason = "below 2^18")]
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 10000")]
            let weight = 10f64.powf(exponent).ceil() as u64;
            weight
        }
    }
}

fn throttles(limits: &BlockIo) -> [(&'static str, &[ThrottleDevice]); 4] {
    [
        ("throttleReadBpsDevice", &limits.throttle_read_bps_device),
        ("throttleWriteBpsDevice", &limits.throttle_write_bps_device),
        ("throttleReadIOPSDevice", &limits.throttle_read_iops_device),
        ("throttleWriteIOPSDevice", &limits.throttle_write_iops_device),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights() {
        for (shares, weight) in
            [(2, 1), (1024, 100), (512, 59), (262_144, 10_000), (0, 1), (u64::MAX, 10_000)]
        {
            assert_eq!(weight_of_shares(shares), weight);
        }
    }

    #[test]
    fn an_update_keeps_what_belongs_to_it() {
        let place = tempfile::tempdir().expect("a directory");
        let cgroup: Cgroup = serde_json::from_value(serde_json::json!({"": place.path()})).expect("a cgroup");
        let completed = |json: &str| {
            let limits = cgroup.completed(&serde_json::from_str(json).expect("resources"));
            (limits.cpu.quota, limits.cpu.period, limits.memory.limit)
        };
        // Nothing to be known: as it was asked.
        assert_eq!(completed(r#"{"cpu": {"quota": 7}, "memory": {"swap": 7}}"#), (Some(7), None, None));
        let write = |file: &str, text: &str| std::fs::write(place.path().join(file), text).expect("written");
        write("cpu.max", "max 200000\n");
        write("memory.max", "max\n");
        assert_eq!(completed(r#"{"cpu": {"quota": 7}}"#), (Some(7), Some(200_000), None));
        assert_eq!(completed(r#"{"cpu": {"period": 7}}"#), (Some(-1), Some(7), None));
        assert_eq!(completed(r#"{"memory": {"swap": 7}}"#), (None, None, Some(-1)));
        write("cpu.max", "50000 100000\n");
        write("memory.max", "4096\n");
        assert_eq!(completed(r#"{"cpu": {"period": 7}}"#), (Some(50_000), Some(7), None));
        assert_eq!(completed(r#"{"memory": {"swap": 7}}"#), (None, None, Some(4096)));
        assert_eq!(completed(r#"{"memory": {"swap": 7, "limit": 5}}"#), (None, None, Some(5)));
        assert_eq!(completed("{}"), (None, None, None));
    }

    #[test]
    fn swap_is_counted_alone() {
        let values = |limit, swap| memory_values(&Memory { limit, swap, ..Memory::default() }).ok();
        for (limit, swap, found) in [
            (Some(100), Some(300), Some((Some(100), Some(200)))),
            (None, Some(-1), Some((None, Some(-1)))),
            (Some(0), Some(0), Some((None, None))),
            (Some(-1), None, Some((Some(-1), Some(-1)))),
            (Some(-1), Some(70), Some((Some(-1), Some(70)))),
            (Some(100), Some(100), Some((Some(100), Some(0)))),
            (Some(100), Some(50), None),
            (None, Some(50), None),
        ] {
            assert_eq!(values(limit, swap), found, "{limit:?} {swap:?}");
        }
    }
}
