//! Names of flags and values of event parameters; made by `cargo xtask event-table` from the tables of falcosecurity/libs (MIT).

use crate::symbol::Symbols;

/// Values of `flags` of `open`.
pub static OPEN_FLAGS: Symbols = Symbols { what: "open flags", entries: &[
    (2048, "O_LARGEFILE"), (1024, "O_DIRECTORY"), (512, "O_DIRECT"), (256, "O_TRUNC"), (128, "O_SYNC"), (64, "O_NONBLOCK"), (32, "O_EXCL"), (16, "O_DSYNC"), (8, "O_APPEND"), (4, "O_CREAT"), (3, "O_RDWR"), (2, "O_WRONLY"), (1, "O_RDONLY"), (4096, "O_CLOEXEC"), (0, "O_NONE"), (8192, "O_TMPFILE"), (16384, "O_F_CREATED"), (32768, "FD_UPPER_LAYER"), (65536, "FD_LOWER_LAYER"),
] };

/// Values of `flags` of `clone`.
pub static CLONE_FLAGS: Symbols = Symbols { what: "clone flags", entries: &[
    (1, "CLONE_FILES"), (2, "CLONE_FS"), (4, "CLONE_IO"), (8, "CLONE_NEWIPC"), (16, "CLONE_NEWNET"), (32, "CLONE_NEWNS"), (64, "CLONE_NEWPID"), (128, "CLONE_NEWUTS"), (256, "CLONE_PARENT"), (512, "CLONE_PARENT_SETTID"), (1024, "CLONE_PTRACE"), (2048, "CLONE_SIGHAND"), (4096, "CLONE_SYSVSEM"), (8192, "CLONE_THREAD"), (16384, "CLONE_UNTRACED"), (32768, "CLONE_VM"), (65536, "CLONE_INVERTED"), (131072, "NAME_CHANGED"), (262144, "CLOSED"), (1048576, "CLONE_NEWUSER"), (8388608, "CLONE_CHILD_CLEARTID"), (16777216, "CLONE_CHILD_SETTID"), (33554432, "CLONE_SETTLS"), (67108864, "CLONE_STOPPED"), (134217728, "CLONE_VFORK"), (268435456, "CLONE_NEWCGROUP"), (536870912, "CLONE_CHILD_IN_PIDNS"),
] };

/// Values of `domain` of `socket`.
pub static SOCKET_DOMAIN: Symbols = Symbols { what: "socket domain", entries: &[
    (39, "AF_NFC"), (38, "AF_ALG"), (37, "AF_CAIF"), (36, "AF_IEEE802154"), (35, "AF_PHONET"), (34, "AF_ISDN"), (33, "AF_RXRPC"), (32, "AF_IUCV"), (31, "AF_BLUETOOTH"), (30, "AF_TIPC"), (29, "AF_CAN"), (26, "AF_LLC"), (25, "AF_WANPIPE"), (24, "AF_PPPOX"), (23, "AF_IRDA"), (22, "AF_SNA"), (21, "AF_RDS"), (20, "AF_ATMSVC"), (19, "AF_ECONET"), (18, "AF_ASH"), (17, "AF_PACKET"), (16, "AF_ROUTE"), (16, "AF_NETLINK"), (15, "AF_KEY"), (14, "AF_SECURITY"), (13, "AF_NETBEUI"), (12, "AF_DECnet"), (11, "AF_ROSE"), (10, "AF_INET6"), (9, "AF_X25"), (8, "AF_ATMPVC"), (7, "AF_BRIDGE"), (6, "AF_NETROM"), (5, "AF_APPLETALK"), (4, "AF_IPX"), (3, "AF_AX25"), (2, "AF_INET"), (1, "AF_LOCAL"), (1, "AF_UNIX"), (0, "AF_UNSPEC"),
] };

/// Values of `how` of `shutdown`.
pub static SHUTDOWN_HOW: Symbols = Symbols { what: "shutdown how", entries: &[
    (65535, "SHUT_UNKNOWN"), (2, "SHUT_RDWR"), (1, "SHUT_WR"), (0, "SHUT_RD"),
] };

/// Values of `level` of `setsockopt`.
pub static SETSOCKOPT_LEVEL: Symbols = Symbols { what: "setsockopt level", entries: &[
    (1, "SOL_SOCKET"), (2, "SOL_TCP"), (0, "UNKNOWN"),
] };

