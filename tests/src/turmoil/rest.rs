//! What must hold once faults have ceased and the flock has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use super::birds::Message;
use super::ledger;
use super::post::{Look, Post, Stage};
use super::teller::Teller;

/// How long it may take until all is in order, once faults have ceased.
const PATIENCE: u64 = 60_000;

/// So long after the last fault connections may still be stalled, and links break because of it.
const STALLED: u64 = 5_000;

/// Every bird: its owner, and why it is grounded.
type Birds = BTreeMap<String, (Option<String>, Option<String>)>;

impl Teller<'_> {
    /// Faults cease, hosts and nests come back, and everything must be in order within a while.
    pub(super) fn rest(&mut self) {
        self.weather.clear_up(&mut self.sim);
        for host in 0..self.posts.len() {
            if self.dark[host] || (self.posts[host].stage() == Stage::Out && self.up().len() < 3) {
                self.start(host);
            }
        }
        self.run(STALLED);
        let Some(looks) = self.until_in_order() else { return };
        ledger::note("at rest", format_args!("{} birds", birds_of(&looks).len()));
        for post in &self.posts {
            ledger::note(post.name(), post.traffic());
        }
        if let Some(what) = lost_or_back(&birds_of(&looks)) {
            return ledger::broken("I5", what);
        }
        self.call_everyone(&birds_of(&looks));
        // What was in order stays so.
        self.until_in_order();
    }

    fn until_in_order(&mut self) -> Option<BTreeMap<String, Look>> {
        let end = ledger::now() + PATIENCE;
        loop {
            let amiss = match self.look_round() {
                Ok(looks) => match amiss(&looks) {
                    None => return Some(looks),
                    Some(amiss) => amiss,
                },
                Err(amiss) => ("L1", amiss),
            };
            if ledger::is_broken() {
                return None;
            }
            if ledger::now() >= end {
                ledger::broken(amiss.0, format!("{} s at rest, and {}", PATIENCE / 1000, amiss.1));
                return None;
            }
            self.run(250);
        }
    }

    /// What each nest sees; or who is in no state to look.
    fn look_round(&mut self) -> Result<BTreeMap<String, Look>, String> {
        let there: Vec<Post> =
            self.posts.iter().filter(|post| post.stage() != Stage::Out).cloned().collect();
        if let Some(post) = there.iter().find(|post| post.stage() != Stage::Up) {
            return Err(format!("{} is {:?}", post.name(), post.stage()));
        }
        let open = ledger::open_calls();
        there.iter().for_each(Post::look);
        self.run(3);
        let look = |post: &Post| {
            let look = post.looked().ok_or_else(|| format!("{} doesn't look", post.name()))?;
            let waiting = open.iter().filter(|(by, _)| by == post.name()).count() as u64;
            if look.pending_calls > waiting {
                let what = format!("{} keeps {} calls pending", post.name(), look.pending_calls);
                ledger::broken("I7", format!("{what}, and {waiting} have no end"));
            }
            Ok((post.name().to_owned(), look))
        };
        there.iter().map(look).collect()
    }

    /// L4: every bird answers every nest. I9: what one nest sends to one bird is handled in that
    /// order.
    fn call_everyone(&mut self, birds: &Birds) {
        const EACH: usize = 4;
        let mut made = Vec::new();
        for user in self.up() {
            for (bird, (_, grounded)) in birds {
                let calls: Vec<u64> = (0..EACH)
                    .map(|n| match n {
                        1 => self.cast_of(user, bird, Message::Note(0)),
                        _ => self.call_of(user, bird, Message::Note(0), 2_000),
                    })
                    .collect();
                made.push((user, bird.clone(), grounded.is_some(), calls));
            }
        }
        self.run(2_000);
        for (user, bird, grounded, calls) in made {
            let by = self.posts[user].name();
            let handled: Vec<u64> = calls
                .iter()
                .filter_map(|number| ledger::call(*number)?.handled.first().copied())
                .map(|noted| noted.count)
                .collect();
            if !handled.is_sorted() {
                let what = format!("{bird} handled {calls:?} of {by} in the order {handled:?}");
                return ledger::broken("I9", what);
            }
            if handled.len() != if grounded { 0 } else { EACH } {
                let ends = calls.iter().filter_map(|number| ledger::call(*number)?.outcome);
                let ends = ends.collect::<Vec<_>>();
                let what =
                    format!("{bird} handled {} of {EACH} from {by}: {ends:?}", handled.len());
                return ledger::broken("L4", what);
            }
        }
    }
}

