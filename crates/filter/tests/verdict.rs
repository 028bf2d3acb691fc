//! Expressions and their verdicts on known subjects.

use nabe_event::Missing;
use nabe_event::field::{container as c, file as f, process as p};
use nabe_filter::Program;
use nabe_filter::sample::Sample;

const T: Option<bool> = Some(true);
const F: Option<bool> = Some(false);
const U: Option<bool> = None;

/// nginx in a container, with two descriptors, as a row for itself (no descriptor bound).
fn nginx() -> Sample {
    let labels: &[(&str, &str)] = &[("app", "web"), ("com.docker.compose.service", "nginx"), ("empty", "")];
    Sample::default()
        .with(p::NAME, "nginx")
        .with(p::PID, 1234_i64)
        .with(p::PPID, 1_i64)
        .with(p::TID, 1234_i64)
        .with(p::EUID, 0_i64)
        .with(p::RUID, 33_i64)
        .with(p::USER, "root")
        .with(p::CMDLINE, "nginx: master process /usr/sbin/nginx -g daemon off;")
        .with(p::ARGS, &["nginx", "-g", "daemon off;"][..])
        .with(p::STATE, 1_u64)
        .with(p::START_TIME, 5_000_000_000_u64)
        .with(p::AGE, 3 * 3_600_000_000_000_i64)
        .with(p::UTIME, 2_000_000_000_u64)
        .with(p::VSZ, 60_000_000_u64)
        .with(p::RSS, 12_000_000_u64)
        .with(p::SWAP, 0_u64)
        .with(p::KTHREAD, false)
        .with(p::TTY, "")
        .with(p::NICE, -5_i64)
        .with(p::NO_NEW_PRIVS, true)
        .with(p::CAP_EFFECTIVE, (1_u64 << 21) | (1 << 10))
        .with(p::CAP_PERMITTED, u64::MAX)
        .with(p::NS_NET, 4026531840_i64)
        .with(p::HOST_NAMESPACES, &["net", "user"][..])
        .with(p::EXE, Missing::Unread(13))
        .with(p::POLICY, 0_u64)
        .with(p::ENV, &[("PATH", "/bin:/usr/bin"), ("BIND", "10.1.2.3")][..])
        .with(c::ID, "355e4bf5d63d")
        .with(c::NAME, Missing::Pending)
        .with(c::IMAGE, "nginx:1.27")
        .with(c::RUNTIME, "docker")
        .with(c::LABELS, labels)
        .with(c::PIDS, &[1234_i64, 1235][..])
        .related(p::FILES, vec![log(), listener()])
}

fn log() -> Sample {
    let mut sample = Sample::default()
        .with(f::FD, 3_i64)
        .with(f::FD_TYPE, 1_u64)
        .with(f::PATH, "/var/log/nginx/access.log")
        .with(f::SIZE, 5_000_u64)
        .with(f::DELETED, false);
    for unset in [f::FAMILY, f::TYPE, f::STATE, f::SRC_PORT, f::DST_PORT, f::SRC_ADDR, f::DST_ADDR] {
        sample = sample.with(unset, Missing::Unset);
    }
    sample
}

fn listener() -> Sample {
    Sample::default()
        .with(f::FD, 6_i64)
        .with(f::FD_TYPE, 2_u64)
        .with(f::PATH, "socket:[77]")
        .with(f::FAMILY, 10_u64)
        .with(f::TYPE, 1_u64)
        .with(f::STATE, 10_u64)
        .with(f::PROTOCOL, 6_u64)
        .with(f::SRC_PORT, 443_i64)
        .with(f::DST_PORT, 0_i64)
        .with(f::SRC_ADDR, "::ffff:127.0.0.1".parse::<std::net::IpAddr>().unwrap())
        .with(f::DST_ADDR, "fe80::1".parse::<std::net::IpAddr>().unwrap())
        .with(f::UNIX_PATH, "")
}

/// A process on the host, no container, non-UTF-8 name, no descriptors at all.
fn odd() -> Sample {
    let no_labels: &[(&str, &str)] = &[];
    Sample::default()
        .with(p::NAME, &b"a\xffb\xc3\xa9"[..])
        .with(p::PID, 7_i64)
        .with(p::STATE, 0x402_u64)
        .with(p::AGE, 1_000_000_i64)
        .with(p::RSS, u64::MAX)
        .with(p::CMDLINE, "")
        .with(p::CAP_EFFECTIVE, 0_u64)
        .with(p::KTHREAD, true)
        .with(c::ID, "host")
        .with(c::RUNTIME, "host")
        .with(c::LABELS, no_labels)
        .related(p::FILES, vec![])
}

