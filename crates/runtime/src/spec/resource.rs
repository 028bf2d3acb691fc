//! `linux.resources`: limits of cgroups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{is_default, nullable};

objects! {
    /// Limits.
    Resources {
        /// Which devices may be used.
        devices: Vec<DeviceRule>,
        /// Memory.
        memory: Memory,
        /// Processor.
        cpu: Cpu,
        /// Number of tasks.
        pids: Pids,
        /// Block devices.
        #[serde(rename = "blockIO")]
        block_io: BlockIo,
        /// Huge pages.
        hugepage_limits: Vec<HugepageLimit>,
        /// Network classes and priorities (cgroup v1).
        network: Network,
        /// RDMA, by device.
        rdma: BTreeMap<String, Rdma>,
        /// Files of cgroup v2 and what to write into them.
        unified: BTreeMap<String, String>,
    }
    /// Allow or deny devices.
    DeviceRule {
        /// Allow.
        allow: bool,
        /// `a`, `c` or `b`.
        #[serde(rename = "type")]
        kind: String,
        /// Major number; any when missing.
        major: Option<i64>,
        /// Minor number; any when missing.
        minor: Option<i64>,
        /// Of `r`, `w`, `m`.
        access: String,
    }
    /// Memory limits in bytes; -1 is unlimited.
    Memory {
        /// Memory.
        limit: Option<i64>,
        /// Soft limit.
        reservation: Option<i64>,
        /// Memory and swap together.
        swap: Option<i64>,
        /// Kernel memory (gone from kernels since 5.16; passed over).
        kernel: Option<i64>,
        /// TCP buffers.
        #[serde(rename = "kernelTCP")]
        kernel_tcp: Option<i64>,
        /// 0 to 100.
        swappiness: Option<u64>,
        /// Stop instead of killing.
        #[serde(rename = "disableOOMKiller")]
        disable_oom_killer: bool,
        /// Hierarchical accounting.
        use_hierarchy: Option<bool>,
        /// Refuse a limit below the present use.
        check_before_update: bool,
    }
    /// Processor limits.
    Cpu {
        /// Relative weight, 2 to 262144.
        shares: Option<u64>,
        /// Microseconds of processor in a period.
        quota: Option<i64>,
        /// Microseconds that may be saved up.
        burst: Option<u64>,
        /// Microseconds.
        period: Option<u64>,
        /// Microseconds of real time.
        realtime_runtime: Option<i64>,
        /// Microseconds.
        realtime_period: Option<u64>,
        /// List of processors.
        cpus: String,
        /// List of memory nodes.
        mems: String,
        /// Run only when nobody else does.
        idle: Option<i64>,
    }
    /// Number of tasks.
    Pids {
        /// At most so many; not positive is unlimited.
        limit: Option<i64>,
    }
    /// Block device limits.
    BlockIo {
        /// 10 to 1000.
        weight: Option<u16>,
        /// Weight against children.
        leaf_weight: Option<u16>,
        /// Weights by device.
        weight_device: Vec<WeightDevice>,
        /// Bytes a second.
        throttle_read_bps_device: Vec<ThrottleDevice>,
        /// Bytes a second.
        throttle_write_bps_device: Vec<ThrottleDevice>,
        /// Operations a second.
        #[serde(rename = "throttleReadIOPSDevice")]
        throttle_read_iops_device: Vec<ThrottleDevice>,
        /// Operations a second.
        #[serde(rename = "throttleWriteIOPSDevice")]
        throttle_write_iops_device: Vec<ThrottleDevice>,
    }
    /// Weight of one device.
    WeightDevice {
        /// Major number.
        major: i64,
        /// Minor number.
        minor: i64,
        /// 10 to 1000.
        weight: Option<u16>,
        /// Weight against children.
        leaf_weight: Option<u16>,
    }
    /// Rate of one device.
    ThrottleDevice {
        /// Major number.
        major: i64,
        /// Minor number.
        minor: i64,
        /// A second.
        rate: u64,
    }
    /// Limit of one huge page size.
    HugepageLimit {
        /// `2MB` …
        #[serde(alias = "pagesize")]
        page_size: String,
        /// Bytes.
        limit: u64,
    }
    /// Network classes and priorities.
    Network {
        /// Class of packets.
        #[serde(rename = "classID")]
        class_id: Option<u32>,
        /// Priorities by interface.
        priorities: Vec<InterfacePriority>,
    }
    /// Priority of one interface.
    InterfacePriority {
        /// Interface.
        name: String,
        /// Priority.
        priority: u32,
    }
    /// RDMA limits.
    Rdma {
        /// Handles.
        hca_handles: Option<u32>,
        /// Objects.
        hca_objects: Option<u32>,
    }
}
