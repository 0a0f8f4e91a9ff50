//! The way from everywhere to the core, which lives on the control thread.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use actix::Addr;
use flock_proto::{Answer, Event, Input, Nest, NestName, ReqId, Time};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::data_link;
use crate::error::RequestError;
use crate::events::Hub;
use crate::link::{ControlSink, Links, lock};
use crate::nest_actor::{NameTaken, NestActor, Wake};
use crate::router::Router;
use crate::rt::Threads;
use crate::shared::Shared;
use crate::wall::Wall;

/// Bytes that may wait for the core before the readers of links pause.
const MAX_QUEUED: usize = 64 << 20;

/// What an input takes beside its bytes.
const OVERHEAD: usize = 128;

/// What the core hears at a time, in bytes; the rest waits until others on its thread had their
/// turn. A few milliseconds' work.
const PIECE: usize = 256 << 10;

/// The way to the core, and all that ends with the nest.
#[derive(Debug)]
pub(crate) struct Core {
    actor: Addr<NestActor>,
    wall: Wall,
    inbox: Mutex<Inbox>,
    pub(crate) events: Arc<Hub>,
    rest: OnceLock<Rest>,
    gone: Notify,
}

/// What is said to the core and not heard yet.
///
/// Not the actor's mailbox: what has gathered here is handed to the core together, and the more
/// there is to do, the less each costs.
#[derive(Debug, Default)]
struct Inbox {
    words: VecDeque<Said>,
    bytes: usize,
    /// Nobody hears any more.
    closed: bool,
}

/// A word, when it was said, and what it counts for.
#[derive(Debug)]
struct Said {
    at: Time,
    bytes: usize,
    word: Word,
}

/// Something said to the core.
pub(crate) enum Word {
    /// Something happened.
    Tell(Input),
    /// All this happened; none of it is as large as a frame.
    TellAll(Vec<Input>),
    /// Users ask something.
    Ask(Ask),
    /// Somebody looks at the core, from its own thread.
    Look(Look),
}

/// What somebody does there.
pub(crate) type Look = Box<dyn FnOnce(&mut NestActor) + Send>;

/// Questions to the core.
pub(crate) struct Ask {
    /// How many they are.
    pub(crate) count: usize,
    pub(crate) deadline: Deadline,
    /// Makes the inputs; their numbers follow the one given.
    pub(crate) make: Make,
    pub(crate) answers: Answers,
}

/// When the asker stops waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deadline {
    Within(Duration),
    At(Time),
}

type Make = Box<dyn FnOnce(ReqId, Time, &mut Vec<Input>) + Send>;

/// Who waits for answers.
#[derive(Debug)]
pub(crate) enum Answers {
    One(oneshot::Sender<Answer>),
    /// Each comes with its place, counted on from the given one, and its question's number; those that are
    /// there together come together.
    Many {
        answers: mpsc::UnboundedSender<Answered>,
        from: usize,
    },
}

/// Some of many answers.
pub(crate) type Answered = Vec<(usize, ReqId, Reply)>;

/// An answer to one of many questions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// [`Answer::Started`], anew and on this nest: nearly always. Without the nest's name, whose count of
    /// owners the core's thread and the asker's would both write, for each of thousands.
    StartedHere,
    Other(Answer),
}

impl Reply {
    pub(crate) fn new(answer: Answer, here: &NestName) -> Self {
        match answer {
            Answer::Started { nest, fresh: true } if nest == *here => Self::StartedHere,
            answer => Self::Other(answer),
        }
    }

    /// The bird runs.
    pub(crate) const fn is_start(&self) -> bool {
        matches!(self, Self::StartedHere | Self::Other(Answer::Started { .. }))
    }
}

/// What is only known once the nest stands.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) links: Weak<Links>,
    pub(crate) shared: Weak<Shared>,
    pub(crate) threads: Threads,
    pub(crate) router: Addr<Router>,
    pub(crate) address: Option<SocketAddr>,
}

impl Core {
    pub(crate) fn new(actor: Addr<NestActor>, wall: Wall, events: Arc<Hub>) -> Self {
        Self {
            actor,
            wall,
            inbox: Mutex::default(),
            events,
            rest: OnceLock::new(),
            gone: Notify::new(),
        }
    }

