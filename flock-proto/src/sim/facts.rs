//! What users were told, and so may rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{Answer, BirdName, ReqId, Time};

/// So long the end of a bird may be under way to the others, over links that are slow or broken.
const UNDER_WAY: Duration = Duration::from_secs(4);

/// A request without an answer yet.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) host: usize,
    pub(super) name: BirdName,
}

/// What an answer was given to, and what was certain when it was asked.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) asked: Asked,
    /// Whether the bird lived, if that was certain and nobody else asked for anything meanwhile.
    pub(super) before: Option<bool>,
    /// Nobody else asked for anything about this name meanwhile.
    pub(super) alone: bool,
}

/// What is known of one name.
#[derive(Debug, Default)]
struct About {
    open: BTreeSet<ReqId>,
    /// Two requests overlapped: which comes last is for the flock to decide.
    contested: bool,
    /// A request ended without an answer: it may yet take effect.
    loose: bool,
    /// Whether the bird lives, by the last answer.
    certain: Option<bool>,
    /// What was certain before the open request.
    before: Option<bool>,
    /// Who asked about it while the network was cut.
    askers: BTreeSet<usize>,
    /// It was started on one side of a cut; another side may have another bird of this name.
    fresh: bool,
    /// When it ended of itself: nobody else need have heard of that at once.
    ended: Option<Time>,
    /// Until when its end may be under way to whoever owns its name.
    unheard: Option<Time>,
    /// How often something was asked for, or happened: an answer from before speaks of another bird.
    changes: u64,
}

impl About {
    fn doubt(&mut self) {
        self.changes += 1;
        self.certain = None;
        self.before = None;
        self.contested |= !self.open.is_empty();
    }
}

/// Requests, and what their answers say of each name.
#[derive(Debug, Default)]
pub(super) struct Facts {
    asked: BTreeMap<ReqId, Asked>,
    names: BTreeMap<BirdName, About>,
    torn: bool,
}

impl Facts {
    pub(super) fn on_ask(&mut self, req: ReqId, host: usize, name: &BirdName, now: Time) {
        self.asked.insert(req, Asked { host, name: name.clone() });
        let about = self.names.entry(name.clone()).or_default();
        about.changes += 1;
        if about.open.is_empty() {
            about.before = about.certain.take();
            if about.unheard.is_some_and(|until| now < until) {
                about.before = None;
            } else {
                about.unheard = None;
            }
            about.contested = false;
        } else {
            about.doubt();
            about.contested = true;
        }
        if self.torn {
            about.askers.insert(host);
            if about.askers.len() > 1 {
                about.doubt();
                about.loose = true;
            }
        }
        about.open.insert(req);
    }

    /// A request was answered. `heard`: whether the nest that asked has heard of every bird that had
    /// this name.
    pub(super) fn on_answer(
        &mut self,
        req: ReqId,
        answer: &Answer,
        heard: impl Fn(&BirdName) -> bool,
    ) -> Option<Verdict> {
        let asked = self.asked.remove(&req)?;
        let about = self.names.get_mut(&asked.name)?;
        about.open.remove(&req);
        let alone = !about.contested && !about.loose;
        // On another side of a cut nobody knows what was certain before it.
        let before = about.before.take().filter(|_| alone && !self.torn);
        match answer {
            // By its owner, who may not have heard that it ended.
            Answer::AlreadyExists { .. } | Answer::NotGrounded if about.unheard.is_some() => {
                about.certain = None;
            }
            Answer::Started { .. } | Answer::AlreadyExists { .. } if alone => {
                about.fresh |= self.torn;
                about.certain = Some(true);
            }
            // One side of a cut may not have heard of the bird that the other side has.
            Answer::NoSuchBird | Answer::HatchFailed { .. } if self.torn => about.certain = None,
            Answer::Stopped if about.fresh => about.certain = None,
            // The nest that was asked first died, and the next one found nothing to stop: on this side
            // of a cut. It can't stop what it never heard of.
            Answer::Stopped if self.torn && !heard(&asked.name) => about.certain = None,
            Answer::Stopped | Answer::NoSuchBird | Answer::HatchFailed { .. } if alone => {
                about.certain = Some(false);
            }
            Answer::Revived | Answer::NotGrounded if alone => about.certain = Some(true),
            // It may have been begun by an owner that saw enough nests.
            Answer::TimedOut | Answer::NoQuorum => {
                about.doubt();
                about.loose = true;
            }
            _ => about.certain = None,
        }
        if about.open.is_empty() {
            about.contested = false;
        }
        Some(Verdict { asked, before, alone })
    }

