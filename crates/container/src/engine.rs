//! The engines by name.

/// Who made a container: an engine, or a plain runtime when no engine is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Engine {
    /// dockerd (Moby, also rootless and as Kubernetes' old dockershim).
    Docker,
    /// containerd by itself: CRI, nerdctl, `ctr`, k3s.
    Containerd,
    /// CRI-O.
    CriO,
    /// Podman, root and rootless.
    Podman,
    /// A build step of BuildKit, inside dockerd or alone.
    Buildkit,
    /// Plain runc, with no engine above it.
    Runc,
    /// Plain crun.
    Crun,
    /// Plain youki.
    Youki,
    /// systemd-nspawn, or another machine that systemd-machined registered.
    Nspawn,
    /// LXC, and LXD or Incus until their files say which.
    Lxc,
    /// LXD.
    Lxd,
    /// Incus.
    Incus,
    /// libvirt's LXC driver.
    LibvirtLxc,
    /// Cloud Foundry Garden.
    Garden,
    /// Apache Mesos' own containerizer.
    Mesos,
    /// nabe's own runtime.
    Nabe,
    /// A container by its path, but the path does not say whose.
    Unknown,
}

impl Engine {
    /// Every engine, in the order of the enum.
    pub const ALL: &[Engine] = &[
        Engine::Docker,
        Engine::Containerd,
        Engine::CriO,
        Engine::Podman,
        Engine::Buildkit,
        Engine::Runc,
        Engine::Crun,
        Engine::Youki,
        Engine::Nspawn,
        Engine::Lxc,
        Engine::Lxd,
        Engine::Incus,
        Engine::LibvirtLxc,
        Engine::Garden,
        Engine::Mesos,
        Engine::Nabe,
        Engine::Unknown,
    ];

    /// The name that filters, columns and configuration use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Engine::Docker => "docker",
            Engine::Containerd => "containerd",
            Engine::CriO => "cri-o",
            Engine::Podman => "podman",
            Engine::Buildkit => "buildkit",
            Engine::Runc => "runc",
            Engine::Crun => "crun",
            Engine::Youki => "youki",
            Engine::Nspawn => "systemd-nspawn",
            Engine::Lxc => "lxc",
            Engine::Lxd => "lxd",
            Engine::Incus => "incus",
            Engine::LibvirtLxc => "libvirt-lxc",
            Engine::Garden => "garden",
            Engine::Mesos => "mesos",
            Engine::Nabe => "nabe",
            Engine::Unknown => "unknown",
        }
    }

    /// The engine with this name; `crio` and `nspawn` are taken too.
    pub fn from_name(name: &str) -> Option<Engine> {
        match name {
            "crio" => Some(Engine::CriO),
            "nspawn" => Some(Engine::Nspawn),
            _ => Engine::ALL.iter().copied().find(|e| e.as_str() == name),
        }
    }
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
