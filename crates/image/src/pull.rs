//! Pulling: from a name to blobs in the store.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::digest::Digest;
use crate::endpoints::endpoints;
use crate::error::{Error, Result};
use crate::manifest::{
    Config, DOCKER_MANIFEST, Descriptor, Document, MAX_CONFIG, Manifest, OCI_MANIFEST, Platform,
};
use crate::progress::Progress;
use crate::reference::Reference;
use crate::registry::Client;
use crate::settings::Settings;
use crate::store::{Image, ImageId, LeftOut, Store, Work};

/// What is pulled, and how far.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which image of an index; this machine's when not set.
    pub platform: Option<Platform>,
    /// Leave layers packed; they are unpacked when a container needs them.
    pub no_unpack: bool,
}

/// What a pull brought.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The image.
    pub image: Image,
    /// What the registry calls it: the digest of the manifest, or of the index that it is in.
    pub digest: Digest,
    /// Whether the name already meant this image.
    pub up_to_date: bool,
    /// Bytes that were transferred for blobs.
    pub fetched: u64,
    /// What could not be unpacked.
    pub left_out: LeftOut,
}

/// A manifest with what led to it.
struct Found<'a> {
    /// The registry that had it, and those that may be asked if it has not everything.
    clients: Vec<Client<'a>>,
    repo_digest: Digest,
    index: Option<Vec<u8>>,
    descriptor: Descriptor,
    bytes: Vec<u8>,
    manifest: Manifest,
}

/// Pulls an image. Blobs that are there are not fetched, those that are there in part are resumed.
pub fn pull(
    store: &Store,
    reference: &Reference,
    settings: &Settings,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Pulled> {
    let cancel = AtomicBool::new(false);
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let found = find(reference, settings, &platform, progress, &cancel)?;
    let mut digests = vec![found.repo_digest, found.descriptor.digest, found.manifest.config.digest];
    digests.extend(found.manifest.layers.iter().map(|layer| layer.digest));
    let _work = store.work(digests)?;
    if let Some(index) = &found.index {
        store.put(index)?;
    }
    store.put(&found.bytes)?;
    fetch(store, &found.clients, std::slice::from_ref(&found.manifest.config), 1, progress, &cancel)?;
    let _layers = hold_layers(store, &found.manifest)?;
    let mut layers: Vec<Descriptor> = Vec::new();
    for layer in &found.manifest.layers {
        if layer.size > settings.limits.bytes {
            let reason = format!("{} packed bytes, at most {} are taken", layer.size, settings.limits.bytes);
            return Err(Error::Layer { layer: layer.digest.to_string(), reason });
        }
        if !layers.iter().any(|known| known.digest == layer.digest) {
            layers.push(layer.clone());
        }
    }
    let fetched = fetch(store, &found.clients, &layers, settings.parallel, progress, &cancel)?;
    let name = reference.to_string();
    let before = store.resolve(&name).ok();
    let id = ImageId { config: found.manifest.config.digest, manifest: found.descriptor.digest };
    let unnamed = store.image(&id)?;
    let mut left_out = LeftOut::default();
    if !options.no_unpack {
        left_out = unnamed.unpack_layers(settings, progress)?;
    }
    store.name(&found.descriptor, Some(&name), Some(&reference.name()), Some(&found.repo_digest))?;
    let image = store.image(&id)?;
    let up_to_date = before == Some(id) && fetched == 0;
    Ok(Pulled { image, digest: found.repo_digest, up_to_date, fetched, left_out })
}

/// Holds the unpacked layers too, which only the config names.
fn hold_layers(store: &Store, manifest: &Manifest) -> Result<Work> {
    let what = format!("config {}", manifest.config.digest);
    let config = Config::parse(&what, &store.document(&manifest.config.digest, MAX_CONFIG)?)?;
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        let (ids, layers) = (config.rootfs.diff_ids.len(), manifest.layers.len());
        return Err(Error::document(what, format!("it names {ids} layers, its manifest {layers}")));
    }
    store.work(config.chain_ids())
}

/// Looks the reference up, at mirrors first.
fn find<'a>(
    reference: &'a Reference,
    settings: &'a Settings,
    platform: &Platform,
    progress: &dyn Progress,
    cancel: &'a AtomicBool,
) -> Result<Found<'a>> {
    let mut clients: Vec<Client<'a>> = Vec::new();
    for endpoint in endpoints(reference, settings)? {
        let plain = endpoint.insecure && !endpoint.plain;
        clients.push(Client::new(endpoint.clone(), reference, settings, cancel)?);
        if plain {
            // "insecure" of registries.conf asks for both.
            let endpoint = crate::endpoints::Endpoint { plain: true, ..endpoint };
            clients.push(Client::new(endpoint, reference, settings, cancel)?);
        }
    }
    clients.retain(|client| client.serves(reference));
    let mut failed: Option<Error> = None;
    while !clients.is_empty() {
        match find_at(&clients, reference, platform, progress) {
            Ok((repo_digest, index, descriptor, bytes, manifest)) => {
                return Ok(Found { clients, repo_digest, index, descriptor, bytes, manifest });
            }
            Err(error) => {
                if clients.len() > 1 {
                    progress.note(&format!(
                        "{error}; asking {} instead",
                        clients.get(1).map_or("", Client::host)
                    ));
                }
                clients.remove(0);
                failed = Some(error);
            }
        }
    }
    Err(failed.unwrap_or_else(|| Error::Unknown { name: reference.to_string() }))
}

