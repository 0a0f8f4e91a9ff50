//! What the data plane asks of the links between nests, and what they tell it.
//!
//! The data plane knows frames, nests and calls; the links know sockets. These traits are all that
//! either knows of the other, so that tests can join two data planes by plain buffers.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use flock_proto::{Event, Input, NestId, Time};

/// Names one link of a nest; never used twice by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId(pub(crate) u64);

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkError {
    /// The buffer is full; the link took nothing.
    #[error("the link's buffer is full")]
    Full,
    /// The link is closed; it took nothing.
    #[error("the link is closed")]
    Closed,
}

/// One data link to a neighbour: frames go in, in order.
pub(crate) trait DataLink: Debug + Send + Sync {
    /// Which link this is.
    fn id(&self) -> LinkId;

    /// Who is at the other end.
    fn peer(&self) -> NestId;

    /// Appends one frame, `head` followed by `body`; the link adds the length prefix. Never blocks
    /// and runs no foreign code. A frame that is refused leaves no trace.
    fn append(&self, head: &[u8], body: &[u8]) -> Result<(), LinkError>;

    /// The same, for one of so many frames that its sender has on the way: when all of them wait here, it sends
    /// no more. With the only one nothing is gained by waiting for others to leave with it.
    fn append_one_of(&self, _among: u32, head: &[u8], body: &[u8]) -> Result<(), LinkError> {
        self.append(head, body)
    }

    /// The frame that is being handed over came without others. Only for the thread that reads.
    fn came_alone(&self) -> bool {
        false
    }

    /// When what is being handed over was read, if the link knows. Only for the thread that reads.
    fn heard_at(&self) -> Option<Time> {
        None
    }

    /// More waits to be written than should: well-behaved senders pause.
    fn is_over_high_water(&self) -> bool;

    /// Ready once the link is below its high-water mark again, or closed.
    fn drained(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The data links of this nest.
pub(crate) trait Links: Send + Sync {
    /// The link for calls that the present thread makes to a neighbour: to its bird with this hash,
    /// or, without one, to be passed on. Dialled in the background at first use; until it is open it
    /// buffers, and when the dial fails it closes. `None`: this nest has no way to dial it, or has
    /// just failed to; asking again in a moment is right.
    fn data(&self, to: NestId, bird: Option<u64>) -> Option<Arc<dyn DataLink>>;

    /// A link for calls to this nest, if there is one already.
    fn dialled_to(&self, to: NestId) -> Option<Arc<dyn DataLink>> {
        self.data(to, None)
    }

    /// The links that this neighbour dialled for its own calls: what is put on one reaches the
    /// neighbour before it sees that link end.
    fn dialled_by(&self, _peer: NestId) -> Vec<Arc<dyn DataLink>> {
        Vec::new()
    }
}

/// What the links tell the data plane.
pub(crate) trait DataSink: Send + Sync {
    /// The sink itself, to be held for as long as a few frames are handed to it; else each looks whether it
    /// is still there. `None` if it isn't.
    fn hold(&self) -> Option<Arc<dyn DataSink>> {
        None
    }

    /// A frame of kind 100 to 199 came, without its length prefix. Called in order for each link,
    /// from the thread that reads it; returns soon and never panics.
    fn on_frame(&self, link: &Arc<dyn DataLink>, frame: &[u8]);

    /// A link is gone. `unwritten` are the frames, each with its length prefix, of which no byte
    /// ever left: they are routed anew, while all other calls made over the link end as
    /// `OutcomeUnknown`.
    fn on_closed(&self, link: &Arc<dyn DataLink>, unwritten: &[u8]);

    /// A nest has left, and this link to it takes nothing more. Its birds live elsewhere by now, but for
    /// those that it had to leave behind: it has passed on what it didn't answer, and those answers come
    /// by another way.
    fn on_parted(&self, _link: &Arc<dyn DataLink>) {}
}

/// The way from the data plane to the core.
pub(crate) trait NestHandle: Send + Sync {
    /// Hands an input to the core, in order, without waiting.
    fn tell(&self, input: Input);

    /// The same for several, which nothing comes between.
    fn tell_all(&self, inputs: Vec<Input>);

    /// Something to be known that the core has no part in, such as a bird's crash.
    fn event(&self, event: Event);
}