/// Values of `optname` of `setsockopt`.
pub static SETSOCKOPT_OPTNAME: Symbols = Symbols { what: "setsockopt optname", entries: &[
    (53, "SO_COOKIE"), (52, "SO_MEMINFO"), (51, "SO_PEERGROUPS"), (50, "SO_ATTACH_BPF"), (49, "SO_INCOMING_CPU"), (48, "SO_BPF_EXTENSIONS"), (47, "SO_MAX_PACING_RATE"), (46, "SO_BUSY_POLL"), (45, "SO_SELECT_ERR_QUEUE"), (44, "SO_LOCK_FILTER"), (43, "SO_NOFCS"), (42, "SO_PEEK_OFF"), (41, "SO_WIFI_STATUS"), (40, "SO_RXQ_OVFL"), (39, "SO_DOMAIN"), (38, "SO_PROTOCOL"), (37, "SO_TIMESTAMPING"), (36, "SO_MARK"), (35, "SO_TIMESTAMPNS"), (34, "SO_PASSSEC"), (31, "SO_PEERSEC"), (30, "SO_ACCEPTCONN"), (29, "SO_TIMESTAMP"), (28, "SO_PEERNAME"), (27, "SO_DETACH_FILTER"), (26, "SO_ATTACH_FILTER"), (25, "SO_BINDTODEVICE"), (24, "SO_SECURITY_ENCRYPTION_NETWORK"), (23, "SO_SECURITY_ENCRYPTION_TRANSPORT"), (22, "SO_SECURITY_AUTHENTICATION"), (21, "SO_SNDTIMEO"), (20, "SO_RCVTIMEO"), (19, "SO_SNDLOWAT"), (18, "SO_RCVLOWAT"), (17, "SO_PEERCRED"), (16, "SO_PASSCRED"), (15, "SO_REUSEPORT"), (14, "SO_BSDCOMPAT"), (13, "SO_LINGER"), (12, "SO_PRIORITY"), (11, "SO_NO_CHECK"), (10, "SO_OOBINLINE"), (9, "SO_KEEPALIVE"), (33, "SO_RCVBUFFORCE"), (32, "SO_SNDBUFFORCE"), (8, "SO_RCVBUF"), (7, "SO_SNDBUF"), (6, "SO_BROADCAST"), (5, "SO_DONTROUTE"), (4, "SO_ERROR"), (3, "SO_TYPE"), (2, "SO_REUSEADDR"), (1, "SO_DEBUG"), (0, "UNKNOWN"),
] };

/// Values of `creat_flags` of `creat`.
pub static CREAT_CREAT_FLAGS: Symbols = Symbols { what: "creat creat_flags", entries: &[
    (1, "FD_UPPER_LAYER_CREAT"), (2, "FD_LOWER_LAYER_CREAT"),
] };

/// Values of `op` of `futex`.
pub static FUTEX_OP: Symbols = Symbols { what: "futex op", entries: &[
    (256, "FUTEX_CLOCK_REALTIME"), (128, "FUTEX_PRIVATE_FLAG"), (12, "FUTEX_CMP_REQUEUE_PI"), (11, "FUTEX_WAIT_REQUEUE_PI"), (10, "FUTEX_WAKE_BITSET"), (9, "FUTEX_WAIT_BITSET"), (8, "FUTEX_TRYLOCK_PI"), (7, "FUTEX_UNLOCK_PI"), (6, "FUTEX_LOCK_PI"), (5, "FUTEX_WAKE_OP"), (4, "FUTEX_CMP_REQUEUE"), (3, "FUTEX_REQUEUE"), (2, "FUTEX_FD"), (1, "FUTEX_WAKE"), (0, "FUTEX_WAIT"),
] };

/// Values of `whence` of `lseek`.
pub static LSEEK_WHENCE: Symbols = Symbols { what: "lseek whence", entries: &[
    (2, "SEEK_END"), (1, "SEEK_CUR"), (0, "SEEK_SET"),
] };

/// Values of `resource` of `getrlimit`.
pub static GETRLIMIT_RESOURCE: Symbols = Symbols { what: "getrlimit resource", entries: &[
    (255, "RLIMIT_UNKNOWN"), (15, "RLIMIT_RTTIME"), (14, "RLIMIT_RTPRIO"), (13, "RLIMIT_NICE"), (12, "RLIMIT_MSGQUEUE"), (11, "RLIMIT_SIGPENDING"), (10, "RLIMIT_LOCKS"), (9, "RLIMIT_AS"), (8, "RLIMIT_MEMLOCK"), (7, "RLIMIT_NOFILE"), (6, "RLIMIT_NPROC"), (5, "RLIMIT_RSS"), (4, "RLIMIT_CORE"), (3, "RLIMIT_STACK"), (2, "RLIMIT_DATA"), (1, "RLIMIT_FSIZE"), (0, "RLIMIT_CPU"),
] };

