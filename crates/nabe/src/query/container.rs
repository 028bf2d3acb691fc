//! From the cgroups of a snapshot to facts about containers: asks the `container` room and tells
//! `state`.

use nabe_container::{Config, Identity, Metadata, Resolver, Wanted, identify_any, unit};
use nabe_event::record::ContainerText as Text;
use nabe_state::{CgroupSet, Facts, Snapshot};

use crate::output;

/// Names containers, and remembers them between rounds of `--watch`.
#[derive(Debug)]
pub struct Containers {
    resolver: Resolver,
}

impl Containers {
    /// Asks engines as `config` says.
    pub fn new(config: Config) -> Self {
        Self { resolver: Resolver::new(config) }
    }

    /// Tells `snapshot` what is known of each set of cgroups: with `metadata`, what engines say;
    /// otherwise only what the path itself gives away. Returns what went wrong, in words.
    pub fn tell(&mut self, snapshot: &mut Snapshot, metadata: bool) -> Vec<String> {
        let unknown: Vec<&CgroupSet> = snapshot.sets().iter().filter(|set| set.facts.is_none()).collect();
        let paths: Vec<Vec<&[u8]>> =
            unknown.iter().map(|set| set.paths.iter().map(|(.., path)| path.as_slice()).collect()).collect();
        let pids: Vec<Vec<u32>> = unknown
            .iter()
            .map(|set| set.pids.iter().take(4).filter_map(|pid| u32::try_from(*pid).ok()).collect())
            .collect();
        let identities: Vec<Option<Identity<'_>>> = paths.iter().map(|paths| identify_any(paths)).collect();
        let mut notes = Vec::new();
        let mut found = vec![None; unknown.len()];
        if metadata {
            let asked: Vec<usize> = (0..unknown.len())
                .filter(|at| may_be_container(&paths[*at], identities[*at].as_ref()))
                .collect();
            let wanted: Vec<Wanted<'_>> = asked
                .iter()
                .map(|at| Wanted {
                    cgroup_paths: &paths[*at],
                    pids: &pids[*at],
                    identity: identities[*at].clone(),
                })
                .collect();
            let resolution = self.resolver.resolve(&wanted);
            notes.extend(resolution.notes.iter().map(|note| output::plain(note.message.as_bytes())));
            for (at, metadata) in asked.into_iter().zip(resolution.found) {
                found[at] = metadata;
            }
        }
        let facts: Vec<(u64, Facts)> = unknown
            .iter()
            .zip(&paths)
            .zip(identities.iter().zip(&found))
            .filter_map(|((set, paths), (identity, metadata))| {
                let unit = paths.iter().find_map(|path| unit(path)).unwrap_or_default();
                Some((set.id, facts(identity.as_ref(), metadata.as_ref(), unit)?))
            })
            .collect();
        for (set, facts) in facts {
            snapshot.set_facts(set, facts);
        }
        notes
    }
}

/// Whether engines are to be asked: it looks like a container, or its path is nobody's that we know,
/// as a plain OCI runtime's may be.
pub fn may_be_container(paths: &[&[u8]], identity: Option<&Identity<'_>>) -> bool {
    identity.is_some()
        || (paths.iter().any(|path| path.len() > 1) && paths.iter().all(|path| unit(path).is_none()))
}

fn text(value: Option<&String>) -> &[u8] {
    value.map_or(b"", |text| text.as_bytes())
}

/// What is to be remembered of one set; nothing when nothing is known.
fn facts(identity: Option<&Identity<'_>>, metadata: Option<&Metadata>, unit: &[u8]) -> Option<Facts> {
    let Some((id, runtime)) = metadata
        .map(|known| (known.id.as_str(), known.engine.as_str()))
        .or_else(|| identity.map(|seen| (seen.id.as_ref(), seen.engine.as_str())))
    else {
        return (!unit.is_empty()).then(|| Facts::new(0, &[(Text::Unit, unit)], Vec::new()));
    };
    let pod = metadata.and_then(|known| known.pod.as_ref());
    let seen_pod = identity.and_then(|seen| seen.pod_uid.as_deref());
    let name = metadata.and_then(|known| known.name.as_deref()).unwrap_or(id);
    let texts: [(Text, &[u8]); 11] = [
        (Text::Id, id.as_bytes()),
        (Text::Runtime, runtime.as_bytes()),
        (Text::Name, name.as_bytes()),
        (Text::Image, text(metadata.and_then(|known| known.image.as_ref()))),
        (Text::ImageId, text(metadata.and_then(|known| known.image_id.as_ref()))),
        (Text::Pod, text(pod.and_then(|pod| pod.name.as_ref()))),
        (Text::PodNamespace, text(pod.and_then(|pod| pod.namespace.as_ref()))),
        (Text::PodUid, pod.and_then(|pod| pod.uid.as_deref()).or(seen_pod).unwrap_or_default().as_bytes()),
        (Text::PodContainer, text(pod.and_then(|pod| pod.container_name.as_ref()))),
        (Text::Source, metadata.map_or("cgroup", |known| known.source).as_bytes()),
        (Text::Unit, unit),
    ];
    let labels = metadata.map(|known| known.labels.as_slice()).unwrap_or_default();
    let labels = labels.iter().map(|(key, value)| (key.clone().into_bytes(), value.clone().into_bytes()));
    Some(Facts::new(metadata.and_then(|known| known.init_pid).unwrap_or(0), &texts, labels.collect()))
}
