//! Podman's own database, for labels and pods: bbolt up to version 4
//! (`<graphroot>/libpod/bolt_state.db`, bucket `ctr/<id>` with JSON under `config`
//! and `state`), SQLite from version 5 (`<graphroot>/db.sql`, tables
//! `ContainerConfig`, `ContainerState` and `PodConfig` with the same JSON).

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::{Unreadable, bolt, sqlite};
use crate::metadata::Pod;
use crate::time::parse_rfc3339;
use crate::{Engine, Metadata};

/// What Podman's own database adds.
#[derive(Clone, Default)]
pub(crate) struct Details {
    labels: HashMap<String, String>,
    pod: Option<Pod>,
    infra: bool,
    started: Option<i64>,
}

impl Details {
    /// Adds them to what containers/storage told.
    pub(crate) fn add_to(self, found: &mut Metadata) {
        if found.labels.is_empty() {
            found.set_labels(self.labels);
        }
        found.infra |= self.infra;
        found.started_at = self.started.or(found.started_at);
        if found.pod.is_none() {
            found.pod = self.pod;
        }
    }

    fn from_config(json: &[u8]) -> Option<Details> {
        let config: ContainerConfig = serde_json::from_slice(json).ok()?;
        Some(Details {
            labels: config.labels.unwrap_or_default(),
            infra: config.is_infra,
            pod: config.pod.filter(|pod| !pod.is_empty()).map(|pod| Pod { uid: Some(pod), ..Pod::default() }),
            started: None,
        })
    }

    fn add_state(&mut self, json: &[u8]) {
        if let Ok(state) = serde_json::from_slice::<ContainerState>(json) {
            self.started = state.started_time.as_deref().and_then(parse_rfc3339);
        }
    }
}

#[derive(Deserialize)]
struct ContainerConfig {
    labels: Option<HashMap<String, String>>,
    pod: Option<String>,
    #[serde(rename = "pause", default)]
    is_infra: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerState {
    started_time: Option<String>,
}

#[derive(Deserialize)]
struct PodConfig {
    name: Option<String>,
}

/// What the database of this graphroot says of the wanted containers.
pub(crate) fn read(graphroot: &Path, wanted: &[(usize, &str, Engine)]) -> Vec<(usize, Details)> {
    let sql = graphroot.join("db.sql");
    if sql.exists() {
        return sqlite::with(&sql, |db| from_sqlite(db, wanted)).unwrap_or_default();
    }
    let bolt = graphroot.join("libpod/bolt_state.db");
    if bolt.exists() {
        return bolt::with(&bolt, |db| from_bolt(db, wanted)).unwrap_or_default();
    }
    Vec::new()
}

fn from_bolt(db: &bolt::Db, wanted: &[(usize, &str, Engine)]) -> Result<Vec<(usize, Details)>, Unreadable> {
    let Some(containers) = db.bucket(&[b"ctr"])? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for (at, id, _) in wanted {
        let Some(bucket) = db.bucket_in(&containers, id.as_bytes())? else { continue };
        let config = db.value(&bucket, b"config")?;
        let Some(mut details) = config.as_deref().and_then(Details::from_config) else {
            continue;
        };
        if let Some(json) = db.value(&bucket, b"state")? {
            details.add_state(&json);
        }
        if let Some(pod) = &mut details.pod
            && let Some(id) = &pod.uid
            && let Some(bucket) = db.bucket(&[b"pod", id.as_bytes()])?
            && let Some(json) = db.value(&bucket, b"config")?
        {
            pod.name = serde_json::from_slice::<PodConfig>(&json).ok().and_then(|pod| pod.name);
        }
        found.push((*at, details));
    }
    Ok(found)
}

fn from_sqlite(
    db: &sqlite::Db,
    wanted: &[(usize, &str, Engine)],
) -> Result<Vec<(usize, Details)>, Unreadable> {
    let column = |row: &[Option<&str>], at: usize| row.get(at).copied().flatten().map(str::to_owned);
    let find = |id: &str| wanted.iter().find(|(_, known, _)| *known == id).map(|(at, _, _)| *at);
    let mut found: Vec<(usize, Details)> = Vec::new();
    db.rows("ContainerConfig", &mut |row| {
        if let (Some(id), Some(json)) = (column(row, 0), column(row, 3))
            && let Some(at) = find(&id)
            && let Some(details) = Details::from_config(json.as_bytes())
        {
            found.push((at, details));
        }
        Ok(())
    })?;
    if found.is_empty() {
        return Ok(found);
    }
    db.rows("ContainerState", &mut |row| {
        if let (Some(id), Some(json)) = (column(row, 0), column(row, 3))
            && let Some(at) = find(&id)
            && let Some((_, details)) = found.iter_mut().find(|(i, _)| *i == at)
        {
            details.add_state(json.as_bytes());
        }
        Ok(())
    })?;
    db.rows("PodConfig", &mut |row| {
        for pod in found.iter_mut().filter_map(|(_, details)| details.pod.as_mut()) {
            if pod.uid == column(row, 0) {
                pod.name = column(row, 1);
            }
        }
        Ok(())
    })?;
    Ok(found)
}