/// Values of `cmd` of `fcntl`.
pub static FCNTL_CMD: Symbols = Symbols { what: "fcntl cmd", entries: &[
    (29, "F_GETPIPE_SZ"), (28, "F_SETPIPE_SZ"), (27, "F_NOTIFY"), (26, "F_DUPFD_CLOEXEC"), (25, "F_CANCELLK"), (24, "F_GETLEASE"), (23, "F_SETLEASE"), (22, "F_GETOWN_EX"), (21, "F_SETOWN_EX"), (19, "F_SETLKW64"), (18, "F_SETLK64"), (17, "F_GETLK64"), (15, "F_GETSIG"), (13, "F_SETSIG"), (12, "F_GETOWN"), (10, "F_SETOWN"), (9, "F_SETLKW"), (8, "F_SETLK"), (6, "F_GETLK"), (5, "F_SETFL"), (4, "F_GETFL"), (3, "F_SETFD"), (2, "F_GETFD"), (1, "F_DUPFD"), (30, "F_OFD_GETLK"), (31, "F_OFD_SETLK"), (32, "F_OFD_SETLKW"), (0, "UNKNOWN"),
] };

/// Values of `prot` of `mmap`.
pub static MMAP_PROT: Symbols = Symbols { what: "mmap prot", entries: &[
    (1, "PROT_READ"), (2, "PROT_WRITE"), (4, "PROT_EXEC"), (8, "PROT_SEM"), (16, "PROT_GROWSDOWN"), (32, "PROT_GROWSUP"), (64, "PROT_SAO"), (0, "PROT_NONE"),
] };

/// Values of `flags` of `mmap`.
pub static MMAP_FLAGS: Symbols = Symbols { what: "mmap flags", entries: &[
    (1, "MAP_SHARED"), (2, "MAP_PRIVATE"), (4, "MAP_FIXED"), (8, "MAP_ANONYMOUS"), (16, "MAP_32BIT"), (32, "MAP_RENAME"), (64, "MAP_NORESERVE"), (128, "MAP_POPULATE"), (256, "MAP_NONBLOCK"), (512, "MAP_GROWSDOWN"), (1024, "MAP_DENYWRITE"), (2048, "MAP_EXECUTABLE"), (4096, "MAP_INHERIT"), (8192, "MAP_FILE"), (16384, "MAP_LOCKED"),
] };

/// Values of `flags` of `splice`.
pub static SPLICE_FLAGS: Symbols = Symbols { what: "splice flags", entries: &[
    (1, "SPLICE_F_MOVE"), (2, "SPLICE_F_NONBLOCK"), (4, "SPLICE_F_MORE"), (8, "SPLICE_F_GIFT"),
] };

/// Values of `request` of `ptrace`.
pub static PTRACE_REQUEST: Symbols = Symbols { what: "ptrace request", entries: &[
    (38, "PTRACE_SINGLEBLOCK"), (37, "PTRACE_SYSEMU_SINGLESTEP"), (36, "PTRACE_SYSEMU"), (35, "PTRACE_ARCH_PRCTL"), (34, "PTRACE_SET_THREAD_AREA"), (33, "PTRACE_GET_THREAD_AREA"), (32, "PTRACE_OLDSETOPTIONS"), (31, "PTRACE_SETFPXREGS"), (30, "PTRACE_GETFPXREGS"), (29, "PTRACE_SETFPREGS"), (28, "PTRACE_GETFPREGS"), (27, "PTRACE_SETREGS"), (26, "PTRACE_GETREGS"), (25, "PTRACE_SETSIGMASK"), (24, "PTRACE_GETSIGMASK"), (23, "PTRACE_PEEKSIGINFO"), (22, "PTRACE_LISTEN"), (21, "PTRACE_INTERRUPT"), (20, "PTRACE_SEIZE"), (19, "PTRACE_SETREGSET"), (18, "PTRACE_GETREGSET"), (17, "PTRACE_SETSIGINFO"), (16, "PTRACE_GETSIGINFO"), (15, "PTRACE_GETEVENTMSG"), (14, "PTRACE_SETOPTIONS"), (13, "PTRACE_SYSCALL"), (12, "PTRACE_DETACH"), (11, "PTRACE_ATTACH"), (10, "PTRACE_SINGLESTEP"), (9, "PTRACE_KILL"), (8, "PTRACE_CONT"), (7, "PTRACE_POKEUSR"), (6, "PTRACE_POKEDATA"), (5, "PTRACE_POKETEXT"), (4, "PTRACE_PEEKUSR"), (3, "PTRACE_PEEKDATA"), (2, "PTRACE_PEEKTEXT"), (1, "PTRACE_TRACEME"), (0, "PTRACE_UNKNOWN"),
] };

