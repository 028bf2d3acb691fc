//! Native numbers of system calls: on x86_64, the number in `rax`, the schema's code, and the event
//! that tells of it ([`EventId::GENERIC_X`] for those that the schema does not describe).
//!
//! Numbers are the kernel's ABI (`arch/x86/entry/syscalls/syscall_64.tbl`), codes and events the
//! schema's; a number that is not here is reported as generic with code 0.

use super::EventId;

/// A system call as the kernel numbers it.
#[derive(Clone, Copy, Debug)]
pub struct Native {
    /// The kernel's number.
    pub number: u16,
    /// The kernel's name.
    pub name: &'static str,
    /// The schema's code.
    pub code: u16,
    /// The event of its end.
    pub event: EventId,
}

macro_rules! native {
    ($( $number:literal $name:literal $code:literal $event:ident )*) => {
        &[ $( Native { number: $number, name: $name, code: $code, event: EventId::$event } ),* ]
    };
}

/// All of x86_64, in the order of their numbers.
#[rustfmt::skip]
pub static X86_64: &[Native] = native! {
    0 "read" 3 SYSCALL_READ_X
    1 "write" 4 SYSCALL_WRITE_X
    2 "open" 5 SYSCALL_OPEN_X
    3 "close" 6 SYSCALL_CLOSE_X
    4 "stat" 14 SYSCALL_STAT_X
    5 "fstat" 20 SYSCALL_FSTAT_X
    6 "lstat" 50 SYSCALL_LSTAT_X
    7 "poll" 105 SYSCALL_POLL_X
    8 "lseek" 15 SYSCALL_LSEEK_X
    9 "mmap" 55 SYSCALL_MMAP_X
    10 "mprotect" 75 SYSCALL_MPROTECT_X
    11 "munmap" 56 SYSCALL_MUNMAP_X
    12 "brk" 32 SYSCALL_BRK_4_X
    13 "rt_sigaction" 107 GENERIC_X
    14 "rt_sigprocmask" 108 GENERIC_X
    15 "rt_sigreturn" 298 GENERIC_X
    16 "ioctl" 34 SYSCALL_IOCTL_3_X
    17 "pread64" 294 SYSCALL_PREAD_X
    18 "pwrite64" 295 SYSCALL_PWRITE_X
    19 "readv" 87 SYSCALL_READV_X
    20 "writev" 88 SYSCALL_WRITEV_X
    21 "access" 23 SYSCALL_ACCESS_X
    22 "pipe" 30 SYSCALL_PIPE_X
    23 "select" 84 SYSCALL_SELECT_X
    24 "sched_yield" 99 GENERIC_X
    25 "mremap" 104 GENERIC_X
    26 "msync" 86 GENERIC_X
    27 "mincore" 138 GENERIC_X
    28 "madvise" 139 GENERIC_X
    29 "shmget" 267 GENERIC_X
    30 "shmat" 297 GENERIC_X
    31 "shmctl" 268 GENERIC_X
    32 "dup" 29 SYSCALL_DUP_1_X
    33 "dup2" 40 SYSCALL_DUP2_X
    34 "pause" 21 GENERIC_X
    35 "nanosleep" 103 SYSCALL_NANOSLEEP_X
    36 "getitimer" 66 GENERIC_X
    37 "alarm" 19 GENERIC_X
    38 "setitimer" 65 GENERIC_X
    39 "getpid" 16 GENERIC_X
    40 "sendfile" 116 SYSCALL_SENDFILE_X
    41 "socket" 241 SOCKET_SOCKET_X
    42 "connect" 243 SOCKET_CONNECT_X
    43 "accept" 245 SOCKET_ACCEPT_5_X
    44 "sendto" 249 SOCKET_SENDTO_X
    45 "recvfrom" 250 SOCKET_RECVFROM_X
    46 "sendmsg" 254 SOCKET_SENDMSG_X
    47 "recvmsg" 256 SOCKET_RECVMSG_X
    48 "shutdown" 251 SOCKET_SHUTDOWN_X
    49 "bind" 242 SOCKET_BIND_X
    50 "listen" 244 SOCKET_LISTEN_X
    51 "getsockname" 246 SOCKET_GETSOCKNAME_X
    52 "getpeername" 247 SOCKET_GETPEERNAME_X
    53 "socketpair" 248 SOCKET_SOCKETPAIR_X
    54 "setsockopt" 252 SOCKET_SETSOCKOPT_X
    55 "getsockopt" 253 SOCKET_GETSOCKOPT_X
    56 "clone" 327 SYSCALL_CLONE_20_X
    57 "fork" 303 SYSCALL_FORK_20_X
    58 "vfork" 304 SYSCALL_VFORK_20_X
    59 "execve" 324 SYSCALL_EXECVE_19_X
    60 "exit" 2 GENERIC_X
    61 "wait4" 69 GENERIC_X
    62 "kill" 25 SYSCALL_KILL_X
    63 "uname" 67 GENERIC_X
    64 "semget" 260 SYSCALL_SEMGET_X
    65 "semop" 259 SYSCALL_SEMOP_X
    66 "semctl" 261 SYSCALL_SEMCTL_X
    67 "shmdt" 266 GENERIC_X
    68 "msgget" 264 GENERIC_X
    69 "msgsnd" 262 GENERIC_X
    70 "msgrcv" 263 GENERIC_X
    71 "msgctl" 265 GENERIC_X
    72 "fcntl" 35 SYSCALL_FCNTL_X
    73 "flock" 85 SYSCALL_FLOCK_X
    74 "fsync" 72 GENERIC_X
    75 "fdatasync" 90 GENERIC_X
    76 "truncate" 57 GENERIC_X
    77 "ftruncate" 58 GENERIC_X
    78 "getdents" 83 SYSCALL_GETDENTS_X
    79 "getcwd" 113 SYSCALL_GETCWD_X
    80 "chdir" 10 SYSCALL_CHDIR_X
    81 "fchdir" 80 SYSCALL_FCHDIR_X
    82 "rename" 26 SYSCALL_RENAME_X
    83 "mkdir" 27 SYSCALL_MKDIR_2_X
    84 "rmdir" 28 SYSCALL_RMDIR_2_X
    85 "creat" 7 SYSCALL_CREAT_X
    86 "link" 8 SYSCALL_LINK_2_X
    87 "unlink" 9 SYSCALL_UNLINK_2_X
    88 "symlink" 49 SYSCALL_SYMLINK_X
    89 "readlink" 51 GENERIC_X
    90 "chmod" 13 SYSCALL_CHMOD_X
    91 "fchmod" 59 SYSCALL_FCHMOD_X
    92 "chown" 132 SYSCALL_CHOWN_X
    93 "fchown" 127 SYSCALL_FCHOWN_X
    94 "lchown" 118 SYSCALL_LCHOWN_X
    95 "umask" 37 GENERIC_X
    96 "gettimeofday" 47 GENERIC_X
    97 "getrlimit" 117 SYSCALL_GETRLIMIT_X
    98 "getrusage" 46 GENERIC_X
    99 "sysinfo" 71 GENERIC_X
    100 "times" 31 GENERIC_X
    101 "ptrace" 18 SYSCALL_PTRACE_X
    102 "getuid" 119 SYSCALL_GETUID_X
    103 "syslog" 64 GENERIC_X
    104 "getgid" 120 SYSCALL_GETGID_X
    105 "setuid" 133 SYSCALL_SETUID_X
    106 "setgid" 134 SYSCALL_SETGID_X
    107 "geteuid" 121 SYSCALL_GETEUID_X
    108 "getegid" 122 SYSCALL_GETEGID_X
    109 "setpgid" 36 SYSCALL_SETPGID_X
    110 "getppid" 41 GENERIC_X
    111 "getpgrp" 42 GENERIC_X
    112 "setsid" 43 SYSCALL_SETSID_X
    113 "setreuid" 123 SYSCALL_SETREUID_X
    114 "setregid" 124 SYSCALL_SETREGID_X
    115 "getgroups" 125 GENERIC_X
    116 "setgroups" 126 GENERIC_X
    117 "setresuid" 128 SYSCALL_SETRESUID_X
    118 "getresuid" 129 SYSCALL_GETRESUID_X
    119 "setresgid" 130 SYSCALL_SETRESGID_X
    120 "getresgid" 131 SYSCALL_GETRESGID_X
    121 "getpgid" 79 GENERIC_X
    122 "setfsuid" 135 GENERIC_X
    123 "setfsgid" 136 GENERIC_X
    124 "getsid" 89 GENERIC_X
    125 "capget" 114 GENERIC_X
    126 "capset" 115 SYSCALL_CAPSET_X
    127 "rt_sigpending" 109 GENERIC_X
    128 "rt_sigtimedwait" 110 GENERIC_X
    129 "rt_sigqueueinfo" 111 GENERIC_X
    130 "rt_sigsuspend" 112 GENERIC_X
    131 "sigaltstack" 317 GENERIC_X
    132 "utime" 22 GENERIC_X
    133 "mknod" 12 SYSCALL_MKNOD_X
    134 "uselib" 52 GENERIC_X
    135 "personality" 82 GENERIC_X
    136 "ustat" 39 GENERIC_X
    137 "statfs" 62 GENERIC_X
    138 "fstatfs" 63 GENERIC_X
    139 "sysfs" 81 GENERIC_X
    140 "getpriority" 60 GENERIC_X
    141 "setpriority" 61 GENERIC_X
    142 "sched_setparam" 95 GENERIC_X
    143 "sched_getparam" 96 GENERIC_X
    144 "sched_setscheduler" 97 GENERIC_X
    145 "sched_getscheduler" 98 GENERIC_X
    146 "sched_get_priority_max" 100 GENERIC_X
    147 "sched_get_priority_min" 101 GENERIC_X
    148 "sched_rr_get_interval" 102 GENERIC_X
    149 "mlock" 91 SYSCALL_MLOCK_X
    150 "munlock" 92 SYSCALL_MUNLOCK_X
    151 "mlockall" 93 SYSCALL_MLOCKALL_X
    152 "munlockall" 94 SYSCALL_MUNLOCKALL_X
    153 "vhangup" 68 GENERIC_X
    154 "modify_ldt" 366 GENERIC_X
    155 "pivot_root" 137 GENERIC_X
    156 "_sysctl" 385 GENERIC_X
    157 "prctl" 106 SYSCALL_PRCTL_X
    158 "arch_prctl" 296 GENERIC_X
    159 "adjtimex" 74 GENERIC_X
    160 "setrlimit" 45 SYSCALL_SETRLIMIT_X
    161 "chroot" 38 SYSCALL_CHROOT_X
    162 "sync" 24 GENERIC_X
    163 "acct" 33 GENERIC_X
    164 "settimeofday" 48 GENERIC_X
    165 "mount" 17 SYSCALL_MOUNT_X
    166 "umount2" 323 SYSCALL_UMOUNT2_X
    167 "swapon" 53 GENERIC_X
    168 "swapoff" 70 GENERIC_X
    169 "reboot" 54 GENERIC_X
    170 "sethostname" 44 GENERIC_X
    171 "setdomainname" 73 GENERIC_X
    172 "iopl" 391 GENERIC_X
    173 "ioperm" 344 GENERIC_X
    174 "create_module" 381 GENERIC_X
    175 "init_module" 76 SYSCALL_INIT_MODULE_X
    176 "delete_module" 77 SYSCALL_DELETE_MODULE_X
    177 "get_kernel_syms" 372 GENERIC_X
    178 "query_module" 386 GENERIC_X
    179 "quotactl" 78 SYSCALL_QUOTACTL_X
    180 "nfsservctl" 378 GENERIC_X
    181 "getpmsg" 375 GENERIC_X
    186 "gettid" 140 GENERIC_X
    187 "readahead" 373 GENERIC_X
    188 "setxattr" 141 GENERIC_X
    189 "lsetxattr" 142 GENERIC_X
    190 "fsetxattr" 143 GENERIC_X
    191 "getxattr" 144 GENERIC_X
    192 "lgetxattr" 145 GENERIC_X
    193 "fgetxattr" 146 GENERIC_X
    194 "listxattr" 147 GENERIC_X
    195 "llistxattr" 148 GENERIC_X
    196 "flistxattr" 149 GENERIC_X
    197 "removexattr" 150 GENERIC_X
    198 "lremovexattr" 151 GENERIC_X
    199 "fremovexattr" 152 GENERIC_X
    200 "tkill" 153 SYSCALL_TKILL_X
    201 "time" 11 GENERIC_X
    202 "futex" 154 SYSCALL_FUTEX_X
    203 "sched_setaffinity" 155 GENERIC_X
    204 "sched_getaffinity" 156 GENERIC_X
    205 "set_thread_area" 157 GENERIC_X
    206 "io_setup" 159 GENERIC_X
    207 "io_destroy" 160 GENERIC_X
    208 "io_getevents" 161 GENERIC_X
    209 "io_submit" 162 GENERIC_X
    210 "io_cancel" 163 GENERIC_X
    211 "get_thread_area" 158 GENERIC_X
    212 "lookup_dcookie" 365 GENERIC_X
    213 "epoll_create" 165 SYSCALL_EPOLL_CREATE_X
    214 "epoll_ctl_old" 364 GENERIC_X
    215 "epoll_wait_old" 379 GENERIC_X
    216 "remap_file_pages" 168 GENERIC_X
    217 "getdents64" 240 SYSCALL_GETDENTS64_X
    218 "set_tid_address" 169 GENERIC_X
    219 "restart_syscall" 1 GENERIC_X
    220 "semtimedop" 371 GENERIC_X
    221 "fadvise64" 319 GENERIC_X
    222 "timer_create" 170 GENERIC_X
    223 "timer_settime" 171 GENERIC_X
    224 "timer_gettime" 172 GENERIC_X
    225 "timer_getoverrun" 173 GENERIC_X
    226 "timer_delete" 174 GENERIC_X
    227 "clock_settime" 175 GENERIC_X
    228 "clock_gettime" 176 GENERIC_X
    229 "clock_getres" 177 GENERIC_X
    230 "clock_nanosleep" 178 GENERIC_X
    231 "exit_group" 164 GENERIC_X
    232 "epoll_wait" 167 SYSCALL_EPOLLWAIT_X
    233 "epoll_ctl" 166 GENERIC_X
    234 "tgkill" 179 SYSCALL_TGKILL_X
    235 "utimes" 180 GENERIC_X
    237 "mbind" 363 GENERIC_X
    238 "set_mempolicy" 368 GENERIC_X
    239 "get_mempolicy" 387 GENERIC_X
    240 "mq_open" 181 GENERIC_X
    241 "mq_unlink" 182 GENERIC_X
    242 "mq_timedsend" 183 GENERIC_X
    243 "mq_timedreceive" 184 GENERIC_X
    244 "mq_notify" 185 GENERIC_X
    245 "mq_getsetattr" 186 GENERIC_X
    246 "kexec_load" 187 GENERIC_X
    247 "waitid" 188 GENERIC_X
    248 "add_key" 189 GENERIC_X
    249 "request_key" 190 GENERIC_X
    250 "keyctl" 191 SYSCALL_KEYCTL_X
    251 "ioprio_set" 192 GENERIC_X
    252 "ioprio_get" 193 GENERIC_X
    253 "inotify_init" 194 SYSCALL_INOTIFY_INIT_X
    254 "inotify_add_watch" 195 GENERIC_X
    255 "inotify_rm_watch" 196 GENERIC_X
    256 "migrate_pages" 357 GENERIC_X
    257 "openat" 197 SYSCALL_OPENAT_2_X
    258 "mkdirat" 198 SYSCALL_MKDIRAT_X
    259 "mknodat" 199 SYSCALL_MKNODAT_X
    260 "fchownat" 200 SYSCALL_FCHOWNAT_X
    261 "futimesat" 201 GENERIC_X
    262 "newfstatat" 300 SYSCALL_NEWFSTATAT_X
    263 "unlinkat" 202 SYSCALL_UNLINKAT_2_X
    264 "renameat" 203 SYSCALL_RENAMEAT_X
    265 "linkat" 204 SYSCALL_LINKAT_2_X
    266 "symlinkat" 205 SYSCALL_SYMLINKAT_X
    267 "readlinkat" 206 GENERIC_X
    268 "fchmodat" 207 SYSCALL_FCHMODAT_X
    269 "faccessat" 208 GENERIC_X
    270 "pselect6" 209 GENERIC_X
    271 "ppoll" 210 SYSCALL_PPOLL_X
    272 "unshare" 211 SYSCALL_UNSHARE_X
    273 "set_robust_list" 212 GENERIC_X
    274 "get_robust_list" 213 GENERIC_X
    275 "splice" 214 SYSCALL_SPLICE_X
    276 "tee" 215 GENERIC_X
    277 "sync_file_range" 388 GENERIC_X
    278 "vmsplice" 216 GENERIC_X
    279 "move_pages" 358 GENERIC_X
    280 "utimensat" 219 GENERIC_X
    281 "epoll_pwait" 218 GENERIC_X
    282 "signalfd" 220 SYSCALL_SIGNALFD_X
    283 "timerfd_create" 221 SYSCALL_TIMERFD_CREATE_X
    284 "eventfd" 222 SYSCALL_EVENTFD_X
    285 "fallocate" 299 GENERIC_X
    286 "timerfd_settime" 223 GENERIC_X
    287 "timerfd_gettime" 224 GENERIC_X
    288 "accept4" 258 SOCKET_ACCEPT4_6_X
    289 "signalfd4" 225 SYSCALL_SIGNALFD4_X
    290 "eventfd2" 226 SYSCALL_EVENTFD2_X
    291 "epoll_create1" 227 SYSCALL_EPOLL_CREATE1_X
    292 "dup3" 228 SYSCALL_DUP3_X
    293 "pipe2" 229 SYSCALL_PIPE2_X
    294 "inotify_init1" 230 SYSCALL_INOTIFY_INIT1_X
    295 "preadv" 231 SYSCALL_PREADV_X
    296 "pwritev" 232 SYSCALL_PWRITEV_X
    297 "rt_tgsigqueueinfo" 233 GENERIC_X
    298 "perf_event_open" 234 GENERIC_X
    299 "recvmmsg" 257 SOCKET_RECVMMSG_X
    300 "fanotify_init" 235 GENERIC_X
    301 "fanotify_mark" 393 GENERIC_X
    302 "prlimit64" 236 SYSCALL_PRLIMIT_X
    303 "name_to_handle_at" 376 GENERIC_X
    304 "open_by_handle_at" 329 SYSCALL_OPEN_BY_HANDLE_AT_X
    305 "clock_adjtime" 237 GENERIC_X
    306 "syncfs" 238 GENERIC_X
    307 "sendmmsg" 255 SOCKET_SENDMMSG_X
    308 "setns" 239 SYSCALL_SETNS_X
    309 "getcpu" 217 GENERIC_X
    310 "process_vm_readv" 301 SYSCALL_PROCESS_VM_READV_X
    311 "process_vm_writev" 302 SYSCALL_PROCESS_VM_WRITEV_X
    312 "kcmp" 361 GENERIC_X
    313 "finit_module" 314 SYSCALL_FINIT_MODULE_X
    314 "sched_setattr" 362 GENERIC_X
    315 "sched_getattr" 383 GENERIC_X
    316 "renameat2" 320 SYSCALL_RENAMEAT2_X
    317 "seccomp" 316 SYSCALL_SECCOMP_X
    318 "getrandom" 318 GENERIC_X
    319 "memfd_create" 342 SYSCALL_MEMFD_CREATE_X
    320 "kexec_file_load" 345 GENERIC_X
    321 "bpf" 315 SYSCALL_BPF_2_X
    322 "execveat" 325 SYSCALL_EXECVEAT_X
    323 "userfaultfd" 321 SYSCALL_USERFAULTFD_X
    324 "membarrier" 390 GENERIC_X
    325 "mlock2" 333 SYSCALL_MLOCK2_X
    326 "copy_file_range" 326 SYSCALL_COPY_FILE_RANGE_X
    327 "preadv2" 359 GENERIC_X
    328 "pwritev2" 360 GENERIC_X
    329 "pkey_mprotect" 350 GENERIC_X
    330 "pkey_alloc" 349 GENERIC_X
    331 "pkey_free" 351 GENERIC_X
    332 "statx" 367 GENERIC_X
    333 "io_pgetevents" 369 GENERIC_X
    334 "rseq" 380 GENERIC_X
    335 "uretprobe" 443 GENERIC_X
    336 "uprobe" 452 GENERIC_X
    424 "pidfd_send_signal" 348 GENERIC_X
    425 "io_uring_setup" 330 SYSCALL_IO_URING_SETUP_X
    426 "io_uring_enter" 331 SYSCALL_IO_URING_ENTER_X
    427 "io_uring_register" 332 SYSCALL_IO_URING_REGISTER_X
    428 "open_tree" 339 GENERIC_X
    429 "move_mount" 340 GENERIC_X
    430 "fsopen" 338 GENERIC_X
    431 "fsconfig" 335 SYSCALL_FSCONFIG_X
    432 "fsmount" 337 GENERIC_X
    433 "fspick" 336 GENERIC_X
    434 "pidfd_open" 347 SYSCALL_PIDFD_OPEN_X
    435 "clone3" 328 SYSCALL_CLONE3_X
    436 "close_range" 392 SYSCALL_CLOSE_RANGE_X
    437 "openat2" 322 SYSCALL_OPENAT2_X
    438 "pidfd_getfd" 346 SYSCALL_PIDFD_GETFD_X
    439 "faccessat2" 384 GENERIC_X
    440 "process_madvise" 389 GENERIC_X
    441 "epoll_pwait2" 356 GENERIC_X
    442 "mount_setattr" 341 GENERIC_X
    443 "quotactl_fd" 353 GENERIC_X
    444 "landlock_create_ruleset" 352 GENERIC_X
    445 "landlock_add_rule" 355 GENERIC_X
    446 "landlock_restrict_self" 354 GENERIC_X
    447 "memfd_secret" 343 GENERIC_X
    448 "process_mrelease" 377 GENERIC_X
    449 "futex_waitv" 374 GENERIC_X
    450 "set_mempolicy_home_node" 370 GENERIC_X
    451 "cachestat" 412 GENERIC_X
    452 "fchmodat2" 413 GENERIC_X
    453 "map_shadow_stack" 414 GENERIC_X
    454 "futex_wake" 417 GENERIC_X
    455 "futex_wait" 419 GENERIC_X
    456 "futex_requeue" 418 GENERIC_X
    457 "statmount" 438 GENERIC_X
    458 "listmount" 437 GENERIC_X
    459 "lsm_get_self_attr" 439 GENERIC_X
    460 "lsm_set_self_attr" 440 GENERIC_X
    461 "lsm_list_modules" 441 GENERIC_X
    462 "mseal" 442 GENERIC_X
    463 "setxattrat" 447 GENERIC_X
    464 "getxattrat" 446 GENERIC_X
    465 "listxattrat" 445 GENERIC_X
    466 "removexattrat" 444 GENERIC_X
    467 "open_tree_attr" 448 GENERIC_X
    468 "file_getattr" 449 GENERIC_X
    469 "file_setattr" 450 GENERIC_X
    470 "listns" 451 GENERIC_X
    471 "rseq_slice_yield" 453 GENERIC_X
};

