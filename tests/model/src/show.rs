//! A way through the states, for people.

use std::fmt::Write as _;

use crate::actions::{Action, letter};
use crate::search::{Broken, Model};
use crate::state::{Bird, Card, Cut, Frame, Here, Id, Life, NESTS, Phase, View, World};

impl Model {
    /// What happened, step by step, with what each nest had after each, and what must not be in the end.
    pub fn tell(&self, broken: &Broken) -> String {
        let mut text = String::new();
        let mut before: Option<World> = None;
        for (at, (action, world)) in self.replay(&broken.way).enumerate() {
            let what =
                before.as_ref().map_or_else(|| "at first".to_owned(), |before| action.told(before));
            // Writing into a text has no way to fail.
            let _ = writeln!(text, "{at:>3}. {what}");
            for id in 0..self.config.nests {
                let line = nest(&world, id, self.config.names);
                if before.as_ref().is_none_or(|before| nest(before, id, self.config.names) != line)
                {
                    let _ = writeln!(text, "       {line}");
                }
            }
            for (from, to, frame) in news(before.as_ref(), &world) {
                let _ = writeln!(text, "       {from} → {to}: {}", told(frame));
            }
            before = Some(world);
        }
        let _ = writeln!(text, "     {}: {}", broken.violation.invariant, broken.violation.what);
        text
    }
}

/// Frames that a step has sent.
fn news<'a>(before: Option<&World>, after: &'a World) -> Vec<(u8, u8, &'a Frame)> {
    let mut old: Vec<_> = before.map_or_else(Vec::new, |world| world.frames.clone());
    let mut fresh = Vec::new();
    for it in &after.frames {
        match old.iter().position(|other| other == it) {
            Some(at) => drop(old.remove(at)),
            None => fresh.push((it.0, it.1, &it.2)),
        }
    }
    fresh
}

impl Action {
    /// In words, where this state is about to change.
    fn told(self, world: &World) -> String {
        match self {
            Self::Begin => "at first".to_owned(),
            Self::Deliver { from, to } => {
                let frame = world.frames.iter().find(|(f, t, _)| (*f, *t) == (from, to));
                let frame = frame.map_or_else(String::new, |(_, _, frame)| told(frame));
                format!("nest {to} gets from {from}: {frame}")
            }
            Self::Gossip { from, to } => {
                format!("nest {to} learns all operations that {from} knows")
            }
            Self::Learn { me, other, card } => {
                format!("nest {me} hears that nest {other} is {}", state(card))
            }
            Self::Hold { me, joiner } => {
                format!("nest {me} tells {joiner} that it holds it in its view")
            }
            Self::LoseSight { me, other } => format!("nest {me} holds {other} for dead"),
            Self::SeeAgain { me, other } => format!("nest {me} sees {other} again"),
            Self::ComeUp { me } => format!("nest {me} comes up"),
            Self::Leave { me } => format!("nest {me} is gone"),
            Self::Over { me, name } => {
                format!("on nest {me} bird {} has ended", letter(name.into()))
            }
            Self::Departed { me, name } => {
                format!("on nest {me} bird {} is out of service", letter(name.into()))
            }
            Self::Reopen { one, other } => format!("the link between {one} and {other} opens anew"),
            Self::Heal => "the network is whole again".to_owned(),
            Self::Release { me, request } => {
                format!("another nest tells {me} that it holds what request {request} did")
            }
            Self::Repeat { request } => format!("request {request} is repeated"),
            Self::StopBirds { me } => format!("nest {me} has had too few others for too long"),
            Self::CeaseWaiting { me } => format!("nest {me} has waited for long enough"),
            Self::Join { me, contact } => format!("nest {me} starts, and meets {contact}"),
            Self::BeginLeave { me } => format!("nest {me} is told to leave"),
            Self::Crash { me } => format!("nest {me} crashes"),
            Self::Break { one, other } => format!("the link between {one} and {other} breaks"),
            Self::Misjudge { me, other } => format!("nest {me} holds {other} for dead, wrongly"),
            Self::EndItself { me, name } => {
                format!("on nest {me} bird {} ends of itself", letter(name.into()))
            }
            Self::Tell { me, name } => {
                format!("on nest {me} bird {} is told something", letter(name.into()))
            }
            Self::Ask { request } => format!("request {request} is made"),
            Self::RepeatEarly { request } => format!("request {request} is repeated early"),
            Self::Cut => "the network is cut".to_owned(),
        }
    }
}

const fn state(card: Card) -> &'static str {
    match card {
        Card::Unknown => "unknown",
        Card::Joining => "joining",
        Card::Up => "up",
        Card::Leaving => "leaving",
        Card::Left => "gone",
    }
}

