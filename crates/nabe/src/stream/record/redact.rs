//! What is taken out of a capture before it is written: environments, payload, arguments.

use std::borrow::Cow;
use std::str::FromStr;

use nabe_event::item::{Descriptor, Target, Thread};
use nabe_event::raw::{Event, Params};
use nabe_event::table::{Flags, Param, ParamType};
use regex::bytes::Regex;

/// What stands where something was taken out.
const MARK: &[u8] = b"***";

/// One thing to take out: `env`, `payload` or `args=PATTERN`.
#[derive(Clone, Debug)]
pub enum Rule {
    /// Values of variables of the environment; their names stay.
    Env,
    /// Bytes that were read and written.
    Payload,
    /// What the pattern matches in arguments, names, paths and other texts.
    Args(Regex),
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "env" => Ok(Self::Env),
            None if text == "payload" => Ok(Self::Payload),
            Some(("args", pattern)) if !pattern.is_empty() => {
                Regex::new(pattern).map(Self::Args).map_err(|error| error.to_string())
            }
            _ => Err("one of env, payload, args=PATTERN".to_owned()),
        }
    }
}

/// Rewrites what is written: takes things out, cuts payload.
#[derive(Debug, Default)]
pub struct Redactor {
    env: bool,
    payload: bool,
    args: Vec<Regex>,
    /// The most bytes of payload.
    snaplen: Option<usize>,
    lengths: Vec<u8>,
    data: Vec<u8>,
}

impl Redactor {
    /// Takes out what `rules` say and cuts payload to `snaplen` bytes.
    pub fn new(rules: &[Rule], snaplen: Option<usize>) -> Self {
        let args = rules.iter().filter_map(|rule| match rule {
            Rule::Args(pattern) => Some(pattern.clone()),
            _ => None,
        });
        Self {
            env: rules.iter().any(|rule| matches!(rule, Rule::Env)),
            payload: rules.iter().any(|rule| matches!(rule, Rule::Payload)),
            args: args.collect(),
            snaplen,
            ..Self::default()
        }
    }

    /// Whether everything is written as it is.
    pub fn is_idle(&self) -> bool {
        !self.env && !self.payload && self.args.is_empty() && self.snaplen.is_none()
    }