fn check(subject: &Sample, cases: &[(&str, Option<bool>)]) {
    for (source, verdict) in cases {
        let program = Program::cel(source).unwrap_or_else(|error| panic!("{source}\n{error}"));
        assert_eq!(program.verdict(subject), *verdict, "{source}\n{}", program.explain());
        assert_eq!(program.matches(subject), *verdict == T, "{source}");
    }
}

#[test]
fn psc_expressions() {
    let listening = nginx().and(&listener());
    check(
        &listening,
        &[
            ("", T),
            ("  // everything\n", T),
            ("process.name == \"nginx\"", T),
            ("process.name == 'nginx' && socket.state == listen", T),
            ("socket.type == tcp && socket.state == established && socket.dstPort == 443", F),
            ("socket.type == tcp && socket.family == inet6 && socket.srcPort == 443", T),
            ("container.runtime == docker", T),
            ("container.runtime == crio", F),
            ("container.id != \"\"", T),
            ("process.container.runtime == docker", T),
            ("process.capabilities.effective != 0", T),
            ("process.capabilities.effective != 0u", T),
            ("process.namespaces.net == 4026531840", T),
            ("process.files.exists(f, f.path.startsWith(\"/var\"))", T),
            ("size(process.files) > 500", F),
            ("size(process.files) == 2", T),
            ("process.files.size() == 2", T),
            ("file.fdType == socket_type", T),
            ("process.user == \"root\" && process.ppid == 1", T),
            ("process.cmdline.contains(\"master\") || process.name.startsWith(\"x\")", T),
            ("process.cmdline.matches(r\"-g\\s+daemon\")", T),
            ("process.euid != process.ruid", T),
            ("file.fd >= 0", T),
            ("socket.srcPort in [80, 443]", T),
            ("process.startTime > 0 && process.utime + process.stime == 0", U),
            ("file.path.endsWith(\".log\")", F),
            ("\"app\" in container.labels", T),
            ("process.name.upperAscii() == \"NGINX\"", T),
            ("process.name.replace(\"ng\", \"x\") == \"xinx\"", T),
            ("process.cmdline.split(\" \").size() == 7", T),
            ("container.image.substring(0, 5) == \"nginx\"", T),
        ],
    );
}

