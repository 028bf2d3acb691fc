//! Which crate may depend on which, checked against `cargo metadata`.
//!
//! The table is the whole truth about dependency direction; a new crate needs a row before it builds
//! through `make test`. Development dependencies are free, except that nobody may see the binary.

use std::process::Command;

/// A crate and the house crates that it may depend on. The binary, `nabe`, may depend on all of them.
const ALLOWED: &[(&str, &[&str])] = &[
    ("nabe-event", &[]),
    ("nabe-filter", &["nabe-event"]),
    ("nabe-scap", &["nabe-event"]),
    ("nabe-probe", &["nabe-event"]),
    ("nabe-container", &["nabe-event"]),
    ("nabe-state", &["nabe-event", "nabe-filter"]),
    ("nabe-rules", &["nabe-event", "nabe-filter"]),
    ("nabe-metrics", &["nabe-event", "nabe-filter"]),
    ("nabe-flow", &["nabe-event", "nabe-filter"]),
    ("nabe-sandbox", &["nabe-event", "nabe-filter"]),
    ("nabe-ui", &["nabe-event", "nabe-filter"]),
    // Chisels: keyed aggregation of events into tables, and their scripts.
    ("nabe-chisel", &["nabe-event", "nabe-filter"]),
    // Events in other tools' formats.
    ("nabe-export", &["nabe-event"]),
    // Alerts to channels: files, programs, HTTP, queues.
    ("nabe-output", &["nabe-event"]),
    // Kubernetes audit events and other JSON as events.
    ("nabe-audit", &["nabe-event"]),
    ("nabe-image", &[]),
    ("nabe-runtime", &[]),
    // Reads the record layouts and the field catalogue for code generation.
    ("xtask", &["nabe-event"]),
];

/// The binary: sees everything, is seen by nobody.
const BINARY: &str = "nabe";

/// An edge of the workspace's dependency graph.
#[derive(Debug)]
pub(crate) struct Edge {
    from: String,
    to: String,
    /// True for `[dev-dependencies]`.
    development: bool,
}

/// Every package of the workspace and every edge between two of them.
///
/// Fails when cargo does, which includes a `Cargo.lock` that does not fit the manifests.
pub(crate) fn read(mut cargo: Command) -> Result<(Vec<String>, Vec<Edge>), Box<dyn std::error::Error>> {
    let output = cargo.args(["metadata", "--format-version=1", "--no-deps", "--locked"]).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let packages = list(&metadata["packages"]);
    let names: Vec<String> = packages.iter().map(|package| text(&package["name"])).collect();
    let mut edges = Vec::new();
    for package in &packages {
        for dependency in list(&package["dependencies"]) {
            let to = text(&dependency["name"]);
            if names.contains(&to) {
                let development = dependency["kind"] == "dev";
                edges.push(Edge { from: text(&package["name"]), to, development });
            }
        }
    }
    Ok((names, edges))
}

/// What is wrong with the graph, a sentence each.
pub(crate) fn faults(names: &[String], edges: &[Edge]) -> Vec<String> {
    let row = |name: &str| ALLOWED.iter().find(|(from, _)| *from == name).map(|(_, to)| *to);
    let unknown = names.iter().filter(|name| *name != BINARY && row(name).is_none());
    let mut faults: Vec<String> =
        unknown.map(|name| format!("{name}: no row in xtask/src/layering.rs")).collect();
    for Edge { from, to, development } in edges {
        let allowed = match (to == BINARY, *development) {
            (true, _) => false,
            (false, true) => true,
            (false, false) => {
                from == BINARY || row(from).is_none_or(|allowed| allowed.contains(&to.as_str()))
            }
        };
        if !allowed {
            faults.push(format!("{from} depends on {to}: not allowed by xtask/src/layering.rs"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &str, to: &str, development: bool) -> Vec<String> {
        faults(&[], &[Edge { from: from.into(), to: to.into(), development }])
    }

    #[test]
    fn downward_edges_pass() {
        assert_eq!(check("nabe-filter", "nabe-event", false), Vec::<String>::new());
        assert_eq!(check("nabe", "nabe-state", false), Vec::<String>::new());
        assert_eq!(check("nabe-filter", "nabe-state", true), Vec::<String>::new());
    }

    #[test]
    fn upward_edges_are_named() {
        for (from, to, development) in [
            ("nabe-event", "nabe-filter", false),
            ("nabe-ui", "nabe-state", false),
            ("nabe-image", "nabe-runtime", false),
            ("nabe-state", "nabe", true),
        ] {
            let faults = check(from, to, development);
            assert_eq!(faults.len(), 1, "{from} -> {to}");
            assert!(faults[0].starts_with(&format!("{from} depends on {to}:")));
        }
    }

    #[test]
    fn a_crate_without_a_row_is_named() {
        let faults = faults(&["nabe".into(), "nabe-novelty".into()], &[]);
        assert_eq!(faults, ["nabe-novelty: no row in xtask/src/layering.rs"]);
    }
}
