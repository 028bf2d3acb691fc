//! What a part of a filter depends on.

use nabe_event::FieldId;
use nabe_event::field::{Class, container as c, descriptor as d, metadata as m, process as p, thread as t};

use crate::ir::{FieldRef, Pred};

/// Nothing, the image, the path, the event, or several of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Depends(u8);

impl Depends {
    pub(crate) const IMAGE: Self = Self(1);
    pub(crate) const PATH: Self = Self(2);
    pub(crate) const EVENT: Self = Self(4);

    /// What a predicate reads.
    pub(crate) fn of(pred: &Pred) -> Self {
        let mut depends = Self::default();
        pred.fields(&mut |field| depends = depends.and(Self::of_field(field)));
        depends
    }

    fn of_field(field: &FieldRef) -> Self {
        if is_of_image(field.id) {
            Self::IMAGE
        } else if is_of_path(field.id) {
            Self::PATH
        } else {
            Self::EVENT
        }
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// On the image and on nothing else.
    pub(crate) const fn is_image(self) -> bool {
        self.0 == Self::IMAGE.0
    }

    /// On the path and on nothing else.
    pub(crate) const fn is_path(self) -> bool {
        self.0 == Self::PATH.0
    }
}

/// Whether a field is a fact of the process image: it changes only when [`super::Keys::image`] does.
#[must_use]
pub fn is_of_image(field: FieldId) -> bool {
    match field.class() {
        Class::Process => !matches!(
            field,
            p::CWD
                | p::STATE
                | p::AGE
                | p::UTIME
                | p::STIME
                | p::CPU_TIME
                | p::CPU
                | p::VSZ
                | p::RSS
                | p::RSS_ANON
                | p::RSS_FILE
                | p::RSS_SHMEM
                | p::SWAP
                | p::MINFLT
                | p::MAJFLT
                | p::THREADS
                | p::NICE
                | p::PRIORITY
                | p::POLICY
                | p::OOM_SCORE_ADJ
                | p::TRACER
                | p::NO_NEW_PRIVS
                | p::SECCOMP
                | p::HOST_NAMESPACES
                | p::IMPOSTOR
                | p::SUSPICIOUS
                | p::SOURCE
                | p::FILES
                | p::FD_COUNT
        ),
        Class::Container => field != c::PIDS,
        Class::Metadata => field != m::DURATION,
        Class::Thread => OF_THREAD.contains(&field),
        _ => false,
    }
}

/// Whether a field follows from `fd.name` and `fd.typechar`.
#[must_use]
pub fn is_of_path(field: FieldId) -> bool {
    matches!(field, d::NAME | d::TYPECHAR | d::DIRECTORY | d::FILENAME)
}

/// Fields of threads that change only with the image. Leaders of process groups are not among them:
/// they need not be ancestors.
static OF_THREAD: &[FieldId] = &[
    t::EXE,
    t::PEXE,
    t::AEXE,
    t::PEXEPATH,
    t::AEXEPATH,
    t::PNAME,
    t::ANAME,
    t::ARGS,
    t::AARGS,
    t::PCMDLINE,
    t::ACMDLINE,
    t::CMDNARGS,
    t::CMDLENARGS,
    t::EXELINE,
    t::AENV,
    t::LOGINSHELLID,
    t::TTY,
    t::APID,
    t::PVPID,
    t::SNAME,
    t::SID_EXE,
    t::SID_EXEPATH,
    t::VPGID,
    t::PID_TS,
    t::PPID_TS,
    t::IS_EXE_WRITABLE,
    t::IS_EXE_LOWER_LAYER,
    t::IS_SID_LEADER,
    t::IS_VPGID_LEADER,
    t::IS_PGID_LEADER,
    t::EXE_INO_CTIME,
    t::EXE_INO_MTIME,
    t::CTIME_PROC_START,
    t::CTIME_PIDNS_START,
    t::PIDNS_INIT_START_TS,
    t::CAP_PERMITTED,
    t::CAP_INHERITABLE,
    t::CAP_EFFECTIVE,
    t::HOMEDIR,
    t::SHELL,
    t::LOGINNAME,
    t::IS_HEALTHCHECK,
    t::IS_LIVENESS,
    t::IS_READINESS,
];
