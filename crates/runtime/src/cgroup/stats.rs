//! What a container's cgroups counted, in the shape of runc's `events --stats`.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Cgroup, Version};

/// USER_HZ is 100 on every architecture that we run on.
const NANOS_PER_TICK: u64 = 10_000_000;

fn text(directory: &Path, file: &str) -> String {
    std::fs::read_to_string(directory.join(file)).unwrap_or_default()
}

/// One number; `max` is the largest.
fn number(directory: &Path, file: &str) -> u64 {
    let text = text(directory, file);
    if text.trim() == "max" { u64::MAX } else { text.trim().parse().unwrap_or(0) }
}

/// `name value` lines.
fn table(directory: &Path, file: &str) -> Map<String, Value> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), json!(value.trim().parse::<u64>().ok()?)))
    };
    text(directory, file).lines().filter_map(pair).collect()
}

fn get(table: &Map<String, Value>, name: &str) -> u64 {
    table.get(name).and_then(Value::as_u64).unwrap_or(0)
}

impl Cgroup {
    /// Figures of every controller.
    pub(crate) fn stats(&self) -> Value {
        json!({
            "cpu": self.cpu_stats(),
            "memory": self.memory_stats(),
            "pids": self.pids_stats(),
            "blkio": self.block_stats(),
            "hugetlb": {},
            "intel_rdt": {},
            "network_interfaces": null,
        })
    }

    /// How many processes of it the kernel has killed for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let Some((directory, version)) = self.controller("memory") else { return 0 };
        let file = if version == Version::V2 { "memory.events" } else { "memory.oom_control" };
        get(&table(directory, file), "oom_kill")
    }

    fn cpu_stats(&self) -> Value {
        let Some((directory, version)) = self.controller("cpu") else { return json!({}) };
        let stat = table(directory, "cpu.stat");
        if version == Version::V2 {
            let nanos = |name| get(&stat, name) * 1000;
            return json!({
                "usage": {"total": nanos("usage_usec"), "kernel": nanos("system_usec"), "user": nanos("user_usec")},
                "throttling": {"periods": get(&stat, "nr_periods"), "throttledPeriods": get(&stat, "nr_throttled"),
                    "throttledTime": nanos("throttled_usec")},
            });
        }
        let mut usage = json!({"total": 0, "kernel": 0, "user": 0});
        if let Some((accounts, Version::V1)) = self.controller("cpuacct") {
            let shares = table(accounts, "cpuacct.stat");
            let per_cpu: Vec<u64> = text(accounts, "cpuacct.usage_percpu")
                .split_whitespace()
                .filter_map(|n| n.parse().ok())
                .collect();
            usage = json!({
                "total": number(accounts, "cpuacct.usage"),
                "percpu": per_cpu,
                "kernel": get(&shares, "system") * NANOS_PER_TICK,
                "user": get(&shares, "user") * NANOS_PER_TICK,
            });
        }
        json!({
            "usage": usage,
            "throttling": {"periods": get(&stat, "nr_periods"), "throttledPeriods": get(&stat, "nr_throttled"),
                "throttledTime": get(&stat, "throttled_time")},
        })
    }

    fn memory_stats(&self) -> Value {
        let Some((directory, version)) = self.controller("memory") else { return json!({}) };
        let raw = table(directory, "memory.stat");
        if version == Version::V2 {
            let cache = get(&raw, "file");
            return json!({
                "cache": cache,
                "usage": {"limit": number(directory, "memory.max"), "usage": number(directory, "memory.current")},
                "swap": {"limit": number(directory, "memory.swap.max"), "usage": number(directory, "memory.swap.current")},
                "kernel": {"limit": 0},
                "raw": raw,
            });
        }
        let part = |name: &str| {
            let file = |end: &str| number(directory, &format!("memory.{name}{end}"));
            json!({"limit": file("limit_in_bytes"), "usage": file("usage_in_bytes"),
                "max": file("max_usage_in_bytes"), "failcnt": file("failcnt")})
        };
        json!({
            "cache": get(&raw, "cache"),
            "usage": part(""),
            "swap": part("memsw."),
            "kernel": part("kmem."),
            "kernelTCP": part("kmem.tcp."),
            "raw": raw,
        })
    }

    fn pids_stats(&self) -> Value {
        let Some((directory, _)) = self.controller("pids") else { return json!({}) };
        let limit = number(directory, "pids.max");
        json!({"current": number(directory, "pids.current"), "limit": if limit == u64::MAX { 0 } else { limit }})
    }

    fn block_stats(&self) -> Value {
        let Some((directory, version)) = self.controller("blkio") else { return json!({}) };
        let mut result = Map::new();
        if version == Version::V1 {
            let files = [
                ("ioServiceBytesRecursive", "blkio.throttle.io_service_bytes_recursive"),
                ("ioServicedRecursive", "blkio.throttle.io_serviced_recursive"),
            ];
            for (name, file) in files {
                let rows: Vec<Value> = text(directory, file).lines().filter_map(row).collect();
                result.insert(name.into(), json!(rows));
            }
        } else {
            let mut rows = Vec::new();
            for line in text(directory, "io.stat").lines() {
                let Some((device, values)) = line.split_once(' ') else { continue };
                for (key, op) in [("rbytes=", "Read"), ("wbytes=", "Write")] {
                    let value = values.split(' ').find_map(|word| word.strip_prefix(key));
                    rows.extend(row(&format!("{device} {op} {}", value.unwrap_or("0"))));
                }
            }
            result.insert("ioServiceBytesRecursive".into(), json!(rows));
        }
        Value::Object(result)
    }
}

/// `8:0 Read 123`.
fn row(line: &str) -> Option<Value> {
    let mut words = line.split_whitespace();
    let (major, minor) = words.next()?.split_once(':')?;
    let op = words.next()?;
    let number = |text: &str| text.parse::<u64>().ok();
    Some(json!({"major": number(major)?, "minor": number(minor)?, "op": op, "value": number(words.next()?)?}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_devices() {
        assert_eq!(row("8:16 Read 77"), Some(json!({"major": 8, "minor": 16, "op": "Read", "value": 77})));
        for bad in ["Total 7", "", "8 Read 1", "8:0 Read", "8:0 Read x"] {
            assert_eq!(row(bad), None, "{bad}");
        }
    }
}
