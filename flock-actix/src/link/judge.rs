//! Who may come in.

use std::sync::Arc;

use super::frame::WIRE;
use super::hello::{Hello, LinkKind, Reason, Refuse};
use super::links::Links;
use super::lock;
use super::pipe::Pipe;

impl Links {
    /// Whether whoever says this hello may come in.
    pub(super) fn judge(&self, hello: &Hello) -> Result<(), Refuse> {
        let me = lock(&self.me).clone();
        if hello.flock != me.flock {
            return Err(Refuse::new(Reason::OtherFlock, format!("this is flock {}", me.flock)));
        }
        if !(hello.min..=hello.max).contains(&WIRE) {
            let why = format!("this nest speaks version {WIRE} of the wire");
            return Err(Refuse::new(Reason::Version, why));
        }
        if hello.id == me.id && hello.nest == me.nest {
            return Err(Refuse::new(Reason::Myself, "this is the nest that dialled"));
        }
        if hello.id == me.id {
            let why = "this nest drew the same number";
            return Err(Refuse { code: Reason::Outdated, why: why.into(), above: me.id });
        }
        if let Some(ahead_ms) = self.skew(hello) {
            let why = format!("its clock is {ahead_ms} ms ahead of this nest's");
            return Err(Refuse::new(Reason::Clock, why));
        }
        let taken = || Refuse::new(Reason::NameTaken, format!("a nest {} lives", hello.nest));
        if hello.nest == me.nest {
            return Err(taken());
        }
        let open = lock(&self.open);
        if open.count() >= self.plan.most_links {
            return Err(Refuse::new(Reason::Crowded, "this nest has too many links"));
        }
        let lives = |link: &Arc<Pipe>| {
            link.peer.name == hello.nest
                && link.peer.id != hello.id
                && link.is_fresh(self.plan.fresh)
        };
        if open.control.values().any(lives) {
            return Err(taken());
        }
        let other = |link: &&Arc<Pipe>| link.peer.name != hello.nest;
        if hello.link == LinkKind::Control && open.control.get(&hello.id).filter(other).is_some() {
            let why = "another nest drew the same number";
            return Err(Refuse { code: Reason::Outdated, why: why.into(), above: hello.id });
        }
        if let Some(&above) = open.known.get(&hello.nest).filter(|&&known| known > hello.id) {
            let why = "a later incarnation is known";
            return Err(Refuse { code: Reason::Outdated, why: why.into(), above });
        }
        let both_dial = open.dialling.contains(&hello.address);
        if hello.link == LinkKind::Control && both_dial && me.id < hello.id {
            return Err(Refuse::new(Reason::Busy, "this nest dialled at the same time"));
        }
        Ok(())
    }

    /// By how many milliseconds a peer's clock is ahead (or, below zero, behind), if that is too
    /// much.
    pub(super) fn skew(&self, hello: &Hello) -> Option<i64> {
        let (theirs, mine) = (hello.clock.time(), self.plan.wall.now());
        let apart = theirs.since(mine).max(mine.since(theirs));
        let millis = i64::try_from(apart.as_millis()).unwrap_or(i64::MAX);
        (apart > self.plan.max_skew).then_some(if theirs > mine { millis } else { -millis })
    }
}