fn view(view: View) -> String {
    let member = |id: Id| match (view.is_up(id), view.has(id)) {
        (true, _) => Some(id.to_string()),
        (_, true) => Some(format!("{id}-")),
        _ => None,
    };
    let members: Vec<String> = (0..NESTS).filter_map(member).collect();
    format!("{{{}}}", members.join(" "))
}

fn life(life: Life) -> String {
    format!("#{} f{}", life.birth, life.fence)
}

fn told(frame: &Frame) -> String {
    let named = |name: u8| letter(name.into());
    match frame {
        Frame::Seal(seal) => {
            let listed = seal
                .listing
                .iter()
                .enumerate()
                .filter_map(|(name, listed)| Some((name, (*listed)?)));
            let listed: Vec<String> =
                listed.map(|(name, it)| format!("{} {}", letter(name), life(it))).collect();
            format!(
                "Seal {} knows {:b} lists [{}]{}",
                view(seal.view),
                seal.known,
                listed.join(", "),
                if seal.wanted { " wants yours" } else { "" }
            )
        }
        Frame::Ready { view: it, .. } => format!("Ready {}", view(*it)),
        Frame::Depart { name, life: it, carried } => {
            let others = carried.others.len();
            let state = if carried.snapshot.is_some() || others > 0 {
                format!(" with a state and {others} more")
            } else {
                String::new()
            };
            format!("Depart {} {}{state}", named(*name), life(*it))
        }
        Frame::Hatched { name, life: it } => format!("Hatched {} {}", named(*name), life(*it)),
        Frame::Refused { name, life: it, view: at } => {
            format!("Refused {} {} in {}", named(*name), life(*it), view(*at))
        }
        Frame::Gone { name, life: it } => format!("Gone {} {}", named(*name), life(*it)),
        Frame::Ended(ended) => {
            let left = if ended.left.is_some() { " with a state" } else { "" };
            format!(
                "Ended {} {} after {:b}{left}",
                named(ended.name),
                life(ended.life),
                ended.after
            )
        }
        Frame::Request { request, hops, again } => format!(
            "Request {request}{}{}",
            if *again { " again" } else { "" },
            if *hops > 0 { " passed on" } else { "" }
        ),
        Frame::Response { request, outcome, .. } => format!("Response {request} {outcome:?}"),
        Frame::Claim { request } => format!("Claim {request}"),
        Frame::Claimed { request, granted } => {
            format!("Claimed {request} {}", if *granted { "granted" } else { "closed" })
        }
    }
}

/// One nest, on one line.
fn nest(world: &World, id: Id, names: usize) -> String {
    let nest = &world.nests[id];
    if nest.dead {
        return format!("{id} dead");
    }
    let mut text =
        format!("{id} {:<8}{:<12} knows {:b}", state(nest.cards[id]), view(nest.view), nest.known);
    let settled = nest.gained == 0 && nest.newcomers.is_empty();
    text.push_str(if settled { "" } else { " unsettled" });
    if nest.stopped {
        text.push_str(" stopped");
    }
    if !nest.missing.is_empty() {
        text.push_str(" waits");
    }
    for name in 0..names {
        here(&mut text, name, &nest.names[name]);
    }
    for (request, served) in nest.served.iter().enumerate() {
        if let Some(served) = served {
            let _ = write!(text, " · serves {request} {:?} {:?}", served.stage, served.claim);
        }
    }
    if world.cut == Cut::Now {
        text.push_str(" | cut");
    }
    text
}

fn here(text: &mut String, name: usize, here: &Here) {
    let name = letter(name);
    if let Some(Bird { life: it, phase, memory, .. }) = here.bird {
        let phase = match phase {
            Phase::Running => "runs",
            Phase::Ending => "ends",
            Phase::Departing => "departs",
        };
        let _ = write!(text, " · {name} {phase} {} [{memory:b}]", life(it));
    }
    if let Some(snap) = &here.snap {
        let to = snap.sent_to.map_or_else(String::new, |to| format!(" sent to {to}"));
        let _ = write!(text, " · {name} kept {}{to}", life(snap.life));
    }
    for offer in &here.offers {
        let _ = write!(text, " · {name} offered by {} {}", offer.from, life(offer.life));
    }
    for (from, listed) in here.listed.iter().enumerate() {
        if let Some(listed) = listed {
            let _ = write!(text, " · {name} listed by {from} {}", life(*listed));
        }
    }
    if !here.leftovers.is_empty() {
        let _ = write!(text, " · {name} {} states left", here.leftovers.len());
    }
}
