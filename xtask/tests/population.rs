//! The population that live tests and benches count on is what it says it is, and goes away.

#[path = "../../tests/population/mod.rs"]
mod population;

use population::{HOLDER_DESCRIPTORS, Population, SLEEPER_DESCRIPTORS, Wish};

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn population_has_what_it_says_and_leaves_nothing() {
    let wish = Wish { sleepers: 7, holders: 2, frozen: true, exec: false };
    let population = match Population::start(wish) {
        Ok(population) => population,
        Err(reason) => {
            eprintln!("SKIP population_has_what_it_says_and_leaves_nothing: {reason}");
            return;
        }
    };
    let pids = population.pids();
    assert_eq!((population.sleepers, population.holders.len(), pids.len()), (7, 2, 9));
    for &pid in &pids {
        let holds = population.holders.contains(&pid);
        let expected = if holds { HOLDER_DESCRIPTORS } else { SLEEPER_DESCRIPTORS };
        assert_eq!(descriptors(pid), expected, "pid {pid}");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("State:\tT (stopped)"), "pid {pid}");
    }
    let total: usize = pids.iter().map(|&pid| descriptors(pid)).sum();
    assert_eq!(population.descriptors, total);

    let directory = population.directory().to_path_buf();
    assert!(directory.exists());
    drop(population);
    assert!(!directory.exists());
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "pid {pid} is still there");
    }
}

#[test]
fn sleepers_become_sleep_when_asked() {
    let wish = Wish { sleepers: 3, exec: true, ..Wish::default() };
    let population = match Population::start(wish) {
        Ok(population) => population,
        Err(reason) => {
            eprintln!("SKIP sleepers_become_sleep_when_asked: {reason}");
            return;
        }
    };
    for pid in population.pids() {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        assert_eq!(command, b"sleep\0infinity\0", "pid {pid}");
    }
}
