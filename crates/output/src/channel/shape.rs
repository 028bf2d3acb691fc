//! What HTTP receivers want: the body of a request for each kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use nabe_event::alert::{Alert, Priority};
use serde_json::{Map, Value, json};

use crate::render::{Render, plain, utc};

/// A receiver's form.
pub trait Shape: Send {
    /// The receiver's name.
    fn name(&self) -> &str;

    /// How many alerts fit into a request.
    fn batch(&self) -> usize {
        1
    }

    /// The content type of [`Self::body`].
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    /// The body of a request with these alerts.
    fn body(&self, alerts: &[Arc<Alert>]) -> String;

    /// Whether an answer of success is one: the name of what went wrong otherwise.
    fn objection(&self, _answer: &str) -> Option<String> {
        None
    }
}

/// Falco's own: a line of text or a JSON object, as its `http_output` sends it and as Falcosidekick
/// takes it.
pub struct Falco {
    /// The receiver's name.
    pub name: &'static str,
    /// How the body is made.
    pub render: Render,
}

impl Shape for Falco {
    fn name(&self) -> &str {
        self.name
    }

    fn content_type(&self) -> &'static str {
        if self.render.json { "application/json" } else { "text/plain" }
    }

    fn body(&self, alerts: &[Arc<Alert>]) -> String {
        alerts.iter().map(|alert| self.render.line(alert)).collect::<Vec<_>>().join("\n")
    }
}

/// Colours by priority, as Falcosidekick has them.
const fn colour(priority: Priority) -> &'static str {
    match priority {
        Priority::Emergency => "#e20b0b",
        Priority::Alert => "#ff5400",
        Priority::Critical => "#ff9000",
        Priority::Error => "#ffc700",
        Priority::Warning => "#ffff00",
        Priority::Notice => "#5bffb5",
        Priority::Informational => "#68c2ff",
        Priority::Debug => "#ccfff2",
    }
}

/// Slack's incoming webhook (and Mattermost's and Rocket.Chat's, which take the same).
pub struct Slack {
    /// The channel, when it is not the webhook's own.
    pub channel: Option<String>,
    /// The name to speak under.
    pub username: String,
}

impl Shape for Slack {
    fn name(&self) -> &str {
        "slack"
    }

    fn body(&self, alerts: &[Arc<Alert>]) -> String {
        let attachments: Vec<Value> = alerts
            .iter()
            .map(|alert| {
                let field = |title: &str, value: String, short: bool| json!({"title": title, "value": value, "short": short});
                let mut fields = vec![
                    field("rule", alert.rule.to_string(), true),
                    field("priority", alert.priority.to_string(), true),
                    field("source", alert.source.to_string(), true),
                    field("hostname", alert.hostname.to_string(), true),
                ];
                if !alert.tags.is_empty() {
                    fields.push(field("tags", alert.tags.join(", "), true));
                }
                let more = alert.fields.iter().map(|(name, value)| (name, plain(value)));
                fields.extend(more.map(|(name, value)| field(name, value.clone(), value.len() < 36)));
                fields.push(field("time", format!("{}Z", utc(alert.ts_ns)), false));
                json!({
                    "fallback": alert.message, "color": colour(alert.priority), "text": alert.message,
                    "fields": fields, "footer": "nabe", "ts": alert.ts_ns / 1_000_000_000,
                })
            })
            .collect();
        let mut body = json!({"username": self.username, "attachments": attachments});
        if let (Some(channel), Some(body)) = (&self.channel, body.as_object_mut()) {
            body.insert("channel".into(), json!(channel));
        }
        body.to_string()
    }
}

/// Prometheus Alertmanager, `/api/v2/alerts`.
pub struct Alertmanager {
    /// How long an alert stays: seconds.
    pub lasts_s: u64,
}

impl Shape for Alertmanager {
    fn name(&self) -> &str {
        "alertmanager"
    }

    fn batch(&self) -> usize {
        32
    }

    fn body(&self, alerts: &[Arc<Alert>]) -> String {
        let all: Vec<Value> = alerts
            .iter()
            .map(|alert| {
                let mut labels: BTreeMap<String, String> = alert
                    .fields
                    .iter()
                    .map(|(name, value)| (label(name), plain(value)))
                    // A label without a value is none.
                    .filter(|(_, value)| !value.is_empty())
                    .collect();
                for (name, value) in [
                    ("alertname", &*alert.rule),
                    ("source", "falco"),
                    ("rule", &*alert.rule),
                    ("eventsource", &*alert.source),
                    ("hostname", &*alert.hostname),
                    ("priority", alert.priority.name()),
                ] {
                    if !value.is_empty() {
                        labels.insert(name.into(), value.into());
                    }
                }
                if !alert.tags.is_empty() {
                    labels.insert("tags".into(), alert.tags.join(","));
                }
                let ends = alert.ts_ns.saturating_add(self.lasts_s.saturating_mul(1_000_000_000));
                json!({
                    "labels": labels,
                    "annotations": {"info": alert.message, "summary": alert.rule},
                    "startsAt": format!("{}Z", utc(alert.ts_ns)),
                    "endsAt": format!("{}Z", utc(ends)),
                })
            })
            .collect();
        Value::from(all).to_string()
    }
}

