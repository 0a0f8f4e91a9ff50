//! What is read from links, and to whom it goes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flock_proto::{Event, Input};

use super::count;
use super::frame::{Cut, Kind};
use super::hello::LinkKind;
use super::lane::{Incoming, Outgoing};
use super::links::Links;
use super::pipe::{Pipe, ReadEnd};
use crate::data_link::{DataLink, DataSink};
use crate::rt::Among;

/// How long answers may still be written to a peer that has closed its own direction.
const LAST_WORDS: Duration = Duration::from_millis(500);

impl Links {
    /// Starts the reader and the writer of an open link on the thread that calls this.
    pub(super) fn run(&self, pipe: &Arc<Pipe>, lanes: (Incoming, Outgoing), cut: Cut) {
        let Some(links) = self.this() else { return };
        let (incoming, outgoing) = lanes;
        let (link, of) = (pipe.clone(), links.clone());
        let writer = async move |among| {
            if link.clone().write(outgoing, among).await.is_err() {
                of.on_end(&link);
            }
        };
        let link = pipe.clone();
        let reader = async move {
            let end = match link.kind {
                LinkKind::Control => links.read_control(&link, incoming, cut).await,
                LinkKind::Data => links.read_data(&link, incoming, cut).await,
            };
            if let ReadEnd::Bad(why) = end {
                links.on_bad(&link, why);
            } else if link.kind == LinkKind::Data {
                // The peer sends no more calls; what answers them may still wait to be written.
                let written = async {
                    while !link.is_idle() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                };
                let _ = tokio::time::timeout(LAST_WORDS, written).await;
            }
            links.on_end(&link);
        };
        let pipe = pipe.clone();
        Among::begin(move |among| {
            pipe.own(among.spawn(writer(among)));
            pipe.own(among.spawn(reader));
        });
    }

    async fn read_control(&self, link: &Arc<Pipe>, incoming: Incoming, cut: Cut) -> ReadEnd {
        let on_frame = |(): &mut (), frame: &[u8]| match Kind::of(frame) {
            Kind::Control => self.control.on_input(Input::Frame {
                from: link.peer.id,
                // A copy, lest a small frame that the core keeps holds on to the whole buffer.
                frame: Bytes::copy_from_slice(frame),
            }),
            Kind::Data | Kind::Unknown => count(&self.counts.skipped),
        };
        let room = |(): &mut ()| async {
            while self.control.is_full() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        link.read(incoming, cut, &mut (), on_frame, room).await
    }

    async fn read_data(&self, link: &Arc<Pipe>, incoming: Incoming, cut: Cut) -> ReadEnd {
        let as_data: Arc<dyn DataLink> = link.clone();
        // Held from one read to the next: the links don't keep the data plane alive.
        let mut held: Option<Arc<dyn DataSink>> = None;
        let on_frame = |held: &mut Option<Arc<dyn DataSink>>, frame: &[u8]| match Kind::of(frame) {
            Kind::Data => {
                let hold = || self.data.hold().unwrap_or_else(|| self.data.clone());
                held.get_or_insert_with(hold).on_frame(&as_data, frame);
            }
            Kind::Control | Kind::Unknown => count(&self.counts.skipped),
        };
        let let_go = |held: &mut Option<_>| {
            *held = None;
            std::future::ready(())
        };
        link.read(incoming, cut, &mut held, on_frame, let_go).await
    }

    fn on_bad(&self, link: &Pipe, why: String) {
        count(&self.counts.bad);
        self.control.on_event(Event::BadFrame { from: Some(link.peer.name.clone()), why });
    }
}