/// Numbers and codes of the 32-bit calls of x86 (`int 0x80`), which a 64-bit kernel still takes.
#[rustfmt::skip]
pub static I386: &[(u16, u16)] = &[
    (0, 1), (1, 2), (2, 303), (3, 3), (4, 4), (5, 5), (6, 6), (7, 293), (8, 7), (9, 8), (10, 9), (11, 324),
    (12, 10), (13, 11), (14, 12), (15, 13), (16, 118), (18, 420), (19, 15), (20, 16), (21, 17), (22, 288),
    (23, 133), (24, 119), (25, 291), (26, 18), (27, 19), (28, 426), (29, 21), (30, 22), (33, 23),
    (34, 290), (36, 24), (37, 25), (38, 26), (39, 27), (40, 28), (41, 29), (42, 30), (43, 31), (45, 32),
    (46, 134), (47, 120), (48, 289), (49, 121), (50, 122), (51, 33), (52, 323), (54, 34), (55, 35),
    (57, 36), (59, 434), (60, 37), (61, 38), (62, 39), (63, 40), (64, 41), (65, 42), (66, 43), (67, 403),
    (68, 284), (69, 285), (70, 123), (71, 124), (72, 407), (73, 286), (74, 44), (75, 45), (76, 117),
    (77, 46), (78, 47), (79, 48), (80, 125), (81, 126), (82, 84), (83, 49), (84, 423), (85, 51), (86, 52),
    (87, 53), (88, 54), (89, 405), (90, 55), (91, 56), (92, 57), (93, 58), (94, 59), (95, 127), (96, 60),
    (97, 61), (99, 62), (100, 63), (101, 344), (102, 277), (103, 64), (104, 65), (105, 66), (106, 14),
    (107, 50), (108, 20), (109, 287), (110, 391), (111, 68), (112, 408), (114, 69), (115, 70), (116, 71),
    (117, 276), (118, 72), (119, 410), (120, 327), (121, 73), (122, 67), (123, 366), (124, 74), (125, 75),
    (126, 275), (127, 381), (128, 76), (129, 77), (130, 372), (131, 78), (132, 79), (133, 80), (134, 274),
    (135, 81), (136, 82), (138, 135), (139, 136), (140, 292), (141, 83), (142, 283), (143, 85), (144, 86),
    (145, 87), (146, 88), (147, 89), (148, 90), (149, 385), (150, 91), (151, 92), (152, 93), (153, 94),
    (154, 95), (155, 96), (156, 97), (157, 98), (158, 99), (159, 100), (160, 101), (161, 102), (162, 103),
    (163, 104), (164, 128), (165, 129), (166, 433), (167, 386), (168, 105), (169, 378), (170, 130),
    (171, 131), (172, 106), (173, 298), (174, 107), (175, 108), (176, 109), (177, 110), (178, 111),
    (179, 112), (180, 294), (181, 295), (182, 132), (183, 113), (184, 114), (185, 115), (186, 317),
    (187, 116), (188, 375), (190, 304), (191, 273), (192, 282), (193, 57), (194, 58), (195, 278),
    (196, 279), (197, 280), (198, 118), (199, 306), (200, 309), (201, 308), (202, 334), (203, 123),
    (204, 124), (205, 125), (206, 126), (207, 127), (208, 310), (209, 312), (210, 311), (211, 313),
    (212, 132), (213, 305), (214, 307), (215, 135), (216, 136), (217, 137), (218, 138), (219, 139),
    (220, 240), (221, 281), (224, 140), (225, 373), (226, 141), (227, 142), (228, 143), (229, 144),
    (230, 145), (231, 146), (232, 147), (233, 148), (234, 149), (235, 150), (236, 151), (237, 152),
    (238, 153), (239, 272), (240, 154), (241, 155), (242, 156), (243, 157), (244, 158), (245, 159),
    (246, 160), (247, 161), (248, 162), (249, 163), (250, 319), (252, 164), (253, 365), (254, 165),
    (255, 166), (256, 167), (257, 168), (258, 169), (259, 170), (260, 171), (261, 172), (262, 173),
    (263, 174), (264, 175), (265, 176), (266, 177), (267, 178), (268, 269), (269, 270), (270, 179),
    (271, 180), (272, 319), (274, 363), (275, 387), (276, 368), (277, 181), (278, 182), (279, 183),
    (280, 184), (281, 185), (282, 186), (283, 187), (284, 188), (286, 189), (287, 190), (288, 191),
    (289, 192), (290, 193), (291, 194), (292, 195), (293, 196), (294, 357), (295, 197), (296, 198),
    (297, 199), (298, 200), (299, 201), (300, 271), (301, 202), (302, 203), (303, 204), (304, 205),
    (305, 206), (306, 207), (307, 208), (308, 209), (309, 210), (310, 211), (311, 212), (312, 213),
    (313, 214), (314, 388), (315, 215), (316, 216), (317, 358), (318, 217), (319, 218), (320, 219),
    (321, 220), (322, 221), (323, 222), (324, 299), (325, 223), (326, 224), (327, 225), (328, 226),
    (329, 227), (330, 228), (331, 229), (332, 230), (333, 231), (334, 232), (335, 233), (336, 234),
    (337, 257), (338, 235), (339, 393), (340, 236), (341, 376), (342, 329), (343, 237), (344, 238),
    (345, 255), (346, 239), (347, 301), (348, 302), (349, 361), (350, 314), (351, 362), (352, 383),
    (353, 320), (354, 316), (355, 318), (356, 342), (357, 315), (358, 325), (359, 241), (360, 248),
    (361, 242), (362, 243), (363, 244), (364, 258), (365, 253), (366, 252), (367, 246), (368, 247),
    (369, 249), (370, 254), (371, 250), (372, 256), (373, 251), (374, 321), (375, 390), (376, 333),
    (377, 326), (378, 359), (379, 360), (380, 350), (381, 349), (382, 351), (383, 367), (384, 296),
    (385, 369), (386, 380), (393, 260), (394, 261), (395, 267), (396, 268), (397, 297), (398, 266),
    (399, 264), (400, 262), (401, 263), (402, 265), (403, 176), (404, 175), (405, 237), (406, 177),
    (407, 178), (408, 172), (409, 171), (410, 224), (411, 223), (412, 219), (413, 209), (414, 210),
    (416, 369), (417, 257), (418, 183), (419, 184), (420, 371), (421, 110), (422, 154), (423, 102),
    (424, 348), (425, 330), (426, 331), (427, 332), (428, 339), (429, 340), (430, 338), (431, 335),
    (432, 337), (433, 336), (434, 347), (435, 328), (436, 392), (437, 322), (438, 346), (439, 384),
    (440, 389), (441, 356), (442, 341), (443, 353), (444, 352), (445, 355), (446, 354), (447, 343),
    (448, 377), (449, 374), (450, 370), (451, 412), (452, 413), (454, 417), (455, 419), (456, 418),
    (457, 438), (458, 437), (459, 439), (460, 440), (461, 441), (462, 442), (463, 447), (464, 446),
    (465, 445), (466, 444), (467, 448), (468, 449), (469, 450),
];

