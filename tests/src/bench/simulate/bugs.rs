//! Mistakes planted on purpose: for each a story in which the invariant fails that was named for it
//! beforehand, and which without the mistake is told to its end.

use super::super::{Options, Progress, Report};

/// Plants what `--bug` names, and looks for the stories. A program without planted mistakes (every
/// other one) builds one with them, and hands over to it.
#[cfg(not(feature = "planted-bugs"))]
pub(super) fn run(options: &Options, progress: &Progress) -> anyhow::Result<Report> {
    use std::process::Command;

    use anyhow::Context as _;

    progress.now(format_args!("the program with mistakes is built"));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let here = std::env::current_exe().context("which program is this?")?;
    // Beside this one, and of the same profile: so what both have in common is built once.
    let other = here.with_file_name("bench-with-bugs");
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", "flock-tests", "--bin", "bench-with-bugs"]);
    build.args(["--features", "planted-bugs"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status();
    anyhow::ensure!(
        built.context("cargo can't be run")?.success(),
        "the program with mistakes could not be built"
    );
    progress.wipe();
    let status = Command::new(other).arg("simulate").args(options.words()).status();
    let status = status.context("the program with mistakes can't be run")?;
    // It has printed the report.
    std::process::exit(status.code().unwrap_or(1));
}

#[cfg(feature = "planted-bugs")]
pub(super) use hunt::run;

#[cfg(feature = "planted-bugs")]
mod hunt {
    use std::collections::BTreeMap;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Mutex, PoisonError};

    use anyhow::Context as _;
    use flock_proto::sim::{Broken, Kind};
    use flock_proto::{Bug, plant};
    use serde::Serialize;

    use super::super::super::{Misuse, thousands};
    use super::super::{Plot, for_each, lock, name_of};
    use super::{Options, Progress, Report};

    /// After so many stories a mistake counts as not noticed.
    const STORIES: u64 = 5_000;

    #[derive(Serialize)]
    struct Figures {
        bugs: Vec<Hunted>,
        caught: usize,
        of: usize,
    }

    #[derive(Serialize)]
    struct Hunted {
        name: &'static str,
        invariant: &'static str,
        caught: bool,
        seed: Option<u64>,
        #[serde(skip)]
        kind: &'static str,
        #[serde(skip)]
        stories: u64,
        /// What else it broke, and where first.
        #[serde(skip)]
        others: BTreeMap<&'static str, (u64, String)>,
    }

    pub(in super::super) fn run(options: &Options, progress: &Progress) -> anyhow::Result<Report> {
        let wanted = options.text("--bug");
        let bugs: Vec<Bug> = match Bug::named(wanted) {
            Some(bug) => vec![bug],
            None if wanted == "all" => Bug::ALL.to_vec(),
            None => {
                let names: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
                let names = names.join(", ");
                return Err(Misuse(format!("--bug {wanted}: all, or one of {names}")).into());
            }
        };
        let plot = Plot::read(options)?;
        let seconds =
            if options.is_given("--seconds") { Some(options.get("--seconds")?) } else { None };
        let first: u64 = options.get("--first")?;
        let seeds = if options.is_given("--seeds") { options.get("--seeds")? } else { STORIES };
        let last = first.checked_add(seeds).context("--first is too great")?;
        let of = bugs.len();
        let mut hunted = Vec::new();
        // One after the other, each on all cores: no core is left alone with the rarest.
        for bug in bugs {
            let kind = plot.kind.unwrap_or_else(|| fit_for(bug));
            let seconds = seconds.unwrap_or_else(|| length_of(kind));
            hunted.push(hunt(bug, &Plot { kind: Some(kind), seconds, ..plot }, first..last));
            let (done, name) = (hunted.len(), bug.name());
            progress.now(format_args!("{done} of {of} mistakes, last {name}"));
        }
        Ok(report(hunted, of))
    }

    /// The kind of stories that bring a mistake to light: most where much moves; some only where
    /// nests die, networks part, or clocks are off.
    const fn fit_for(bug: Bug) -> Kind {
        match bug {
            Bug::DroppedLoser
            | Bug::UnsealedNewcomers
            | Bug::LowFences
            | Bug::EqualFences
            | Bug::LivingLosers
            | Bug::UnansweredUsers
            | Bug::LostNests
            | Bug::UnwrittenHorizon
            | Bug::UntoldEnds
            | Bug::OutdoneRemovals
            | Bug::MergedTwice
            | Bug::LostMerges
            | Bug::ForgottenUnborn
            | Bug::OldCopies
            | Bug::ForgottenCopies
            | Bug::EarlyForget
            | Bug::CheckpointsAsEnds
            | Bug::StoppedCopies
            | Bug::ForgottenCalls
            // Only there a majority is asked for.
            | Bug::NoQuorum
            | Bug::HastyTakeOver
            | Bug::HastyReturn => Kind::Rough,
            Bug::DeniedBirths => Kind::Thawing,
            _ => Kind::Restless,
        }
    }

    /// Of many short stories one tells of a mistake sooner than of few long ones.
    const fn length_of(kind: Kind) -> u32 {
        match kind {
            Kind::Restless => 30,
            Kind::Thawing => 9,
            _ => 60,
        }
    }

    /// Looks for the first story in which the right thing breaks.
    fn hunt(bug: Bug, plot: &Plot, seeds: std::ops::Range<u64>) -> Hunted {
        let first = seeds.start;
        let found = Mutex::new((None, BTreeMap::new()));
        // Seeds are handed out in order, and all before the first good one are told to their ends: so
        // it is the same one each time, however many cores there are.
        for_each(seeds.clone(), |seed| {
            let broken = broken(bug, plot, seed);
            let caught = broken.as_ref().is_some_and(|b| b.invariant == bug.invariant());
            let (least, others) = &mut *lock(&found);
            if caught {
                *least = Some(least.map_or(seed, |least: u64| least.min(seed)));
            } else if let Some(Broken { invariant, what, .. }) = broken {
                note_least(others, invariant, seed, what);
            }
            !caught
        });
        let (caught, others) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let stories = caught.map_or(seeds.end, |seed| seed + 1) - first;
        let (name, invariant) = (bug.name(), bug.invariant());
        let kind = name_of(plot.kind_of(0));
        Hunted { name, invariant, caught: caught.is_some(), seed: caught, kind, stories, others }
    }

    fn note_least(
        others: &mut BTreeMap<&'static str, (u64, String)>,
        invariant: &'static str,
        seed: u64,
        what: String,
    ) {
        if others.get(invariant).is_none_or(|(least, _)| seed < *least) {
            others.insert(invariant, (seed, what));
        }
    }

    /// What the mistake breaks in this story, of which all holds without it. A mistake that makes
    /// the core panic isn't noticed by that.
    fn broken(bug: Bug, plot: &Plot, seed: u64) -> Option<Broken> {
        plant(Some(bug));
        let told = catch_unwind(AssertUnwindSafe(|| plot.tell(seed)));
        plant(None);
        let broken = told.ok().and_then(|told| told.broken)?;
        plot.tell(seed).broken.is_none().then_some(broken)
    }

    fn report(bugs: Vec<Hunted>, of: usize) -> Report {
        let caught = bugs.iter().filter(|bug| bug.caught).count();
        let others: Vec<String> = bugs.iter().filter(|bug| !bug.caught).flat_map(notes).collect();
        let rows: Vec<_> = bugs
            .iter()
            .map(|bug| {
                let found = match bug.seed {
                    Some(seed) => format!("{} by {} seed {seed}", bug.invariant, bug.kind),
                    None => {
                        let stories = thousands(bug.stories);
                        format!("{} held in {stories} {} stories", bug.invariant, bug.kind)
                    }
                };
                (bug.name, found, bug.invariant, bug.caught)
            })
            .collect();
        let mut report = Report::new(&Figures { bugs, caught, of });
        for (name, found, invariant, caught) in rows {
            report.promise(name, found, format!("{invariant} fails"), caught);
        }
        report.promise("caught", caught.to_string(), of.to_string(), caught == of);
        others.into_iter().for_each(|note| report.note(note));
        report
    }

    fn notes(bug: &Hunted) -> impl Iterator<Item = String> + '_ {
        bug.others.iter().map(|(invariant, (seed, what))| {
            format!("{} broke {invariant} instead, first in seed {seed}: {what}", bug.name)
        })
    }
}
