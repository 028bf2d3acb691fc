//! Manifests, indexes, configs, references: any bytes are refused in words or read within their limits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nabe_image::Reference;
use nabe_image::manifest::{Config, Document, MAX_LAYERS, Platform};

fuzz_target!(|bytes: &[u8]| {
    match Document::parse("fuzz", bytes, None) {
        Ok(Document::Manifest(manifest)) => {
            assert!(manifest.layers.len() <= MAX_LAYERS);
            assert!(manifest.layers.iter().try_fold(0u64, |sum, layer| sum.checked_add(layer.size)).is_some());
        }
        Ok(Document::Index(index)) => {
            if let Ok(chosen) = index.choose("fuzz", &Platform::host()) {
                assert!(index.manifests.contains(chosen));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(config) = Config::parse("fuzz", bytes) {
        assert_eq!(config.chain_ids().len(), config.rootfs.diff_ids.len());
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(reference) = text.parse::<Reference>()
    {
        assert_eq!(reference.to_string().parse::<Reference>().ok(), Some(reference.clone()));
        assert!(!reference.repository().split('/').any(|part| part.is_empty() || part.starts_with('.')));
    }
});