/// All nests see the same.
fn birds_of(looks: &BTreeMap<String, Look>) -> Birds {
    looks.values().next().map(|look| look.birds.clone()).unwrap_or_default()
}

/// What isn't as it must be at rest, or isn't yet: L1, L2, L3, I1, I7. `looks`: what each nest that
/// is there sees.
fn amiss(looks: &BTreeMap<String, Look>) -> Option<(&'static str, String)> {
    let Some((first, seen)) = looks.iter().next() else {
        return Some(("L1", "there is no nest".into()));
    };
    let up: Vec<String> = looks.keys().map(|nest| format!("{nest} Up")).collect();
    for (nest, look) in looks {
        if look.nests != up {
            return Some(("L1", format!("{nest} sees {:?}, there are {up:?}", look.nests)));
        }
        if look.birds != seen.birds {
            let what = differences(&seen.birds, &look.birds);
            return Some(("L2", format!("{first} and {nest} differ: {what}")));
        }
        if look.repairs > 0 {
            return Some(("L2", format!("{nest} had to repair its register")));
        }
    }
    let open = ledger::open_calls();
    if let Some((_, call)) = open.first() {
        return Some(("I7", format!("{} calls have no end, such as {call}", open.len())));
    }
    if let Some(request) = ledger::open_request() {
        return Some(("I7", request));
    }
    misplaced(&seen.birds)
}

fn misplaced(birds: &Birds) -> Option<(&'static str, String)> {
    let perches = ledger::perches();
    for (bird, (owner, grounded)) in birds {
        let must: BTreeSet<String> =
            if grounded.is_some() { BTreeSet::new() } else { owner.iter().cloned().collect() };
        let lives = perches.get(bird).cloned().unwrap_or_default();
        if lives.len() > 1 {
            return Some(("I1", format!("{bird} lives on {lives:?}")));
        }
        if lives != must {
            return Some(("L3", format!("{bird} lives on {lives:?}, not on {must:?}")));
        }
    }
    if let Some((bird, on)) = perches.iter().find(|(bird, _)| !birds.contains_key(*bird)) {
        return Some(("L3", format!("{bird} lives on {on:?} without a record")));
    }
    if ledger::lives() > perches.len() {
        return Some(("I1", "a bird has two lives on one nest".into()));
    }
    None
}

/// I5, I6: what was acknowledged is so. Closes the chapter.
fn lost_or_back(birds: &Birds) -> Option<String> {
    let living: BTreeSet<String> = birds.keys().cloned().collect();
    let certain = ledger::certain(&living);
    if let Some((bird, lives)) =
        certain.iter().find(|(bird, lives)| living.contains(*bird) != **lives)
    {
        let said = if *lives { "must live, and doesn't" } else { "must not live, and does" };
        return Some(format!("{bird} {said}, after all that was acknowledged"));
    }
    let kept = certain.values().filter(|lives| **lives).count() as u64;
    ledger::did(|did| {
        did.kept += kept;
        did.gone += certain.len() as u64 - kept;
    });
    None
}

fn differences(one: &Birds, other: &Birds) -> String {
    let differs = |bird: &&String| one.get(*bird) != other.get(*bird);
    let all: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let of = |birds: &Birds, bird: &String| format!("{:?}", birds.get(bird));
    let words = |bird: &String| format!("{bird}: {} or {}", of(one, bird), of(other, bird));
    all.into_iter().filter(differs).map(words).collect::<Vec<_>>().join("; ")
}