/// Values of `cmd` of `quotactl`.
pub static QUOTACTL_CMD: Symbols = Symbols { what: "quotactl cmd", entries: &[
    (1, "Q_QUOTAON"), (2, "Q_QUOTAOFF"), (4, "Q_GETFMT"), (8, "Q_GETINFO"), (16, "Q_SETINFO"), (32, "Q_GETQUOTA"), (64, "Q_SETQUOTA"), (128, "Q_SYNC"), (256, "Q_XQUOTAON"), (512, "Q_XQUOTAOFF"), (1024, "Q_XGETQUOTA"), (2048, "Q_XSETQLIM"), (4096, "Q_XGETQSTAT"), (8192, "Q_XQUOTARM"), (16384, "Q_XQUOTASYNC"),
] };

/// Values of `type` of `quotactl`.
pub static QUOTACTL_TYPE: Symbols = Symbols { what: "quotactl type", entries: &[
    (1, "USRQUOTA"), (2, "GRPQUOTA"),
] };

/// Values of `quota_fmt` of `quotactl`.
pub static QUOTACTL_QUOTA_FMT: Symbols = Symbols { what: "quotactl quota_fmt", entries: &[
    (1, "QFMT_NOT_USED"), (2, "QFMT_VFS_OLD"), (4, "QFMT_VFS_V0"), (8, "QFMT_VFS_V1"),
] };

/// Values of `dqi_flags` of `quotactl`.
pub static QUOTACTL_DQI_FLAGS: Symbols = Symbols { what: "quotactl dqi_flags", entries: &[
    (1, "DQF_NONE"), (2, "V1_DQF_RSQUASH"),
] };

/// Values of `operation` of `flock`.
pub static FLOCK_OPERATION: Symbols = Symbols { what: "flock operation", entries: &[
    (1, "LOCK_SH"), (2, "LOCK_EX"), (4, "LOCK_NB"), (8, "LOCK_UN"), (0, "LOCK_NONE"),
] };

/// Values of `sem_flg_0` of `semop`.
pub static SEMOP_SEM_FLG_0: Symbols = Symbols { what: "semop sem_flg_0", entries: &[
    (1, "IPC_NOWAIT"), (2, "SEM_UNDO"),
] };

/// Values of `cmd` of `semctl`.
pub static SEMCTL_CMD: Symbols = Symbols { what: "semctl cmd", entries: &[
    (1, "IPC_STAT"), (2, "IPC_SET"), (4, "IPC_RMID"), (8, "IPC_INFO"), (16, "SEM_INFO"), (32, "SEM_STAT"), (64, "GETALL"), (128, "GETNCNT"), (256, "GETPID"), (512, "GETVAL"), (1024, "GETZCNT"), (2048, "SETALL"), (4096, "SETVAL"),
] };

/// Values of `flags` of `mount`.
pub static MOUNT_FLAGS: Symbols = Symbols { what: "mount flags", entries: &[
    (1, "RDONLY"), (2, "NOSUID"), (4, "NODEV"), (8, "NOEXEC"), (16, "SYNCHRONOUS"), (32, "REMOUNT"), (64, "MANDLOCK"), (128, "DIRSYNC"), (1024, "NOATIME"), (2048, "NODIRATIME"), (4096, "BIND"), (8192, "MOVE"), (16384, "REC"), (32768, "SILENT"), (65536, "POSIXACL"), (131072, "UNBINDABLE"), (262144, "PRIVATE"), (524288, "SLAVE"), (1048576, "SHARED"), (2097152, "RELATIME"), (4194304, "KERNMOUNT"), (8388608, "I_VERSION"), (16777216, "STRICTATIME"), (33554432, "LAZYTIME"), (268435456, "NOSEC"), (536870912, "BORN"), (1073741824, "ACTIVE"), (2147483648, "NOUSER"),
] };

