//! What happened in the flock, for whoever wants to know.

use std::sync::Mutex;

use flock_proto::Event;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::link::lock;

/// Events that a slow reader may be behind; older ones are lost to it.
const KEPT: usize = 1024;

/// Where events are told. Once it is closed, readers come to an end.
#[derive(Debug)]
pub(crate) struct Hub(Mutex<Option<broadcast::Sender<Event>>>);

impl Default for Hub {
    fn default() -> Self {
        Self(Mutex::new(Some(broadcast::Sender::new(KEPT))))
    }
}

impl Hub {
    pub(crate) fn tell(&self, event: Event) {
        log(&event);
        if let Some(sender) = &*lock(&self.0) {
            // Nobody listens: nobody misses it.
            let _ = sender.send(event);
        }
    }

    pub(crate) fn listen(&self) -> Events {
        // A reader of a closed hub finds its end at once.
        let sender = lock(&self.0).clone().unwrap_or_else(|| broadcast::Sender::new(1));
        Events { receiver: sender.subscribe(), lost: 0 }
    }

    pub(crate) fn close(&self) {
        lock(&self.0).take();
    }
}

/// Events from the moment of asking on. See [`Flock::events`](crate::Flock::events).
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
    lost: u64,
}

impl Events {
    /// The next event; `None` once the nest is shut down. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(missed)) => self.lost = self.lost.saturating_add(missed),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// How many events this reader was too slow for. Readers keep 1024 events each.
    pub const fn lost(&self) -> u64 {
        self.lost
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
        | Event::BadFrame { .. } => tracing::warn!("{event}"),
        _ => tracing::info!("{event}"),
    }
}

#[cfg(test)]
mod tests {
    use flock_proto::NestName;

    use super::*;

    #[tokio::test]
    async fn a_slow_reader_learns_how_many_events_it_lost() {
        let hub = Hub::default();
        let mut events = hub.listen();
        for _ in 0..KEPT + 10 {
            hub.tell(Event::NestUp(NestName::new("a").unwrap()));
        }
        assert!(events.recv().await.is_some());
        assert_eq!(events.lost(), 10);
    }

    #[tokio::test]
    async fn readers_of_a_closed_hub_come_to_an_end() {
        let hub = Hub::default();
        let mut events = hub.listen();
        hub.close();
        assert_eq!(events.recv().await, None);
        assert_eq!(hub.listen().recv().await, None);
    }
}
