//! Names of the bridge's containers, in the `/etc/hosts` of each: no resolver is needed, and each look-up reads
//! the file as it is then.
//!
//! Ours are the lines between two marks, at the end; what stands before them, from `nabe run` or from the
//! container itself, stays.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::Lease;

const BEGIN: &str = "# Containers of the bridge, kept by nabe:\n";
const END: &str = "# End.\n";

/// Bytes of a file that is kept current. A longer one is the container's doing.
const MAX_FILE: u64 = 1 << 20;

/// Writes the names of all others into the file of each. `containers` is where their places are.
pub(super) fn write(containers: &Path, leases: &[(String, Lease)]) -> io::Result<()> {
    for (id, _) in leases {
        match keep(&containers.join(id).join("etc/hosts"), &lines(leases, id)) {
            // Not made yet: then it is written once more when the container is plugged in. Or gone by now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            kept => kept?,
        }
    }
    Ok(())
}

/// What the container `id` is told: a line for each address of another.
fn lines(leases: &[(String, Lease)], id: &str) -> String {
    let mut text = String::new();
    for (other, lease) in leases.iter().filter(|(other, _)| other != id) {
        let taken = |name: &str| leases.iter().any(|(one, _)| one == name);
        // A container's own name is its alone.
        let more = lease.names.iter().filter(|name| !taken(name));
        let names: Vec<&str> = std::iter::once(other.as_str()).chain(more.map(String::as_str)).collect();
        for address in lease.addresses() {
            text.push_str(&format!("{address}\t{}\n", names.join(" ")));
        }
    }
    text
}

/// Replaces our part of one file. The file stays the same one, which the container has mounted.
fn keep(path: &Path, lines: &str) -> io::Result<()> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    let mut old = Vec::new();
    (&mut file).take(MAX_FILE + 1).read_to_end(&mut old)?;
    let Some(new) = replaced(&String::from_utf8_lossy(&old), lines).filter(|_| old.len() as u64 <= MAX_FILE)
    else {
        return Ok(());
    };
    io::Seek::rewind(&mut file)?;
    file.write_all(new.as_bytes())?;
    file.set_len(new.len() as u64)
}

/// The text with these lines as our part; `None` when nothing changes.
fn replaced(old: &str, lines: &str) -> Option<String> {
    let ours = |text: &str| text.find(BEGIN);
    let (before, after) = match ours(old) {
        Some(at) => {
            let (before, rest) = old.split_at(at);
            (before, rest.find(END).and_then(|end| rest.get(end + END.len()..)).unwrap_or_default())
        }
        None => (old, ""),
    };
    let mut new = before.to_owned();
    if !lines.is_empty() {
        if !new.is_empty() && !new.ends_with('\n') {
            new.push('\n');
        }
        new.push_str(&format!("{BEGIN}{lines}{END}"));
    }
    new.push_str(after);
    (new != old).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(last: u8, names: &[&str]) -> Lease {
        Lease {
            address: [10, 89, 0, last].into(),
            address6: None,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ports: Vec::new(),
        }
    }

    #[test]
    fn each_is_told_of_the_others() {
        let leases = [("web".to_owned(), lease(2, &["db", "front"])), ("db".to_owned(), lease(3, &[]))];
        assert_eq!(lines(&leases, "db"), "10.89.0.2\tweb front\n", "the name of another is not taken");
        assert_eq!(lines(&leases, "web"), "10.89.0.3\tdb\n");
        assert_eq!(lines(&leases[..1], "web"), "");
    }

    #[test]
    fn what_is_not_ours_stays() {
        let line = "10.89.0.3\tdb\n";
        let with = replaced("127.0.0.1\tlocalhost", line).expect("changed");
        assert_eq!(with, format!("127.0.0.1\tlocalhost\n{BEGIN}{line}{END}"));
        assert_eq!(replaced(&with, line), None);
        let more = with.clone() + "1.2.3.4 own\n";
        assert_eq!(replaced(&more, "").as_deref(), Some("127.0.0.1\tlocalhost\n1.2.3.4 own\n"));
        // A mark that the container took away takes what followed with it.
        assert_eq!(replaced(&with.replace(END, ""), "").as_deref(), Some("127.0.0.1\tlocalhost\n"));
    }
}