/// A field's name as a Prometheus label: letters, digits and `_`.
fn label(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// Elasticsearch and OpenSearch, `/_bulk`.
pub struct Elasticsearch {
    /// The index; the day is put behind it: `falco-2026.11.22`.
    pub index: String,
}

impl Shape for Elasticsearch {
    fn name(&self) -> &str {
        "elasticsearch"
    }

    fn batch(&self) -> usize {
        256
    }

    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn body(&self, alerts: &[Arc<Alert>]) -> String {
        let render = Render { json: true, ..Render::default() };
        let mut body = String::new();
        for alert in alerts {
            let day: String =
                utc(alert.ts_ns).chars().take(10).map(|c| if c == '-' { '.' } else { c }).collect();
            body.push_str(&json!({"create": {"_index": format!("{}-{day}", self.index)}}).to_string());
            body.push('\n');
            // The receiver sorts by this one.
            body.push_str(&format!("{{\"@timestamp\":\"{}Z\",", utc(alert.ts_ns)));
            body.push_str(render.json(alert).strip_prefix('{').unwrap_or_default());
            body.push('\n');
        }
        body
    }

    fn objection(&self, answer: &str) -> Option<String> {
        let answer: Value = serde_json::from_str(answer).ok()?;
        if answer.get("errors") != Some(&Value::Bool(true)) {
            return None;
        }
        let items = answer.get("items")?.as_array()?;
        let error = items.iter().find_map(|item| item.get("create")?.get("error"));
        Some(error.map_or_else(|| "errors in a bulk".into(), Value::to_string))
    }
}

/// Grafana Loki, `/loki/api/v1/push`.
pub struct Loki {
    /// Fields that become labels beside rule, source, priority, hostname and tags. Each value makes a
    /// stream of its own, so few is better.
    pub labels: Vec<String>,
}

impl Shape for Loki {
    fn name(&self) -> &str {
        "loki"
    }

    fn batch(&self) -> usize {
        256
    }

    fn body(&self, alerts: &[Arc<Alert>]) -> String {
        let mut streams: BTreeMap<BTreeMap<String, String>, Vec<Value>> = BTreeMap::new();
        for alert in alerts {
            let mut labels = BTreeMap::from([
                ("rule".to_owned(), alert.rule.to_string()),
                ("source".to_owned(), alert.source.to_string()),
                ("priority".to_owned(), alert.priority.to_string()),
                ("hostname".to_owned(), alert.hostname.to_string()),
            ]);
            if !alert.tags.is_empty() {
                labels.insert("tags".into(), alert.tags.join(","));
            }
            for (name, value) in &alert.fields {
                if self.labels.iter().any(|wanted| **wanted == **name) {
                    labels.insert(label(name), plain(value));
                }
            }
            let line = json!([alert.ts_ns.to_string(), alert.message]);
            streams.entry(labels).or_default().push(line);
        }
        let streams: Vec<Value> =
            streams.into_iter().map(|(labels, values)| json!({"stream": labels, "values": values})).collect();
        json!({ "streams": streams }).to_string()
    }
}

/// OpenTelemetry logs over HTTP in JSON, `/v1/logs`.
pub struct Otlp;

impl Shape for Otlp {
    fn name(&self) -> &str {
        "otlp"
    }

    fn batch(&self) -> usize {
        256
    }

    fn body(&self, alerts: &[Arc<Alert>]) -> String {
        let attribute = |name: &str, value: &str| json!({"key": name, "value": {"stringValue": value}});
        let mut hosts: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for alert in alerts {
            let mut attributes = vec![
                attribute("rule", &alert.rule),
                attribute("source", &alert.source),
                attribute("priority", alert.priority.name()),
                attribute("tags", &alert.tags.join(",")),
            ];
            attributes.extend(alert.fields.iter().map(|(name, value)| attribute(name, &plain(value))));
            hosts.entry(&alert.hostname).or_default().push(json!({
                "timeUnixNano": alert.ts_ns.to_string(),
                "severityNumber": severity(alert.priority),
                "severityText": alert.priority.name(),
                "body": {"stringValue": alert.message},
                "attributes": attributes,
            }));
        }
        let resources: Vec<Value> = hosts
            .into_iter()
            .map(|(host, records)| {
                json!({
                    "resource": {"attributes": [attribute("service.name", "nabe"), attribute("host.name", host)]},
                    "scopeLogs": [{"scope": {"name": "nabe"}, "logRecords": records}],
                })
            })
            .collect();
        json!({ "resourceLogs": resources }).to_string()
    }
}

/// OpenTelemetry's severity number for syslog's priorities (data model, appendix B).
const fn severity(priority: Priority) -> u8 {
    match priority {
        Priority::Emergency => 21,
        Priority::Alert => 19,
        Priority::Critical => 18,
        Priority::Error => 17,
        Priority::Warning => 13,
        Priority::Notice => 10,
        Priority::Informational => 9,
        Priority::Debug => 5,
    }
}

/// PagerDuty Events API v2, `/v2/enqueue`.
pub struct PagerDuty {
    /// The integration's key.
    pub routing_key: String,
}

impl Shape for PagerDuty {
    fn name(&self) -> &str {
        "pagerduty"
    }

    fn body(&self, alerts: &[Arc<Alert>]) -> String {
        let Some(alert) = alerts.first() else { return String::new() };
        let severity = match alert.priority {
            Priority::Emergency | Priority::Alert | Priority::Critical => "critical",
            Priority::Error => "error",
            Priority::Warning => "warning",
            _ => "info",
        };
        let mut details: Map<String, Value> =
            alert.fields.iter().map(|(name, value)| (name.to_string(), json!(plain(value)))).collect();
        details.insert("rule".into(), json!(alert.rule));
        details.insert("tags".into(), json!(alert.tags.join(", ")));
        // The API takes 1,024 characters of summary and refuses more.
        let summary: String = alert.message.chars().take(1024).collect();
        json!({
            "routing_key": self.routing_key,
            "event_action": "trigger",
            "payload": {
                "summary": summary,
                "source": if alert.hostname.is_empty() { "nabe" } else { &alert.hostname },
                "severity": severity,
                "timestamp": format!("{}Z", utc(alert.ts_ns)),
                "component": alert.source,
                "class": alert.rule,
                "custom_details": details,
            },
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::alert;

    fn body(shape: &dyn Shape) -> Value {
        serde_json::from_str(&shape.body(&[Arc::new(alert())])).unwrap()
    }

    #[test]
    fn alertmanager_gets_labels_that_prometheus_takes() {
        let body = body(&Alertmanager { lasts_s: 300 });
        assert_eq!(
            body,
            json!([{
                "labels": {
                    "alertname": "open_from_cat", "eventsource": "syscall", "hostname": "test-falco-hostname",
                    "priority": "Warning", "proc_cmdline": "cat /dev/null", "rule": "open_from_cat",
                    "source": "falco", "tags": "filesystem,process,testing",
                },
                "annotations": {"info": "An open was seen (command=cat /dev/null)", "summary": "open_from_cat"},
                "startsAt": "2016-08-04T16:17:57.881781397Z", "endsAt": "2016-08-04T16:22:57.881781397Z",
            }])
        );
    }

    #[test]
    fn elasticsearch_gets_pairs_of_lines_and_tells_its_errors() {
        let shape = Elasticsearch { index: "falco".into() };
        let text = shape.body(&[Arc::new(alert()), Arc::new(alert())]);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0], json!({"create": {"_index": "falco-2016.08.04"}}));
        assert_eq!(lines[3]["@timestamp"], "2016-08-04T16:17:57.881781397Z");
        assert_eq!(lines[3]["rule"], "open_from_cat");
        assert_eq!(shape.objection(r#"{"errors":false,"items":[]}"#), None);
        let answer = r#"{"errors":true,"items":[{"create":{"error":{"type":"x"}}}]}"#;
        assert_eq!(shape.objection(answer).as_deref(), Some(r#"{"type":"x"}"#));
    }

    #[test]
    fn loki_gets_a_stream_for_each_set_of_labels() {
        let shape = Loki { labels: vec!["proc.cmdline".into()] };
        let other = Alert { rule: "other".into(), ..alert() };
        let text = shape.body(&[Arc::new(alert()), Arc::new(other), Arc::new(alert())]);
        let body: Value = serde_json::from_str(&text).unwrap();
        let streams = body["streams"].as_array().unwrap();
        assert_eq!(streams.len(), 2);
        assert_eq!(streams[0]["stream"]["proc_cmdline"], "cat /dev/null");
        assert_eq!(streams.iter().map(|s| s["values"].as_array().unwrap().len()).sum::<usize>(), 3);
        assert_eq!(streams[0]["values"][0][0], "1470327477881781397");
    }

    #[test]
    fn slack_otlp_and_pagerduty_have_their_forms() {
        let slack = body(&Slack { channel: Some("#ops".into()), username: "nabe".into() });
        assert_eq!(
            (slack["channel"].as_str(), slack["attachments"][0]["color"].as_str()),
            (Some("#ops"), Some("#ffff00"))
        );
        let otlp = body(&Otlp);
        let record = &otlp["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        assert_eq!(
            (record["severityNumber"].as_u64(), record["timeUnixNano"].as_str()),
            (Some(13), Some("1470327477881781397"))
        );
        let pagerduty = body(&PagerDuty { routing_key: "key".into() });
        assert_eq!(pagerduty["payload"]["severity"], "warning");
        assert_eq!(pagerduty["payload"]["custom_details"]["proc.cmdline"], "cat /dev/null");
    }
}
