/* SPDX-License-Identifier: GPL-2.0 */
/* Made by `cargo xtask codegen` from crates/event/src/record.rs: do not edit. */
#ifndef NABE_RECORD_GEN_H
#define NABE_RECORD_GEN_H

struct nabe_header {
	__u32 len;
	__u16 kind;
	__u16 flags;
};

#define NABE_KIND_TASK 2
#define NABE_KIND_THREAD_TIMES 3
#define NABE_KIND_ARGS 4
#define NABE_KIND_FD 5
#define NABE_KIND_CGROUP 6
#define NABE_FLAG_CUT 2
#define NABE_FLAG_UNREAD 4
#define NABE_FLAG_SOCKET 8
#define NABE_EXE_DELETED 1
#define NABE_EXE_MEMFD 2
#define NABE_EXE_UPPER 4
#define NABE_EXE_LOWER 8
#define NABE_EXE_KNOWN 16
#define NABE_TASK_NO_NEW_PRIVS 1
#define NABE_TASK_HAS_MM 2
#define NABE_TASK_KTHREAD 4

struct nabe_host {
	__u64 taken_ns; /* 0: wall clock at the snapshot, ns since the epoch */
	__u64 uptime_ns; /* 8: ns since boot (CLOCK_BOOTTIME) at the snapshot */
	__u32 page_size; /* 16: bytes of a page */
	__u32 cpus; /* 20: processors that can be online */
	__u32 reader_pidns; /* 24: inode of the reader's PID namespace */
	__u32 source; /* 28: 1 = BPF iterators, 2 = /proc */
	__u64 tick_ns; /* 32: ns since boot that a monotonic clock tick counts (1e9 / CLK_TCK) */
	__u16 hostname_len; /* 40: length of the host name */
	__u16 release_len; /* 42: length of the kernel release */
	__u32 init_net; /* 44: inode of the host's (PID 1's) net namespace, 0 when not known */
	__u32 init_mnt; /* 48: inode of the host's mnt namespace, 0 when not known */
	__u32 reserved; /* 52: zero */
};
_Static_assert(sizeof(struct nabe_host) == 56, "layout");
_Static_assert(__builtin_offsetof(struct nabe_host, taken_ns) == 0, "layout");
_Static_assert(__builtin_offsetof(struct nabe_host, uptime_ns) == 8, "layout");
_Static_assert(__builtin_offsetof(struct nabe_host, page_size) == 16, "layout");
_Static_assert(__builtin_offsetof(struct nabe_host, cpus) == 20, "layout");
_Static_assert(__builtin_offsetof(struct nabe_host, reader_pidns) == 24, "layout");
_Static_assert(__builtin_offsetof(struct nabe_host, source) == 28, "layout");
_Static_assert(__builtin_offsetof(struct nabe_host, tick_ns) == 32, "layout");
_Static_assert(__builtin_offsetof(struct nabe_host, hostname_len) == 40, "layout");
_Static_assert(__builtin_offsetof(struct nabe_host, release_len) == 42, "layout");
_Static_assert(__builtin_offsetof(struct nabe_host, init_net) == 44, "layout");
_Static_assert(__builtin_offsetof(struct nabe_host, init_mnt) == 48, "layout");
_Static_assert(__builtin_offsetof(struct nabe_host, reserved) == 52, "layout");

