//! The container's configuration: the image's wishes, the options', and Docker's strictness.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nabe_image::Image;
use nabe_runtime::spec::{Capabilities, DeviceRule, Mount, NamespaceKind, Process, Seccomp, Spec};
use serde_json::Value;

use super::arguments::{Args, NetworkMode};
use super::network::Lease;
use super::place::{self, Place};
use super::{resource, seccomp, volume};
use crate::error::{CliError, Result};

/// How many seconds `nabe stop` waits, in the annotations.
pub(super) const STOP_TIMEOUT: &str = "org.nabe.stop-timeout";

/// Options that were understood before anything is made.
#[derive(Debug)]
pub(super) struct Wishes {
    volumes: Vec<volume::Wish>,
    env: Vec<(String, String)>,
    resources: resource::Wishes,
    labels: Vec<(String, String)>,
    hosts: Vec<(String, String)>,
    add: Vec<String>,
    drop: Vec<String>,
    no_new_privileges: bool,
    seccomp: Filter,
    pub(super) hostname: Option<String>,
}

#[derive(Debug)]
enum Filter {
    Default,
    None,
    File(PathBuf, Value),
}

impl Wishes {
    /// Understands the options.
    pub(super) fn of(args: &Args) -> Result<Self> {
        let mut wishes = Self {
            volumes: volumes(args)?,
            env: environment(args)?,
            resources: resource::Wishes::of(args)?,
            labels: args.label.iter().map(|text| label(text)).collect::<Result<_>>()?,
            hosts: args.add_host.iter().map(|text| host(text)).collect::<Result<_>>()?,
            add: args.cap_add.iter().map(|name| capability(name)).collect::<Result<_>>()?,
            drop: args.cap_drop.iter().map(|name| capability(name)).collect::<Result<_>>()?,
            no_new_privileges: false,
            seccomp: if args.privileged { Filter::None } else { Filter::Default },
            hostname: args.hostname.clone(),
        };
        for option in &args.security_opt {
            match option.split_once(['=', ':']) {
                None if option == "no-new-privileges" => wishes.no_new_privileges = true,
                Some(("no-new-privileges", word @ ("true" | "false"))) => {
                    wishes.no_new_privileges = word == "true"
                }
                Some(("seccomp", "unconfined")) => wishes.seccomp = Filter::None,
                Some(("seccomp", file)) => {
                    let path = PathBuf::from(file);
                    let text = fs::read(&path).map_err(|error| CliError::file("read", &path, &error))?;
                    let value = serde_json::from_slice(&text);
                    let value = value.map_err(|error| CliError::failed(path.display()).because(&error))?;
                    wishes.seccomp = Filter::File(path, value);
                }
                _ => {
                    return Err(CliError::usage(format_args!("{option:?} is no --security-opt"))
                        .hint("there are no-new-privileges, seccomp=FILE and seccomp=unconfined"));
                }
            }
        }
        Ok(wishes)
    }
}

/// What is mounted, parents before what is below them.
fn volumes(args: &Args) -> Result<Vec<volume::Wish>> {
    let short = args.volume.iter().map(|text| volume::volume(text));
    let long = args.mount.iter().map(|text| volume::mount(text));
    let memory = args.tmpfs.iter().map(|text| volume::tmpfs(text));
    let mut all = short.chain(long).chain(memory).collect::<Result<Vec<_>>>()?;
    all.sort_by_key(|wish| wish.destination().components().count());
    for (at, wish) in all.iter().enumerate() {
        let same = |other: &&volume::Wish| other.destination() == wish.destination();
        if all.iter().take(at).find(same).is_some() {
            let path = wish.destination().display();
            return Err(CliError::usage(format_args!("two mounts at {path}")));
        }
    }
    Ok(all)
}

/// `KEY[=VALUE]`.
fn label(text: &str) -> Result<(String, String)> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(CliError::usage(format_args!("--label {text}: it has no key")));
    }
    Ok((key.into(), value.into()))
}

/// `NAME:IP` or `NAME=IP`; the address may be `host-gateway`.
fn host(text: &str) -> Result<(String, String)> {
    let wrong = || CliError::usage(format_args!("--add-host {text}: it is not of the form NAME:IP"));
    let (name, address) = text.split_once(['=', ':']).ok_or_else(wrong)?;
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let known = bare == "host-gateway" || bare.parse::<std::net::IpAddr>().is_ok();
    if name.is_empty() || name.contains(char::is_whitespace) || !known {
        return Err(wrong());
    }
    Ok((name.into(), bare.into()))
}