/// Values of `flags` of `umount`.
pub static UMOUNT_FLAGS: Symbols = Symbols { what: "umount flags", entries: &[
    (1, "FORCE"), (2, "DETACH"), (4, "EXPIRE"), (8, "NOFOLLOW"),
] };

/// Values of `semflg` of `semget`.
pub static SEMGET_SEMFLG: Symbols = Symbols { what: "semget semflg", entries: &[
    (16384, "IPC_EXCL"), (8192, "IPC_CREAT"),
] };

/// Values of `mode` of `access`.
pub static ACCESS_MODE: Symbols = Symbols { what: "access mode", entries: &[
    (0, "F_OK"), (4, "R_OK"), (2, "W_OK"), (1, "X_OK"),
] };

/// Values of `error` of `page_fault`.
pub static PAGE_FAULT_ERROR: Symbols = Symbols { what: "page_fault error", entries: &[
    (1, "PROTECTION_VIOLATION"), (2, "PAGE_NOT_PRESENT"), (4, "WRITE_ACCESS"), (8, "READ_ACCESS"), (16, "USER_FAULT"), (32, "SUPERVISOR_FAULT"), (64, "RESERVED_PAGE"), (128, "INSTRUCTION_FETCH"),
] };

/// Values of `flags` of `execve`.
pub static EXECVE_FLAGS: Symbols = Symbols { what: "execve flags", entries: &[
    (1, "EXE_WRITABLE"), (2, "EXE_UPPER_LAYER"), (4, "EXE_FROM_MEMFD"), (8, "EXE_LOWER_LAYER"),
] };

/// Values of `flags` of `unlinkat`.
pub static UNLINKAT_FLAGS: Symbols = Symbols { what: "unlinkat flags", entries: &[
    (512, "AT_REMOVEDIR"),
] };

/// Values of `flags` of `linkat`.
pub static LINKAT_FLAGS: Symbols = Symbols { what: "linkat flags", entries: &[
    (1024, "AT_SYMLINK_FOLLOW"), (4096, "AT_EMPTY_PATH"),
] };

/// Values of `mode` of `fchmodat`.
pub static FCHMODAT_MODE: Symbols = Symbols { what: "fchmodat mode", entries: &[
    (1, "S_IXOTH"), (2, "S_IWOTH"), (4, "S_IROTH"), (8, "S_IXGRP"), (16, "S_IWGRP"), (32, "S_IRGRP"), (64, "S_IXUSR"), (128, "S_IWUSR"), (256, "S_IRUSR"), (512, "S_ISVTX"), (1024, "S_ISGID"), (2048, "S_ISUID"),
] };

/// Values of `flags` of `renameat2`.
pub static RENAMEAT2_FLAGS: Symbols = Symbols { what: "renameat2 flags", entries: &[
    (1, "RENAME_NOREPLACE"), (2, "RENAME_EXCHANGE"), (4, "RENAME_WHITEOUT"),
] };

/// Values of `resolve` of `openat2`.
pub static OPENAT2_RESOLVE: Symbols = Symbols { what: "openat2 resolve", entries: &[
    (1, "RESOLVE_BENEATH"), (2, "RESOLVE_IN_ROOT"), (4, "RESOLVE_NO_MAGICLINKS"), (8, "RESOLVE_NO_SYMLINKS"), (16, "RESOLVE_NO_XDEV"), (32, "RESOLVE_CACHED"),
] };

/// Values of `flags` of `execveat`.
pub static EXECVEAT_FLAGS: Symbols = Symbols { what: "execveat flags", entries: &[
    (1, "AT_EMPTY_PATH"), (2, "AT_SYMLINK_NOFOLLOW"),
] };

/// Values of `flags` of `io_uring_setup`.
pub static IO_URING_SETUP_FLAGS: Symbols = Symbols { what: "io_uring_setup flags", entries: &[
    (1, "IORING_SETUP_IOPOLL"), (2, "IORING_SETUP_SQPOLL"), (4, "IORING_SQ_NEED_WAKEUP"), (8, "IORING_SETUP_SQ_AFF"), (16, "IORING_SETUP_CQSIZE"), (32, "IORING_SETUP_CLAMP"), (64, "IORING_SETUP_ATTACH_RW"), (128, "IORING_SETUP_R_DISABLED"),
] };

