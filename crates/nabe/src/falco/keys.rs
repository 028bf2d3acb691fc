//! The keys of falco.yaml: which there are, what becomes of each, which nobody knows.

use nabe_event::field::nearest;

use super::tree::{Tree, Value};

/// Every key, `[]` for the items of a list, `*` for anything below. What stands behind a key says what
/// nabe does with it: nothing, it has its effect; `-`, it is taken and there is no use for it; `=` and
/// Falco's default, the same, and another value is worth a note; `old`, it is Falco's of former times.
static KEYS: &[(&str, &str)] = &[
    ("config_files[]", ""),
    ("config_files[].path", ""),
    ("config_files[].strategy", ""),
    ("watch_config_files", ""),
    ("rules_files[]", ""),
    ("rules_file[]", ""),
    ("rules_file", ""),
    ("rules[].enable.rule", ""),
    ("rules[].enable.tag", ""),
    ("rules[].disable.rule", ""),
    ("rules[].disable.tag", ""),
    ("engine.kind", ""),
    ("engine.kmod.*", "-"),
    ("engine.ebpf.*", "-"),
    ("engine.gvisor.*", "-"),
    ("engine.modern_ebpf.cpus_for_each_buffer", "=2"),
    ("engine.modern_ebpf.buf_size_preset", ""),
    ("engine.modern_ebpf.drop_failed_exit", "=false"),
    ("engine.modern_ebpf.disable_iterators", "=false"),
    ("engine.replay.capture_file", ""),
    ("capture.enabled", ""),
    ("capture.path_prefix", ""),
    ("capture.mode", ""),
    ("capture.default_duration", ""),
    ("capture.max_file_size_mb", ""),
    ("load_plugins[]", ""),
    ("plugins[].name", ""),
    ("plugins[].library_path", "-"),
    ("plugins[].init_config", ""),
    ("plugins[].init_config.*", ""),
    ("plugins[].open_params", ""),
    ("plugins_hostinfo", "-"),
    ("time_format_iso_8601", ""),
    ("buffer_format_base64", ""),
    ("priority", ""),
    ("json_output", ""),
    ("json_include_output_property", ""),
    ("json_include_message_property", ""),
    ("json_include_output_fields_property", ""),
    ("json_include_tags_property", ""),
    ("buffered_outputs", "=false"),
    ("rule_matching", ""),
    ("outputs_queue.capacity", ""),
    ("append_output[].match.rule", ""),
    ("append_output[].match.source", ""),
    ("append_output[].match.tags[]", ""),
    ("append_output[].extra_output", ""),
    ("append_output[].extra_fields[]", ""),
    ("append_output[].extra_fields[].*", ""),
    ("append_output[].suggested_output", ""),
    ("static_fields.*", ""),
    ("stdout_output.enabled", ""),
    ("syslog_output.enabled", ""),
    ("file_output.enabled", ""),
    ("file_output.keep_alive", ""),
    ("file_output.filename", ""),
    ("http_output.enabled", ""),
    ("http_output.url", ""),
    ("http_output.user_agent", ""),
    ("http_output.insecure", ""),
    ("http_output.ca_cert", ""),
    ("http_output.ca_bundle", ""),
    ("http_output.ca_path", ""),
    ("http_output.mtls", ""),
    ("http_output.client_cert", ""),
    ("http_output.client_key", ""),
    ("http_output.echo", "=false"),
    ("http_output.compress_uploads", ""),
    ("http_output.keep_alive", ""),
    ("http_output.max_consecutive_timeouts", "=5"),
    ("program_output.enabled", ""),
    ("program_output.keep_alive", ""),
    ("program_output.program", ""),
    ("grpc.*", "old"),
    ("grpc_output.*", "old"),
    ("webserver.enabled", ""),
    ("webserver.threadiness", "=0"),
    ("webserver.listen_port", ""),
    ("webserver.listen_address", ""),
    ("webserver.k8s_healthz_endpoint", ""),
    ("webserver.prometheus_metrics_enabled", ""),
    ("webserver.ssl_enabled", ""),
    ("webserver.ssl_certificate", ""),
    ("log_stderr", "=true"),
    ("log_syslog", "-"),
    ("log_level", "=info"),
    ("libs_logger.*", "-"),
    ("output_timeout", ""),
    ("syscall_event_timeouts.max_consecutives", "=1000"),
    ("syscall_event_drops.threshold", ""),
    ("syscall_event_drops.actions[]", ""),
    ("syscall_event_drops.rate", ""),
    ("syscall_event_drops.max_burst", ""),
    ("syscall_event_drops.simulate_drops", ""),
    ("metrics.enabled", ""),
    ("metrics.interval", ""),
    ("metrics.output_rule", ""),
    ("metrics.output_file", ""),
    ("metrics.rules_counters_enabled", ""),
    ("metrics.resource_utilization_enabled", ""),
    ("metrics.state_counters_enabled", ""),
    ("metrics.kernel_event_counters_enabled", ""),
    ("metrics.kernel_event_counters_per_cpu_enabled", "=false"),
    ("metrics.libbpf_stats_enabled", "-"),
    ("metrics.plugins_metrics_enabled", "-"),
    ("metrics.kernel_iter_event_counters_enabled", "-"),
    ("metrics.jemalloc_stats_enabled", "=false"),
    ("metrics.convert_memory_to_mb", ""),
    ("metrics.include_empty_values", ""),
    ("base_syscalls.custom_set[]", ""),
    ("base_syscalls.repair", "=false"),
    ("base_syscalls.all", ""),
    ("falco_libs.thread_table_size", "=262144"),
    ("falco_libs.thread_table_auto_purging_interval_s", "-"),
    ("falco_libs.thread_table_auto_purging_thread_timeout_s", "-"),
    ("falco_libs.snaplen", ""),
    ("outputs.rate", "old"),
    ("outputs.max_burst", "old"),
    ("syscall_buf_size_preset", "old"),
    ("syscall_drop_failed_exit", "old"),
    ("modern_bpf.*", "old"),
    ("buffered_output", "old"),
    ("metadata_download.*", "old"),
    // nabe's own: Falco passes over keys that it does not know.
    ("nabe.outputs[].type", ""),
    ("nabe.outputs[].url", ""),
    ("nabe.outputs[].minimum_priority", ""),
    ("nabe.outputs[].capacity", ""),
    ("nabe.outputs[].timeout", ""),
    ("nabe.outputs[].spill.path", ""),
    ("nabe.outputs[].spill.max_bytes", ""),
    ("nabe.outputs[].headers.*", ""),
    ("nabe.outputs[].insecure", ""),
    ("nabe.outputs[].ca_cert", ""),
    ("nabe.outputs[].client_cert", ""),
    ("nabe.outputs[].client_key", ""),
    ("nabe.outputs[].compress", ""),
    ("nabe.outputs[].channel", ""),
    ("nabe.outputs[].username", ""),
    ("nabe.outputs[].index", ""),
    ("nabe.outputs[].labels[]", ""),
    ("nabe.outputs[].routing_key", ""),
    ("nabe.outputs[].brokers[]", ""),
    ("nabe.outputs[].topic", ""),
    ("nabe.outputs[].filename", ""),
    ("nabe.outputs[].program", ""),
    ("nabe.outputs[].keep_alive", ""),
    ("nabe.actions", ""),
    ("nabe.look_back.bytes", ""),
];

