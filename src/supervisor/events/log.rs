//! The latest events and the places of readers among them.
//!
//! A reader has no queue: it has a place, and takes what comes after it. Of the progress of a run only the
//! latest is kept, and none once it has ended, so that a reader that is slow, or comes back, gets what is
//! true now, and so that a long run pushes nothing else out.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::watch;
use uuid::Uuid;

use super::{Event, GapReason, Happened};

/// Events kept. An idle source with an interval of 5 s makes 1440 an hour.
const KEPT: usize = 4096;
/// Events that a reader takes at a time.
const BATCH: usize = 32;

/// The place of an event: which life of the daemon, and its number there. Written `LIFE-NUMBER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    life: u64,
    number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.life, self.number)
    }
}

/// A text that is no place in the stream of any daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the ID of an event")]
pub struct NoEventId;

impl FromStr for EventId {
    type Err = NoEventId;

    fn from_str(text: &str) -> Result<Self, NoEventId> {
        let (life, number) = text.split_once('-').ok_or(NoEventId)?;
        let life = u64::from_str_radix(life, 16).map_err(|_| NoEventId)?;
        Ok(Self { life, number: number.parse().map_err(|_| NoEventId)? })
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The latest events, oldest first.
#[derive(Debug)]
pub(crate) struct Log {
    /// Drawn by lot at start, so that the places of two lives are never confused, whatever the clock says.
    life: u64,
    /// The number of the latest event; the first one is 1.
    last: u64,
    /// The number of the latest event that had to go for want of room; 0 means none.
    lost: u64,
    kept: VecDeque<Arc<Happened>>,
    room: usize,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self::with_room(KEPT)
    }

    fn with_room(room: usize) -> Self {
        // The lower half of a UUID of version 7 is random.
        Self { life: Uuid::now_v7().as_u64_pair().1, last: 0, lost: 0, kept: VecDeque::new(), room }
    }

    pub(crate) fn push(&mut self, event: Event, at: DateTime<Utc>) {
        self.supersede(&event);
        self.last += 1;
        let id = self.place(self.last);
        self.kept.push_back(Arc::new(Happened { id, at, event }));
        while self.kept.len() > self.room {
            self.lost = self.kept.pop_front().map_or(self.lost, |oldest| oldest.id.number);
        }
    }

    /// Takes out the progress of a run that has come further or has ended: at most one is there.
    fn supersede(&mut self, event: &Event) {
        let run = match event {
            Event::RunProgress(progress) => progress.run_id,
            Event::RunFinished(run) => run.run_id,
            _ => return,
        };
        let is_it = |kept: &Arc<Happened>| matches!(&kept.event, Event::RunProgress(old) if old.run_id == run);
        if let Some(index) = self.kept.iter().rposition(is_it) {
            self.kept.remove(index);
        }
    }

    fn place(&self, number: u64) -> EventId {
        EventId { life: self.life, number }
    }

    /// The place of the latest event.
    #[must_use]
    fn end(&self) -> EventId {
        self.place(self.last)
    }

    /// The next events after a place, `most` of them. If some are missing, a gap comes first.
    fn after(&self, place: EventId, most: usize, now: DateTime<Utc>) -> Vec<Arc<Happened>> {
        let missing = if place.life != self.life || place.number > self.last {
            Some(GapReason::Restart)
        } else {
            (place.number < self.lost).then_some(GapReason::Overrun)
        };
        let from = if missing.is_some() { self.lost } else { place.number };
        let gap = missing.map(|reason| {
            // Its place is that of the last event that is missing, so that a reader that comes back with it
            // gets what follows, not the gap again.
            Arc::new(Happened { id: self.place(from), at: now, event: Event::Gap { reason } })
        });
        let first = self.kept.partition_point(|kept| kept.id.number <= from);
        gap.into_iter().chain(self.kept.range(first..).cloned()).take(most).collect()
    }
}

/// A reader's place in the stream.
#[derive(Debug)]
pub struct Follower {
    log: watch::Receiver<Log>,
    place: EventId,
}

impl Follower {
    /// A reader that has had everything up to `place`; `None`: it begins now.
    pub(crate) fn new(log: watch::Receiver<Log>, place: Option<EventId>) -> Self {
        let place = place.unwrap_or_else(|| log.borrow().end());
        Self { log, place }
    }

    /// What it has had everything up to.
    #[must_use]
    pub fn place(&self) -> EventId {
        self.place
    }

    /// Waits for the next events and answers a few of them. `None`: the supervisor has ended, and all has
    /// been read.
    pub async fn next(&mut self) -> Option<Vec<Arc<Happened>>> {
        loop {
            let next = self.log.borrow_and_update().after(self.place, BATCH, Utc::now());
            if let Some(last) = next.last() {
                self.place = last.id;
                return Some(next);
            }
            self.log.changed().await.ok()?;
        }
    }
}

/// A place in the stream of no daemon, for a reader that names one which cannot be understood.
pub(crate) const NOWHERE: EventId = EventId { life: 0, number: 0 };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{at, record};
    use crate::supervisor::{Progress, Speeds};

