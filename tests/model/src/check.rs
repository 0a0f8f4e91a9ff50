//! What must hold: in every state, of every answer, and wherever the flock is at rest.

use crate::actions::letter;
use crate::config::{Policy, Wish};
use crate::register::Deed;
use crate::state::{Card, Cut, Id, Name, Outcome};
use crate::step::Step;

impl Step<'_> {
    /// In every state.
    pub(crate) fn check(&mut self) {
        self.note_ready();
        for name in 0..self.config.names {
            self.check_lives(name);
        }
    }

    /// One life: never two at once where no nest has reason to hold another for dead; and else never two on
    /// nests that see each other, as long as none has been out of another's sight.
    fn check_lives(&mut self, name: Name) {
        let lives: Vec<Id> =
            self.running().filter(|&id| self.here(id, name).bird.is_some()).collect();
        for (at, &one) in lives.iter().enumerate() {
            for &other in &lives[..at] {
                let apart = self.config.side(one) != self.config.side(other)
                    || self.world.cut == Cut::Healed;
                let strict = match self.config.policy {
                    Policy::Majority if self.config.budget.misjudged == 0 => {
                        !self.may_live_on_frozen(name)
                    }
                    _ if self.config.is_smooth() => !self.world.apart,
                    _ => {
                        let see = |one: Id, other: Id| self.nest(one).view.has(other);
                        let never_apart =
                            !apart && !self.world.apart && self.config.budget.misjudged == 0;
                        see(one, other) && see(other, one) && never_apart
                    }
                };
                if strict {
                    self.fail(
                        "one life",
                        format!("bird {} lives on nests {other} and {one}", letter(name)),
                    );
                }
            }
        }
    }

    /// Who has been settled since those who would depart to them entered their views.
    fn note_ready(&mut self) {
        for me in 0..self.config.nests {
            for name in 0..self.config.names {
                let nest = self.nest(me);
                if nest.names[name].bird.is_none() {
                    continue;
                }
                let Some(owner) = nest.view.owner(name).filter(|&owner| owner != me) else {
                    continue;
                };
                let them = self.nest(owner);
                if them.view == nest.view && them.gained == 0 && them.newcomers.is_empty() {
                    self.world.were_ready[me].insert(owner);
                }
            }
        }
    }

    /// A bird goes out of service: only for an owner that was ready for it.
    pub(crate) fn check_departing(&mut self, me: Id, owner: Id, name: Name) {
        if !self.world.were_ready[me].has(owner) {
            let what =
                format!("bird {} goes out of service, and nest {owner} isn't ready", letter(name));
            self.fail("serves on", what);
        }
    }

    /// A life is told to end as its bird has no record: not because another life of it had enough.
    pub(crate) fn check_end(&mut self, me: Id, name: Name, birth: u8) {
        let known = self.nest(me).known;
        let ops = self
            .world
            .register
            .each(known)
            .filter(|(_, op)| !op.writes() && usize::from(op.name) == name);
        let only_ends = ops.into_iter().all(|(_, op)| op.deed == Deed::End);
        if only_ends && self.winner_birth(me, name).is_none() {
            let what = format!(
                "bird {} (#{birth}) on nest {me} is ended as it ended elsewhere",
                letter(name)
            );
            self.fail("the busy one lives", what);
        }
    }

    /// A name is held for free: nobody may have listed a bird of it that lives.
    pub(crate) fn check_denial(&mut self, me: Id, name: Name) {
        if self.is_whole() && self.is_sure(name) {
            self.fail(
                "requests",
                format!("nest {me} denies bird {}, and there is one", letter(name)),
            );
        }
        let listed = self.here(me, name).listed;
        let denied = listed.iter().flatten().find(|life| !self.world.register.is_over(life.birth));
        if let Some(life) = denied {
            let what = format!(
                "nest {me} denies bird {} (#{}), which is listed there",
                letter(name),
                life.birth
            );
            self.fail("requests", what);
        }
    }

    /// A bird hatches. Where all see each other it isn't over; and if nobody handed it over, nobody has it.
    pub(crate) fn check_hatch(&mut self, me: Id, name: Name, birth: u8, moves: bool) {
        if !self.config.is_smooth() {
            return;
        }
        if self.world.register.is_over(birth) {
            self.fail(
                "no resurrection",
                format!("bird {} (#{birth}) hatches on nest {me}, and is over", letter(name)),
            );
        }
        if moves {
            return;
        }
        let holds = |id: &Id| {
            let here = self.here(*id, name);
            let bird = here.bird.is_some_and(|bird| bird.life.birth == birth);
            *id != me && (bird || here.snap.as_ref().is_some_and(|snap| snap.life.birth == birth))
        };
        let holder = self.running().find(holds);
        if let Some(holder) = holder {
            let what = format!(
                "bird {} hatches afresh on nest {me}, and nest {holder} has it",
                letter(name)
            );
            self.fail("goes on", what);
        }
    }

    /// A request is decided: once, and not after its answer.
    pub(crate) fn check_decision(&mut self, me: Id, request: usize) {
        if !self.is_enough(me) {
            self.fail(
                "majority",
                format!("request {request} is decided on nest {me}, which sees too few others"),
            );
        }
        if self.world.asks[request].answer.is_some() {
            self.fail("requests", format!("request {request} is decided after its answer"));
        }
    }

    /// A start is refused as there is a bird: not that of the same request.
    pub(crate) fn check_refusal(&mut self, request: usize, born: Option<u8>) {
        if born == Some(request as u8) {
            self.fail(
                "requests",
                format!("request {request}: the bird exists, by that very request"),
            );
        }
    }

    /// A start is carried out: no other time, as far as anybody here can know.
    pub(crate) fn check_start(&mut self, request: usize) {
        let parted = self.world.apart
            || self.config.budget.crashes > 0
            || self.config.side != 0
            || self.config.budget.misjudged > 0;
        let known = self.running().fold(0, |known, id| known | self.nest(id).known);
        // Of what somebody stopped since, before the answer, there may be another.
        let again = self.world.register.each(known).any(|(birth, op)| {
            let same = op.deed == Deed::Start && op.request == Some(request as u8);
            same && !self.world.register.is_over(birth)
        });
        if again && !parted {
            self.fail("requests", format!("request {request} is carried out twice"));
        }
    }

    /// A user is answered.
    pub(crate) fn check_answer(&mut self, request: usize, outcome: Outcome, op: Option<u8>) {
        let whole = self.is_whole();
        let name = self.config.requests[request].name;
        match (outcome, op) {
            (Outcome::Stopped, Some(op)) if whole => {
                let covers = self.world.register.op(op).covers;
                let stopped = |id: &Id| {
                    let bird = self.here(*id, name).bird;
                    bird.is_some_and(|bird| {
                        self.world.register.each(covers).any(|(_, op)| op.birth == bird.life.birth)
                    })
                };
                let runs = self.running().find(stopped);
                if let Some(id) = runs {
                    self.fail(
                        "requests",
                        format!(
                            "request {request} is answered, and nest {id} runs what it stopped"
                        ),
                    );
                }
            }
            _ => {}
        }
    }

    /// Whether no nest was ever out of another's sight that lived.
    const fn is_whole(&self) -> bool {
        self.config.side == 0 && self.config.budget.misjudged == 0 && !self.world.apart
    }

    /// Whether there is a bird of this name that was there at first or whose start was answered, that nobody
    /// stopped, and that somebody here knows.
    fn is_sure(&self, name: Name) -> bool {
        let known = self.running().fold(0, |known, id| known | self.nest(id).known);
        let births = self.world.register.each(known).filter(|(_, op)| op.deed == Deed::Start);
        births.filter(|(_, op)| usize::from(op.name) == name).any(|(birth, op)| {
            let answered = op.request.is_none_or(|request| {
                self.world.asks[usize::from(request)]
                    .answer
                    .is_some_and(|(outcome, _)| outcome == Outcome::Started)
            });
            answered && !self.world.register.is_over(birth)
        })
    }

    /// Where nothing is due any more.
    pub(crate) fn check_rest(&mut self) {
        let running: Vec<Id> = self.running().collect();
        let Some(&first) = running.first() else { return };
        for &id in &running {
            match self.nest(id).card(id) {
                Card::Up => {}
                Card::Joining => {
                    return self.fail("no deadlock", format!("nest {id} never comes up"));
                }
                _ => return self.fail("no deadlock", format!("nest {id} never gets away")),
            }
            if self.nest(id).view != self.nest(first).view
                || self.nest(id).known != self.nest(first).known
            {
                return self.fail("no deadlock", format!("nests {first} and {id} never agree"));
            }
            let nest = self.nest(id);
            if nest.gained & owned(self, id) != 0 || !nest.newcomers.is_empty() {
                return self.fail("no deadlock", format!("nest {id} is never settled"));
            }
        }
        for name in 0..self.config.names {
            self.check_place(&running, name);
        }
        for request in 0..self.config.requests.len() {
            self.check_promise(first, request);
        }
        self.check_memories(first);
    }

    /// Every bird with a record runs once, on its owner, as that bird; nothing of it is under way.
    fn check_place(&mut self, running: &[Id], name: Name) {
        let Some(owner) = self.owner(running[0], name) else { return };
        let winner = self.winner_birth(owner, name);
        let called = letter(name);
        for &id in running {
            let here = self.here(id, name);
            if here.snap.is_some() || !here.offers.is_empty() {
                return self.fail(
                    "no deadlock",
                    format!("nest {id} keeps bird {called}, and hands it to nobody"),
                );
            }
            if let Some(bird) = here.bird
                && (id != owner || Some(bird.life.birth) != winner)
            {
                return self.fail(
                    "at its owner",
                    format!("bird {called} lives on nest {id}, and shouldn't"),
                );
            }
        }
        if winner.is_some() && self.here(owner, name).bird.is_none() {
            self.fail(
                "at its owner",
                format!("bird {called} is on record, and doesn't live on nest {owner}"),
            );
        }
    }

    /// What was answered is so.
    fn check_promise(&mut self, first: Id, request: usize) {
        let ask = self.world.asks[request];
        let it = self.config.requests[request];
        if ask.asked && ask.answer.is_none() && self.world.is_running(it.at) {
            return self.fail("no deadlock", format!("request {request} is never answered"));
        }
        let Some((outcome, Some(op))) = ask.answer else { return };
        let known = self.nest(first).known;
        if known >> op & 1 == 0 {
            // Two nests held it. One of them was alone in its view, or both are dead.
            if self.config.budget.crashes < 2 {
                self.fail(
                    "promises",
                    format!("request {request} was answered, and nobody knows of it"),
                );
            }
            return;
        }
        match (it.wish, outcome) {
            (Wish::Start, Outcome::Started) => {
                let birth = self.world.register.op(op).birth;
                let over = self.world.register.is_over(birth);
                // Where the name was started on both sides of a cut, one of the two gives way.
                let lost = self.config.side != 0 && self.winner_birth(first, it.name).is_some();
                if !over && !lost && !self.is_alive(first, it.name, birth) {
                    self.fail(
                        "promises",
                        format!("request {request} was answered, and its bird is gone"),
                    );
                }
            }
            (Wish::Stop, Outcome::Stopped) => {
                let covers = self.world.register.op(op).covers;
                let stopped = self.world.register.each(covers);
                let is_back = stopped
                    .map(|(_, op)| op.birth)
                    .any(|birth| self.is_alive(first, it.name, birth));
                if is_back {
                    self.fail(
                        "promises",
                        format!("request {request} was answered, and its bird is back"),
                    );
                }
            }
            _ => {}
        }
    }

    /// What birds were told they know, but for what the rules give up.
    fn check_memories(&mut self, first: Id) {
        if !self.config.migrates {
            return;
        }
        let told = self.config.budget.told - self.world.budget.told;
        let lives: u8 =
            self.running().map(|id| self.lives_memory(id)).fold(0, |all, memory| all | memory);
        for thing in 0..told {
            let birth = self.world.told[usize::from(thing)];
            let name = usize::from(self.world.register.op(birth).name);
            let over =
                self.world.register.is_over(birth) || self.winner_birth(first, name).is_none();
            let excused = self.world.excused >> thing & 1 == 1;
            if !over && !excused && lives >> thing & 1 == 0 {
                self.fail(
                    "states",
                    format!("bird {} has forgotten what it was told", letter(name)),
                );
            }
        }
    }

    fn lives_memory(&self, id: Id) -> u8 {
        self.nest(id)
            .names
            .iter()
            .filter_map(|here| here.bird)
            .fold(0, |all, bird| all | bird.memory)
    }
}

fn owned(step: &Step<'_>, me: Id) -> u8 {
    (0..step.config.names)
        .filter(|&name| step.owns(me, name))
        .fold(0, |names, name| names | 1 << name)
}
