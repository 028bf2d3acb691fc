//! What a run has counted: events, alerts by rule and priority, losses; told at the end and to
//! Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nabe_event::alert::{Alert, Priority};
use nabe_output::Outputs;

use super::config::Sections;

/// A rule's alerts.
#[derive(Clone, Debug)]
struct Of {
    priority: Priority,
    source: Box<str>,
    tags: Box<[Box<str>]>,
    alerts: u64,
}

/// What is counted.
#[derive(Debug, Default)]
struct Counts {
    by_rule: BTreeMap<Box<str>, Of>,
    by_priority: BTreeMap<Priority, u64>,
    alerts: u64,
    events: u64,
    lost: u64,
    threads: u64,
    reloads: u64,
    reload_ns: u64,
    hashes: Vec<(&'static str, String, String)>,
    /// Nanoseconds and evaluations by rule, where they are measured.
    costs: Vec<(Box<str>, u64, u64)>,
}

/// The counts of all sources of a run.
#[derive(Debug)]
pub struct Ledger {
    counts: Mutex<Counts>,
    started: Instant,
    hostname: Box<str>,
    sections: Sections,
}

/// The version of Falco whose words these are.
pub const FALCO_VERSION: &str = "0.44.1";

impl Ledger {
    /// Nothing is counted yet.
    pub fn new(hostname: &str, sections: Sections) -> Self {
        Self { counts: Mutex::default(), started: Instant::now(), hostname: hostname.into(), sections }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counters are right whoever panicked.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an alert of a rule.
    pub fn alert(&self, alert: &Alert) {
        let mut counts = self.lock();
        counts.alerts += 1;
        *counts.by_priority.entry(alert.priority).or_default() += 1;
        let new = || Of {
            priority: alert.priority,
            source: alert.source.clone(),
            tags: alert.tags.clone(),
            alerts: 0,
        };
        counts.by_rule.entry(alert.rule.clone()).or_insert_with(new).alerts += 1;
    }

    /// Adds events that were judged, and says how many threads are known.
    pub fn events(&self, events: u64, lost: u64, threads: u64) {
        let mut counts = self.lock();
        counts.events += events;
        counts.lost += lost;
        counts.threads = threads;
    }

    /// The time that rules took, where it is measured.
    pub fn costs(&self, costs: Vec<(Box<str>, u64, u64)>) {
        self.lock().costs = costs;
    }

    /// Rules were loaded; `files` are their and the configuration's names and hashes.
    pub fn loaded(&self, files: Vec<(&'static str, String, String)>) {
        let mut counts = self.lock();
        counts.reloads += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        counts.reload_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        counts.hashes = files;
    }

    /// Events and losses so far.
    pub fn totals(&self) -> (u64, u64, u64) {
        let counts = self.lock();
        (counts.events, counts.lost, counts.alerts)
    }

    /// Falco's words at the end of a run.
    pub fn summary(&self) -> String {
        let counts = self.lock();
        let mut out = format!("Events detected: {}\nRule counts by severity:\n", counts.alerts);
        for (priority, number) in &counts.by_priority {
            let _ = writeln!(out, "   {}: {number}", short(*priority));
        }
        out.push_str("Triggered rules by rule name:\n");
        for (rule, of) in &counts.by_rule {
            let _ = writeln!(out, "   {rule}: {}", of.alerts);
        }
        out
    }

    /// `metrics.output_rule`: the numbers as an alert.
    pub fn snapshot(&self, hostname: &str) -> Alert {
        use nabe_event::alert::Datum;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let counts = self.lock();
        let seconds = self.started.elapsed().as_secs();
        let text = |name: &str, value: &str| (name.into(), Datum::Text(value.as_bytes().into()));
        let mut fields = vec![
            text("falco.version", FALCO_VERSION),
            ("falco.duration_sec".into(), Datum::Uint(seconds)),
            ("falco.num_evts".into(), Datum::Uint(counts.events)),
            ("falco.reload_ts".into(), Datum::Uint(counts.reload_ns)),
        ];
        let Sections { rules, resources, state, kernel, empty, in_mb } = self.sections;
        let mut number = |wanted: bool, name: &str, value: u64| {
            if wanted && (empty || value > 0) {
                fields.push((name.into(), Datum::Uint(value)));
            }
        };
        number(kernel, "scap.n_evts", counts.events + counts.lost);
        number(kernel, "scap.n_drops", counts.lost);
        number(state, "state.n_threads", counts.threads);
        number(rules, "falco.rules.matches_total", counts.alerts);
        let (virtual_bytes, resident) = memory();
        let unit = if in_mb { 1_000_000 } else { 1 };
        number(resources, "falco.memory_vsz", virtual_bytes / unit);
        number(resources, "falco.memory_rss", resident / unit);
        let by_rule = counts.by_rule.iter().filter(|_| rules);
        fields.extend(by_rule.map(|(rule, of)| {
            let name = rule.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
            (format!("falco.rules.{name}").into(), Datum::Uint(of.alerts))
        }));
        Alert {
            ts_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
            priority: Priority::Informational,
            rule: "Falco internal: metrics snapshot".into(),
            source: "internal".into(),
            hostname: hostname.into(),
            tags: Box::new([]),
            message: "Falco metrics snapshot".into(),
            fields: fields.into(),
        }
    }

    /// Everything in Prometheus' text format, with Falco's names.
    pub fn prometheus(&self, outputs: &Outputs) -> String {
        let counts = self.lock();
        let mut page = Page(String::with_capacity(4096));
        page.one("falcosecurity_falco_version_info", "gauge", &[("version", FALCO_VERSION)], "1");
        page.one("falcosecurity_evt_hostname_info", "gauge", &[("hostname", &self.hostname)], "1");
        for (kind, name, hash) in &counts.hashes {
            let metric = match *kind {
                "config" => "falcosecurity_falco_sha256_config_files_info",
                _ => "falcosecurity_falco_sha256_rules_files_info",
            };
            page.one(metric, "gauge", &[("file_name", name), ("sha256", hash)], "1");
        }
        let reload = counts.reload_ns.to_string();
        page.one("falcosecurity_falco_reload_timestamp_nanoseconds", "gauge", &[], &reload);
        for (rule, of) in counts.by_rule.iter().filter(|_| self.sections.rules) {
            let priority = (of.priority as u8).to_string();
            let tags: Vec<String> = of.tags.iter().map(|tag| format!("tag_{}", label(tag))).collect();
            let mut labels: Vec<(&str, &str)> =
                vec![("priority", &priority), ("rule_name", rule), ("source", &of.source)];
            labels.extend(tags.iter().map(|tag| (&**tag, "true")));
            let alerts = of.alerts.to_string();
            page.one("falcosecurity_falco_rules_matches_total", "counter", &labels, &alerts);
        }
        for (rule, ns, judged) in &counts.costs {
            page.one("nabe_rule_cost_nanoseconds_total", "counter", &[("rule_name", rule)], &ns.to_string());
            page.one("nabe_rule_judged_total", "counter", &[("rule_name", rule)], &judged.to_string());
        }
        for (is_wanted, name, kind, number) in [
            (self.sections.kernel, "falcosecurity_scap_n_evts_total", "counter", counts.events + counts.lost),
            (self.sections.kernel, "falcosecurity_scap_n_drops_total", "counter", counts.lost),
            (self.sections.state, "falcosecurity_scap_n_threads_total", "gauge", counts.threads),
        ] {
            if is_wanted {
                page.one(name, kind, &[], &number.to_string());
            }
        }
        drop(counts);
        let mut dropped = 0;
        for (name, stats) in outputs.stats() {
            dropped += stats.dropped;
            for (metric, number) in [
                ("nabe_output_delivered_total", stats.delivered),
                ("nabe_output_dropped_total", stats.dropped),
                ("nabe_output_refused_total", stats.refused),
                ("nabe_output_retries_total", stats.retries),
                ("nabe_output_spilled_total", stats.spilled),
            ] {
                page.one(metric, "counter", &[("output", name)], &number.to_string());
            }
            page.one("nabe_output_waiting", "gauge", &[("output", name)], &stats.waiting.to_string());
        }
        page.one("falcosecurity_falco_outputs_queue_num_drops_total", "counter", &[], &dropped.to_string());
        if self.sections.resources {
            self.resources(&mut page);
        }
        page.0
    }

    /// What this process takes.
    fn resources(&self, page: &mut Page) {
        let seconds = self.started.elapsed().as_secs_f64();
        page.one("falcosecurity_falco_duration_seconds_total", "counter", &[], &format!("{seconds:.0}"));
        let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        #[allow(clippy::cast_precision_loss, reason = "a share is shown")]
        let cpu = usage.tv_sec as f64 + usage.tv_nsec as f64 / 1e9;
        page.one(
            "falcosecurity_falco_cpu_usage_ratio",
            "gauge",
            &[],
            &format!("{:.6}", cpu / seconds.max(0.001)),
        );
        let (virtual_bytes, resident) = memory();
        page.one("falcosecurity_falco_memory_vsz_bytes", "gauge", &[], &virtual_bytes.to_string());
        page.one("falcosecurity_falco_memory_rss_bytes", "gauge", &[], &resident.to_string());
    }
}

/// Bytes of memory of this process: virtual, resident.
fn memory() -> (u64, u64) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = statm.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
    let size = rustix::param::page_size() as u64;
    (pages.next().unwrap_or(0) * size, pages.next().unwrap_or(0) * size)
}

/// As Falco's statistics call them.
const fn short(priority: Priority) -> &'static str {
    match priority {
        Priority::Emergency => "EMERGENCY",
        Priority::Alert => "ALERT",
        Priority::Critical => "CRITICAL",
        Priority::Error => "ERROR",
        Priority::Warning => "WARNING",
        Priority::Notice => "NOTICE",
        Priority::Informational => "INFO",
        Priority::Debug => "DEBUG",
    }
}

/// A page of Prometheus' text format.
struct Page(String);

impl Page {
    fn one(&mut self, name: &str, kind: &str, labels: &[(&str, &str)], value: &str) {
        let head = format!("# TYPE {name} {kind}\n");
        // Samples of one metric stand together; it is announced once.
        if !self.0.contains(&head) {
            let _ = write!(self.0, "# HELP {name} https://falco.org/docs/metrics/\n{head}");
        }
        self.0.push_str(name);
        for (at, (key, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{key}=\"{value}\"", if at == 0 { "{" } else { "," });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// A tag as a label: letters, digits and `_`.
fn label(tag: &str) -> String {
    tag.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(rule: &str, priority: Priority) -> Alert {
        Alert {
            ts_ns: 1,
            priority,
            rule: rule.into(),
            source: "syscall".into(),
            hostname: "h".into(),
            tags: ["T1059".into(), "mitre-x".into()].into(),
            message: "m".into(),
            fields: Box::new([]),
        }
    }

    #[test]
    fn counts_are_told_as_falco_tells_them() {
        let all =
            Sections { rules: true, resources: true, state: true, kernel: true, empty: false, in_mb: true };
        let ledger = Ledger::new("h", all);
        ledger.alert(&alert("b", Priority::Warning));
        ledger.alert(&alert("a", Priority::Informational));
        ledger.alert(&alert("b", Priority::Warning));
        ledger.events(10, 2, 5);
        assert_eq!(
            ledger.summary(),
            "Events detected: 3\nRule counts by severity:\n   WARNING: 2\n   INFO: 1\nTriggered rules by rule \
             name:\n   a: 1\n   b: 2\n"
        );
        let page = ledger.prometheus(&Outputs::new());
        for line in [
            "falcosecurity_falco_rules_matches_total{priority=\"4\",rule_name=\"b\",source=\"syscall\",\
             tag_T1059=\"true\",tag_mitre_x=\"true\"} 2",
            "falcosecurity_scap_n_evts_total 12",
            "falcosecurity_scap_n_drops_total 2",
        ] {
            assert!(page.contains(&format!("{line}\n")), "{line} in {page}");
        }
        let told = |ledger: &Ledger| {
            ledger.snapshot("h").fields.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>()
        };
        assert!(told(&ledger).contains(&"falco.rules.matches_total".to_owned()));
        let none = Sections { rules: false, resources: false, state: false, kernel: false, ..all };
        let quiet = Ledger { sections: none, ..ledger };
        assert_eq!(
            told(&quiet),
            ["falco.version", "falco.duration_sec", "falco.num_evts", "falco.reload_ts"]
        );
        assert!(!quiet.prometheus(&Outputs::new()).contains("scap_n_evts_total"));
        assert_eq!(page.matches("# TYPE falcosecurity_falco_rules_matches_total").count(), 1);
    }
}
