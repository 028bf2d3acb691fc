//! Names that the kernel makes up: `pipe:[17]`, `socket:[18]`, `anon_inode:[eventpoll]`. Before
//! Linux 5.12 an iterator cannot ask for them, so they are made up here.

use nabe_event::record::{self, Fd, Fixed as _, Kind, Records, flag};
use nabe_event::symbol;

/// Puts names into the Fd records of `out[start..]` that have none.
pub(crate) fn name(out: &mut Vec<u8>, start: usize) {
    let walked = out.split_off(start.min(out.len()));
    for record in Records::new(&walked).flatten() {
        let mut fd = Fd::decode(record.body);
        if record.kind != Some(Kind::Fd) {
            continue;
        }
        let rest = record.body.get(Fd::SIZE..).unwrap_or_default();
        let (socket, rest) = rest.split_at_checked(fd.socket_len as usize).unwrap_or((rest, &[]));
        let (path, names) = rest.split_at_checked(fd.path_len as usize).unwrap_or((rest, &[]));
        let made_up = match (symbol::FD_TYPE.name(fd.fd_type.into()), path) {
            (Some("socket"), b"") => Some(format!("socket:[{}]", fd.inode).into_bytes()),
            (Some("pipe"), b"") => Some(format!("pipe:[{}]", fd.inode).into_bytes()),
            // Anonymous inodes have no type in their mode.
            (_, [b'/', name @ ..]) if fd.mode & 0o170_000 == 0 => Some([b"anon_inode:", name].concat()),
            _ => None,
        };
        let path = made_up.as_deref().unwrap_or(path);
        fd.path_len = path.len() as u32;
        let flags = if path.is_empty() { record.flags | flag::UNREAD } else { record.flags };
        record::write(out, Kind::Fd, flags, &fd, &[socket, path, names]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_and_anonymous_inodes_get_their_names() {
        let mut out = b"before..".to_vec();
        for (fd_type, mode, path) in [(3, 0o010_600, ""), (9, 0o600, "/[eventpoll]"), (1, 0o100_600, "/a/b")]
        {
            let fd = Fd { inode: 17, fd_type, mode, path_len: path.len() as u32, ..Fd::default() };
            record::write(&mut out, Kind::Fd, 0, &fd, &[path.as_bytes()]);
        }
        name(&mut out, 8);
        let paths: Vec<String> = Records::new(&out[8..])
            .map(|record| {
                let record = record.unwrap();
                let fd = Fd::decode(record.body);
                String::from_utf8_lossy(record.text(Fd::SIZE, 0, fd.path_len as usize)).into_owned()
            })
            .collect();
        assert_eq!(paths, ["pipe:[17]", "anon_inode:[eventpoll]", "/a/b"]);
        assert_eq!(&out[..8], b"before..");
    }
}