/// Variables of the files, then of the options. One without a value has ours, if there is one.
fn environment(args: &Args) -> Result<Vec<(String, String)>> {
    let mut lines = Vec::new();
    for path in &args.env_file {
        let text = fs::read_to_string(path).map_err(|error| CliError::file("read", path, &error))?;
        let lines_of = text.lines().map(str::trim_start);
        lines.extend(lines_of.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned));
    }
    lines.extend(args.env.iter().cloned());
    let mut found = Vec::new();
    for line in lines {
        match line.split_once('=') {
            Some(("", _)) => return Err(CliError::usage(format_args!("{line:?} has no name of a variable"))),
            Some((name, value)) => found.push((name.to_owned(), value.to_owned())),
            None => found.extend(std::env::var(&line).ok().map(|value| (line, value))),
        }
    }
    Ok(found)
}

/// A capability's full name, or `ALL`.
fn capability(text: &str) -> Result<String> {
    let upper = text.to_ascii_uppercase();
    if upper == "ALL" {
        return Ok(upper);
    }
    let name = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    if nabe_runtime::capabilities().any(|known| known == name) {
        return Ok(name);
    }
    Err(CliError::usage(format_args!("{text:?} is no capability")))
}

/// Everything that `config.json` says.
pub(super) fn spec(
    args: &Args,
    wishes: &Wishes,
    image: &Image,
    place: &Place,
    addresses: Option<&Lease>,
) -> Result<Spec> {
    let mut image = image.clone();
    let execution = image.config.config.get_or_insert_default();
    if let Some(user) = &args.user {
        execution.user = Some(user.clone());
    }
    if let Some(signal) = &args.stop_signal {
        crate::cli::oci::arguments::signal(signal).map_err(CliError::usage)?;
        execution.stop_signal = Some(signal.clone());
    }
    if let Some(directory) = &args.workdir {
        execution.working_dir = Some(directory.clone());
    }
    let mut words = args.words.iter().skip(1).cloned().peekable();
    if let Some(program) = &args.entrypoint {
        execution.entrypoint = (!program.is_empty()).then(|| vec![program.clone()]);
        execution.cmd = None;
    }
    if words.peek().is_some() {
        execution.cmd = Some(words.collect());
    }
    let none = |words: &Option<Vec<String>>| words.as_ref().is_none_or(Vec::is_empty);
    if none(&execution.entrypoint) && none(&execution.cmd) {
        return Err(CliError::failed(format_args!("the image {} names no program", image.title()))
            .hint("give one after the image"));
    }
    let rootfs = place.path.join("rootfs");
    let value = serde_json::to_value(nabe_image::config_of(&image, &rootfs)?);
    let spec: serde_json::Result<Spec> = value.and_then(serde_json::from_value);
    let mut spec =
        spec.map_err(|error| CliError::failed("the image's configuration makes no sense").because(&error))?;
    let root = spec.root.get_or_insert_default();
    (root.path, root.readonly) = (rootfs.clone(), args.read_only);
    spec.hostname = wishes.hostname.clone().unwrap_or_else(|| place.id.chars().take(63).collect());
    spec.annotations.insert("org.nabe.name".into(), place.id.clone());
    let asked = args.words.first().map(|word| image.title_for(word)).unwrap_or_else(|| image.title());
    spec.annotations.insert("org.opencontainers.image.ref.name".into(), asked);
    spec.annotations.extend(wishes.labels.iter().cloned());
    if let Some(seconds) = args.stop_timeout {
        spec.annotations.insert(STOP_TIMEOUT.into(), seconds.to_string());
    }
    let mut process = spec.process.take().unwrap_or_default();
    shape(&mut process, args, wishes, &spec.hostname);
    process.user.additional_gids.extend(groups(args, &rootfs)?);
    spec.process = Some(process);
    spec.mounts.extend(files(args, wishes, &spec.hostname, place, addresses)?);
    resource::apply(&mut spec, args, &wishes.resources)?;
    spec.mounts.extend(volume::mounts(&wishes.volumes, place, &rootfs)?);
    if args.network() == NetworkMode::Host {
        spec.linux.namespaces.retain(|namespace| namespace.kind != NamespaceKind::Network);
    }
    if args.privileged {
        lay_open(&mut spec);
    }
    if place::is_ordinary() {
        allow_for_ordinary(&mut spec, args.network())?;
    }
    let sets = spec.process.as_ref().and_then(|process| process.capabilities.as_ref());
    let bounding = sets.map(|sets| sets.bounding.clone()).unwrap_or_default();
    spec.linux.seccomp = match &wishes.seccomp {
        Filter::None => None,
        Filter::Default => Some(seccomp::profile(&bounding)),
        Filter::File(path, value) => Some(profile(path, value.clone(), &bounding)?),
    };
    Ok(spec)
}

