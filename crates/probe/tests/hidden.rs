//! The hidden-process check against a process that is hidden by a bind mount over `/proc/PID`, in a
//! mount namespace that ends with the test, and against a list that leaves processes out.

use std::process::{Child, Command, Stdio};

use nabe_probe::hidden::{self, Finding, Hiding, view};

/// A child that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sleeper() -> Running {
    Running(Command::new("/bin/sleep").arg("600").stdin(Stdio::null()).spawn().unwrap())
}

fn check(iterator: &mut dyn FnMut() -> Option<Vec<u32>>) -> Vec<Finding> {
    let mut found = Vec::new();
    hidden::check(iterator, &mut found).unwrap();
    found
}

/// All processes that `/proc` lists, as an iterator would.
fn listed() -> Vec<u32> {
    let names = std::fs::read_dir("/proc").unwrap();
    names.filter_map(|name| name.unwrap().file_name().to_str()?.parse().ok()).collect()
}

#[test]
fn nobody_hides_from_a_list_that_is_whole() {
    let child = sleeper();
    let found = check(&mut || Some(listed()));
    assert!(!found.iter().any(|one| one.pid == child.0.id() || one.pid == std::process::id()), "{found:?}");
    assert!(!found.iter().any(|one| one.hiding.is_hiding()), "{found:?}");
}

#[test]
fn a_gap_of_the_iterator_is_no_hiding() {
    let child = sleeper();
    let pid = child.0.id();
    let found = check(&mut || Some(listed().into_iter().filter(|listed| *listed != pid).collect()));
    let one = found.iter().find(|one| one.pid == pid).unwrap_or_else(|| panic!("{found:?}"));
    assert_eq!((one.hiding, one.hiding.is_hiding()), (Hiding::IteratorGap, false));
    assert_eq!(one.comm, b"sleep");
    assert_eq!(
        one.seen & (view::ITERATOR | view::LIST | view::NAME | view::SIGNAL),
        view::LIST | view::NAME | view::SIGNAL
    );
    // A process that was missed once only began or ended meanwhile.
    let mut round = 0;
    let found = check(&mut || {
        round += 1;
        Some(listed().into_iter().filter(|listed| round > 1 || *listed != pid).collect())
    });
    assert!(!found.iter().any(|one| one.pid == pid), "{found:?}");
    assert_eq!(round, 2);
}

#[test]
fn a_number_that_only_the_iterator_knows() {
    // No process can have this number here: nothing else knows it.
    let found = check(&mut || Some(listed().into_iter().chain([4_194_305]).collect()));
    let one = found.iter().find(|one| one.pid == 4_194_305).unwrap_or_else(|| panic!("{found:?}"));
    assert!(matches!(one.hiding, Hiding::EverywhereHook | Hiding::OtherNamespace));
    assert_eq!(one.seen, view::ITERATOR);
}

/// In the mount namespace that [`a_mount_over_proc_pid_is_named`] makes.
#[test]
fn child_in_a_mount_namespace() {
    if std::env::var_os("NABE_TEST_MOUNT").is_none() {
        return;
    }
    let (empty, other, plain) = (sleeper(), sleeper(), sleeper());
    let dir = tempfile::tempdir().unwrap();
    let mount = |from: &std::path::Path, pid: u32| {
        let status = Command::new("mount").arg("--bind").arg(from).arg(format!("/proc/{pid}")).status();
        status.is_ok_and(|status| status.success())
    };
    if !mount(dir.path(), empty.0.id()) {
        println!("skipped: nothing can be mounted in /proc here");
        return;
    }
    // Another process's directory looks more like one.
    assert!(mount(format!("/proc/{}", std::process::id()).as_ref(), other.0.id()));
    for iterator in [false, true] {
        let pids = [empty.0.id(), other.0.id()];
        let found = check(&mut || iterator.then(listed));
        let mut hiding: Vec<&Finding> = found.iter().filter(|one| one.hiding.is_hiding()).collect();
        hiding.sort_by_key(|one| one.pid != pids[0]);
        assert_eq!(hiding.iter().map(|one| one.pid).collect::<Vec<_>>(), pids, "{found:?}");
        for one in hiding {
            assert_eq!(one.hiding, Hiding::Mount);
            // A proc file system of its own is not covered.
            assert_eq!(one.comm, b"sleep");
            assert_eq!(one.seen & view::NAME, 0);
            assert_ne!(one.seen & view::SIGNAL, 0);
            assert!(one.text.contains("mounted over"), "{}", one.text);
        }
        assert!(!found.iter().any(|one| one.pid == plain.0.id()));
    }
    println!("found what was hidden");
    drop((empty, other, plain));
}

#[test]
fn a_mount_over_proc_pid_is_named() {
    // The namespace and its mounts end with the child.
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_in_a_mount_namespace", "--nocapture"])
        .env("NABE_TEST_MOUNT", "1")
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: no unshare(1) here: {error}");
            return;
        }
    };
    let (text, words) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if words.contains("unshare failed") || text.contains("skipped:") {
        println!("skipped: no mount namespace or no mount in it: {words}{text}");
        return;
    }
    assert!(output.status.success() && text.contains("found what was hidden"), "{text}{words}");
}
