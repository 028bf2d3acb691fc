//! What a run leaves when nabe itself is killed: a container, a folder, perhaps a network, which the next run, or
//! `nabe prune`, removes. Mounts are gone with the mount namespace of the run.

use std::fs;
use std::path::Path;

use nabe_runtime::Container;

use super::spec::RUNNER;
use crate::cli::run::guest::Guest;

/// This process, in a way that outlives its number.
pub fn runner(pid: &str) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let start = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.to_owned();
    Some(format!("{pid}:{start}"))
}

/// Removes what sandboxes left that were killed themselves; names them.
pub fn sweep() -> Vec<String> {
    let mut removed = Vec::new();
    for container in Container::list(&nabe_runtime::default_root()).unwrap_or_default() {
        let Some(of) = container.annotations().get(RUNNER) else { continue };
        let pid = of.split(':').next().unwrap_or_default();
        if runner(pid).as_ref() != Some(of) {
            // Whoever comes next tries again.
            removed.extend(container.delete(true).is_ok().then(|| container.state().id.clone()));
        }
    }
    for entry in fs::read_dir("/run").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix("nabe-sandbox-")) else { continue };
        if pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists() {
            if let Err(error) = Guest::sweep(&entry.path()) {
                error.report();
            }
            for part in ["stage", "disk", ""] {
                let _ = fs::remove_dir(entry.path().join(part));
            }
        }
    }
    removed
}
