//! Users and groups of the snapshot: passwd(5) and group(5), as captures have them.

use std::io::Read as _;

use nabe_event::item::{Group, User};

use super::{Snapshot, Span, Texts};
use crate::proc::text::{lines, number32};

/// Bytes of a database that are read.
const MOST_BYTES: u64 = 16 << 20;

/// A user whose texts are in the buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeptUser {
    uid: u32,
    gid: u32,
    name: Span,
    home: Span,
    shell: Span,
}

impl KeptUser {
    pub(crate) fn item<'a>(&self, texts: &'a Texts) -> User<'a> {
        User {
            uid: self.uid,
            gid: self.gid,
            name: texts.get(self.name),
            home: texts.get(self.home),
            shell: texts.get(self.shell),
        }
    }
}

/// A group whose name is in the buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeptGroup {
    gid: u32,
    name: Span,
}

impl KeptGroup {
    pub(crate) fn item<'a>(&self, texts: &'a Texts) -> Group<'a> {
        Group { gid: self.gid, name: texts.get(self.name) }
    }
}

fn read(path: &str) -> Vec<u8> {
    let mut text = Vec::new();
    // A host without the file has no names there.
    if let Ok(file) = std::fs::File::open(path) {
        let _ = file.take(MOST_BYTES).read_to_end(&mut text);
    }
    text
}

/// Adds the users and groups of this machine.
pub(crate) fn add(out: &mut Snapshot) {
    for line in lines(&read("/etc/passwd")) {
        if let Some(user) = user(line, &mut out.texts) {
            out.users.push(user);
        }
    }
    for line in lines(&read("/etc/group")) {
        let mut fields = line.split(|byte| *byte == b':');
        if let (Some(name), Some(gid)) = (name(fields.next()), fields.nth(1).and_then(number32)) {
            out.groups.push(KeptGroup { gid, name: out.texts.keep(&[name]) });
        }
    }
}

fn name(field: Option<&[u8]>) -> Option<&[u8]> {
    field.filter(|name| !name.is_empty() && !matches!(name.first(), Some(b'#' | b'+' | b'-')))
}

fn user(line: &[u8], texts: &mut Texts) -> Option<KeptUser> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = name(fields.next())?;
    let (uid, gid) = (number32(fields.nth(1)?)?, number32(fields.next()?)?);
    let home = fields.nth(1).unwrap_or_default();
    let shell = fields.next().unwrap_or_default();
    Some(KeptUser {
        uid,
        gid,
        name: texts.keep(&[name]),
        home: texts.keep(&[home]),
        shell: texts.keep(&[shell]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_passwd() {
        let mut texts = Texts::default();
        let user = user(b"www:x:33:34:web:/var/www:/bin/false", &mut texts).unwrap();
        let item = user.item(&texts);
        assert_eq!((item.uid, item.gid), (33, 34));
        assert_eq!((item.name, item.home, item.shell), (&b"www"[..], &b"/var/www"[..], &b"/bin/false"[..]));
        assert!(super::user(b"+::::::", &mut texts).is_none());
        assert!(super::user(b"broken", &mut texts).is_none());
    }
}
