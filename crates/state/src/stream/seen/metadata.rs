//! Fields of the container that the thread of an event runs in.

use nabe_event::field::container::HOST;
use nabe_event::field::{container as c, metadata as m};
use nabe_event::{FieldId, Missing, Value};

use super::{Seen, UNSET, flag_of, unsigned};
use crate::stream::Container;
use crate::stream::container::Probe;

impl Seen<'_> {
    pub(super) fn container_id(&self) -> &[u8] {
        self.thread.map(|thread| &*thread.container).filter(|id| !id.is_empty()).unwrap_or(HOST)
    }

    pub(super) fn of_container(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        if self.thread.is_none() {
            return UNSET;
        }
        let outside = self.container_id() == HOST;
        match field {
            c::ID => return Value::Text(self.container_id()),
            _ if outside && c::says_host(field) => return Value::Text(HOST),
            _ => {}
        }
        // What an image and a namespace tell is known without its document.
        match field {
            m::START_TS => return unsigned(self.thread.and_then(|thread| thread.pid_namespace_start_ns)),
            m::DURATION => {
                let start = self.thread.and_then(|thread| thread.pid_namespace_start_ns);
                let span = start.map(|start| self.event.ts_ns.saturating_sub(start));
                return span.map_or(UNSET, |span| Value::Int(i64::try_from(span).unwrap_or(i64::MAX)));
            }
            _ if outside => return UNSET,
            _ => {}
        }
        // It is there, but nobody has told of it yet.
        let Some(container) = self.container() else { return Value::Missing(Missing::Pending) };
        let label = |key: &str| Self::some(container.label(key).unwrap_or_default());
        match field {
            c::NAME => Self::some(&container.name),
            c::FULL_ID => Self::some(&container.full_id),
            c::IMAGE => Self::some(&container.image),
            c::IMAGE_ID => Self::some(&container.image_id),
            c::RUNTIME => Self::some(container.runtime),
            m::REPOSITORY => Self::some(&container.repository),
            m::TAG => Self::some(&container.tag),
            m::DIGEST => Self::some(&container.digest),
            m::PRIVILEGED => flag_of(container.privileged),
            m::IP => Self::some(&container.ip),
            c::POD => label("io.kubernetes.pod.name"),
            c::POD_NAMESPACE => label("io.kubernetes.pod.namespace"),
            c::POD_UID | m::POD_ID => label("io.kubernetes.pod.uid"),
            c::LABELS => match arg.and_then(|key| core::str::from_utf8(key).ok()) {
                Some(key) => label(key),
                None => self.keep(labels(&container.labels)),
            },
            m::LABEL => arg.and_then(|key| core::str::from_utf8(key).ok()).map_or(UNSET, label),
            m::POD_LABEL => {
                let Some(key) = arg.and_then(|key| core::str::from_utf8(key).ok()) else { return UNSET };
                let own = container.sandbox_labels.iter().find(|(known, _)| known == key);
                own.map_or_else(|| label(key), |(_, value)| Self::some(value))
            }
            m::MOUNTS => {
                let mounts: Vec<_> = container.mounts.iter().map(mount).collect();
                self.keep(mounts.join(","))
            }
            m::MOUNT
            | m::MOUNT_SOURCE
            | m::MOUNT_DEST
            | m::MOUNT_MODE
            | m::MOUNT_RDWR
            | m::MOUNT_PROPAGATION => self.of_mount(container, field, arg),
            m::HEALTHCHECK => self.probe(container, Probe::Health),
            m::LIVENESS => self.probe(container, Probe::Liveness),
            m::READINESS => self.probe(container, Probe::Readiness),
            m::CNI_JSON | m::POD_CNI_JSON => Self::some(&container.cni),
            m::HOST_PID => flag_of(container.host_namespaces[0]),
            m::HOST_NETWORK => flag_of(container.host_namespaces[1]),
            m::HOST_IPC => flag_of(container.host_namespaces[2]),
            m::POD_FULL_SANDBOX_ID => Self::some(&container.sandbox_id),
            m::POD_SANDBOX_ID => Self::some(container.sandbox_id.get(..12).unwrap_or(&container.sandbox_id)),
            m::POD_IP if !label_of(container, "io.kubernetes.pod.name").is_empty() => {
                Self::some(&container.ip)
            }
            m::POD_LABELS => self.keep(labels(&container.sandbox_labels)),
            _ => UNSET,
        }
    }

    fn probe(&self, container: &Container, of: Probe) -> Value<'_> {
        match container.probes.iter().find(|(probe, _)| *probe == of) {
            Some((_, command)) => self.keep(command.join(" ")),
            None => Value::Text(b"NONE"),
        }
    }

    /// Whether the thread runs as a probe of its container: the program and arguments of one, its own
    /// or an ancestor's, and not a child of the container's first process.
    pub(super) fn is_probe(&self, of: Probe) -> Value<'_> {
        let (Some(thread), Some(container)) = (self.thread, self.container()) else {
            return Value::Bool(false);
        };
        let matches = |other: &crate::stream::Thread| {
            container.probes.iter().filter(|(probe, _)| *probe == of).any(|(_, command)| {
                let told = command.iter().map(|word| word.as_bytes());
                told.eq(core::iter::once(&*other.exe).chain(other.arguments()))
            })
        };
        let inside = |other: &&crate::stream::Thread| other.container == thread.container;
        let mut found = false;
        for other in self.ancestors(thread).take_while(inside) {
            if other.vpid == 1 {
                return Value::Bool(false);
            }
            found |= matches(other);
        }
        Value::Bool(found)
    }

    fn of_mount(&self, container: &Container, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        let Some(arg) = arg.and_then(|arg| core::str::from_utf8(arg).ok()) else { return UNSET };
        let found = match arg.parse::<usize>() {
            Ok(at) => container.mounts.get(at),
            Err(_) => container.mounts.iter().find(|mount| match field {
                m::MOUNT_SOURCE => mount.destination == arg,
                _ => mount.source == arg,
            }),
        };
        let Some(found) = found else { return UNSET };
        self.keep(match field {
            m::MOUNT => mount(found),
            m::MOUNT_SOURCE => found.source.clone(),
            m::MOUNT_DEST => found.destination.clone(),
            m::MOUNT_MODE => found.mode.clone(),
            m::MOUNT_RDWR => found.writable.to_string(),
            _ => found.propagation.clone(),
        })
    }
}

fn mount(mount: &crate::stream::container::Mount) -> String {
    format!("{}:{}:{}:{}:{}", mount.source, mount.destination, mount.mode, mount.writable, mount.propagation)
}

fn label_of<'c>(container: &'c Container, key: &str) -> &'c str {
    container.label(key).unwrap_or_default()
}

fn labels(of: &[(String, String)]) -> String {
    let labels: Vec<_> = of.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    labels.join(", ")
}
