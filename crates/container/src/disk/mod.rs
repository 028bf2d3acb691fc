//! What the engines leave on disk, read without their help.

pub(crate) mod bolt;
pub(crate) mod containerd;
pub(crate) mod docker;
pub(crate) mod file;
pub(crate) mod machine;
pub(crate) mod mount;
pub(crate) mod oci;
pub(crate) mod podman;
pub(crate) mod sqlite;
pub(crate) mod storage;
pub(crate) mod user;

use std::collections::HashMap;
use std::path::Path;

use crate::identity::identify;

/// A database that is none, is damaged, or kept changing while it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// Directory entries read from one state directory at most.
const MAX_ENTRIES: usize = 65_536;

/// The names of a directory's entries that are UTF-8, whatever they are; none
/// when it cannot be read.
pub(crate) fn subdirs(path: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return Vec::new();
    };
    entries.flatten().take(MAX_ENTRIES).filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Whether an id can be joined to a path without leaving the directory.
pub(crate) fn plain_name(id: &str) -> bool {
    !id.is_empty() && id != "." && id != ".." && !id.contains('/') && !id.contains('\0')
}

/// Of the cgroups recorded for `id` those that do not show it themselves, as paths; systemd's triples do.
pub(crate) fn unnamed<'a>(id: &str, recorded: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let shown = |path: &str| identify(path.as_bytes()).is_some_and(|identity| identity.id == id);
    let paths = recorded.into_iter().filter(|path| !path.contains(':')).map(|path| {
        let path = path.trim_matches('/');
        format!("/{path}")
    });
    paths.filter(|path| path.len() > 1 && !shown(path)).collect()
}

/// Whether one of a task's cgroup paths is the recorded cgroup or below it.
/// A recorded `slice:prefix:name` (systemd's driver) means `prefix-name.scope`.
pub(crate) fn covers(recorded: &str, paths: &[Vec<u8>]) -> bool {
    if let Some((rest, name)) = recorded.rsplit_once(':') {
        let prefix = rest.rsplit_once(':').map_or("", |(_, prefix)| prefix);
        let scope = match name.strip_suffix(".slice") {
            Some(_) => name.to_owned(),
            None => format!("{prefix}-{name}.scope"),
        };
        return paths.iter().any(|path| path.split(|b| *b == b'/').any(|c| c == scope.as_bytes()));
    }
    let recorded = recorded.trim_start_matches('/').trim_end_matches('/').as_bytes();
    !recorded.is_empty()
        && paths.iter().any(|path| {
            path.strip_prefix(b"/")
                .and_then(|path| path.strip_prefix(recorded))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
}

/// runc records where each hierarchy's cgroup is mounted
/// (`"pids": "/sys/fs/cgroup/pids/foo"`, v2: `"": "/sys/fs/cgroup/foo"`): the
/// cgroup paths in them.
fn pair_with_mounts(recorded: HashMap<String, String>) -> impl Iterator<Item = String> {
    recorded.into_iter().filter_map(|(controller, path)| {
        let rest = path.strip_prefix("/sys/fs/cgroup")?;
        let controller = controller.strip_prefix("name=").unwrap_or(&controller);
        let path = match rest.strip_prefix('/').and_then(|rest| rest.split_once('/')) {
            // v1: the hierarchy's directory, alone or with its comrades
            // ("cpu,cpuacct"); hybrid: the v2 hierarchy in "unified".
            Some((mount, path))
                if mount == "unified" && controller.is_empty()
                    || !controller.is_empty() && mount.split(',').any(|part| part == controller) =>
            {
                format!("/{path}")
            }
            _ => rest.to_owned(),
        };
        (path.len() > 1).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_cgroups_cover_what_is_below_them() {
        let paths = |list: &[&str]| list.iter().map(|p| p.as_bytes().to_vec()).collect::<Vec<_>>();
        let cases: &[(&str, &[&str], bool)] = &[
            ("/mycontainer", &["/mycontainer"], true),
            ("/mycontainer", &["/", "/mycontainer/init"], true),
            ("mycontainer", &["/mycontainer"], true),
            ("/mycontainer", &["/mycontainer2"], false),
            ("/a/b", &["/a"], false),
            ("/", &["/anything"], false),
            ("", &["/"], false),
            ("system.slice:runc:x", &["/system.slice/runc-x.scope"], true),
            (":youki:x", &["/system.slice/youki-x.scope/sub"], true),
            ("system.slice:runc:x", &["/system.slice/runc-xy.scope"], false),
        ];
        for (recorded, list, expect) in cases {
            assert_eq!(covers(recorded, &paths(list)), *expect, "{recorded} {list:?}");
        }
    }

    #[test]
    fn mount_points_are_taken_off() {
        let cases = [
            ("pids", "/sys/fs/cgroup/pids/foo", Some("/foo")),
            ("cpu", "/sys/fs/cgroup/cpu,cpuacct/foo/bar", Some("/foo/bar")),
            ("name=systemd", "/sys/fs/cgroup/systemd/foo", Some("/foo")),
            ("", "/sys/fs/cgroup/unified/foo", Some("/foo")),
            ("", "/sys/fs/cgroup/system.slice/runc-x.scope", Some("/system.slice/runc-x.scope")),
            ("pids", "/somewhere/else", None),
            ("", "/sys/fs/cgroup/", None),
        ];
        for (controller, path, expect) in cases {
            let map = HashMap::from([(controller.to_owned(), path.to_owned())]);
            assert_eq!(pair_with_mounts(map).next().as_deref(), expect, "{path}");
        }
    }
}