struct nabe_task {
	__u32 pid; /* 0: tgid */
	__u32 tid; /* 4: pid in the kernel's sense */
	__u32 ppid; /* 8: tgid of real_parent */
	__u32 vpid; /* 12: tgid in the innermost PID namespace */
	__u32 vtid; /* 16: tid in the innermost PID namespace */
	__u32 pgid; /* 20: process group */
	__u32 sid; /* 24: session */
	__u32 tracer; /* 28: tgid of the ptracer, or 0 */
	__u32 state; /* 32: __state | exit_state, raw */
	__u32 task_flags; /* 36: PF_* */
	__u32 threads; /* 40: threads in the group */
	__s32 nice; /* 44: static_prio - 120 */
	__s32 priority; /* 48: prio - 100 */
	__u32 policy; /* 52: SCHED_* */
	__u32 ruid; /* 56: real uid */
	__u32 euid; /* 60: effective uid */
	__u32 suid; /* 64: saved uid */
	__u32 rgid; /* 68: real gid */
	__u32 egid; /* 72: effective gid */
	__u32 sgid; /* 76: saved gid */
	__u32 loginuid; /* 80: audit login uid, ~0 when unset */
	__u32 pidns_level; /* 84: depth of the PID namespace, 0 = initial */
	__u64 cap_effective; /* 88: CAP_* effective */
	__u64 cap_permitted; /* 96: CAP_* permitted */
	__u64 cap_inheritable; /* 104: CAP_* inheritable */
	__u64 cap_bounding; /* 112: CAP_* bounding set */
	__u64 cap_ambient; /* 120: CAP_* ambient */
	__u64 start_ns; /* 128: start_boottime, ns */
	__u64 utime_ns; /* 136: user time of this task and of the group's dead threads, ns, by ticks */
	__u64 stime_ns; /* 144: system time likewise */
	__u64 runtime_ns; /* 152: exact run time of the same (sum_exec_runtime), ns; 0 when not known */
	__u64 vm_pages; /* 160: total_vm, pages */
	__u64 rss_file_pages; /* 168: file pages */
	__u64 rss_anon_pages; /* 176: anonymous pages */
	__u64 rss_shmem_pages; /* 184: shared memory pages */
	__u64 swap_pages; /* 192: swap entries */
	__u64 minflt; /* 200: minor faults */
	__u64 majflt; /* 208: major faults */
	__u64 cgroup_id; /* 216: kernfs id in the v2 hierarchy */
	__u64 cgroup_set; /* 224: identity of the set of cgroups: joins Cgroup records */
	__u64 exe_inode; /* 232: inode of the executable */
	__u32 exe_dev; /* 240: device of the executable's file system, kernel encoding (major << 20 | minor) */
	__u32 exe_nlink; /* 244: hard links of the executable */
	__u32 exe_flags; /* 248: EXE_* bits: 1 deleted, 2 memfd, 4 overlay upper layer, 8 overlay lower layer, 16 known */
	__u32 ns_uts; /* 252: uts namespace inode */
	__u32 ns_ipc; /* 256: ipc namespace inode */
	__u32 ns_mnt; /* 260: mnt namespace inode */
	__u32 ns_pid; /* 264: pid namespace inode for children */
	__u32 ns_pid_own; /* 268: pid namespace inode of the task itself */
	__u32 ns_net; /* 272: net namespace inode */
	__u32 ns_cgroup; /* 276: cgroup namespace inode */
	__u32 ns_user; /* 280: user namespace inode */
	__u32 ns_time; /* 284: time namespace inode */
	__u32 tty; /* 288: dev_t of the controlling terminal in the /proc/PID/stat encoding, or 0 */
	__s32 oom_score_adj; /* 292: oom_score_adj */
	__u32 seccomp; /* 296: SECCOMP_MODE_* */
	__u32 bits; /* 300: 1 no_new_privs, 2 has mm, 4 kernel thread */
	__u8 comm[16]; /* 304: comm */
	__u16 exe_len; /* 320: length of the executable's path */
	__u16 cwd_len; /* 322: length of the current directory */
	__u16 name_len; /* 324: bytes of the full name when comm is cut (kernel threads), after cwd */
	__u16 reserved; /* 326: zero */
};
_Static_assert(sizeof(struct nabe_task) == 328, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, pid) == 0, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, tid) == 4, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, ppid) == 8, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, vpid) == 12, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, vtid) == 16, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, pgid) == 20, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, sid) == 24, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, tracer) == 28, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, state) == 32, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, task_flags) == 36, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, threads) == 40, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, nice) == 44, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, priority) == 48, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, policy) == 52, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, ruid) == 56, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, euid) == 60, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, suid) == 64, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, rgid) == 68, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, egid) == 72, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, sgid) == 76, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, loginuid) == 80, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, pidns_level) == 84, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, cap_effective) == 88, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, cap_permitted) == 96, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, cap_inheritable) == 104, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, cap_bounding) == 112, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, cap_ambient) == 120, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, start_ns) == 128, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, utime_ns) == 136, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, stime_ns) == 144, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, runtime_ns) == 152, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, vm_pages) == 160, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, rss_file_pages) == 168, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, rss_anon_pages) == 176, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, rss_shmem_pages) == 184, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, swap_pages) == 192, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, minflt) == 200, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, majflt) == 208, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, cgroup_id) == 216, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, cgroup_set) == 224, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, exe_inode) == 232, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, exe_dev) == 240, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, exe_nlink) == 244, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, exe_flags) == 248, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, ns_uts) == 252, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, ns_ipc) == 256, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, ns_mnt) == 260, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, ns_pid) == 264, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, ns_pid_own) == 268, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, ns_net) == 272, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, ns_cgroup) == 276, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, ns_user) == 280, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, ns_time) == 284, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, tty) == 288, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, oom_score_adj) == 292, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, seccomp) == 296, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, bits) == 300, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, comm) == 304, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, exe_len) == 320, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, cwd_len) == 322, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, name_len) == 324, "layout");
_Static_assert(__builtin_offsetof(struct nabe_task, reserved) == 326, "layout");