/// Values of `features` of `io_uring_setup`.
pub static IO_URING_SETUP_FEATURES: Symbols = Symbols { what: "io_uring_setup features", entries: &[
    (1, "IORING_FEAT_SINGLE_MMAP"), (2, "IORING_FEAT_NODROP"), (4, "IORING_FEAT_SUBMIT_STABLE"), (8, "IORING_FEAT_RW_CUR_POS"), (16, "IORING_FEAT_CUR_PERSONALITY"), (32, "IORING_FEAT_FAST_POLL"), (64, "IORING_FEAT_POLL_32BITS"), (128, "IORING_FEAT_SQPOLL_NONFIXED"), (256, "IORING_FEAT_ENTER_EXT_ARG"), (512, "IORING_FEAT_NATIVE_WORKERS"), (1024, "IORING_FEAT_RSRC_TAGS"),
] };

/// Values of `flags` of `io_uring_enter`.
pub static IO_URING_ENTER_FLAGS: Symbols = Symbols { what: "io_uring_enter flags", entries: &[
    (1, "IORING_ENTER_GETEVENTS"), (2, "IORING_ENTER_SQ_WAKEUP"), (4, "IORING_ENTER_SQ_WAIT"), (8, "IORING_ENTER_EXT_ARG"),
] };

/// Values of `opcode` of `io_uring_register`.
pub static IO_URING_REGISTER_OPCODE: Symbols = Symbols { what: "io_uring_register opcode", entries: &[
    (0, "IORING_REGISTER_BUFFERS"), (1, "IORING_UNREGISTER_BUFFERS"), (2, "IORING_REGISTER_FILES"), (3, "IORING_UNREGISTER_FILES"), (4, "IORING_REGISTER_EVENTFD"), (5, "IORING_UNREGISTER_EVENTFD"), (6, "IORING_REGISTER_FILES_UPDATE"), (7, "IORING_REGISTER_EVENTFD_ASYNC"), (8, "IORING_REGISTER_PROBE"), (9, "IORING_REGISTER_PERSONALITY"), (10, "IORING_UNREGISTER_PERSONALITY"), (11, "IORING_REGISTER_RESTRICTIONS"), (12, "IORING_REGISTER_ENABLE_RINGS"), (13, "IORING_REGISTER_FILES2"), (14, "IORING_REGISTER_FILES_UPDATE2"), (15, "IORING_REGISTER_BUFFERS2"), (16, "IORING_REGISTER_BUFFERS_UPDATE"), (17, "IORING_REGISTER_IOWQ_AFF"), (18, "IORING_UNREGISTER_IOWQ_AFF"), (19, "IORING_REGISTER_IOWQ_MAX_WORKERS"), (20, "IORING_REGISTER_RING_FDS"), (21, "IORING_UNREGISTER_RING_FDS"),
] };

/// Values of `flags` of `mlockall`.
pub static MLOCKALL_FLAGS: Symbols = Symbols { what: "mlockall flags", entries: &[
    (1, "MCL_CURRENT"), (2, "MCL_FUTURE"), (4, "MCL_ONFAULT"),
] };

/// Values of `cmd` of `bpf`.
pub static BPF_CMD: Symbols = Symbols { what: "bpf cmd", entries: &[
    (0, "BPF_MAP_CREATE"), (1, "BPF_MAP_LOOKUP_ELEM"), (2, "BPF_MAP_UPDATE_ELEM"), (3, "BPF_MAP_DELETE_ELEM"), (4, "BPF_MAP_GET_NEXT_KEY"), (5, "BPF_PROG_LOAD"), (6, "BPF_OBJ_PIN"), (7, "BPF_OBJ_GET"), (8, "BPF_PROG_ATTACH"), (9, "BPF_PROG_DETACH"), (10, "BPF_PROG_TEST_RUN"), (10, "BPF_PROG_RUN"), (11, "BPF_PROG_GET_NEXT_ID"), (12, "BPF_MAP_GET_NEXT_ID"), (13, "BPF_PROG_GET_FD_BY_ID"), (14, "BPF_MAP_GET_FD_BY_ID"), (15, "BPF_OBJ_GET_INFO_BY_FD"), (16, "BPF_PROG_QUERY"), (17, "BPF_RAW_TRACEPOINT_OPEN"), (18, "BPF_BTF_LOAD"), (19, "BPF_BTF_GET_FD_BY_ID"), (20, "BPF_TASK_FD_QUERY"), (21, "BPF_MAP_LOOKUP_AND_DELETE_ELEM"), (22, "BPF_MAP_FREEZE"), (23, "BPF_BTF_GET_NEXT_ID"), (24, "BPF_MAP_LOOKUP_BATCH"), (25, "BPF_MAP_LOOKUP_AND_DELETE_BATCH"), (26, "BPF_MAP_UPDATE_BATCH"), (27, "BPF_MAP_DELETE_BATCH"), (28, "BPF_LINK_CREATE"), (29, "BPF_LINK_UPDATE"), (30, "BPF_LINK_GET_FD_BY_ID"), (31, "BPF_LINK_GET_NEXT_ID"), (32, "BPF_ENABLE_STATS"), (33, "BPF_ITER_CREATE"), (34, "BPF_LINK_DETACH"), (35, "BPF_PROG_BIND_MAP"),
] };

