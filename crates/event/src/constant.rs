//! psc's constants: bare words that stand for values in expressions.

/// What a constant stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constant {
    /// A number.
    Uint(u64),
    /// A text.
    Text(&'static str),
}

/// Group, name, value. Groups and order as `psc fields` prints them.
pub static CONSTANTS: &[(&str, &str, Constant)] = &[
    ("container runtimes", "docker", Constant::Text("docker")),
    ("container runtimes", "containerd", Constant::Text("containerd")),
    ("container runtimes", "crio", Constant::Text("cri-o")),
    ("container runtimes", "podman", Constant::Text("podman")),
    ("socket types", "tcp", Constant::Uint(1)),
    ("socket types", "udp", Constant::Uint(2)),
    ("address families", "unix", Constant::Uint(1)),
    ("address families", "inet", Constant::Uint(2)),
    ("address families", "inet6", Constant::Uint(10)),
    ("TCP states", "established", Constant::Uint(1)),
    ("TCP states", "syn_sent", Constant::Uint(2)),
    ("TCP states", "syn_recv", Constant::Uint(3)),
    ("TCP states", "fin_wait1", Constant::Uint(4)),
    ("TCP states", "fin_wait2", Constant::Uint(5)),
    ("TCP states", "time_wait", Constant::Uint(6)),
    ("TCP states", "close", Constant::Uint(7)),
    ("TCP states", "close_wait", Constant::Uint(8)),
    ("TCP states", "last_ack", Constant::Uint(9)),
    ("TCP states", "listen", Constant::Uint(10)),
    ("TCP states", "closing", Constant::Uint(11)),
    ("descriptor types", "file_type", Constant::Uint(1)),
    ("descriptor types", "socket_type", Constant::Uint(2)),
];

/// The value of the constant `name`.
#[must_use]
pub fn find(name: &str) -> Option<Constant> {
    CONSTANTS.iter().find(|(_, known, _)| *known == name).map(|(.., value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psc_has_22_constants() {
        assert_eq!(CONSTANTS.len(), 22);
        assert_eq!(find("crio"), Some(Constant::Text("cri-o")));
        assert_eq!(find("listen"), Some(Constant::Uint(10)));
        assert_eq!(find("nothing"), None);
    }
}
