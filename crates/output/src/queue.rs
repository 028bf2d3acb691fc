//! A bounded queue and a thread for each channel.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nabe_event::alert::{Alert, Priority};

use crate::channel::{Channel, Failure};
use crate::spill::Spill;

/// What becomes of an alert that a full queue cannot take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// It is kept on disk when there is a spill file, otherwise dropped: for live streams.
    Drop,
    /// Who sends it waits this long, once; then as [`Self::Drop`] until the channel moves again. For
    /// streams that can wait.
    Wait(Duration),
}

/// What a channel may use.
#[derive(Debug)]
pub struct Limits {
    /// Alerts that its queue holds.
    pub capacity: usize,
    /// What becomes of those beyond.
    pub overflow: Overflow,
    /// The wait after the first failure; it doubles with every further one.
    pub first_retry: Duration,
    /// The longest wait between tries.
    pub last_retry: Duration,
    /// Where alerts wait that cannot be delivered.
    pub spill: Option<Spill>,
    /// Alerts below this priority do not go there.
    pub least: Priority,
    /// How long deliveries may go on after the end was asked for; `None` for as long as they take.
    pub grace: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            capacity: 16_384,
            overflow: Overflow::Drop,
            first_retry: Duration::from_millis(250),
            last_retry: Duration::from_secs(30),
            spill: None,
            least: Priority::Debug,
            grace: Some(Duration::from_secs(5)),
        }
    }
}

/// What a channel did so far: accepted = delivered + refused + dropped + spilled + waiting, where
/// what comes back from the spill file is accepted once more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Alerts that came.
    pub accepted: u64,
    /// Alerts that arrived at their place.
    pub delivered: u64,
    /// Alerts that the place refused for good.
    pub refused: u64,
    /// Alerts for which there was no room, or no time at the end.
    pub dropped: u64,
    /// Alerts that went to the spill file.
    pub spilled: u64,
    /// Tries that failed and were repeated.
    pub retries: u64,
    /// Alerts in the queue.
    pub waiting: u64,
    /// What failed last.
    pub last_error: Option<String>,
}

/// How long beyond its time a channel may hang in a call.
const HANGING: Duration = Duration::from_millis(500);

/// How long a channel that does nothing but fail may hold up who sends, or the end: one that is slow
/// may take as long as its limits say, a full disk may not.
const FAILING: Duration = Duration::from_secs(5);

/// The channels of a run.
#[derive(Default)]
pub struct Outputs {
    lines: Vec<Line>,
}

/// Until when; `None` for as long as it takes.
#[derive(Clone, Copy)]
struct End(Option<Instant>);

impl End {
    fn has_come(self) -> bool {
        self.0.is_some_and(|end| Instant::now() >= end)
    }
}

/// A channel with its queue and its thread.
struct Line {
    name: String,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    /// Something for the thread: an alert, an order.
    work: Condvar,
    /// Something for who sends: room, or the end.
    room: Condvar,
    capacity: usize,
    overflow: Overflow,
    least: Priority,
    retry: (Duration, Duration),
    grace: Option<Duration>,
}