#[test]
fn kinds_compare_across_types() {
    let listening = nginx().and(&listener());
    check(
        &listening,
        &[
            ("process.rss > 1000000", T),
            ("process.rss > 11.9MB && process.rss < 12.1MB", T),
            ("process.rss > 500KB && process.rss < 2GiB", T),
            ("process.rss > 1.5e6", T),
            ("process.rss == 12000000.0", T),
            ("socket.state == \"LISTEN\"", T),
            ("socket.state == \"listen\"", T),
            ("socket.state == 10", T),
            ("socket.state != established", T),
            ("listen == socket.state", T),
            ("socket.state in [listen, \"ESTAB\", 3]", T),
            ("socket.protocol == tcp", T),
            ("socket.family == \"ipv6\"", T),
            ("process.state == \"S\"", T),
            ("process.state == sleeping", T),
            ("process.state in [\"Z\", \"D\"]", F),
            ("process.policy == other", T),
            ("string(socket.state) == \"LISTEN\"", T),
            ("age > duration(\"2h\")", T),
            ("age > 2h && process.age < 1d", T),
            ("age > \"2h59m\"", T),
            ("age == 10800000000000", T),
            ("age - 1h30m == 90m", T),
            ("age / 2 == 1h30m && age / 1h == 3", T),
            ("process.utime == 2s", T),
            ("process.startTime < 10s", T),
            ("age.getHours() == 3", T),
            ("string(1h30m) == \"5400s\"", T),
            ("socket.srcAddr == \"127.0.0.1\"", T),
            ("socket.srcAddr == b\"\\x7f\\x00\\x00\\x01\"", T),
            ("socket.srcAddr == ip(\"::ffff:127.0.0.1\")", T),
            ("socket.srcAddr in cidr(\"127.0.0.0/8\")", T),
            ("socket.srcAddr in [\"10.0.0.0/8\", \"127.0.0.1\"]", T),
            ("socket.srcAddr in [\"10.0.0.0/8\", socket.dstAddr]", F),
            ("cidr(\"fe80::/10\").contains(socket.dstAddr)", T),
            ("cidr(\"fe80::/10\").containsIP(\"fe81::2\")", T),
            ("socket.srcAddr.isLoopback() && socket.srcAddr.family() == 4", T),
            ("cidr(\"10.0.0.0/8\").contains(process.env[\"BIND\"])", T),
            ("ip(process.env.BIND) == \"10.1.2.3\"", T),
            ("isIP(process.env.PATH)", F),
            ("caps.has(\"SYS_ADMIN\")", T),
            ("caps.has(\"CAP_SYS_ADMIN\") && caps.has(sys_admin)", T),
            ("caps.has(\"SYS_PTRACE\")", F),
            ("caps.hasAny([\"SYS_PTRACE\", \"SYS_ADMIN\"])", T),
            ("caps.hasAll(\"NET_BIND_SERVICE\", \"SYS_ADMIN\")", T),
            ("caps.hasAll(\"CHOWN\", \"SYS_ADMIN\")", F),
            ("\"SYS_ADMIN\" in caps", T),
            ("caps == 0x200400", T),
            ("process.capabilities.permitted == 18446744073709551615", T),
            ("math.bitAnd(caps, 1024) != 0", T),
            ("-process.nice == 5 && process.nice < 0u", T),
            ("process.noNewPrivs && !process.kthread", T),
            ("process.noNewPrivs == true", T),
            ("process.pid % 2 == 0 ? process.noNewPrivs : false", T),
            ("(process.pid > 1 ? \"a\" : \"b\") == \"a\"", T),
            ("{\"nginx\": 80, \"redis\": 6379}[process.name] == 80", T),
            ("1 in container.pids", F),
            ("process.pid in container.pids", T),
            ("container.pids.exists(x, x == process.pid + 1)", T),
            ("\"net\" in process.hostNamespaces", T),
            ("process.args[1] == \"-g\"", T),
            ("process.args[9] == \"-g\"", F),
            ("process.args.join(\"|\") == \"nginx|-g|daemon off;\"", T),
            ("process.args == [\"nginx\", \"-g\", \"daemon off;\"]", T),
            ("process.args.map(a, size(a)) == [5, 2, 11]", T),
            ("process.args.filter(a, a.startsWith(\"-\")).size() == 1", T),
            ("process.args.exists_one(a, a.contains(\"g\"))", F),
            (
                "\"%s:%d %x %.1f%%\".format([process.name, process.pid, 255, 1.25]) == \"nginx:1234 ff 1.2%\"",
                T,
            ),
            ("math.greatest(process.pid, 5, process.ppid) == 1234", T),
            ("math.least([3, 1, 2]) == 1", T),
            ("int(\"0\") == 0 && double(\"1.5\") > 1 && string(12) == \"12\" && bool(\"true\")", T),
            ("b\"nginx\" == process.name", T),
            ("\"caf\\u00e9\".size() == 4 && 'a\\x41' == \"aA\"", T),
            ("\"abcabc\".lastIndexOf(\"b\") == 4 && \"abc\".indexOf(\"z\") == -1", T),
            ("\"  x \".trim() + \"abc\".reverse() + \"é1\".charAt(0) == \"xcbaé\"", T),
        ],
    );
}