    fn progress(run: u8, processed: u64) -> Event {
        let run = record(run);
        let levels = Speeds::default();
        Event::RunProgress(Progress { run_id: run.run_id, source: run.source, processed, rows_per_sec: 0.0, levels })
    }

    fn log(room: usize, events: impl IntoIterator<Item = Event>) -> Log {
        let mut log = Log::with_room(room);
        events.into_iter().for_each(|event| log.push(event, at(0)));
        log
    }

    fn numbers(log: &Log, after: EventId) -> Vec<(u64, &'static str)> {
        log.after(after, 100, at(0)).iter().map(|kept| (kept.id.number, kept.event.name())).collect()
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = EventId { life: 0xab, number: 17 };
        assert_eq!(id.to_string(), "00000000000000ab-17");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "-", "1", "x-1", "1-x", "1-", "-1", "1-2-3", "1--2", "11111111111111111-1", "é-1"] {
            assert_eq!(text.parse::<EventId>(), Err(NoEventId), "{text}");
        }
    }

    #[test]
    fn a_reader_gets_everything_after_its_place() {
        let log = log(10, [Event::Resumed, Event::Serving, Event::Stopping]);
        assert_eq!(numbers(&log, log.place(1)), [(2, "serving"), (3, "stopping")]);
        assert_eq!(numbers(&log, log.place(0)).len(), 3);
        assert_eq!(numbers(&log, log.end()), []);
        assert_eq!(log.after(log.place(0), 2, at(0)).len(), 2, "no more than asked for");
    }

    #[test]
    fn a_reader_that_comes_too_late_gets_a_gap_and_what_is_left_and_no_second_gap() {
        let log = log(2, [Event::Resumed, Event::Resumed, Event::Serving, Event::Stopping]);
        assert_eq!(numbers(&log, log.place(1)), [(2, "gap"), (3, "serving"), (4, "stopping")]);
        assert_eq!(numbers(&log, log.place(2)), [(3, "serving"), (4, "stopping")]);
        let gap = &log.after(log.place(0), 1, at(0))[0];
        assert_eq!(gap.event, Event::Gap { reason: GapReason::Overrun });
    }

    #[test]
    fn a_reader_from_another_life_gets_a_gap_and_all_that_is_there() {
        let (log, other) = (log(10, [Event::Resumed]), log(10, [Event::Resumed, Event::Stopping]));
        assert_ne!(log.life, other.life);
        for place in [other.place(1), other.place(0), log.place(9), NOWHERE] {
            assert_eq!(numbers(&log, place), [(0, "gap"), (1, "resumed")], "{place}");
            assert_eq!(log.after(place, 1, at(0))[0].event, Event::Gap { reason: GapReason::Restart });
        }
    }

    #[test]
    fn only_the_latest_progress_of_a_run_is_kept_and_none_after_its_end() {
        let finished = Event::RunFinished(Arc::new(record(1)));
        let steps = (1..=500).map(|step| progress(1, step));
        let events = [Event::Serving, progress(2, 7)].into_iter().chain(steps).chain([Event::Resumed]);
        let mut log = log(4, events);
        let kept = numbers(&log, log.place(0));
        assert_eq!(kept, [(1, "serving"), (2, "run.progress"), (502, "run.progress"), (503, "resumed")]);
        log.push(finished, at(0));
        let kept = numbers(&log, log.place(0));
        assert_eq!(kept, [(1, "serving"), (2, "run.progress"), (503, "resumed"), (504, "run.finished")]);
    }

    #[tokio::test]
    async fn a_follower_waits_for_news_and_ends_with_the_supervisor() {
        let sender = watch::Sender::new(log(10, [Event::Resumed]));
        let mut follower = Follower::new(sender.subscribe(), None);
        let reading = tokio::spawn(async move { (follower.next().await, follower.next().await) });
        sender.send_modify(|log| log.push(Event::Stopping, at(0)));
        drop(sender);
        let (first, second) = reading.await.expect("no panic");
        let names: Vec<_> = first.expect("news").iter().map(|happened| happened.event.name()).collect();
        assert_eq!((names, second), (vec!["stopping"], None));
    }

    #[tokio::test]
    async fn a_follower_takes_many_events_in_parts_and_misses_none() {
        let sender = watch::Sender::new(log(1000, (0..200).map(|_| Event::Resumed)));
        let start = sender.borrow().place(0);
        let mut follower = Follower::new(sender.subscribe(), Some(start));
        drop(sender);
        let mut seen = Vec::new();
        while let Some(part) = follower.next().await {
            assert!(part.len() <= BATCH);
            seen.extend(part.iter().map(|happened| happened.id.number));
        }
        assert_eq!(seen, (1..=200).collect::<Vec<_>>());
    }
}