struct State {
    queue: VecDeque<Arc<Alert>>,
    /// Alerts that the thread has in its hands.
    held: usize,
    spill: Option<Spill>,
    stats: Stats,
    reopen: bool,
    /// The end was asked for: until when deliveries may go on.
    end: Option<End>,
    /// The thread is through.
    over: bool,
    /// A wait was in vain; nobody waits again before the channel moves.
    stuck: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panics leaves counters that are right; none does.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the thread; `false` when it hangs in its channel beyond its time: it is left there,
    /// and what it has counts as dropped.
    fn await_end(&self) -> bool {
        let mut state = self.lock();
        while !state.over {
            let Some(End(Some(end))) = state.end else {
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            // A thread that only waits for its time to end gets that time.
            let end = end + HANGING;
            let now = Instant::now();
            if now >= end {
                let rest: Vec<_> = state.queue.drain(..).collect();
                rest.iter().for_each(|alert| state.leave(alert));
                state.stats.dropped += state.held as u64;
                state.held = 0;
                return false;
            }
            let waited = self.room.wait_timeout(state, end - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn push(&self, alert: &Arc<Alert>) {
        if alert.priority > self.least {
            return;
        }
        let mut state = self.lock();
        state.stats.accepted += 1;
        let is_full = |state: &mut State| state.queue.len() + state.held >= self.capacity;
        if let Overflow::Wait(patience) = self.overflow
            && is_full(&mut state)
            && !state.stuck
        {
            let (after, waited) = self
                .room
                .wait_timeout_while(state, patience, |state| is_full(state) && !state.stuck)
                .unwrap_or_else(PoisonError::into_inner);
            state = after;
            state.stuck |= waited.timed_out();
        }
        if is_full(&mut state) {
            state.leave(alert);
            return;
        }
        state.queue.push_back(Arc::clone(alert));
        // The thread looks by itself while it has work.
        if state.queue.len() == 1 {
            self.work.notify_one();
        }
    }
}

impl State {
    /// Spills an alert or drops it.
    fn leave(&mut self, alert: &Alert) {
        match self.spill.as_mut().map(|spill| spill.push(alert)) {
            Some(Ok(true)) => self.stats.spilled += 1,
            Some(Err(error)) => {
                self.stats.dropped += 1;
                self.stats.last_error = Some(in_full(&error));
            }
            Some(Ok(false)) | None => self.stats.dropped += 1,
        }
    }

    /// Takes alerts back from the spill file while the queue is empty.
    fn refill(&mut self, limit: usize) {
        let Some(spill) = self.spill.as_mut().filter(|spill| !spill.is_empty()) else { return };
        let read = spill.peek(limit).and_then(|(alerts, mark)| spill.done(mark).map(|()| alerts));
        match read {
            Ok(alerts) => {
                self.stats.accepted += alerts.len() as u64;
                self.queue.extend(alerts.into_iter().map(Arc::new));
            }
            Err(error) => {
                self.stats.last_error = Some(in_full(&error));
                // A file that cannot be read is not asked again.
                self.spill = None;
            }
        }
    }
}

fn in_full(error: &dyn core::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

impl Outputs {
    /// No channels yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a channel and starts its thread.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn add(&mut self, channel: Box<dyn Channel>, limits: Limits) -> std::io::Result<()> {
        let name = channel.name().to_owned();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                held: 0,
                spill: limits.spill,
                stats: Stats::default(),
                reopen: false,
                end: None,
                over: false,
                stuck: false,
            }),
            work: Condvar::new(),
            room: Condvar::new(),
            capacity: limits.capacity.max(1),
            overflow: limits.overflow,
            least: limits.least,
            retry: (limits.first_retry, limits.last_retry),
            grace: limits.grace,
        });
        let worker = Worker { shared: Arc::clone(&shared), channel, failing: None };
        let thread = std::thread::Builder::new().name(format!("output {name}")).spawn(|| worker.run())?;
        self.lines.push(Line { name, shared, thread: Mutex::new(Some(thread)) });
        Ok(())
    }

    /// Whether there are no channels.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Gives an alert to every channel.
    pub fn send(&self, alert: Alert) {
        let alert = Arc::new(alert);
        for line in &self.lines {
            line.shared.push(&alert);
        }
    }

    /// Tells every channel to open its file anew.
    pub fn reopen(&self) {
        for line in &self.lines {
            line.shared.lock().reopen = true;
            line.shared.work.notify_one();
        }
    }

    /// What each channel did, by name.
    pub fn stats(&self) -> impl Iterator<Item = (&str, Stats)> {
        self.lines.iter().map(|line| {
            let state = line.shared.lock();
            let waiting = (state.queue.len() + state.held) as u64;
            (&*line.name, Stats { waiting, ..state.stats.clone() })
        })
    }