    /// Somebody takes a start of his back. Whether the bird that lives now is the one that it made, the
    /// answer doesn't say.
    pub(super) fn on_undo(&mut self, name: &BirdName) {
        let about = self.names.entry(name.clone()).or_default();
        about.doubt();
        about.loose = true;
    }

    /// A bird ended of itself. In rough times another life of it may go on elsewhere. `at_home`: all
    /// hold the nest on which it ran for the owner of its name. Then nobody else decides about it
    /// without that nest's word; else the owner may say for a while that it lives.
    pub(super) fn on_own_end(&mut self, name: &BirdName, at_home: bool, rough: bool, now: Time) {
        let about = self.names.entry(name.clone()).or_default();
        about.ended = Some(now);
        about.unheard = (!at_home).then_some(now + UNDER_WAY);
        let open = !about.open.is_empty();
        about.doubt();
        about.loose |= rough;
        if !open && !about.loose {
            about.certain = Some(false);
        }
    }

    /// A grounded bird has its record still; who revives or stops it elsewhere meanwhile wins.
    pub(super) fn on_grounded(&mut self, name: &BirdName) {
        if self.torn {
            self.names.entry(name.clone()).or_default().doubt();
        }
    }

    /// The network is no longer whole: what two nests ask of one name may contradict each other.
    pub(super) fn on_torn(&mut self, now: Time) {
        self.torn = true;
        for about in self.names.values_mut() {
            // Under way while it was torn: on either side.
            if !about.open.is_empty() || about.ended.is_some_and(|at| now < at + UNDER_WAY) {
                about.doubt();
                about.loose = true;
            }
        }
    }

    /// A nest was forgotten by others, and lives: it was cut off for longer than the dead are
    /// remembered. A bird that was stopped on one side meanwhile may live on, by a record that the
    /// other side wrote anew and that the stop has not seen.
    pub(super) fn on_renewed(&mut self) {
        for about in self.names.values_mut() {
            about.certain = about.certain.filter(|&lives| lives);
            about.before = about.before.filter(|&lived| lived);
            about.fresh = true;
        }
    }

    /// A nest is gone, with what it alone knew. `known`: whether some other nest knows of the name
    /// what users were told.
    pub(super) fn on_gone(&mut self, host: usize, known: impl Fn(&BirdName, bool) -> bool) {
        let lost: Vec<ReqId> = self
            .asked
            .iter()
            .filter(|(_, asked)| asked.host == host)
            .map(|(req, _)| *req)
            .collect();
        for req in lost {
            if let Some(asked) = self.asked.remove(&req)
                && let Some(about) = self.names.get_mut(&asked.name)
            {
                about.open.remove(&req);
                about.doubt();
                about.loose = true;
            }
        }
        for (name, about) in &mut self.names {
            // Of a bird that is fresh, others may know another one of the same name.
            let fresh = about.fresh;
            let lost = |alive: bool| fresh || !known(name, alive);
            if about.certain.is_some_and(lost) {
                about.certain = None;
            }
            if about.before.is_some_and(lost) {
                about.before = None;
            }
        }
    }

    /// How many requests have no answer yet.
    pub(super) fn open(&self) -> usize {
        self.asked.len()
    }

    /// Which life of a bird it is, counted, if it lives for certain: as long as the answer is the same,
    /// nothing happened to it.
    pub(super) fn certain_life(&self, name: &BirdName) -> Option<u64> {
        let about = self.names.get(name)?;
        about.certain.filter(|&lives| lives).map(|_| about.changes)
    }

    /// All that is certain.
    pub(super) fn all_certain(&self) -> impl Iterator<Item = (&BirdName, bool)> {
        self.names.iter().filter_map(|(name, about)| Some((name, about.certain?)))
    }

    /// All is at rest: `alive` says what is so, and is certain from now on.
    pub(super) fn calm(&mut self, alive: impl Fn(&BirdName) -> bool) {
        self.torn = false;
        for (name, about) in &mut self.names {
            let changes = about.changes;
            *about = About { certain: Some(alive(name)), changes, ..About::default() };
        }
    }
}