    /// Only the first call counts.
    pub(crate) fn complete(&self, rest: Rest) {
        // There is one caller, and it calls once.
        let _ = self.rest.set(rest);
    }

    pub(crate) fn rest(&self) -> Option<&Rest> {
        self.rest.get()
    }

    /// Asks the core a question; `make` gets the number and the deadline to put into it.
    pub(crate) async fn ask(
        &self,
        within: Duration,
        make: impl FnOnce(ReqId, Time) -> Input + Send + 'static,
    ) -> Result<Answer, RequestError> {
        let (answer, answered) = oneshot::channel();
        self.say(Word::Ask(Ask {
            count: 1,
            deadline: Deadline::Within(within),
            make: Box::new(|req, deadline, inputs| inputs.push(make(req, deadline))),
            answers: Answers::One(answer),
        }));
        answered.await.map_err(|_| RequestError::Closed)
    }

    /// Asks the core many questions.
    pub(crate) fn ask_many(&self, ask: Ask) {
        self.say(Word::Ask(ask));
    }

    /// Looks at the core, on its own thread. `None`: the nest is shut down.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Nest) -> T + Send + 'static,
    ) -> Option<T> {
        self.visit(|actor| look(actor.nest())).await
    }

    /// As [`Core::look`], for what the actor itself knows.
    pub(crate) async fn visit<T: Send + 'static>(
        &self,
        visit: impl FnOnce(&mut NestActor) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.say(Word::Look(Box::new(move |actor| {
            // Whoever asked may have gone; then nobody wants the answer.
            let _ = answer.send(visit(actor));
        })));
        answered.await.ok()
    }

    /// Closes all sockets at once, ends every call and life, and tells the threads to end.
    pub(crate) fn shut(&self) {
        let Some(rest) = self.rest.get() else { return };
        // First of all: lives that end now end with their nest, and must not be heard to have
        // ended of themselves.
        self.close_inbox();
        if let Some(shared) = rest.shared.upgrade() {
            shared.close();
        }
        if let Some(links) = rest.links.upgrade() {
            links.close();
        }
        self.events.close();
        rest.threads.stop();
    }

    /// Resolves when all threads have ended, but for those that birds block.
    pub(crate) async fn ended(&self) {
        if let Some(rest) = self.rest.get() {
            // An error says that the control thread is gone, too.
            let _ = rest.threads.ended().wait_for(|ended| *ended).await;
        }
    }

    fn say(&self, word: Word) {
        let bytes = word.bytes();
        let mut inbox = lock(&self.inbox);
        if inbox.closed {
            // The word itself is dropped behind the lock: that may tell an asker.
            drop(inbox);
            return drop(word);
        }
        let first = inbox.words.is_empty();
        inbox.words.push_back(Said { at: self.wall.now(), bytes, word });
        inbox.bytes += bytes;
        if first {
            // Under the lock. Whoever finds words here knows that the actor's next message comes
            // behind the one that has it hear them.
            self.actor.do_send(Wake);
        }
    }

    /// The next words for the core. `true`: there are more, to be asked for when others on the
    /// thread had their turn.
    pub(crate) fn hear(&self) -> (Vec<Word>, bool) {
        let mut inbox = lock(&self.inbox);
        let (mut words, mut heard) = (Vec::new(), 0);
        while heard < PIECE
            && let Some(Said { bytes, word, .. }) = inbox.words.pop_front()
        {
            heard += bytes;
            words.push(word);
        }
        inbox.bytes -= heard;
        (words, !inbox.words.is_empty())
    }

    /// The time by which the core goes: that of the oldest word it hasn't heard. However far it is
    /// behind, it holds no nest to be silent whose words wait here.
    pub(crate) fn time(&self) -> Time {
        let now = self.wall.now();
        lock(&self.inbox).words.front().map_or(now, |said| said.at.min(now))
    }

    /// Nobody hears any more: those who wait for answers learn it.
    pub(crate) fn close_inbox(&self) {
        let mut inbox = lock(&self.inbox);
        inbox.closed = true;
        let unheard = std::mem::take(&mut inbox.words);
        drop(inbox);
        drop(unheard);
        self.gone.notify_waiters();
    }

    /// Resolves when no question is answered any more.
    pub(crate) async fn closed(&self) {
        let mut gone = pin!(self.gone.notified());
        // Enlists before looking, so that no word is missed in between.
        gone.as_mut().enable();
        if !lock(&self.inbox).closed {
            gone.await;
        }
    }
}