fn shape(process: &mut Process, args: &Args, wishes: &Wishes, hostname: &str) {
    process.terminal = args.tty;
    process.no_new_privileges = wishes.no_new_privileges;
    let mut set = |name: &str, value: &str| {
        let start = format!("{name}=");
        process.env.retain(|one| !one.starts_with(&start));
        process.env.push(start + value);
    };
    set("HOSTNAME", hostname);
    if args.tty {
        set("TERM", "xterm");
    }
    wishes.env.iter().for_each(|(name, value)| set(name, value));
    let sets = process.capabilities.get_or_insert_default();
    let all = || nabe_runtime::capabilities().collect::<Vec<String>>();
    let mut bounding = if args.privileged || wishes.add.iter().any(|name| name == "ALL") {
        all()
    } else {
        std::mem::take(&mut sets.bounding)
    };
    if wishes.drop.iter().any(|name| name == "ALL") {
        bounding.clear();
    }
    let named = wishes.add.iter().filter(|name| *name != "ALL");
    bounding.extend(named.filter(|name| !bounding.contains(name)).cloned().collect::<Vec<_>>());
    bounding.retain(|name| !wishes.drop.contains(name));
    let effective = if process.user.uid == 0 { bounding.clone() } else { Vec::new() };
    *sets = Capabilities { permitted: effective.clone(), effective, bounding, ..Capabilities::default() };
}

fn lay_open(spec: &mut Spec) {
    for mount in &mut spec.mounts {
        if mount.destination.starts_with("/sys") {
            mount.options.retain(|word| word != "ro");
        }
    }
    spec.linux.masked_paths.clear();
    spec.linux.readonly_paths.clear();
    let everything = DeviceRule { allow: true, access: "rwm".into(), ..DeviceRule::default() };
    spec.linux.resources.devices = vec![everything];
}

/// Takes away what an ordinary user's namespaces do not allow.
fn allow_for_ordinary(spec: &mut Spec, network: NetworkMode) -> Result<()> {
    let map = fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
    let alone = map.split_whitespace().nth(2) == Some("1");
    for mount in &mut spec.mounts {
        if mount.kind == "devpts" && alone {
            // There is no group 5.
            mount.options.retain(|word| !word.starts_with("gid="));
        }
        if mount.kind == "sysfs" && network == NetworkMode::Host {
            // A new one may be mounted only by who owns the network.
            mount.kind = "bind".into();
            mount.source = Some("/sys".into());
            mount.options = ["rbind", "nosuid", "noexec", "nodev", "rro"].map(str::to_owned).into();
        }
    }
    if network == NetworkMode::Host {
        // Those of the host come with /sys.
        spec.mounts.retain(|mount| mount.kind != "cgroup");
    }
    let user = spec.process.as_ref().map(|process| process.user.clone()).unwrap_or_default();
    for (file, id) in [("uid_map", user.uid), ("gid_map", user.gid)] {
        if !is_mapped(&fs::read_to_string(Path::new("/proc/self").join(file)).unwrap_or_default(), id) {
            let what = format_args!("the program is to run as {}:{}", user.uid, user.gid);
            return Err(CliError::failed(format_args!("{what}, of which an ordinary user has not both"))
                .hint("give the user ids in /etc/subuid and /etc/subgid, or take --user 0"));
        }
    }
    Ok(())
}

/// Whether a user namespace has this id.
fn is_mapped(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u32>().ok());
        let (first, count) = (numbers.next(), numbers.nth(1));
        first.zip(count).is_some_and(|(first, count)| id.checked_sub(first).is_some_and(|at| at < count))
    })
}

/// Numbers of --group-add's groups, by the image's own names.
fn groups(args: &Args, rootfs: &Path) -> Result<Vec<u32>> {
    let number = |name: &String| Ok(nabe_image::user_of(rootfs, &format!("0:{name}"))?.gid);
    args.group_add.iter().map(number).collect()
}