#[test]
fn absent_values_decide_nothing_or_false() {
    // A row without a descriptor: neither the test nor its negation selects it.
    check(
        &nginx(),
        &[
            ("file.fd == 3", U),
            ("!(file.fd == 3)", U),
            ("socket.dstPort == 0", U),
            ("socket.state != listen", U),
            ("!(socket.state in [listen])", U),
            ("file.fd == 3 || process.pid == 1234", T),
            ("file.fd == 3 && process.pid == 1", F),
            ("file.fd == 3 ? true : false", U),
            ("has(file.fd)", F),
            ("!has(file.fd)", T),
            ("file == null && socket == null && container != null", T),
            // What could not be read, and what is not known yet.
            ("process.exe == \"/usr/sbin/nginx\"", U),
            ("!(process.exe.startsWith(\"/tmp\"))", U),
            ("has(process.exe)", U),
            ("container.name == \"web\"", U),
            // Labels that are not set.
            ("container.labels[\"app\"] == \"web\"", T),
            ("container.labels.app == \"web\"", T),
            ("container.labels[\"tier\"] == \"web\"", F),
            ("container.labels[\"tier\"] != \"web\"", F),
            ("!(container.labels[\"tier\"] == \"web\")", T),
            ("container.labels[\"tier\"].startsWith(\"w\")", F),
            ("container.labels[\"tier\"] in [\"a\", \"web\"]", F),
            ("\"tier\" in container.labels", F),
            ("!(\"tier\" in container.labels)", T),
            ("has(container.labels.app) && !has(container.labels.tier)", T),
            ("has(container.labels.empty) && container.labels.empty == \"\"", T),
            ("container.labels[\"app\"] != null", T),
            ("container.labels.exists(k, k.startsWith(\"com.docker\"))", T),
            ("container.labels.all(k, container.labels[k] != \"nope\")", T),
            ("size(container.labels) == 3", T),
            ("has(process.tty)", F),
            ("has(container.id) && has(container)", T),
            // Arithmetic without a result.
            ("1 / (process.pid - 1234) == 0", U),
            ("process.pid % (process.pid - 1234) == 0", U),
            ("process.pid * 9223372036854775807 * 2 > 0", U),
            ("int(process.name) == 1", U),
            ("\"abc\".substring(process.pid) == \"\"", U),
            ("\"abc\".charAt(-1) == \"\"", U),
        ],
    );
    check(
        &odd(),
        &[
            ("container.id == \"\" && container.id == \"host\" && !has(container) && !has(container.id)", T),
            ("container.id in [\"\", \"355e4bf5d63d\"]", T),
            ("container.id != \"\" || \"\" != container.runtime", F),
            ("container == null", T),
            ("container.labels[\"app\"] == \"x\"", F),
            ("process.name == b\"a\\xffb\\xc3\\xa9\"", T),
            ("process.name.contains(\"é\") && process.name.size() == 4", T),
            ("process.name.matches(\"^a(?-u:\\\\xff)b\")", T),
            ("process.rss - 1 == 18446744073709551614", T),
            ("process.rss + 1 > 0", U),
            ("process.rss * process.rss * process.rss > 0", U),
            ("process.state == \"I\" && process.state == idle", T),
            ("process.name.reverse() == b\"\\xc3\\xa9b\\xffa\"", T),
        ],
    );
}

#[test]
fn quantifiers_speak_of_all_descriptors() {
    let none: &[(&str, Option<bool>)] = &[
        ("process.files.exists(f, f.fd == 3)", F),
        ("!process.files.exists(f, f.fd == 3)", T),
        ("process.files.all(f, f.fd == 3)", T),
        ("size(process.files) == 0", T),
        ("has(process.files)", F),
        ("process.files.exists_one(f, true)", F),
    ];
    check(&odd(), none);
    check(
        &nginx(),
        &[
            ("process.files.exists(f, f.state == listen)", T),
            ("process.files.exists(s, s.srcPort == 443 && process.name == \"nginx\")", T),
            ("process.files.all(f, f.fd > 2)", T),
            ("process.files.all(f, f.state == listen)", F),
            ("process.files.exists_one(f, f.state == listen)", T),
            ("!process.files.exists(f, f.path.contains(\"deleted\"))", T),
            ("process.files.filter(f, f.fdType == file).size() == 1", T),
            ("size(process.files.filter(f, f.fd > 2).filter(g, g.fd < 5)) == 1", T),
            ("process.files.filter(f, f.fd > 2).exists(g, g.state == listen)", T),
            ("process.files.map(f, f.fd) == [3, 6]", T),
            ("process.files.map(f, f.fd > 3, f.path)[0] == \"socket:[77]\"", T),
            ("process.files.exists(f, process.files.exists(g, g.fd == f.fd * 2))", T),
            ("process.files.exists(f, f.path.contains(process.name))", T),
            ("process.files.exists(process, process.fd == 3)", T),
            ("has(process.files) && process.files != null", T),
            ("[1, 2, 3].exists(x, x == 2) && [1, 2].all(x, x > 0)", T),
            ("[].all(x, x == 1) && ![].exists(x, true) && size([]) == 0", T),
            ("process.pid in []", F),
        ],
    );
    // A socket that no process holds has no descriptors to speak of.
    check(&listener(), &[("process.files.exists(f, true)", U), ("size(process.files) >= 0", U)]);
}

#[test]
fn bound_descriptors_and_kleene_logic() {
    let row = nginx().and(&log());
    check(
        &row,
        &[
            ("file.fd == 3 && file.path.startsWith(\"/var/log\")", T),
            ("socket.state == listen", F),
            ("socket.dstPort == 0", F),
            ("!(socket.dstPort == 0)", T),
            ("file.size > 4K", T),
            ("file.deleted", F),
            ("false && process.exe == \"x\"", F),
            ("true || process.exe == \"x\"", T),
            ("process.exe == \"x\" || false", U),
            ("!!(process.pid == 1234)", T),
            ("!!!!!!(process.pid == 1234)", T),
            ("(process.pid == 1234) == (process.ppid == 1)", T),
            ("null == null", T),
        ],
    );
}