/// Values of `flags` of `mlock2`.
pub static MLOCK2_FLAGS: Symbols = Symbols { what: "mlock2 flags", entries: &[
    (1, "MLOCK_ONFAULT"),
] };

/// Values of `cmd` of `fsconfig`.
pub static FSCONFIG_CMD: Symbols = Symbols { what: "fsconfig cmd", entries: &[
    (0, "FSCONFIG_SET_FLAG"), (1, "FSCONFIG_SET_STRING"), (2, "FSCONFIG_SET_BINARY"), (3, "FSCONFIG_SET_PATH"), (4, "FSCONFIG_SET_PATH_EMPTY"), (5, "FSCONFIG_SET_FD"), (6, "FSCONFIG_CMD_CREATE"), (7, "FSCONFIG_CMD_RECONFIGURE"),
] };

/// Values of `flags` of `epoll_create1`.
pub static EPOLL_CREATE1_FLAGS: Symbols = Symbols { what: "epoll_create1 flags", entries: &[
    (1, "EPOLL_CLOEXEC"),
] };

/// Values of `flags` of `fchownat`.
pub static FCHOWNAT_FLAGS: Symbols = Symbols { what: "fchownat flags", entries: &[
    (1024, "AT_SYMLINK_NOFOLLOW"), (4096, "AT_EMPTY_PATH"),
] };

/// Values of `option` of `prctl`.
pub static PRCTL_OPTION: Symbols = Symbols { what: "prctl option", entries: &[
    (3, "PR_GET_DUMPABLE"), (4, "PR_SET_DUMPABLE"), (7, "PR_GET_KEEPCAPS"), (8, "PR_SET_KEEPCAPS"), (15, "PR_SET_NAME"), (16, "PR_GET_NAME"), (21, "PR_GET_SECCOMP"), (22, "PR_SET_SECCOMP"), (23, "PR_CAPBSET_READ"), (24, "PR_CAPBSET_DROP"), (27, "PR_GET_SECUREBITS"), (28, "PR_SET_SECUREBITS"), (33, "PR_MCE_KILL"), (35, "PR_SET_MM"), (36, "PR_SET_CHILD_SUBREAPER"), (37, "PR_GET_CHILD_SUBREAPER"), (38, "PR_SET_NO_NEW_PRIVS"), (39, "PR_GET_NO_NEW_PRIVS"), (40, "PR_GET_TID_ADDRESS"), (41, "PR_SET_THP_DISABLE"), (42, "PR_GET_THP_DISABLE"), (47, "PR_CAP_AMBIENT"),
] };

/// Values of `flags` of `memfd_create`.
pub static MEMFD_CREATE_FLAGS: Symbols = Symbols { what: "memfd_create flags", entries: &[
    (1, "MFD_CLOEXEC"), (2, "MFD_ALLOW_SEALING"), (4, "MFD_HUGETLB"),
] };

/// Values of `flags` of `pidfd_open`.
pub static PIDFD_OPEN_FLAGS: Symbols = Symbols { what: "pidfd_open flags", entries: &[
    (1, "PIDFD_NONBLOCK"),
] };

/// Values of `flags` of `finit_module`.
pub static FINIT_MODULE_FLAGS: Symbols = Symbols { what: "finit_module flags", entries: &[
    (1, "MODULE_INIT_IGNORE_MODVERSIONS"), (2, "MODULE_INIT_IGNORE_VERMAGIC"), (4, "MODULE_INIT_COMPRESSED_FILE"),
] };

