//! Lives that are raised together, and that the core hears of together.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

use flock_proto::Input;

use crate::shared::Shared;

/// So many that hatched are told of by one word. Not all that are raised together: should one of them block
/// its thread, those that hatched before it shall not all wait for it.
const TOLD_AT_ONCE: usize = 16;

thread_local! {
    static GATHERED: RefCell<Gathered> = const { RefCell::new(Gathered::new()) };
}

/// What the core is to hear of lives that hatched on this thread.
struct Gathered {
    /// Broods of this nest that are being raised.
    broods: usize,
    /// In a simulation, others may be on the same thread: theirs don't gather.
    of: Option<Arc<Shared>>,
    hatched: Vec<Input>,
}

impl Gathered {
    const fn new() -> Self {
        Self { broods: 0, of: None, hatched: Vec::new() }
    }

    /// What is to be told, and whom: outside of here, as whoever is told may look here again.
    fn take(&mut self) -> Option<(Arc<Shared>, Vec<Input>)> {
        let inputs = std::mem::take(&mut self.hatched);
        self.of.clone().filter(|_| !inputs.is_empty()).map(|of| (of, inputs))
    }
}

/// Lives that are raised together, until each was looked at once.
///
/// Each word to the core costs a lock, a look at the clock and perhaps the waking of a thread, for each of
/// thousands that are started together. So they are told of by one word. A hatch that takes its time delays
/// no other's.
pub(crate) struct Brood {
    /// Its lives gather.
    counts: bool,
    /// It stays on its thread.
    here: PhantomData<*const ()>,
}

impl Brood {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        let counts = GATHERED.with_borrow_mut(|gathered| {
            let of = gathered.of.get_or_insert_with(|| shared.clone());
            let counts = Arc::ptr_eq(of, shared);
            gathered.broods += usize::from(counts);
            counts
        });
        Self { counts, here: PhantomData }
    }

    /// One has hatched.
    pub(super) fn add(shared: &Arc<Shared>, hatched: Input) {
        let alone = GATHERED.with_borrow_mut(|gathered| {
            if !gathered.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, shared)) {
                return Some(hatched);
            }
            gathered.hatched.push(hatched);
            None
        });
        if let Some(hatched) = alone {
            shared.nest.tell(hatched);
        } else if GATHERED.with_borrow(|gathered| gathered.hatched.len() >= TOLD_AT_ONCE) {
            Self::tell();
        }
    }

    /// Tells what has gathered on this thread.
    pub(super) fn tell() {
        if let Some((of, inputs)) = GATHERED.with_borrow_mut(Gathered::take) {
            of.nest.tell_all(inputs);
        }
    }
}

impl Drop for Brood {
    fn drop(&mut self) {
        if !self.counts {
            return;
        }
        let (told, _last) = GATHERED.with_borrow_mut(|gathered| {
            gathered.broods -= 1;
            (gathered.take(), gathered.of.take_if(|_| gathered.broods == 0))
        });
        if let Some((of, inputs)) = told {
            of.nest.tell_all(inputs);
        }
    }
}