struct nabe_thread_times {
	__u32 pid; /* 0: tgid */
	__u32 tid; /* 4: tid */
	__u64 utime_ns; /* 8: ns by ticks */
	__u64 stime_ns; /* 16: ns by ticks */
	__u64 runtime_ns; /* 24: sum_exec_runtime, ns */
	__u64 minflt; /* 32: minor faults */
	__u64 majflt; /* 40: major faults */
};
_Static_assert(sizeof(struct nabe_thread_times) == 48, "layout");
_Static_assert(__builtin_offsetof(struct nabe_thread_times, pid) == 0, "layout");
_Static_assert(__builtin_offsetof(struct nabe_thread_times, tid) == 4, "layout");
_Static_assert(__builtin_offsetof(struct nabe_thread_times, utime_ns) == 8, "layout");
_Static_assert(__builtin_offsetof(struct nabe_thread_times, stime_ns) == 16, "layout");
_Static_assert(__builtin_offsetof(struct nabe_thread_times, runtime_ns) == 24, "layout");
_Static_assert(__builtin_offsetof(struct nabe_thread_times, minflt) == 32, "layout");
_Static_assert(__builtin_offsetof(struct nabe_thread_times, majflt) == 40, "layout");

struct nabe_args {
	__u32 pid; /* 0: tgid */
	__u32 error; /* 4: 0 or the errno of the read */
	__u64 start_ns; /* 8: start_boottime, ns: joins the Task */
	__u32 argv_offset; /* 16: where this piece of argv begins */
	__u32 argv_len; /* 20: bytes of this piece */
	__u32 argv_total; /* 24: bytes of all of argv */
	__u32 env_offset; /* 28: where this piece of the environment begins */
	__u32 env_len; /* 32: bytes of this piece */
	__u32 env_total; /* 36: bytes of the whole environment */
};
_Static_assert(sizeof(struct nabe_args) == 40, "layout");
_Static_assert(__builtin_offsetof(struct nabe_args, pid) == 0, "layout");
_Static_assert(__builtin_offsetof(struct nabe_args, error) == 4, "layout");
_Static_assert(__builtin_offsetof(struct nabe_args, start_ns) == 8, "layout");
_Static_assert(__builtin_offsetof(struct nabe_args, argv_offset) == 16, "layout");
_Static_assert(__builtin_offsetof(struct nabe_args, argv_len) == 20, "layout");
_Static_assert(__builtin_offsetof(struct nabe_args, argv_total) == 24, "layout");
_Static_assert(__builtin_offsetof(struct nabe_args, env_offset) == 28, "layout");
_Static_assert(__builtin_offsetof(struct nabe_args, env_len) == 32, "layout");
_Static_assert(__builtin_offsetof(struct nabe_args, env_total) == 36, "layout");

