//! Where a call goes next: one pure decision, taken alike by drivers and by the simulator.

use crate::bugs::{Bug, planted};
use crate::{NestId, Via, View};

/// A call that was passed on so often goes back to its origin, which looks again. Views that
/// disagree would else send it in circles.
pub const MAX_CALL_HOPS: u8 = 3;

/// What this nest's own table says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// Nothing.
    Unknown,
    /// The bird is here, or its calls wait here.
    Here,
    /// The core said that this nest still runs the bird.
    Moved(NestId),
}

/// What is to be done with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// It goes into the bird's inbox.
    Deliver,
    /// It waits here, and the core is asked (`Input::Wanted`).
    Want,
    /// It goes to `dest`, over the data link to `link` (which is `dest` itself, or a relay).
    Forward {
        /// The nest that is to deliver it.
        dest: NestId,
        /// The neighbour that takes it.
        link: NestId,
    },
    /// Nobody can be reached who could take it: to be looked at again in a moment.
    Wait,
    /// It was passed on too often: back to its origin, which looks again.
    Retry,
}

/// Where a call goes that is to be delivered by this nest, or was made here.
///
/// `hop` is how often it was passed on so far: 0 for one that was made here.
pub fn route(view: &View, local: Local, hash: u64, hop: u8) -> Step {
    let owner = view.owner(hash);
    let dest = match (local, owner) {
        (Local::Here, _) => return Step::Deliver,
        // Only the owner knows better than the view: the bird still lives elsewhere.
        (Local::Moved(to), Some(owner)) if owner == view.me() => to,
        (_, Some(owner)) => owner,
        (_, None) => return Step::Wait,
    };
    if dest == view.me() {
        return Step::Want;
    }
    pass_on(view, dest, hop)
}

/// Where a frame for another nest goes.
pub fn pass_on(view: &View, dest: NestId, hop: u8) -> Step {
    if hop >= MAX_CALL_HOPS && !planted(Bug::NoHopLimit) {
        return Step::Retry;
    }
    match view.via(dest) {
        Via::Link => Step::Forward { dest, link: dest },
        Via::Relay(link) => Step::Forward { dest, link },
        Via::Me | Via::Nothing => Step::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Member, NestName, NestState};

    const ME: NestId = NestId(1);
    const OTHER: NestId = NestId(2);

    fn view(state: NestState, via: Via) -> View {
        let member = |id, name, state, via| Member {
            id,
            name: NestName::new(name).expect("a name"),
            address: "".into(),
            state,
            weight: 1,
            due: 0,
            via,
        };
        View::new(
            ME,
            vec![
                member(ME, "me", state, Via::Me),
                member(OTHER, "other", NestState::Up, via),
                member(NestId(3), "relay", NestState::Joining, Via::Link),
            ],
        )
    }

    fn owned_by(view: &View, nest: NestId) -> u64 {
        (0..u64::MAX).step_by(1 << 50).find(|&h| view.owner(h) == Some(nest)).expect("a place")
    }

    #[test]
    fn a_bird_that_is_here_gets_its_calls_whoever_owns_it() {
        let view = view(NestState::Up, Via::Link);
        let hash = owned_by(&view, OTHER);
        assert_eq!(route(&view, Local::Here, hash, MAX_CALL_HOPS), Step::Deliver);
    }

    #[test]
    fn calls_for_an_unknown_bird_go_to_its_owner() {
        let view = view(NestState::Up, Via::Link);
        let far = route(&view, Local::Unknown, owned_by(&view, OTHER), 0);
        assert_eq!(far, Step::Forward { dest: OTHER, link: OTHER });
        assert_eq!(route(&view, Local::Unknown, owned_by(&view, ME), 0), Step::Want);
    }

    #[test]
    fn an_owner_sends_calls_to_the_nest_that_still_runs_the_bird() {
        let view = view(NestState::Up, Via::Link);
        let mine = owned_by(&view, ME);
        let step = route(&view, Local::Moved(OTHER), mine, 1);
        assert_eq!(step, Step::Forward { dest: OTHER, link: OTHER });
        assert_eq!(route(&view, Local::Moved(ME), mine, 1), Step::Want);
    }

    #[test]
    fn a_nest_out_of_reach_is_reached_over_a_relay_or_waited_for() {
        let relayed = view(NestState::Leaving, Via::Relay(NestId(3)));
        let step = route(&relayed, Local::Unknown, 5, 0);
        assert_eq!(step, Step::Forward { dest: OTHER, link: NestId(3) });
        let cut = view(NestState::Leaving, Via::Nothing);
        assert_eq!(route(&cut, Local::Unknown, 5, 0), Step::Wait);
        assert_eq!(route(&View::new(ME, Vec::new()), Local::Unknown, 5, 0), Step::Wait);
    }

    #[test]
    fn nothing_is_passed_on_for_ever() {
        let view = view(NestState::Leaving, Via::Link);
        assert_eq!(route(&view, Local::Unknown, 5, MAX_CALL_HOPS), Step::Retry);
        assert_eq!(pass_on(&view, OTHER, MAX_CALL_HOPS), Step::Retry);
        assert_eq!(pass_on(&view, OTHER, 2), Step::Forward { dest: OTHER, link: OTHER });
    }
}
