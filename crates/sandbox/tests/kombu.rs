//! kombu's rules mean what they mean in kombu: held against a naive reading of a whole log, as kombu reads
//! it, one check after the other. Where ours goes on, only its first message is kombu's.

use nabe_event::field::process;
use nabe_event::raw::{Event, Params};
use nabe_event::table::native::X86_64;
use nabe_event::{FieldId, Fields, Missing, Value};
use nabe_sandbox::{Judge, Rule, Seen};
use proptest::prelude::*;

/// Calls that have an event of their own.
const CALLS: [u16; 6] = [0, 1, 2, 3, 82, 87];

struct Of(i64);

impl Fields for Of {
    fn get(&self, field: FieldId, _: Option<&[u8]>) -> Value<'_> {
        if field == process::PID { Value::Int(self.0) } else { Value::Missing(Missing::Unset) }
    }
    fn related(&self, _: FieldId, _: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
        None
    }
}

#[derive(Clone, Debug)]
struct Sample {
    blacklist: Vec<u16>,
    frequent: Vec<(u64, u16)>,
    consecutive: Vec<(u64, u16)>,
    timetravel: bool,
}

impl Sample {
    fn toml(&self) -> String {
        let mut text = format!(
            "[meta]\nname = \"n\"\ndesc = \"d\"\n[syscall]\nblacklist_numbers = {:?}\n",
            self.blacklist
        );
        for (kind, list) in [("frequent", &self.frequent), ("consecutive", &self.consecutive)] {
            for (threshold, number) in list {
                let table = format!("[[syscall.{kind}]]\nthreshold_count = {threshold}\nnumber = {number}\n");
                text.push_str(&table);
            }
        }
        text + &format!("[timestamp]\ncheck_timetravel = {}\n", self.timetravel)
    }

    /// What kombu says first of this log.
    fn naive(&self, log: &[(u64, u16)]) -> Option<String> {
        for number in &self.blacklist {
            if log.iter().any(|(_, call)| call == number) {
                return Some(format!("Blacklisted syscall detected: {number}"));
            }
        }
        for (threshold, number) in &self.frequent {
            if log.iter().filter(|(_, call)| call == number).count() as u64 >= *threshold {
                return Some(format!("Frequent syscall detected: {number}"));
            }
        }
        for (threshold, number) in &self.consecutive {
            let runs = log.chunk_by(|(_, a), (_, b)| a == b);
            let longest = runs.filter(|run| run[0].1 == *number).map(<[_]>::len).max();
            if longest.unwrap_or(0) as u64 >= *threshold {
                return Some(format!("Consecutive syscall detected: {number}"));
            }
        }
        let leaps = |pair: &&[(u64, u16)]| pair[0].0 > pair[1].0 || pair[1].0 - pair[0].0 >= 1_000_000_000;
        let pair = log.windows(2).find(leaps).filter(|_| self.timetravel)?;
        Some(format!("Timetravel detected: prev: {} > next: {}", pair[0].0, pair[1].0))
    }
}

fn judged(sample: &Sample, log: &[(u64, u16)]) -> Option<String> {
    let mut judge = Judge::new(vec![Rule::parse(&sample.toml(), "sample.toml").expect("kombu's own form")]);
    for (number, (ts_ns, call)) in (1..).zip(log) {
        let id = X86_64.iter().find(|native| native.number == *call).expect("known").event;
        // Whose it is makes no difference: kombu knows one specimen.
        let pid = i64::try_from(number % 3).unwrap_or(0) + 1;
        let event = Event { id, cpu: 0, flags: 0, ts_ns: *ts_ns, tid: pid, params: Params::NONE };
        judge.event(&Seen { event: &event, fields: &Of(pid), number });
    }
    let hits = judge.finish();
    hits.first().map(|hit| hit.message.split("; ").next().unwrap_or_default().to_owned())
}

fn call() -> impl Strategy<Value = u16> {
    prop::sample::select(CALLS.to_vec())
}

fn sample() -> impl Strategy<Value = Sample> {
    let thresholds = || prop::collection::vec((0_u64..12, call()), 0..3);
    (prop::collection::vec(call(), 0..2), thresholds(), thresholds(), any::<bool>()).prop_map(
        |(blacklist, frequent, consecutive, timetravel)| Sample {
            blacklist,
            frequent,
            consecutive,
            timetravel,
        },
    )
}

fn log() -> impl Strategy<Value = Vec<(u64, u16)>> {
    let step = prop_oneof![20 => 0_i64..1000, 1 => Just(-5_i64), 1 => 999_999_000_i64..1_000_001_000];
    prop::collection::vec((step, call(), 1_usize..5), 0..30).prop_map(|steps| {
        let mut now = 1_000_000_i64;
        let mut log = Vec::new();
        for (step, call, times) in steps {
            for _ in 0..times {
                now += step;
                log.push((u64::try_from(now).unwrap_or(0), call));
            }
        }
        log
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn rules_mean_what_they_mean_in_kombu(sample in sample(), log in log()) {
        prop_assert_eq!(judged(&sample, &log), sample.naive(&log), "{}", sample.toml());
    }
}
