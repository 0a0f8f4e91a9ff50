//! What happened in the flock, for whoever wants to know.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use flock_proto::{Event, Time};
use tokio::sync::Notify;

use crate::link::{Alarm, lock};

/// Events that a slow reader may be behind; older ones are lost to it.
const KEPT: usize = 1024;

/// Where events are told. Once it is closed, readers come to an end.
///
/// Not tokio's broadcast channel: that has each event told by itself, and a nest that learns of a
/// million names tells a million, of which a reader can't follow any but the last thousand.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    told: Mutex<Told>,
    news: Notify,
    alarms: Alarms,
}

/// How loud those may be who can have a nest warn as often as they like. What isn't told is counted:
/// see [`Counters`](crate::Counters).
#[derive(Debug)]
struct Alarms {
    bad_frames: Alarm,
    names_taken: Alarm,
    skewed_clocks: Alarm,
}

impl Default for Alarms {
    fn default() -> Self {
        // Long ago: all may be told that may be told at once.
        let new = || Alarm::new(Time::default());
        Self { bad_frames: new(), names_taken: new(), skewed_clocks: new() }
    }
}

impl Alarms {
    /// The event as it is to be told, if it is. Refusals are held back where they are made.
    fn pass(&self, now: Time, event: Event) -> Option<Event> {
        match event {
            Event::BadFrame { from, why } => {
                self.bad_frames.tell(now, why).map(|why| Event::BadFrame { from, why })
            }
            event @ Event::NameTaken(_) => self.names_taken.may_tell(now).map(|_| event),
            event @ Event::ClockSkew { .. } => self.skewed_clocks.may_tell(now).map(|_| event),
            event => Some(event),
        }
    }
}

#[derive(Debug, Default)]
struct Told {
    /// The last events, as long as somebody reads.
    kept: VecDeque<Event>,
    /// How many were told before and with those.
    count: u64,
    readers: usize,
    closed: bool,
}

impl Told {
    /// The number of the oldest event that is kept.
    fn oldest(&self) -> u64 {
        self.count - self.kept.len() as u64
    }
}

impl Hub {
    pub(crate) fn tell(&self, now: Time, event: Event) {
        self.tell_all(now, vec![event]);
    }

    pub(crate) fn tell_all(&self, now: Time, events: Vec<Event>) {
        let events: Vec<_> =
            events.into_iter().filter_map(|event| self.alarms.pass(now, event)).collect();
        events.iter().for_each(log);
        let mut told = lock(&self.told);
        // Nobody listens: nobody misses it.
        if events.is_empty() || told.closed || told.readers == 0 {
            return;
        }
        told.count += events.len() as u64;
        let stale = (told.kept.len() + events.len()).saturating_sub(KEPT);
        let (old, unread) = (stale.min(told.kept.len()), stale.saturating_sub(told.kept.len()));
        told.kept.drain(..old);
        told.kept.extend(events.into_iter().skip(unread));
        drop(told);
        self.news.notify_waiters();
    }

    /// Whether somebody would hear of a start: a reader, or the log.
    pub(crate) fn has_audience(&self) -> bool {
        lock(&self.told).readers > 0 || tracing::enabled!(tracing::Level::DEBUG)
    }

    pub(crate) fn listen(self: &Arc<Self>) -> Events {
        let mut told = lock(&self.told);
        told.readers += 1;
        Events { hub: Arc::clone(self), next: told.count, lost: 0 }
    }

    pub(crate) fn close(&self) {
        lock(&self.told).closed = true;
        self.news.notify_waiters();
    }
}

/// Events from the moment of asking on. See [`Flock::events`](crate::Flock::events).
#[derive(Debug)]
pub struct Events {
    hub: Arc<Hub>,
    /// The number of the event to read next.
    next: u64,
    lost: u64,
}

impl Events {
    /// The next event; `None` once the nest is shut down. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Event> {
        let hub = Arc::clone(&self.hub);
        loop {
            let mut news = pin!(hub.news.notified());
            // Enlists before looking, so that no event is missed in between.
            news.as_mut().enable();
            {
                let told = lock(&hub.told);
                let missed = told.oldest().saturating_sub(self.next);
                self.lost += missed;
                self.next += missed;
                let at = usize::try_from(self.next - told.oldest()).unwrap_or(usize::MAX);
                if let Some(event) = told.kept.get(at) {
                    self.next += 1;
                    return Some(event.clone());
                }
                if told.closed {
                    return None;
                }
            }
            news.await;
        }
    }

    /// How many events this reader was too slow for. Readers keep 1024 events each.
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let mut told = lock(&self.hub.told);
        told.readers -= 1;
        if told.readers == 0 {
            told.kept = VecDeque::new();
        }
    }
}

