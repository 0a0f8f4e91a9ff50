//! What waits in an inbox: a typed job of this process, or a call that came as bytes.
//!
//! Both can be run by the bird's pump, sent on to another nest, or failed; and each ends its call
//! exactly once, if only by being dropped.

use std::any::{Any, TypeId};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix::dev::MessageResponse;
use actix::{Context, MessageResult};
use tokio::sync::oneshot;

use flock_proto::{CallId, CallKind, MessageId, NestId, SpeciesId, Time};

use crate::bird::{Bird, Hears, Wire};
use crate::call::CallError;
use crate::codec;
use crate::data_link::DataLink;
use crate::payload::Payload;
use crate::pulse::LazyPulse;
use crate::shared::Shared;
use crate::slot::Slot;

/// A call or cast on its way.
pub(crate) enum Parcel {
    /// Made in this process, never encoded so far.
    Typed(Box<dyn TypedParcel>),
    /// Came over a link, or was encoded for one and came back.
    Encoded(Box<EncodedCall>),
}

/// What both kinds of parcel know of their call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note {
    /// Its place in the origin's table; the default for a cast.
    pub(crate) id: CallId,
    pub(crate) deadline: Time,
    pub(crate) species: SpeciesId,
    pub(crate) message: MessageId,
    pub(crate) origin: NestId,
    pub(crate) is_call: bool,
    pub(crate) hop: u8,
    pub(crate) redirected: bool,
    /// So many calls its sender's thread waits for, this one among them, if that is known.
    pub(crate) among: u32,
}

impl Note {
    pub(crate) const fn kind(&self) -> CallKind {
        if self.is_call { CallKind::Call } else { CallKind::Cast }
    }
}

impl Parcel {
    /// A message for a bird of this species, never encoded so far.
    #[inline]
    pub(crate) fn typed<B: Hears<M>, M: Wire>(
        note: Note,
        message: M,
        slot: Option<Arc<Slot<M::Result>>>,
    ) -> Self {
        // The room first: then it is put together there, and not moved.
        let room = Box::<Typed<B, M>>::new_uninit();
        let typed = Typed { note, message, done: Done(slot), bird: PhantomData };
        let typed: Box<Typed<B, M>> = Box::write(room, typed);
        Self::Typed(typed)
    }

    pub(crate) fn note(&self) -> &Note {
        match self {
            Self::Typed(parcel) => parcel.note(),
            Self::Encoded(call) => &call.note,
        }
    }

    pub(crate) fn note_mut(&mut self) -> &mut Note {
        match self {
            Self::Typed(parcel) => parcel.note_mut(),
            Self::Encoded(call) => &mut call.note,
        }
    }

    /// Nobody waits for it any more: it must not be begun.
    pub(crate) fn is_over(&self, now: Time) -> bool {
        self.note().deadline <= now || self.is_cancelled()
    }

    /// The caller, in this process, has gone or has its outcome. It has one soon after its deadline.
    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        match self {
            Self::Typed(parcel) => parcel.is_cancelled(),
            Self::Encoded(_) => false,
        }
    }

    /// Ends it with an error. Drops the user's message, which may panic.
    pub(crate) fn fail(self, error: CallError) {
        let _ = catch_unwind(AssertUnwindSafe(|| match self {
            Self::Typed(parcel) => parcel.fail(error),
            Self::Encoded(call) => call.reply.send(Err(error)),
        }));
    }

    /// Hands its payload, encoded, to `then`.
    pub(crate) fn with_body<R>(&self, then: &mut dyn FnMut(&[u8]) -> R) -> Result<R, CallError> {
        match self {
            Self::Typed(parcel) => {
                let mut out = None;
                parcel.with_body(&mut |bytes| out = Some(then(bytes)))?;
                out.ok_or(CallError::Interrupted)
            }
            Self::Encoded(call) => Ok(then(&call.body)),
        }
    }

    /// The link that it came over, if it came over one.
    pub(crate) fn came_over(&self) -> Option<&Arc<dyn DataLink>> {
        match self {
            Self::Typed(_) => None,
            Self::Encoded(call) => call.reply.link.as_ref(),
        }
    }

    /// It is another's to answer from now on: it went over a link.
    pub(crate) fn let_go(self) {
        let _ = catch_unwind(AssertUnwindSafe(|| match self {
            Self::Typed(parcel) => parcel.let_go(),
            Self::Encoded(call) => call.reply.disarm(),
        }));
    }
}

