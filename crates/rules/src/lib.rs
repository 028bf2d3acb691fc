//! Falco's rules: rule files in, compiled rules and diagnostics out; events in, alerts out.
//!
//! In: the text of rule files; events behind [`nabe_event::Fields`]. Out: what is wrong with the files
//! and where ([`report`]), what the rules mean ([`describe`]), and [`nabe_event::alert::Alert`]s.
//!
//! **Invariants.** Rule files are hostile: size, depth, aliases, lists and macros are bounded, and
//! nothing in them panics. A file that does not load leaves the rules that were there. Judging is
//! deterministic: it knows no clock but the times of events, and its memory is bounded.
//!
//! **Not here.** Where events come from, where alerts go, what an action does to a process, and how
//! conditions are evaluated (`filter`).

#![forbid(unsafe_code)]

pub mod catalogue;
mod compile;
mod definition;
pub mod describe;
pub mod engine;
mod events;
pub mod extension;
mod load;
mod output;
pub mod place;
mod read;
pub mod report;
mod schema;
pub mod version;
pub mod why;
mod window;
pub mod yaml;

pub use compile::{Addition, CompiledRule};
pub use definition::Requirement;
pub use engine::Engine;
pub use load::{File, Loaded, Options, RuleSet};
pub use output::Output;

/// The work of a fuzz target: loads the bytes as a rule file, behind itself once more, describes what
/// comes out, and judges a fixed event.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    let content = String::from_utf8_lossy(bytes).into_owned();
    let file = |name: &str| File { name: name.to_owned(), content: Ok(content.clone()) };
    let loaded = RuleSet::check(&[file("a.yaml"), file("b.yaml")], &catalogue::Native, &Options::default());
    for report in &loaded.reports {
        assert_eq!(report.successful(), report.errors.is_empty());
        let _ = (report.text(true), report.json(true));
    }
    let described = loaded.describe();
    let _ = describe::text(&described);
    let mut engine =
        Engine::new(&loaded, engine::Options { matching: engine::Matching::All, ..Default::default() });
    let subject = nabe_filter::sample::fixed();
    for id in
        nabe_event::table::EventId::named("openat").chain(nabe_event::table::EventId::named("pluginevent"))
    {
        for source in [catalogue::SYSCALL, catalogue::K8S_AUDIT, catalogue::JSON] {
            let at = engine::Occurrence { source, id, ts_ns: 1, image: 0 };
            engine.judge(&subject, &at, &mut |hit| assert!(!hit.alert.rule.is_empty()));
        }
    }
    for rule in loaded.rules().iter().take(4) {
        let _ = (why::why(rule, &subject, true), engine.explain(&rule.name));
    }
}
