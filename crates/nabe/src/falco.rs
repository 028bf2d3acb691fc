//! The detector: Falco's configuration, rules at work on every source, alerts to every channel.

pub mod action;
pub mod audit;
pub mod capture;
pub mod config;
pub mod drops;
pub mod judge;
pub mod keys;
pub mod ledger;
pub mod outputs;
pub mod reader;
pub mod rules;
pub mod run;
pub mod signals;
pub mod tree;

use ledger::FALCO_VERSION;

/// Versions, with Falco's keys: what rules and scripts ask for.
pub fn versions() -> serde_json::Value {
    serde_json::json!({
        "default_driver_version": "10.2.0+driver",
        "driver_api_version": "10.1.0",
        "driver_schema_version": "4.5.1",
        "engine_version": "62",
        "engine_version_semver": "0.62.0",
        "falco_version": FALCO_VERSION,
        "libs_version": "0.25.4",
        "nabe_version": env!("CARGO_PKG_VERSION"),
        "plugin_api_version": "3.12.0",
    })
}