fn log(event: &Event) {
    match event {
        Event::Started(_) | Event::Ended(..) | Event::Hatching { .. } | Event::Moved { .. } => {
            tracing::debug!("{event}");
        }
        Event::NestDown(_)
        | Event::Crashed { .. }
        | Event::Grounded { .. }
        | Event::Conflict { .. }
        | Event::UnknownSpecies(_)
        | Event::NameTaken(_)
        | Event::Refused { .. }
        | Event::ClockSkew { .. }
        | Event::Diverged { .. }
        | Event::Renewed
        | Event::BadFrame { .. } => tracing::warn!("{event}"),
        _ => tracing::info!("{event}"),
    }
}

#[cfg(test)]
mod tests {
    use flock_proto::NestName;

    use super::*;

    const NOW: Time = Time::from_micros(1_800_000_000_000_000);

    #[tokio::test]
    async fn a_slow_reader_learns_how_many_events_it_lost() {
        let hub = Arc::new(Hub::default());
        let mut events = hub.listen();
        for _ in 0..KEPT + 10 {
            hub.tell(NOW, Event::NestUp(NestName::new("a").unwrap()));
        }
        assert!(events.recv().await.is_some());
        assert_eq!(events.lost(), 10);
    }

    #[tokio::test]
    async fn of_many_events_told_at_once_the_last_are_kept_and_the_others_counted() {
        let hub = Arc::new(Hub::default());
        let nest = |n: usize| Event::NestUp(NestName::new(&n.to_string()).unwrap());
        hub.tell(NOW, nest(0));
        let mut events = hub.listen();
        hub.tell(NOW, nest(1));
        hub.tell_all(NOW, (2..2 * KEPT).map(nest).collect());
        assert_eq!(events.recv().await, Some(nest(KEPT)));
        assert_eq!(events.lost(), KEPT as u64 - 1, "what came before it listened is no loss");
        for n in KEPT + 1..2 * KEPT {
            assert_eq!(events.recv().await, Some(nest(n)));
        }
        let reader = tokio::spawn(async move { events.recv().await });
        tokio::task::yield_now().await;
        hub.tell(NOW, nest(7));
        assert_eq!(reader.await.unwrap(), Some(nest(7)), "it waited");
        assert!(lock(&hub.told).kept.is_empty(), "nobody reads any more");
    }

    #[tokio::test]
    async fn readers_of_a_closed_hub_come_to_an_end() {
        let hub = Arc::new(Hub::default());
        let mut events = hub.listen();
        hub.close();
        assert_eq!(events.recv().await, None);
        assert_eq!(hub.listen().recv().await, None);
    }

    #[tokio::test]
    async fn warnings_that_anybody_can_cause_are_told_sixteen_times_and_then_once_a_second() {
        let nest = || NestName::new("mallory").unwrap();
        let causes: [fn(NestName) -> Event; 3] = [
            |nest| Event::BadFrame { from: Some(nest), why: "no".into() },
            Event::NameTaken,
            |nest| Event::ClockSkew { nest, ahead_ms: 20_000 },
        ];
        for cause in causes {
            let hub = Arc::new(Hub::default());
            let mut events = hub.listen();
            for _ in 0..500 {
                hub.tell_all(NOW, vec![cause(nest()), cause(nest())]);
            }
            hub.tell(NOW + std::time::Duration::from_secs(2), cause(nest()));
            hub.tell(NOW, Event::NestUp(nest()));
            let mut told = Vec::new();
            while let Some(event) = events.recv().await.filter(|e| *e != Event::NestUp(nest())) {
                told.push(event);
            }
            assert_eq!((told.len(), events.lost()), (17, 0), "{:?}", cause(nest()));
            if let Some(Event::BadFrame { why, .. }) = told.last() {
                assert!(why.starts_with("no (and 984 more"), "{why}");
            }
        }
    }
}