impl Word {
    /// What counts against the bound of the queue, and as work.
    fn bytes(&self) -> usize {
        match self {
            Self::Tell(Input::Frame { frame, .. }) => OVERHEAD + frame.len(),
            Self::Tell(Input::Checkpoint { snapshot: Some(state), .. }) => OVERHEAD + state.len(),
            Self::Tell(_) | Self::Look(_) => OVERHEAD,
            Self::TellAll(inputs) => OVERHEAD * inputs.len(),
            Self::Ask(ask) => OVERHEAD * ask.count,
        }
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tell(input) => f.debug_tuple("Tell").field(input).finish(),
            Self::TellAll(inputs) => f.debug_tuple("TellAll").field(inputs).finish(),
            Self::Ask(ask) => f.debug_tuple("Ask").field(&ask.count).finish(),
            Self::Look(_) => f.write_str("Look"),
        }
    }
}

impl data_link::NestHandle for Core {
    fn tell(&self, input: Input) {
        self.say(Word::Tell(input));
    }

    fn tell_all(&self, inputs: Vec<Input>) {
        self.say(Word::TellAll(inputs));
    }

    fn event(&self, event: Event) {
        self.events.tell(self.wall.now(), event);
    }
}

impl ControlSink for Core {
    fn on_input(&self, input: Input) {
        self.say(Word::Tell(input));
    }

    fn on_event(&self, event: Event) {
        self.events.tell(self.wall.now(), event);
    }

    fn on_name_taken(&self) {
        self.actor.do_send(NameTaken);
    }

    fn is_full(&self) -> bool {
        lock(&self.inbox).bytes > MAX_QUEUED
    }
}

#[cfg(test)]
mod tests {
    use actix::{AsyncContext, Context};
    use flock_proto::Hlc;

    use super::*;

    fn core() -> Core {
        Core::new(Context::<NestActor>::new().address(), Wall::new(), Arc::default())
    }

    fn word() -> Word {
        Word::Tell(Input::Observed { stamp: Hlc(1) })
    }

    #[actix::test]
    async fn the_core_goes_by_the_time_of_what_it_has_not_heard() {
        let core = core();
        let before = core.wall.now();
        core.say(word());
        let said = core.time();
        assert!(before <= said);
        while core.wall.now() == said {
            std::hint::spin_loop();
        }
        core.say(word());
        assert_eq!(core.time(), said, "however late it is");
        assert_eq!(core.hear().0.len(), 2);
        assert!(core.time() > said);
    }

    #[actix::test]
    async fn a_piece_is_heard_at_a_time_in_order() {
        let core = core();
        for _ in 0..PIECE / OVERHEAD {
            core.say(word());
        }
        core.say(Word::Tell(Input::Tick));
        let (first, more) = core.hear();
        assert!(more && first.iter().all(|w| matches!(w, Word::Tell(Input::Observed { .. }))));
        let (last, more) = core.hear();
        assert!(!more && matches!(last[..], [Word::Tell(Input::Tick)]), "{last:?}");
        assert_eq!(lock(&core.inbox).bytes, 0);
    }

    #[actix::test]
    async fn whoever_asks_a_core_that_has_gone_learns_it() {
        let core = core();
        let leave = |req, _| Input::Leave { req };
        let (asked, ()) = tokio::join!(core.ask(Duration::from_secs(60), leave), async {
            core.close_inbox();
            core.closed().await;
        });
        assert_eq!(asked, Err(RequestError::Closed), "unheard");
        assert_eq!(core.ask(Duration::from_secs(60), leave).await, Err(RequestError::Closed));
    }
}