/// /etc/hosts, /etc/hostname and /etc/resolv.conf, written for this container.
fn files(
    args: &Args,
    wishes: &Wishes,
    hostname: &str,
    place: &Place,
    lease: Option<&Lease>,
) -> Result<Vec<Mount>> {
    let mut hosts = match args.network() {
        NetworkMode::Host => fs::read_to_string("/etc/hosts").unwrap_or_default(),
        _ => "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned(),
    };
    let own = lease.map_or_else(|| vec!["127.0.1.1".to_owned()], Lease::addresses);
    let mut names = vec![hostname.to_owned()];
    if lease.is_some() {
        let others = std::iter::once(place.id.clone()).chain(args.other_names(&place.id));
        names.extend(others.filter(|name| name != hostname));
    }
    let names = names.join(" ");
    own.iter().for_each(|address| hosts.push_str(&format!("{address}\t{names}\n")));
    for (name, address) in &wishes.hosts {
        let gateway = || lease.map_or_else(|| "127.0.0.1".to_owned(), Lease::gateway);
        let address = if address == "host-gateway" { gateway() } else { address.clone() };
        hosts.push_str(&format!("{address}\t{name}\n"));
    }
    let mut mounts = Vec::new();
    for (name, text) in
        [("hosts", hosts), ("hostname", format!("{hostname}\n")), ("resolv.conf", name_servers(args))]
    {
        let path = place.path.join("etc").join(name);
        let readable = fs::Permissions::from_mode(0o644);
        let written = fs::write(&path, text).and_then(|()| fs::set_permissions(&path, readable));
        written.map_err(|error| CliError::file("write", &path, &error))?;
        let options = vec!["bind".to_owned(), "rprivate".to_owned()];
        let destination = Path::new("/etc").join(name);
        mounts.push(Mount {
            destination,
            kind: "bind".into(),
            source: Some(path),
            options,
            ..Mount::default()
        });
    }
    Ok(mounts)
}

fn name_servers(args: &Args) -> String {
    let search = match args.dns_search.as_slice() {
        [] => String::new(),
        domains => format!("search {}\n", domains.join(" ")),
    };
    if !args.dns.is_empty() {
        let servers = args.dns.iter().map(|server| format!("nameserver {server}\n"));
        return servers.chain([search]).collect();
    }
    if !search.is_empty() {
        let usual = usual_servers(args.network());
        let kept = usual.lines().filter(|line| !line.starts_with("search") && !line.starts_with("domain"));
        return kept.map(|line| format!("{line}\n")).chain([search]).collect();
    }
    usual_servers(args.network())
}

fn usual_servers(network: NetworkMode) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    match network {
        NetworkMode::None => String::new(),
        NetworkMode::Host => read("/etc/resolv.conf"),
        // A resolver on the host's loopback cannot be reached from inside; systemd's own servers can.
        NetworkMode::Bridge => {
            let reachable = |text: &str| -> String {
                let local = |line: &&str| {
                    let server =
                        line.trim_start().strip_prefix("nameserver").map(str::trim).unwrap_or_default();
                    server.starts_with("127.") || server == "::1"
                };
                text.lines().filter(|line| !local(line)).map(|line| format!("{line}\n")).collect()
            };
            let text = reachable(&read("/etc/resolv.conf"));
            let other = || reachable(&read("/run/systemd/resolve/resolv.conf"));
            if text.contains("nameserver") { text } else { text.clone() + &other() }
        }
    }
}

/// A profile from a file, in the form of the runtime-spec or of Docker, which adds `archMap` and conditions.
fn profile(path: &Path, mut value: Value, capabilities: &[String]) -> Result<Seccomp> {
    let machine = if cfg!(target_arch = "aarch64") {
        ["arm64", "SCMP_ARCH_AARCH64"]
    } else {
        ["amd64", "SCMP_ARCH_X86_64"]
    };
    let words = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let maps = value["archMap"].as_array().cloned().unwrap_or_default();
    if let Some(map) = maps.iter().find(|map| map["architecture"] == machine[1]) {
        let mut names = vec![machine[1].to_owned()];
        names.extend(words(&map["subArchitectures"]));
        value["architectures"] = names.into();
    }
    if let Some(rules) = value["syscalls"].as_array_mut() {
        rules.retain(|rule| {
            let has = |name: &String| capabilities.contains(name);
            let here = |name: &String| machine.contains(&name.as_str());
            let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
            let arches = words(&includes["arches"]);
            words(&includes["caps"]).iter().all(has)
                && (arches.is_empty() || arches.iter().any(here))
                && !words(&excludes["caps"]).iter().any(has)
                && !words(&excludes["arches"]).iter().any(here)
        });
    }
    let text = value.to_string();
    let read = nabe_runtime::spec::parse(path, text.as_bytes());
    read.map_err(|error| super::told(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_full_names() {
        assert_eq!(capability("net_admin").expect("known"), "CAP_NET_ADMIN");
        assert_eq!(capability("all").expect("known"), "ALL");
        assert!(capability("CAP_NONSENSE").is_err());
    }

    #[test]
    fn dockers_profiles_are_understood() {
        let value = serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
            "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
                {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            ],
        });
        let names = |capabilities: &[String]| -> Vec<String> {
            let profile = profile(Path::new("p"), value.clone(), capabilities).expect("a profile");
            profile.syscalls.iter().flat_map(|rule| rule.names.clone()).collect()
        };
        assert_eq!(names(&[]), ["read", "clone"]);
        assert_eq!(names(&["CAP_SYS_ADMIN".into()]), ["read", "mount"]);
    }
}