/// The C header for the probe: numbers of system calls and of events.
#[must_use]
pub fn c_header() -> String {
    use core::fmt::Write as _;
    let mut text = String::from(
        "/* SPDX-License-Identifier: GPL-2.0 */\n/* Made by `cargo xtask codegen` from crates/event/src/table: do not edit. */\n#ifndef NABE_EVENT_GEN_H\n#define NABE_EVENT_GEN_H\n\n/* Events that are not old: number; how many parameters. */\n",
    );
    for id in EventId::all() {
        let row = id.row();
        if !row.flags.has(super::Flags::UNUSED) && !row.flags.has(super::Flags::OLD_VERSION) {
            let _ = writeln!(
                text,
                "#define EV_{} {}\n#define N_{} {}",
                row.code,
                id.number(),
                row.code,
                row.params.len()
            );
        }
    }
    text.push_str("\n#if defined(__TARGET_ARCH_x86)\n");
    for native in X86_64 {
        let _ = writeln!(text, "#define NR_{} {}", native.name, native.number);
    }
    text.push_str("#endif\n\n#endif\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_order_and_codes_are_named() {
        assert!(X86_64.windows(2).all(|pair| pair[0].number < pair[1].number));
        for native in X86_64 {
            assert!(super::super::syscall_name(native.code).is_some(), "{native:?}");
            assert!(!native.event.row().flags.has(super::super::Flags::OLD_VERSION), "{native:?}");
        }
        assert!(I386.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let named = |number| {
            I386.iter()
                .find(|(own, _)| *own == number)
                .and_then(|(_, code)| super::super::syscall_name(*code))
        };
        assert_eq!((named(5), named(20), named(295)), (Some("open"), Some("getpid"), Some("openat")));
        let open = X86_64.iter().find(|native| native.name == "openat").unwrap();
        assert_eq!((open.number, open.event), (257, EventId::SYSCALL_OPENAT_2_X));
    }
}
