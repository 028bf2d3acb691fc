//! Rule files on real captures: a set judges as its rules do in turn, and no event that a rule
//! selects is one that it says it cannot select.

use std::path::Path;

use nabe_event::Item;
use nabe_filter::Program;
use nabe_filter::set::{Cache, Keys, Set};
use nabe_rules::{File, RuleSet};
use nabe_scap::Reader;
use nabe_state::stream::{Stream, Verdicts};

mod shared;

const RULES: &[&str] = &["falco_rules.yaml", "falco-incubating_rules.yaml", "falco-sandbox_rules.yaml"];

fn programs(data: &Path) -> Vec<Program> {
    let folder = data.join("rules/falcosecurity-rules-2026-06");
    let files: Vec<File> = RULES.iter().map(|name| File::open(&folder.join(name))).collect();
    let loaded = RuleSet::load(&files);
    assert!(loaded.successful());
    let rules: Vec<Program> = loaded.rules().iter().map(|rule| rule.program.clone()).collect();
    assert!(rules.len() > 80, "{}", rules.len());
    rules
}

#[test]
fn what_the_image_of_a_process_rules_out_is_not_selected() {
    let Some(data) = shared::data("what_the_image_of_a_process_rules_out_is_not_selected") else { return };
    let programs = programs(&data);
    let parts: Vec<Program> = programs.iter().map(Program::image_part).collect();
    assert!(parts.iter().filter(|part| !part.selects_all()).count() > 20);
    let mut kept = vec![Verdicts::default(); parts.len()];
    let (mut stream, mut judged, mut ruled_out, mut selected) = (Stream::new(), 0_u64, 0_u64, 0_u64);
    for folder in ["falco-0.34.1", "falco-history", "libs", "sf-collector"] {
        for entry in std::fs::read_dir(data.join("scap").join(folder)).unwrap() {
            let mut reader = Reader::open(&entry.unwrap().path()).unwrap();
            while let Some(batch) = reader.batch().unwrap() {
                for item in batch {
                    let Item::Event(event) = &item else {
                        stream.item(&item);
                        continue;
                    };
                    let taken = stream.take(event);
                    judged += 1;
                    if cfg!(debug_assertions) && judged % 7 != 0 {
                        continue;
                    }
                    let seen = stream.seen(event);
                    for ((program, part), kept) in programs.iter().zip(&parts).zip(&mut kept) {
                        let may = kept.get(&taken, || part.matches(&seen));
                        let is = program.matches(&seen);
                        assert!(may || !is, "{} event {}", program.canonical(), seen.number());
                        (ruled_out, selected) = (ruled_out + u64::from(!may), selected + u64::from(is));
                    }
                }
            }
        }
    }
    assert!(ruled_out > 1000 && selected > 0, "{ruled_out} {selected}");
}

#[test]
fn a_set_of_all_rules_judges_captures_as_its_rules_do() {
    let Some(data) = shared::data("a_set_of_all_rules_judges_captures_as_its_rules_do") else { return };
    let programs = programs(&data);
    let set = Set::new(&programs);
    let interest = set.event_interest().unwrap();
    // Images of one stream are not those of another; both caches are kept from capture to capture.
    let (mut stream, mut cache, mut judged, mut selected) = (Stream::new(), Cache::new(), 0_u64, 0_usize);
    let folders = ["falco-0.34.1", "falco-history", "libs", "sf-collector"];
    for folder in folders {
        for entry in std::fs::read_dir(data.join("scap").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let mut reader = Reader::open(&path).unwrap();
            while let Some(batch) = reader.batch().unwrap() {
                for item in batch {
                    let Some(seen) = stream.item(&item) else { continue };
                    let id = seen.event().id;
                    judged += 1;
                    // In a debug build it takes long to ask all rules of all events.
                    if cfg!(debug_assertions) && judged % 7 != 0 {
                        continue;
                    }
                    let naive: Vec<usize> =
                        (0..programs.len()).filter(|at| programs[*at].matches(&seen)).collect();
                    let with = set.selected(&seen, id, Keys { image: seen.image() }, &mut cache);
                    assert_eq!(with, naive, "{} event {} {}", path.display(), seen.number(), seen.name());
                    for at in &naive {
                        assert!(programs[*at].events().contains(id), "{}", seen.name());
                    }
                    assert!(naive.is_empty() || set.events().contains(id));
                    assert!(naive.is_empty() || id.name() == "syscall" || interest.events.contains(id));
                    selected += naive.len();
                }
            }
        }
    }
    assert!(judged > 70_000 && selected > 3, "{judged} events, {selected} selections");
}