/// Values of `mode` of `mknod`.
pub static MKNOD_MODE: Symbols = Symbols { what: "mknod mode", entries: &[
    (1, "S_IXOTH"), (2, "S_IWOTH"), (4, "S_IROTH"), (8, "S_IXGRP"), (16, "S_IWGRP"), (32, "S_IRGRP"), (64, "S_IXUSR"), (128, "S_IWUSR"), (256, "S_IRUSR"), (512, "S_ISVTX"), (1024, "S_ISGID"), (2048, "S_ISUID"), (32768, "S_IFREG"), (8192, "S_IFCHR"), (24576, "S_IFBLK"), (4096, "S_IFIFO"), (49152, "S_IFSOCK"),
] };

/// Values of `flags` of `newfstatat`.
pub static NEWFSTATAT_FLAGS: Symbols = Symbols { what: "newfstatat flags", entries: &[
    (4096, "AT_EMPTY_PATH"), (2048, "AT_NO_AUTOMOUNT"), (256, "AT_SYMLINK_NOFOLLOW"),
] };

/// Values of `flags` of `delete_module`.
pub static DELETE_MODULE_FLAGS: Symbols = Symbols { what: "delete_module flags", entries: &[
    (2, "O_NONBLOCK"), (1, "O_TRUNC"),
] };

/// Values of `fd_type` of `task_file_anon_inode`.
pub static TASK_FILE_ANON_INODE_FD_TYPE: Symbols = Symbols { what: "task_file_anon_inode fd_type", entries: &[
    (0, "ANON_INODE_FD_TYPE_UNKNOWN"), (1, "ANON_INODE_FD_TYPE_EVENTFD"), (2, "ANON_INODE_FD_TYPE_EVENTPOLL"), (3, "ANON_INODE_FD_TYPE_INOTIFY"), (4, "ANON_INODE_FD_TYPE_SIGNALFD"), (5, "ANON_INODE_FD_TYPE_TIMERFD"), (6, "ANON_INODE_FD_TYPE_IO_URING"), (7, "ANON_INODE_FD_TYPE_USERFAULTFD"), (8, "ANON_INODE_FD_TYPE_PIDFD"), (9, "ANON_INODE_FD_TYPE_BPF_MAP"), (10, "ANON_INODE_FD_TYPE_BPF_PROG"), (11, "ANON_INODE_FD_TYPE_BPF_LINK"), (12, "ANON_INODE_FD_TYPE_BPF_ITER"), (13, "ANON_INODE_FD_TYPE_PERF_EVENT"),
] };

/// Values of `flags` of `close_range`.
pub static CLOSE_RANGE_FLAGS: Symbols = Symbols { what: "close_range flags", entries: &[
    (2, "CLOSE_RANGE_UNSHARE"), (4, "CLOSE_RANGE_CLOEXEC"),
] };

/// Values of `operation` of `keyctl`.
pub static KEYCTL_OPERATION: Symbols = Symbols { what: "keyctl operation", entries: &[
    (0, "KEYCTL_GET_KEYRING_ID"), (1, "KEYCTL_JOIN_SESSION_KEYRING"), (2, "KEYCTL_UPDATE"), (3, "KEYCTL_REVOKE"), (4, "KEYCTL_CHOWN"), (5, "KEYCTL_SETPERM"), (6, "KEYCTL_DESCRIBE"), (7, "KEYCTL_CLEAR"), (8, "KEYCTL_LINK"), (9, "KEYCTL_UNLINK"), (10, "KEYCTL_SEARCH"), (11, "KEYCTL_READ"), (12, "KEYCTL_INSTANTIATE"), (13, "KEYCTL_NEGATE"), (14, "KEYCTL_SET_REQKEY_KEYRING"), (15, "KEYCTL_SET_TIMEOUT"), (16, "KEYCTL_ASSUME_AUTHORITY"), (17, "KEYCTL_GET_SECURITY"), (18, "KEYCTL_SESSION_TO_PARENT"), (19, "KEYCTL_REJECT"), (20, "KEYCTL_INSTANTIATE_IOV"), (21, "KEYCTL_INVALIDATE"), (22, "KEYCTL_GET_PERSISTENT"), (23, "KEYCTL_DH_COMPUTE"), (24, "KEYCTL_PKEY_QUERY"), (25, "KEYCTL_PKEY_ENCRYPT"), (26, "KEYCTL_PKEY_DECRYPT"), (27, "KEYCTL_PKEY_SIGN"), (28, "KEYCTL_PKEY_VERIFY"), (29, "KEYCTL_RESTRICT_KEYRING"), (30, "KEYCTL_MOVE"), (31, "KEYCTL_CAPABILITIES"), (32, "KEYCTL_WATCH_KEY"),
] };