type At = (Digest, Option<Vec<u8>>, Descriptor, Vec<u8>, Manifest);

fn find_at(
    clients: &[Client<'_>],
    reference: &Reference,
    platform: &Platform,
    progress: &dyn Progress,
) -> Result<At> {
    let client = clients.first().ok_or_else(|| Error::Unknown { name: reference.to_string() })?;
    let what = reference.to_string();
    let (mut bytes, repo_digest, mut kind) = client.manifest(&reference.object(), None, progress)?;
    progress.resolved(&repo_digest, client.host());
    let (mut digest, mut index_bytes) = (repo_digest, None);
    // Indexes may hold indexes; nobody needs more than a few.
    for _ in 0..4 {
        match Document::parse(&what, &bytes, kind.as_deref())? {
            Document::Manifest(manifest) => {
                let known = manifest.media_type.clone().or(kind).filter(|kind| kind == DOCKER_MANIFEST);
                let media_type = known.unwrap_or_else(|| OCI_MANIFEST.to_owned());
                let size = bytes.len() as u64;
                let descriptor = Descriptor { media_type, digest, size, platform: None, annotations: None };
                return Ok((repo_digest, index_bytes, descriptor, bytes, manifest));
            }
            Document::Index(index) => {
                let chosen = index.choose(&what, platform)?;
                if chosen.size > crate::manifest::MAX_MANIFEST {
                    return Err(Error::document(what, "a manifest that is too large"));
                }
                let next = client.manifest(&chosen.digest.to_string(), Some(chosen), progress)?;
                index_bytes = index_bytes.or(Some(bytes));
                kind = next.2.filter(|kind| !kind.is_empty());
                (bytes, digest) = (next.0, next.1);
            }
        }
    }
    Err(Error::document(what, "indexes inside indexes without end"))
}

/// Fetches blobs with a few threads; gives the bytes that were transferred. The first error ends all.
fn fetch(
    store: &Store,
    clients: &[Client<'_>],
    blobs: &[Descriptor],
    parallel: usize,
    progress: &dyn Progress,
    cancel: &AtomicBool,
) -> Result<u64> {
    for blob in blobs {
        progress.planned(&blob.digest, blob.size, store.has(blob));
    }
    let next = AtomicUsize::new(0);
    let state: Mutex<(u64, Option<Error>)> = Mutex::new((0, None));
    std::thread::scope(|scope| {
        for _ in 0..parallel.clamp(1, blobs.len().max(1)) {
            scope.spawn(|| {
                while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if cancel.load(Ordering::Relaxed) {
                        break;
                    }
                    let result = fetch_one(store, clients, blob, progress);
                    let mut state = state.lock().unwrap_or_else(|broken| broken.into_inner());
                    match result {
                        Ok(bytes) => state.0 += bytes,
                        Err(error) => {
                            cancel.store(true, Ordering::Relaxed);
                            if state.1.is_none() {
                                state.1 = Some(error);
                            }
                        }
                    }
                }
            });
        }
    });
    match state.into_inner().unwrap_or_else(|broken| broken.into_inner()) {
        (_, Some(error)) => Err(error),
        (bytes, None) => Ok(bytes),
    }
}

fn fetch_one(
    store: &Store,
    clients: &[Client<'_>],
    blob: &Descriptor,
    progress: &dyn Progress,
) -> Result<u64> {
    let mut failed = Error::Cancelled;
    for (number, client) in clients.iter().enumerate() {
        // What an earlier attempt left may be damaged: then once more from the beginning.
        for attempt in 0..2 {
            let Some(mut ingest) = store.ingest(blob)? else {
                progress.verified(&blob.digest);
                return Ok(0);
            };
            let resumed = ingest.written();
            progress.fetched(&blob.digest, resumed);
            let result = client.blob(blob, &mut ingest, progress).and_then(|()| ingest.commit());
            match result {
                Ok(()) => {
                    progress.verified(&blob.digest);
                    return Ok(blob.size.saturating_sub(resumed));
                }
                Err(Error::Mismatch { .. }) if resumed > 0 && attempt == 0 => {
                    progress
                        .note(&format!("blob {} was damaged here; fetching it again", blob.digest.short()));
                }
                Err(error @ (Error::File { .. } | Error::Cancelled)) => return Err(error),
                Err(error) => {
                    if let Some(next) = clients.get(number + 1) {
                        progress.note(&format!("{error}; asking {} instead", next.host()));
                    }
                    failed = error;
                    break;
                }
            }
        }
    }
    Err(failed)
}