/// The keys as a JSON schema, for editors.
pub fn schema() -> serde_json::Value {
    use serde_json::{Map, Value as Json, json};
    fn put(at: &mut Map<String, Json>, path: &str) {
        let (key, rest) = path.split_once('.').unwrap_or((path, ""));
        let (name, is_list) = key.strip_suffix("[]").map_or((key, false), |name| (name, true));
        let entry =
            at.entry(name).or_insert_with(|| if is_list { json!({"type": "array"}) } else { json!({}) });
        if rest.is_empty() {
            return;
        }
        let Some(mut inner) = entry.as_object_mut() else { return };
        if is_list {
            let items = inner.entry("items").or_insert_with(|| json!({}));
            let Some(items) = items.as_object_mut() else { return };
            inner = items;
        }
        inner.insert("type".into(), json!("object"));
        if rest == "*" {
            return;
        }
        let properties = inner.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            put(properties, rest);
        }
    }
    let mut properties = Map::new();
    for (key, use_of_it) in KEYS {
        if *use_of_it != "old" {
            put(&mut properties, key);
        }
    }
    json!({"$schema": "http://json-schema.org/draft-06/schema#", "type": "object", "properties": properties})
}

/// Warns of keys that nobody reads, with the nearest that somebody does.
pub fn check(tree: &Tree, warnings: &mut Vec<String>) {
    fn walk(tree: &Tree, path: &str, warnings: &mut Vec<String>) {
        match &tree.value {
            Value::Map(entries) => {
                for (key, value) in entries {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    match known(&path) {
                        Known::Below => walk(value, &path, warnings),
                        Known::Free => {}
                        Known::Unused(default) => {
                            if let Value::Text(text) = &value.value
                                && text != default
                            {
                                warnings
                                    .push(format!("{}: {path}: {text} has no effect in nabe", value.origin));
                            }
                        }
                        Known::Old => warnings.push(format!(
                            "{}: {path}: Falco has given up this key; it has no effect",
                            value.origin
                        )),
                        Known::No => {
                            let names = KEYS.iter().map(|(name, _)| *name);
                            let near = nearest(&path, names).map(|near| format!("; did you mean {near}?"));
                            warnings.push(format!(
                                "{}: unknown key {path}{}",
                                value.origin,
                                near.unwrap_or_default()
                            ));
                        }
                    }
                }
            }
            Value::List(items) => items.iter().for_each(|item| walk(item, &format!("{path}[]"), warnings)),
            _ => {}
        }
    }
    walk(tree, "", warnings);
}

enum Known {
    /// Look at what is below.
    Below,
    /// Anything may be below.
    Free,
    /// Taken for compatibility only; the default.
    Unused(&'static str),
    Old,
    No,
}

fn known(path: &str) -> Known {
    for (key, use_of_it) in KEYS {
        let is_old = *use_of_it == "old";
        if let Some(prefix) = key.strip_suffix(".*")
            && (path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')))
        {
            return if is_old { Known::Old } else { Known::Free };
        }
        if *key == path {
            if let Some(default) = use_of_it.strip_prefix('=') {
                return Known::Unused(default);
            }
            return if is_old { Known::Old } else { Known::Below };
        }
        let below = key.strip_prefix(path).is_some_and(|rest| rest.starts_with(['.', '[']));
        if below {
            return Known::Below;
        }
    }
    Known::No
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_effect_is_noted_when_it_is_not_the_default() {
        let text = "buffered_outputs: true\nlog_level: info\nhttp_output: {echo: true}\n\
                    metrics: {libbpf_stats_enabled: true}\n";
        let mut warnings = Vec::new();
        check(&Tree::read(text, "f").unwrap(), &mut warnings);
        assert_eq!(
            warnings,
            [
                "f:1:19: buffered_outputs: true has no effect in nabe",
                "f:3:21: http_output.echo: true has no effect in nabe",
            ]
        );
    }
}
