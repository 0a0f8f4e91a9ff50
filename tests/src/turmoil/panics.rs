//! Panics: birds panic because the story wants it; any other panic breaks the story.

use std::cell::Cell;
use std::sync::Once;

use super::ledger;

/// What a bird says that panics because it was told to.
pub(super) const WANTED: &str = "the story wants it";

thread_local! {
    static IN_A_STORY: Cell<bool> = const { Cell::new(false) };
}

/// From now on, until this is dropped, panics of this thread are the story's.
pub(super) struct Watch;

impl Watch {
    pub(super) fn begin() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                let wanted = panic.payload_as_str() == Some(WANTED);
                let in_a_story = IN_A_STORY.try_with(Cell::get).unwrap_or(false);
                if !in_a_story {
                    return before(panic);
                }
                if !wanted {
                    before(panic);
                    // tokio keeps what its tasks panic with to itself.
                    ledger::broken("no panics", panic.to_string());
                }
            }));
        });
        IN_A_STORY.set(true);
        Self
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        IN_A_STORY.set(false);
    }
}
