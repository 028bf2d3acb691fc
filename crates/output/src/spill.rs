//! Alerts that wait on disk: one JSON object a line, oldest first.
//!
//! An alert is written there when a queue is full or a run ends before a channel answered. It is
//! read back when the channel works again, also by a later run. A run that ends between the sending
//! and the cutting of the file sends again: at least once, never less.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nabe_event::alert::{Alert, Datum};
use serde_json::{Map, Value, json};

/// Why alerts cannot be kept on disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be opened.
    #[error("cannot open the spill file {path}")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read or written.
    #[error("cannot use the spill file {path}")]
    Use {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A file of waiting alerts.
#[derive(Debug)]
pub struct Spill {
    path: PathBuf,
    file: File,
    /// Bytes in the file, and how many of them have been read back.
    len: u64,
    read: u64,
    max_bytes: u64,
}

impl Spill {
    /// Opens the file, or makes it with access for its owner only. It never grows beyond `max_bytes`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path, max_bytes: u64) -> Result<Self, Error> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let about = |source| Error::Open { path: path.to_path_buf(), source };
        let options =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(about)?;
        let len = options.metadata().map_err(about)?.len();
        Ok(Self { path: path.to_path_buf(), file: options, len, read: 0, max_bytes })
    }

    /// Whether alerts wait.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.read >= self.len
    }

    /// Keeps an alert; `false` when there is no room for it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn push(&mut self, alert: &Alert) -> Result<bool, Error> {
        let mut line = to_json(alert).to_string();
        line.push('\n');
        if self.len + line.len() as u64 > self.max_bytes {
            return Ok(false);
        }
        if let Err(source) = self.file.write_all(line.as_bytes()) {
            // Half a line would spoil the one behind it.
            let _ = self.file.set_len(self.len);
            return Err(Error::Use { path: self.path.clone(), source });
        }
        self.len += line.len() as u64;
        Ok(true)
    }

    /// Up to `limit` alerts, oldest first, and the mark to [`Self::done`] them with.
    ///
    /// # Errors
    /// When the file cannot be read. Lines that are no alerts are left out.
    pub fn peek(&mut self, limit: usize) -> Result<(Vec<Alert>, u64), Error> {
        let about = |source| Error::Use { path: self.path.clone(), source };
        (&self.file).seek(SeekFrom::Start(self.read)).map_err(about)?;
        let mut lines = BufReader::new(&self.file);
        let (mut alerts, mut mark) = (Vec::new(), self.read);
        let mut line = Vec::new();
        while alerts.len() < limit && mark < self.len {
            line.clear();
            let read = lines.read_until(b'\n', &mut line).map_err(about)?;
            if read == 0 {
                break;
            }
            mark += read as u64;
            alerts.extend(serde_json::from_slice(&line).ok().as_ref().and_then(of_json));
        }
        Ok((alerts, mark))
    }

    /// Forgets what [`Self::peek`] gave up to `mark`.
    ///
    /// # Errors
    /// When the file cannot be cut.
    pub fn done(&mut self, mark: u64) -> Result<(), Error> {
        self.read = mark;
        if self.read >= self.len {
            let about = |source| Error::Use { path: self.path.clone(), source };
            self.file.set_len(0).map_err(about)?;
            (self.read, self.len) = (0, 0);
        }
        Ok(())
    }
}

fn to_json(alert: &Alert) -> Value {
    let fields: Map<String, Value> =
        alert.fields.iter().map(|(name, value)| (name.to_string(), datum_to_json(value))).collect();
    json!({
        "ts": alert.ts_ns, "priority": alert.priority.name(), "rule": alert.rule, "source": alert.source,
        "hostname": alert.hostname, "tags": alert.tags, "message": alert.message, "fields": fields,
    })
}

fn datum_to_json(value: &Datum) -> Value {
    let mut text = String::new();
    crate::render::datum(&mut text, value);
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

fn of_json(value: &Value) -> Option<Alert> {
    let text = |key: &str| Some(value.get(key)?.as_str()?.into());
    let tags = value.get("tags")?.as_array()?.iter().filter_map(|tag| Some(tag.as_str()?.into()));
    let fields = value.get("fields")?.as_object()?.iter();
    Some(Alert {
        ts_ns: value.get("ts")?.as_u64()?,
        priority: value.get("priority")?.as_str()?.parse().ok()?,
        rule: text("rule")?,
        source: text("source")?,
        hostname: text("hostname")?,
        tags: tags.collect(),
        message: text("message")?,
        fields: fields.map(|(name, value)| (name.as_str().into(), datum_of_json(value))).collect(),
    })
}

fn datum_of_json(value: &Value) -> Datum {
    match value {
        Value::Null | Value::Object(_) => Datum::Null,
        Value::Bool(value) => Datum::Bool(*value),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(value), ..) => Datum::Uint(value),
            (_, Some(value), _) => Datum::Int(value),
            (.., Some(value)) => Datum::Double(value),
            _ => Datum::Null,
        },
        Value::String(text) => Datum::Text(text.as_bytes().into()),
        Value::Array(values) => Datum::List(values.iter().map(datum_of_json).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::alert;

    #[test]
    fn alerts_come_back_in_order_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spill");
        let numbered = |n: u64| Alert { ts_ns: n, ..alert() };
        let mut spill = Spill::open(&path, 1 << 20).unwrap();
        for n in 0..5 {
            assert!(spill.push(&numbered(n)).unwrap());
        }
        drop(spill);
        let mut spill = Spill::open(&path, 1 << 20).unwrap();
        let (first, mark) = spill.peek(3).unwrap();
        assert_eq!(first, [numbered(0), numbered(1), numbered(2)]);
        // Not done with: the same once more.
        assert_eq!(spill.peek(1).unwrap().0, [numbered(0)]);
        spill.done(mark).unwrap();
        assert!(spill.push(&numbered(5)).unwrap());
        let (rest, mark) = spill.peek(10).unwrap();
        assert_eq!(rest, [numbered(3), numbered(4), numbered(5)]);
        spill.done(mark).unwrap();
        assert!(spill.is_empty());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }

    #[test]
    fn it_is_bounded_and_skips_rubbish() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spill");
        std::fs::write(&path, "rubbish\n{}\n[1]\n").unwrap();
        let mut spill = Spill::open(&path, 700).unwrap();
        assert!(spill.push(&alert()).unwrap());
        assert!((0..10).any(|_| !spill.push(&alert()).unwrap()));
        let (alerts, _) = spill.peek(100).unwrap();
        assert!(!alerts.is_empty() && alerts.iter().all(|found| *found == alert()));
    }
}
