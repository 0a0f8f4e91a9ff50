//! Calls and casts: each is handled once at most, and ends once, in time, with what is true.

use flock_actix::CallError;

use super::{Ledger, with};
use crate::turmoil::birds::Noted;

/// How much later than its deadline a call may end: sweeps come every 20 ms, and the next
/// millisecond sees what they did.
const SLACK: u64 = 25;

/// A call or cast.
#[derive(Clone, Debug)]
pub(in crate::turmoil) struct Call {
    /// Who made it.
    by: String,
    bird: String,
    is_call: bool,
    made: u64,
    deadline: u64,
    pub(in crate::turmoil) handled: Vec<Noted>,
    pub(in crate::turmoil) outcome: Option<Result<Noted, CallError>>,
    /// Its caller went down with the host.
    orphan: bool,
}

impl Ledger {
    pub(super) fn callers_gone(&mut self, host: &str) {
        for call in self.calls.values_mut().filter(|c| c.by == host && c.outcome.is_none()) {
            call.orphan = true;
        }
    }
}

pub(in crate::turmoil) fn called(host: &str, bird: &str, is_call: bool, within: u64) -> u64 {
    with(|ledger| {
        ledger.last_call += 1;
        let (made, number) = (ledger.now, ledger.last_call);
        ledger
            .note(host, format_args!("#{number} to {bird}{}", if is_call { "" } else { ", cast" }));
        let call = Call {
            by: host.into(),
            bird: bird.into(),
            is_call,
            made,
            deadline: made + within,
            handled: Vec::new(),
            outcome: None,
            orphan: false,
        };
        ledger.calls.insert(number, call);
        number
    })
}

/// I10, and what a call's outcome said of it (I7).
pub(in crate::turmoil) fn call_handled(noted: Noted) {
    with(|ledger| {
        let number = noted.call;
        let nest = ledger.lives.get(&noted.life).map(|life| life.nest.clone()).unwrap_or_default();
        ledger.note(&nest, format_args!("#{number} handled"));
        let Some(call) = ledger.calls.get_mut(&number) else {
            return ledger.fail("I10", format!("#{number} was handled, which nobody made"));
        };
        call.handled.push(noted);
        let call = call.clone();
        if !call.is_call {
            ledger.did.casts += 1;
        }
        if call.handled.len() > 1 {
            ledger.fail("I10", format!("#{number} was handled {} times", call.handled.len()));
        }
        if let Some(Err(error)) = &call.outcome
            && was_not_handled(error)
        {
            ledger.fail("I7", format!("#{number} ended as {error:?}, and then was handled"));
        }
    });
}

/// I7: once, in time, and truly. I8: with its own answer. And what was acknowledged is so (I5).
pub(in crate::turmoil) fn call_ended(number: u64, outcome: Result<Noted, CallError>) {
    with(|ledger| {
        let now = ledger.now;
        let Some(call) = ledger.calls.get_mut(&number) else { return };
        if call.outcome.is_some() {
            return ledger.fail("I7", format!("#{number} ended twice"));
        }
        call.outcome = Some(outcome.clone());
        let call = call.clone();
        let said = match &outcome {
            Ok(noted) => format!("answered by life {}", noted.life),
            Err(error) => format!("{error:?}"),
        };
        ledger.note(&call.by, format_args!("#{number} {said}"));
        if now > call.deadline + SLACK {
            let late = now - call.deadline;
            ledger.fail("I7", format!("#{number} ended {late} ms after its deadline: {said}"));
        }
        match &outcome {
            Ok(noted) if call.handled != [*noted] => {
                let handled = &call.handled;
                let what = format!("#{number} was answered {noted:?}, and handled as {handled:?}");
                ledger.fail("I8", what);
            }
            Ok(_) => ledger.did.calls += 1,
            Err(error) if was_not_handled(error) && !call.handled.is_empty() => {
                ledger.fail("I7", format!("#{number} was handled, and ended as {error:?}"));
            }
            Err(error) if was_handled(error) && call.handled.is_empty() => {
                ledger.fail("I7", format!("#{number} was not handled, and ended as {error:?}"));
            }
            Err(CallError::NoSuchBird)
                if ledger.requests.surely_lived(&call.bird, call.made, ledger.calm_since) =>
            {
                let what = format!("#{number}: {} was acknowledged as started", call.bird);
                ledger.fail("I5", what);
            }
            Err(_) => {}
        }
    });
}

/// The caller doesn't wait any longer.
pub(in crate::turmoil) fn call_given_up(number: u64) {
    with(|ledger| {
        if let Some(call) = ledger.calls.get_mut(&number) {
            call.orphan = true;
            let by = call.by.clone();
            ledger.note(&by, format_args!("#{number} given up"));
        }
    });
}

/// Calls that have no end yet, in words, and who waits for each.
pub(in crate::turmoil) fn open_calls() -> Vec<(String, String)> {
    with(|ledger| {
        let open = |(number, call): (&u64, &Call)| {
            let waits = call.is_call && call.outcome.is_none() && !call.orphan;
            waits.then(|| (call.by.clone(), format!("#{number} to {} by {}", call.bird, call.by)))
        };
        ledger.calls.iter().filter_map(open).collect()
    })
}

/// A look at one call.
pub(in crate::turmoil) fn call(number: u64) -> Option<Call> {
    with(|ledger| ledger.calls.get(&number).cloned())
}

/// Errors that say that the bird has not handled the call. `Overloaded` isn't among them: the
/// answer may have found no room.
const fn was_not_handled(error: &CallError) -> bool {
    matches!(
        error,
        CallError::NoSuchBird
            | CallError::WrongSpecies { .. }
            | CallError::UnknownSpecies
            | CallError::NotHeard
            | CallError::Grounded { .. }
            | CallError::Unbound
    )
}

/// Errors that say that the bird had begun to handle the call.
const fn was_handled(error: &CallError) -> bool {
    matches!(error, CallError::Crashed | CallError::Interrupted)
}