/// A job for a bird of some species, with that type erased.
pub(crate) trait TypedParcel: Send {
    fn note(&self) -> &Note;
    fn note_mut(&mut self) -> &mut Note;
    /// The caller has gone, or has its outcome.
    fn is_cancelled(&self) -> bool;
    /// Handles the message, if these are a bird and a context of the right species, and the caller still waits.
    /// Else the call fails; `species` is what the bird is of.
    fn run(
        self: Box<Self>,
        bird: &mut dyn Any,
        ctx: &mut dyn Any,
        pulse: &LazyPulse,
        species: &'static str,
    );
    fn fail(self: Box<Self>, error: CallError);
    fn with_body(&self, then: &mut dyn FnMut(&[u8])) -> Result<(), CallError>;
    fn let_go(self: Box<Self>);
}

/// A message for a bird of species `B`.
pub(crate) struct Typed<B, M: Wire> {
    note: Note,
    message: M,
    done: Done<M::Result>,
    bird: PhantomData<fn() -> B>,
}

impl<B: Hears<M>, M: Wire> TypedParcel for Typed<B, M> {
    fn note(&self) -> &Note {
        &self.note
    }

    fn note_mut(&mut self) -> &mut Note {
        &mut self.note
    }

    fn is_cancelled(&self) -> bool {
        self.done.0.as_ref().is_some_and(|slot| !slot.is_waiting())
    }

    fn run(
        self: Box<Self>,
        bird: &mut dyn Any,
        ctx: &mut dyn Any,
        pulse: &LazyPulse,
        species: &'static str,
    ) {
        if self.is_cancelled() {
            return Parcel::Typed(self).fail(CallError::TimedOut);
        }
        let Self { message, done, .. } = *self;
        let (bird, ctx) = match of_species::<B>(bird, ctx, species) {
            Ok(both) => both,
            Err(wrong) => return done.finish(Err(wrong)),
        };
        match handle(bird, ctx, message) {
            Handled::Now(outcome) => done.finish(outcome),
            Handled::Later(answer) => pulse.get().follow(answer, done),
        }
    }

    fn fail(self: Box<Self>, error: CallError) {
        let Self { message, done, .. } = *self;
        done.finish(Err(error));
        drop(message);
    }

    fn with_body(&self, then: &mut dyn FnMut(&[u8])) -> Result<(), CallError> {
        codec::with_encoded(&self.message, then)
    }

    fn let_go(mut self: Box<Self>) {
        self.done.0 = None;
    }
}

/// Where an answer goes. Dropped without one, as when the handler panics, it says `Crashed`.
pub(crate) trait Finish<R>: 'static {
    fn finish(self, outcome: Result<R, CallError>);
}

/// The answer goes to a caller in this process; or to nobody, for a cast.
pub(crate) struct Done<R>(pub(crate) Option<Arc<Slot<R>>>);

impl<R: 'static> Finish<R> for Done<R> {
    fn finish(mut self, outcome: Result<R, CallError>) {
        if let Some(slot) = self.0.take() {
            slot.settle(outcome);
        }
    }
}

impl<R> Drop for Done<R> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            slot.settle(Err(CallError::Crashed));
        }
    }
}

/// A bird and its context as those of species `B`, if they are. `species` is what the bird is of.
#[inline]
pub(crate) fn of_species<'a, B: Bird>(
    bird: &'a mut dyn Any,
    ctx: &'a mut dyn Any,
    species: &'static str,
) -> Result<(&'a mut B, &'a mut Context<B>), CallError> {
    match (bird.downcast_mut(), ctx.downcast_mut()) {
        (Some(bird), Some(ctx)) => Ok((bird, ctx)),
        _ => Err(CallError::WrongSpecies { actual: Some(species.into()) }),
    }
}

/// What came of a message that was handled.
pub(crate) enum Handled<R> {
    Now(Result<R, CallError>),
    /// The answer will come from here.
    Later(oneshot::Receiver<R>),
}

/// Has the bird handle a message.
pub(crate) fn handle<B, M>(bird: &mut B, ctx: &mut Context<B>, message: M) -> Handled<M::Result>
where
    B: Hears<M>,
    M: Wire,
{
    let mut response = Some(B::handle(bird, message, ctx));
    if let Some(answer) = at_once::<M, _>(&mut response) {
        return Handled::Now(Ok(answer));
    }
    let Some(response) = response else { return Handled::Now(Err(CallError::Interrupted)) };
    // A channel of our own even if nobody wants the answer: it tells when the work is over, which
    // a hand-over waits for.
    let (to, mut from) = oneshot::channel();
    response.handle(ctx, Some(to));
    match from.try_recv() {
        Ok(answer) => Handled::Now(Ok(answer)),
        Err(oneshot::error::TryRecvError::Closed) => Handled::Now(Err(CallError::Interrupted)),
        Err(oneshot::error::TryRecvError::Empty) => Handled::Later(from),
    }
}