struct nabe_fd {
	__u32 pid; /* 0: tgid of the owner */
	__s32 fd; /* 4: descriptor number */
	__u64 inode; /* 8: inode number */
	__u64 offset; /* 16: position */
	__u64 size; /* 24: size of the inode */
	__u32 dev; /* 32: device of the file system, kernel encoding (major << 20 | minor) */
	__u32 rdev; /* 36: device number of a device node, kernel encoding */
	__u32 open_flags; /* 40: f_flags */
	__u32 mode; /* 44: i_mode */
	__u32 nlink; /* 48: i_nlink */
	__u32 mount_id; /* 52: mount id */
	__u32 fd_type; /* 56: symbol::FD_TYPE */
	__u32 access; /* 60: FMODE_* of the file: 1 read, 2 write */
	__u32 path_len; /* 64: length of the path */
	__u32 socket_len; /* 68: bytes of Socket that follow (0 when none) */
};
_Static_assert(sizeof(struct nabe_fd) == 72, "layout");
_Static_assert(__builtin_offsetof(struct nabe_fd, pid) == 0, "layout");
_Static_assert(__builtin_offsetof(struct nabe_fd, fd) == 4, "layout");
_Static_assert(__builtin_offsetof(struct nabe_fd, inode) == 8, "layout");
_Static_assert(__builtin_offsetof(struct nabe_fd, offset) == 16, "layout");
_Static_assert(__builtin_offsetof(struct nabe_fd, size) == 24, "layout");
_Static_assert(__builtin_offsetof(struct nabe_fd, dev) == 32, "layout");
_Static_assert(__builtin_offsetof(struct nabe_fd, rdev) == 36, "layout");
_Static_assert(__builtin_offsetof(struct nabe_fd, open_flags) == 40, "layout");
_Static_assert(__builtin_offsetof(struct nabe_fd, mode) == 44, "layout");
_Static_assert(__builtin_offsetof(struct nabe_fd, nlink) == 48, "layout");
_Static_assert(__builtin_offsetof(struct nabe_fd, mount_id) == 52, "layout");
_Static_assert(__builtin_offsetof(struct nabe_fd, fd_type) == 56, "layout");
_Static_assert(__builtin_offsetof(struct nabe_fd, access) == 60, "layout");
_Static_assert(__builtin_offsetof(struct nabe_fd, path_len) == 64, "layout");
_Static_assert(__builtin_offsetof(struct nabe_fd, socket_len) == 68, "layout");

struct nabe_socket {
	__u16 family; /* 0: AF_* */
	__u16 sock_type; /* 2: SOCK_* */
	__u16 protocol; /* 4: protocol */
	__u16 state; /* 6: TCP_* state */
	__u16 src_port; /* 8: local port, host order */
	__u16 dst_port; /* 10: remote port, host order */
	__u16 name_len; /* 12: length of its own unix name */
	__u16 peer_len; /* 14: length of the peer's unix name */
	__u8 src_addr[16]; /* 16: local address, the first 4 bytes for IPv4 */
	__u8 dst_addr[16]; /* 32: remote address */
	__u64 cookie; /* 48: an identity of the kernel's sock, no address */
	__u64 peer_inode; /* 56: inode of the peer's socket (unix) */
	__u32 netns; /* 64: network namespace inode */
	__u32 uid; /* 68: uid of the socket */
	__u32 rx_queue; /* 72: bytes to read; pending connections of a listener */
	__u32 tx_queue; /* 76: bytes not acknowledged; backlog of a listener */
	__u32 extra; /* 80: netlink: port id; packet: interface index; raw: protocol */
	__u32 reserved; /* 84: zero */
};
_Static_assert(sizeof(struct nabe_socket) == 88, "layout");
_Static_assert(__builtin_offsetof(struct nabe_socket, family) == 0, "layout");
_Static_assert(__builtin_offsetof(struct nabe_socket, sock_type) == 2, "layout");
_Static_assert(__builtin_offsetof(struct nabe_socket, protocol) == 4, "layout");
_Static_assert(__builtin_offsetof(struct nabe_socket, state) == 6, "layout");
_Static_assert(__builtin_offsetof(struct nabe_socket, src_port) == 8, "layout");
_Static_assert(__builtin_offsetof(struct nabe_socket, dst_port) == 10, "layout");
_Static_assert(__builtin_offsetof(struct nabe_socket, name_len) == 12, "layout");
_Static_assert(__builtin_offsetof(struct nabe_socket, peer_len) == 14, "layout");
_Static_assert(__builtin_offsetof(struct nabe_socket, src_addr) == 16, "layout");
_Static_assert(__builtin_offsetof(struct nabe_socket, dst_addr) == 32, "layout");
_Static_assert(__builtin_offsetof(struct nabe_socket, cookie) == 48, "layout");
_Static_assert(__builtin_offsetof(struct nabe_socket, peer_inode) == 56, "layout");
_Static_assert(__builtin_offsetof(struct nabe_socket, netns) == 64, "layout");
_Static_assert(__builtin_offsetof(struct nabe_socket, uid) == 68, "layout");
_Static_assert(__builtin_offsetof(struct nabe_socket, rx_queue) == 72, "layout");
_Static_assert(__builtin_offsetof(struct nabe_socket, tx_queue) == 76, "layout");
_Static_assert(__builtin_offsetof(struct nabe_socket, extra) == 80, "layout");
_Static_assert(__builtin_offsetof(struct nabe_socket, reserved) == 84, "layout");

