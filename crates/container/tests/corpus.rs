//! Identity and units of the cgroup paths in `corpus/`, and what hostile paths
//! may not do.

use nabe_container::{
    Engine, UnitKind, fuzz_cgroup_path, identify, identify_any, nesting, owner_uid, supervised, unit,
    unit_kind,
};
use proptest::prelude::*;

fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with("# "))
}

fn fields(row: &str) -> [&str; 4] {
    let fields: Vec<&str> = row.split('\t').collect();
    fields.try_into().unwrap_or_else(|_| panic!("four fields separated by tabs: {row}"))
}

#[test]
fn containers_are_identified() {
    let mut count = 0;
    for row in rows(include_str!("corpus/containers.txt")) {
        let [path, engine, id, pod] = fields(row);
        let found = identify(path.as_bytes()).unwrap_or_else(|| panic!("no container in {path}"));
        assert_eq!(found.engine.as_str(), engine, "{path}");
        assert_eq!(found.id, id, "{path}");
        assert_eq!(found.pod_uid.as_deref().unwrap_or("-"), pod, "{path}");
        assert_eq!(supervised(path.as_bytes()), None, "{path}");
        count += 1;
    }
    assert!(count > 80, "only {count} rows read");
}

#[test]
fn hosts_are_not_containers() {
    for path in rows(include_str!("corpus/hosts.txt")) {
        let path = if path == "(empty)" { "" } else { path };
        assert_eq!(identify(path.as_bytes()), None, "{path}");
        assert_eq!(supervised(path.as_bytes()), None, "{path}");
    }
}

#[test]
fn supervisors_are_outside_their_container() {
    for row in rows(include_str!("corpus/supervisors.txt")) {
        let [path, engine, id, pod] = fields(row);
        assert_eq!(identify(path.as_bytes()), None, "{path}");
        let found = supervised(path.as_bytes()).unwrap_or_else(|| panic!("no container: {path}"));
        assert_eq!((found.engine.as_str(), found.id.as_ref()), (engine, id), "{path}");
        assert_eq!(found.pod_uid.as_deref().unwrap_or("-"), pod, "{path}");
    }
}

#[test]
fn a_supervisor_in_a_container_is_in_that_container() {
    let (outer, inner) = ("a".repeat(64), "b".repeat(64));
    let path = format!("/docker/{outer}/machine.slice/libpod-conmon-{inner}.scope");
    let found = identify(path.as_bytes()).map(|identity| identity.id.into_owned());
    assert_eq!(found, Some(outer));
    let watched = supervised(path.as_bytes()).map(|identity| identity.id.into_owned());
    assert_eq!(watched, Some(inner));
}

#[test]
fn nesting_lists_containers_from_the_inside() {
    let (outer, inner) = ("a".repeat(64), "b".repeat(64));
    let path = format!("/docker/{outer}/kubelet/kubepods/burstable/podabcdef01-1111/{inner}/x");
    let found: Vec<(Engine, String)> =
        nesting(path.as_bytes()).map(|i| (i.engine, i.id.into_owned())).collect();
    assert_eq!(found, [(Engine::Unknown, inner), (Engine::Docker, outer)]);
}

#[test]
fn the_first_path_with_a_container_counts() {
    let id = "c".repeat(64);
    let docker = format!("/docker/{id}");
    let paths: [&[u8]; 3] = [b"/", b"/system.slice/docker.service", docker.as_bytes()];
    assert_eq!(identify_any(&paths).map(|i| i.id.into_owned()), Some(id));
    assert_eq!(identify_any(&paths[..2]), None);
}

#[test]
fn units() {
    let cases: [(&str, Option<&str>); 11] = [
        ("/", None),
        ("/docker/abc", None),
        ("/system.slice/cron.service", Some("cron.service")),
        ("/system.slice/cron.service (deleted)", Some("cron.service")),
        ("/system.slice/system-getty.slice/getty@tty1.service", Some("getty@tty1.service")),
        ("/user.slice/user-1000.slice/session-2.scope", Some("session-2.scope")),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope/sub", Some("app-x.scope")),
        ("/user.slice/user-1000.slice", Some("user-1000.slice")),
        ("/system.slice", Some("system.slice")),
        ("/system.slice/docker-x.scope/system.slice/nginx.service", Some("nginx.service")),
        ("/.service", None),
    ];
    for (path, expect) in cases {
        let found = unit(path.as_bytes()).map(|name| String::from_utf8_lossy(name).into_owned());
        assert_eq!(found.as_deref(), expect, "{path}");
    }
    assert_eq!(unit_kind(b"a.scope"), Some(UnitKind::Scope));
    assert_eq!(unit_kind(b"a.mount"), None);
}

#[test]
fn owners() {
    let cases = [
        ("/user.slice/user-1000.slice/session-2.scope", Some(1000)),
        ("/user.slice/user-0.slice", Some(0)),
        ("/user.slice/user-.slice", None),
        ("/user.slice/user-x.slice", None),
        ("/user.slice/user-99999999999.slice", None),
        ("/system.slice/user.slice/user-1000.slice", None),
    ];
    for (path, expect) in cases {
        assert_eq!(owner_uid(path.as_bytes()), expect, "{path}");
    }
}

/// Paths made of the words that the rules look for, and of noise.
fn path_like() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        "[a-f0-9]{64}",
        "(docker|crio|libpod|cri-containerd|libpod-conmon|nerdctl)-[a-f0-9]{60,66}(\\.scope)?",
        "(docker|lxc|mesos|garden|ecs|buildkit|default|kubepods|libpod_parent|\\.\\.|supervisor)",
        "(kubepods-burstable-)?pod[a-f0-9_-]{0,40}(\\.slice)?(:(crio|docker):[a-f0-9]{64})?",
        "(machine-|systemd-nspawn@|lxc\\.payload\\.)[a-z\\\\x0-9]{0,12}(\\.scope|\\.service)?",
        "\\PC{0,12}",
    ];
    prop::collection::vec(word, 0..8).prop_map(|words| format!("/{}", words.join("/")).into_bytes())
}

proptest! {
    #[test]
    fn any_bytes_are_read(path in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_cgroup_path(&path);
    }

    #[test]
    fn any_words_are_read(path in path_like()) {
        fuzz_cgroup_path(&path);
    }

    #[test]
    fn an_id_stays_itself_below_anything(words in prop::collection::vec("[a-z.@-]{1,10}", 0..4)) {
        let id = "0123456789abcdef".repeat(4);
        let path = format!("/{}/docker/{id}/{}", words.join("/"), words.join("/"));
        // Words that are rules of their own are not of this test.
        prop_assume!(!words.iter().any(|word| word.ends_with("service") || word.ends_with("scope")));
        let found = identify(path.as_bytes()).map(|identity| identity.id.into_owned());
        prop_assert_eq!(found, Some(id));
    }
}