    /// Delivers what is left, for as long as the limits of each channel allow, and ends the threads.
    /// What could not be delivered is spilled or dropped and counted; see [`Self::stats`] afterwards.
    pub fn finish(&self) {
        for line in &self.lines {
            line.shared.lock().end = Some(End(line.shared.grace.map(|grace| Instant::now() + grace)));
            line.shared.work.notify_one();
        }
        for line in &self.lines {
            let thread = line.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(thread) = thread else { continue };
            if line.shared.await_end() {
                // It catches what its channel does; there is nothing to hand on.
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        self.finish();
    }
}

struct Worker {
    shared: Arc<Shared>,
    channel: Box<dyn Channel>,
    /// Since when it has done nothing but fail.
    failing: Option<Instant>,
}

impl Worker {
    fn run(mut self) {
        let mut held: Vec<Arc<Alert>> = Vec::new();
        let mut wait = self.shared.retry.0;
        while self.next(&mut held) {
            match self.channel.deliver(&held) {
                Ok(()) => {
                    let count = held.len();
                    self.settle(&mut held, count, |stats| stats.delivered += count as u64);
                    wait = self.shared.retry.0;
                }
                Err(failure) => {
                    if failure.delivered > 0 {
                        wait = self.shared.retry.0;
                    }
                    self.failed(&mut held, &failure);
                    if failure.retry && !self.pause(wait) {
                        break;
                    }
                    wait = (2 * wait).min(self.shared.retry.1);
                }
            }
        }
        self.end(&held);
    }

    /// Waits for alerts; `false` when there will be none.
    fn next(&mut self, held: &mut Vec<Arc<Alert>>) -> bool {
        let batch = self.channel.batch().max(1);
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            if core::mem::take(&mut state.reopen) {
                drop(state);
                self.channel.reopen();
                state = shared.lock();
                continue;
            }
            if held.is_empty() && state.queue.is_empty() {
                state.refill(batch);
            }
            if state.end.is_some_and(End::has_come) {
                return false;
            }
            let room = batch.saturating_sub(held.len()).min(state.queue.len());
            held.extend(state.queue.drain(..room));
            state.held = held.len();
            if !held.is_empty() {
                return true;
            }
            if state.end.is_some() {
                return false;
            }
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes the first `count` alerts out of `held`.
    fn settle(&mut self, held: &mut Vec<Arc<Alert>>, count: usize, count_in: impl FnOnce(&mut Stats)) {
        held.drain(..count.min(held.len()));
        self.failing = None;
        let mut state = self.shared.lock();
        count_in(&mut state.stats);
        state.held = held.len();
        state.stuck = false;
        drop(state);
        self.shared.room.notify_all();
    }

    fn failed(&mut self, held: &mut Vec<Arc<Alert>>, failure: &Failure) {
        let text = in_full(&failure.error);
        if failure.delivered > 0 || !failure.retry {
            let refused = usize::from(!failure.retry);
            self.settle(held, failure.delivered + refused, |stats| {
                stats.delivered += failure.delivered as u64;
                stats.refused += refused as u64;
            });
        }
        let mut state = self.shared.lock();
        state.stats.retries += u64::from(failure.retry);
        state.stats.last_error = Some(text);
        if !failure.retry {
            return;
        }
        let now = Instant::now();
        if now - *self.failing.get_or_insert(now) >= FAILING {
            state.stuck = true;
            self.shared.room.notify_all();
        }
        // Without a time of its own: from now on it has one.
        if matches!(state.end, Some(End(None))) {
            state.end = Some(End(Some(now + FAILING)));
            self.shared.room.notify_all();
        }
    }

    /// Waits before the next try; `false` when the end comes first.
    fn pause(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        let mut state = self.shared.lock();
        loop {
            if state.end.is_some_and(End::has_come) {
                return false;
            }
            let now = Instant::now();
            if now >= until {
                return true;
            }
            let end = state.end.and_then(|end| end.0);
            let waited = self.shared.work.wait_timeout(state, end.map_or(until, |end| until.min(end)) - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Leaves what is left, closes the channel.
    fn end(&mut self, held: &[Arc<Alert>]) {
        let closed = self.channel.close();
        let mut state = self.shared.lock();
        let rest: Vec<_> = state.queue.drain(..).collect();
        for alert in held.iter().chain(&rest) {
            state.leave(alert);
        }
        state.held = 0;
        state.over = true;
        if let Err(error) = closed {
            state.stats.last_error = Some(in_full(&error));
        }
        drop(state);
        self.shared.room.notify_all();
    }
}