struct nabe_cgroup {
	__u64 cgroup_set; /* 0: identity of the set: joins Task.cgroup_set */
	__u64 cgroup_id; /* 8: kernfs id */
	__u32 hierarchy; /* 16: hierarchy_id; 0 = v2 */
	__u32 subsystems; /* 20: subsys_mask of the root */
	__u16 name_len; /* 24: length of the root's name (v1 named hierarchies) */
	__u16 path_len; /* 26: length of the path: names from the leaf up to the root, each ended by a NUL */
	__u32 reserved; /* 28: zero */
};
_Static_assert(sizeof(struct nabe_cgroup) == 32, "layout");
_Static_assert(__builtin_offsetof(struct nabe_cgroup, cgroup_set) == 0, "layout");
_Static_assert(__builtin_offsetof(struct nabe_cgroup, cgroup_id) == 8, "layout");
_Static_assert(__builtin_offsetof(struct nabe_cgroup, hierarchy) == 16, "layout");
_Static_assert(__builtin_offsetof(struct nabe_cgroup, subsystems) == 20, "layout");
_Static_assert(__builtin_offsetof(struct nabe_cgroup, name_len) == 24, "layout");
_Static_assert(__builtin_offsetof(struct nabe_cgroup, path_len) == 26, "layout");
_Static_assert(__builtin_offsetof(struct nabe_cgroup, reserved) == 28, "layout");

struct nabe_container {
	__u64 cgroup_set; /* 0: identity of the set of cgroups it was found for */
	__u32 init_pid; /* 8: host pid of its first process, or 0 */
	__u16 texts; /* 12: number of texts before the labels */
	__u16 labels; /* 14: number of labels */
};
_Static_assert(sizeof(struct nabe_container) == 16, "layout");
_Static_assert(__builtin_offsetof(struct nabe_container, cgroup_set) == 0, "layout");
_Static_assert(__builtin_offsetof(struct nabe_container, init_pid) == 8, "layout");
_Static_assert(__builtin_offsetof(struct nabe_container, texts) == 12, "layout");
_Static_assert(__builtin_offsetof(struct nabe_container, labels) == 14, "layout");

struct nabe_user {
	__u32 id; /* 0: uid or gid */
	__u16 is_group; /* 4: 0 user, 1 group */
	__u16 name_len; /* 6: length of the name */
};
_Static_assert(sizeof(struct nabe_user) == 8, "layout");
_Static_assert(__builtin_offsetof(struct nabe_user, id) == 0, "layout");
_Static_assert(__builtin_offsetof(struct nabe_user, is_group) == 4, "layout");
_Static_assert(__builtin_offsetof(struct nabe_user, name_len) == 6, "layout");

struct nabe_end {
	__u64 records; /* 0: records before this one */
	__u64 bytes; /* 8: bytes of the records before this one */
	__u32 crc; /* 16: CRC-32 (IEEE) of those bytes */
	__u32 reserved; /* 20: zero */
};
_Static_assert(sizeof(struct nabe_end) == 24, "layout");
_Static_assert(__builtin_offsetof(struct nabe_end, records) == 0, "layout");
_Static_assert(__builtin_offsetof(struct nabe_end, bytes) == 8, "layout");
_Static_assert(__builtin_offsetof(struct nabe_end, crc) == 16, "layout");
_Static_assert(__builtin_offsetof(struct nabe_end, reserved) == 20, "layout");

#endif
