//! What Falco does when system calls are lost: once a second of event time it compares what is new
//! among the lost with what is new among the seen, and acts as often as a bucket of tokens allows.

use nabe_event::alert::{Alert, Datum, Priority};
use nabe_event::source::{Account, Cause};

use super::config::{DropAction, Drops};

/// The rule that loss alerts name, as in Falco.
const RULE: &str = "Falco internal: syscall event drop";

const SECOND: u64 = 1_000_000_000;

/// Watches over losses.
#[derive(Debug)]
pub struct Watch {
    config: Drops,
    /// When to look next: event time.
    next_ns: u64,
    last: Account,
    tokens: f64,
    /// When tokens were counted last.
    counted_ns: u64,
    /// Seconds with losses beyond the threshold, and times of action.
    pub occurrences: u64,
    pub actions: u64,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Verdict {
    /// To be sent like any other.
    pub alert: Option<Alert>,
    /// To be logged.
    pub log: Option<String>,
    /// The run is to end in failure.
    pub exit: bool,
}

impl Watch {
    /// Does as `config` says.
    pub fn new(config: Drops) -> Self {
        Self {
            tokens: config.max_burst,
            config,
            next_ns: 0,
            last: Account::default(),
            counted_ns: 0,
            occurrences: 0,
            actions: 0,
        }
    }

    /// Whether it is time to look: with every event.
    #[inline]
    pub fn is_due(&mut self, ts_ns: u64) -> bool {
        if self.next_ns == 0 {
            self.next_ns = ts_ns.saturating_add(SECOND);
            return false;
        }
        self.next_ns < ts_ns
    }

    /// Looks.
    pub fn look(&mut self, ts_ns: u64, account: &Account, hostname: &str) -> Verdict {
        self.next_ns = ts_ns.saturating_add(SECOND);
        let seen = account.seen.saturating_sub(self.last.seen);
        let mut lost = account.lost().saturating_sub(self.last.lost());
        let of = |account: &Account, cause| {
            account.lost.iter().filter(|lost| lost.cause == cause).map(|lost| lost.events).sum::<u64>()
        };
        let causes = [Cause::RingFull, Cause::Busy, Cause::TooLarge, Cause::Broken]
            .map(|cause| of(account, cause).saturating_sub(of(&self.last, cause)));
        self.last = account.clone();
        lost += u64::from(self.config.simulate);
        let threshold = if self.config.simulate { 0.0 } else { self.config.threshold };
        // Counts of one second are far below the 53 bits that a double holds.
        let share = lost as f64 / seen.max(1) as f64;
        if lost == 0 || share <= threshold {
            return Verdict::default();
        }
        self.occurrences += 1;
        if !self.claim(ts_ns) {
            return Verdict::default();
        }
        self.actions += 1;
        self.act(ts_ns, seen, lost, causes, hostname)
    }

    /// Takes a token when there is one.
    fn claim(&mut self, ts_ns: u64) -> bool {
        if self.counted_ns != 0 {
            let seconds = ts_ns.saturating_sub(self.counted_ns) as f64 / SECOND as f64;
            self.tokens = (self.tokens + seconds * self.config.rate).min(self.config.max_burst);
        }
        self.counted_ns = ts_ns;
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }

    fn act(&self, ts_ns: u64, seen: u64, lost: u64, causes: [u64; 4], hostname: &str) -> Verdict {
        let message = format!("{RULE}. {lost} system calls dropped in last second.");
        let mut verdict = Verdict::default();
        for action in &self.config.actions {
            match action {
                DropAction::Ignore => {}
                DropAction::Log => verdict.log = Some(message.clone()),
                DropAction::Exit => {
                    verdict.log = Some(message.clone());
                    verdict.exit = true;
                }
                DropAction::Alert => {
                    let [ring, busy, large, broken] = causes;
                    let fields = [
                        ("ebpf_enabled", 1),
                        ("n_drops", lost),
                        ("n_drops_buffer_total", ring),
                        ("n_drops_bug", broken),
                        ("n_drops_scratch_map", busy),
                        ("n_drops_too_large", large),
                        ("n_evts", seen),
                    ];
                    let text = |(name, value): (&str, u64)| {
                        (name.into(), Datum::Text(value.to_string().into_bytes().into()))
                    };
                    verdict.alert = Some(Alert {
                        ts_ns,
                        priority: Priority::Debug,
                        rule: RULE.into(),
                        source: "internal".into(),
                        hostname: hostname.into(),
                        tags: Box::new([]),
                        message: message.clone().into(),
                        fields: fields.map(text).into(),
                    });
                }
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nabe_event::source::Lost;

    fn drops(simulate: bool, max_burst: f64) -> Drops {
        let actions = vec![DropAction::Log, DropAction::Alert];
        Drops { threshold: 0.1, actions, rate: 0.03333, max_burst, simulate }
    }

    fn account(seen: u64, lost: u64) -> Account {
        let lost = vec![Lost { cause: Cause::RingFull, cpu: Some(0), events: lost }];
        Account { seen, delivered: seen, filtered: 0, lost }
    }

    #[test]
    fn only_a_share_above_the_threshold_counts() {
        let mut watch = Watch::new(drops(false, 10.0));
        assert!(!watch.is_due(5) && !watch.is_due(SECOND) && watch.is_due(SECOND + 6));
        assert!(watch.look(SECOND + 6, &account(100, 10), "h").alert.is_none());
        let verdict = watch.look(2 * SECOND, &account(200, 30), "h");
        let alert = verdict.alert.unwrap();
        assert_eq!(
            &*alert.message,
            "Falco internal: syscall event drop. 20 system calls dropped in last second."
        );
        assert!(!verdict.exit && verdict.log.is_some());
        assert_eq!((watch.occurrences, watch.actions), (1, 1));
    }

    #[test]
    fn the_bucket_bounds_actions_not_occurrences() {
        let mut watch = Watch::new(drops(true, 2.0));
        for second in 1..=40 {
            watch.look(second * SECOND, &account(second, 0), "h");
        }
        // Two at once, and one more after 30 seconds.
        assert_eq!((watch.occurrences, watch.actions), (40, 3));
    }
}