    /// A text without what the patterns match.
    fn text<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let mut text = Cow::Borrowed(text);
        for pattern in &self.args {
            if let Cow::Owned(changed) = pattern.replace_all(&text, regex::bytes::NoExpand(MARK)) {
                text = Cow::Owned(changed);
            }
        }
        text
    }

    /// A list whose elements end with a NUL; a pattern never reaches from one into the next.
    fn list<'a>(&self, list: &'a [u8]) -> Cow<'a, [u8]> {
        if self.args.is_empty() {
            return Cow::Borrowed(list);
        }
        let elements = list.split_inclusive(|byte| *byte == 0).map(|element| match element.split_last() {
            Some((0, text)) => [&*self.text(text), b"\0"].concat(),
            _ => self.text(element).into_owned(),
        });
        Cow::Owned(elements.collect::<Vec<_>>().concat())
    }

    fn environment<'a>(&self, env: &'a [u8]) -> Cow<'a, [u8]> {
        if !self.env {
            return self.list(env);
        }
        let mut out = Vec::with_capacity(env.len());
        for variable in env.split(|byte| *byte == 0).filter(|variable| !variable.is_empty()) {
            if let Some(at) = variable.iter().position(|byte| *byte == b'=') {
                out.extend_from_slice(&self.text(&variable[..at]));
                out.push(b'=');
            }
            out.extend_from_slice(MARK);
            out.push(0);
        }
        Cow::Owned(out)
    }

    /// Hands on the thread without what is to be taken out.
    pub fn thread<T>(&self, thread: &Thread<'_>, then: impl FnOnce(&Thread<'_>) -> T) -> T {
        let env = self.environment(thread.env);
        let args = self.list(thread.args);
        let [comm, exe, exe_path, cwd, root] =
            [thread.comm, thread.exe, thread.exe_path, thread.cwd, thread.root].map(|text| self.text(text));
        then(&Thread {
            env: &env,
            args: &args,
            comm: &comm,
            exe: &exe,
            exe_path: &exe_path,
            cwd: &cwd,
            root: &root,
            ..*thread
        })
    }

    /// Hands on the descriptor without what is to be taken out.
    pub fn descriptor<T>(&self, found: &Descriptor<'_>, then: impl FnOnce(&Descriptor<'_>) -> T) -> T {
        if self.args.is_empty() {
            return then(found);
        }
        let name = match found.target {
            Target::Unix { path, .. } | Target::File { path, .. } => self.text(path),
            Target::Named { name, .. } => self.text(name),
            _ => Cow::Borrowed(&[][..]),
        };
        let target = match found.target {
            Target::Unix { source, destination, .. } => Target::Unix { source, destination, path: &name },
            Target::File { open_flags, device, .. } => Target::File { open_flags, path: &name, device },
            Target::Named { class, .. } => Target::Named { class, name: &name },
            other => other,
        };
        then(&Descriptor { target, ..*found })
    }

    /// The event without what is to be taken out.
    pub fn event<'a>(&'a mut self, event: &Event<'a>) -> Event<'a> {
        let row = event.id.row();
        let (mut lengths, mut data) = (core::mem::take(&mut self.lengths), core::mem::take(&mut self.data));
        lengths.clear();
        data.clear();
        let large = row.flags.has(Flags::LARGE_PAYLOAD);
        for (position, bytes) in event.params.iter().enumerate() {
            let start = data.len();
            self.param(row.params.get(position), bytes, &mut data);
            // A mark may be longer than what it stands for.
            if !large {
                data.truncate(start + usize::from(u16::MAX));
                let len = u16::try_from(data.len() - start).unwrap_or(u16::MAX);
                lengths.extend_from_slice(&len.to_le_bytes());
            } else {
                let len = u32::try_from(data.len() - start).unwrap_or(u32::MAX);
                lengths.extend_from_slice(&len.to_le_bytes());
            }
        }
        (self.lengths, self.data) = (lengths, data);
        let params = Params::new(event.id, &self.lengths, &self.data).unwrap_or(Params::NONE);
        Event { params, ..*event }
    }

    fn param(&self, param: Option<&Param>, bytes: &[u8], out: &mut Vec<u8>) {
        // What a newer schema appended is not understood, so nobody can say what it holds.
        let Some(param) = param else {
            if self.args.is_empty() && !self.env && !self.payload {
                out.extend_from_slice(bytes);
            }
            return;
        };
        match (param.ty, param.name) {
            _ if bytes.is_empty() => {}
            // Lists of old and new layouts alike, whatever their type.
            (_, "env") => out.extend_from_slice(&self.environment(bytes)),
            (_, "args" | "cgroups") => out.extend_from_slice(&self.list(bytes)),
            (ParamType::ByteBuf, _) if self.payload => {}
            (ParamType::ByteBuf, _) => {
                let most = self.snaplen.unwrap_or(usize::MAX).min(bytes.len());
                out.extend_from_slice(bytes.get(..most).unwrap_or(bytes));
            }
            (ParamType::CharBuf | ParamType::FsPath | ParamType::FsRelPath, _) => match bytes.split_last() {
                Some((0, text)) => {
                    out.extend_from_slice(&self.text(text));
                    out.push(0);
                }
                _ => out.extend_from_slice(&self.text(bytes)),
            },
            (ParamType::CharBufArray | ParamType::CharBufPairArray, _) => {
                out.extend_from_slice(&self.list(bytes))
            }
            (ParamType::SockAddr | ParamType::SockTuple, _) if bytes.first() == Some(&1) => {
                out.extend_from_slice(&self.list(bytes));
            }
            _ => out.extend_from_slice(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nabe_event::table::EventId;

    fn redactor(rules: &[&str]) -> Redactor {
        let rules: Vec<Rule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        Redactor::new(&rules, None)
    }

    #[test]
    fn environments_keep_names_only() {
        let redactor = redactor(&["env"]);
        assert_eq!(&*redactor.environment(b"A=1\0B=2=3\0secret\0"), b"A=***\0B=***\0***\0");
    }

    #[test]
    fn patterns_stay_within_an_element() {
        let redactor = redactor(&["args=(?s)--password.*"]);
        assert_eq!(&*redactor.list(b"a\0--password=x\0b\0"), b"a\0***\0b\0");
        assert_eq!(&*redactor.list(b"--password=x"), b"***");
    }

    #[test]
    fn payload_goes() {
        let mut data = 3i64.to_le_bytes().to_vec();
        data.extend_from_slice(b"key");
        let params = Params::new(EventId::SYSCALL_READ_X, &[8, 0, 3, 0], &data).unwrap();
        let event = Event { id: EventId::SYSCALL_READ_X, cpu: 0, flags: 0, ts_ns: 1, tid: 1, params };
        let mut redactor = redactor(&["payload"]);
        let redacted = redactor.event(&event);
        assert_eq!((redacted.signed(0), redacted.params.get(1)), (Some(3), Some(&b""[..])));
        let mut cut = Redactor::new(&[], Some(1));
        assert_eq!(cut.event(&event).params.get(1), Some(&b"k"[..]));
    }

    #[test]
    fn rules_are_checked() {
        for wrong in ["", "environment", "args", "args=", "args=(", "env=x"] {
            assert!(wrong.parse::<Rule>().is_err(), "{wrong}");
        }
    }
}