/// The answer that a response is, if it is of a type of which actix itself makes nothing but that: then there
/// is no need of a channel, which costs an allocation.
fn at_once<M: Wire, R: 'static>(response: &mut Option<R>) -> Option<M::Result> {
    let response: &mut dyn Any = response;
    if let Some(result) = response.downcast_mut::<Option<MessageResult<M>>>() {
        return result.take().map(|MessageResult(answer)| answer);
    }
    if is_plain::<R>() { response.downcast_mut::<Option<M::Result>>()?.take() } else { None }
}

/// Whether actix answers with such a value as it is. (An author's own type may do otherwise.)
fn is_plain<R: 'static>() -> bool {
    macro_rules! is_one_of {
        ($($plain:ty),*) => { $(TypeId::of::<R>() == TypeId::of::<$plain>())||* };
    }
    is_one_of!((), bool, u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, f32, f64, String)
}

/// A call or cast that came as bytes.
pub(crate) struct EncodedCall {
    pub(crate) note: Note,
    pub(crate) body: Payload,
    pub(crate) reply: ReplyTo,
}

impl std::fmt::Debug for EncodedCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncodedCall").field("note", &self.note).finish_non_exhaustive()
    }
}

/// Decodes and handles a call: the code behind one [`Ear`](crate::bird::Ear).
#[expect(
    clippy::boxed_local,
    reason = "it comes from an inbox, and to move it costs more than to look"
)]
pub(crate) fn deliver<B, M>(
    bird: &mut B,
    ctx: &mut Context<B>,
    pulse: &LazyPulse,
    call: Box<EncodedCall>,
) where
    B: Hears<M>,
    M: Wire,
{
    let decoded = codec::decode::<M>(&call.reply.shared, &call.body);
    let EncodedCall { reply, .. } = *call;
    match decoded {
        Ok(message) => match handle(bird, ctx, message) {
            Handled::Now(outcome) => reply.finish(outcome),
            Handled::Later(answer) => pulse.get().follow(answer, reply),
        },
        Err(error) => reply.send(Err(error)),
    }
}

/// Runs whichever kind of parcel this is.
pub(crate) fn run<B: Bird>(parcel: Parcel, bird: &mut B, ctx: &mut Context<B>, pulse: &LazyPulse) {
    match parcel {
        Parcel::Typed(typed) => typed.run(bird, ctx, pulse, B::SPECIES),
        Parcel::Encoded(call) => {
            if call.note.species != const { SpeciesId::of(B::SPECIES) } {
                let actual = Some(B::SPECIES.into());
                return call.reply.send(Err(CallError::WrongSpecies { actual }));
            }
            match B::EARS.iter().find(|ear| ear.id() == call.note.message) {
                Some(ear) => ear.hear(bird, ctx, pulse, call),
                None => call.reply.send(Err(CallError::NotHeard)),
            }
        }
    }
}

/// The way back to a caller on another nest (or on this one, if its call came back undelivered).
pub(crate) struct ReplyTo {
    pub(crate) shared: Arc<Shared>,
    /// The link the call came over: the way back, if the caller is at its other end.
    pub(crate) link: Option<Arc<dyn DataLink>>,
    pub(crate) origin: NestId,
    pub(crate) id: CallId,
    pub(crate) redirected: bool,
    /// The call came without others: no other answer is about to follow.
    pub(crate) alone: bool,
    /// Somebody waits, and has no reply yet.
    pub(crate) armed: bool,
}

impl ReplyTo {
    /// Sends the answer's bytes, or the error.
    pub(crate) fn send(mut self, outcome: Result<&[u8], CallError>) {
        self.put(outcome);
    }

    pub(crate) fn disarm(mut self) {
        self.armed = false;
    }

    fn put(&mut self, outcome: Result<&[u8], CallError>) {
        if std::mem::take(&mut self.armed) {
            let (code, bytes) = match &outcome {
                Ok(bytes) => (0, *bytes),
                Err(error) => (error.code(), error.text().as_bytes()),
            };
            self.shared.reply(self, code, bytes);
        }
    }
}

impl<R: serde::Serialize + 'static> Finish<R> for ReplyTo {
    fn finish(mut self, outcome: Result<R, CallError>) {
        if !self.armed {
            return;
        }
        let sent =
            outcome.and_then(|answer| codec::with_encoded(&answer, |bytes| self.put(Ok(bytes))));
        if let Err(error) = sent {
            self.put(Err(error));
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        self.put(Err(CallError::Crashed));
    }
}
