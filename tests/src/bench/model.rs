//! The model of ownership: all states of small flocks, and random ways of larger ones.

use std::time::Instant;

use flock_model::{Broken, Config, Model, Rule, large, scene, small, vast};
use serde::Serialize;

use super::{Bench, Misuse, Options, Progress, Report, thousands};

pub(super) const BENCH: Bench = Bench {
    name: "model",
    what: "all states of a model of ownership, and random ways of four nests; by all rules, or without one",
    options: &[
        ("--scene", "all"),
        ("--states", "3000000"),
        ("--steps", "2000000"),
        ("--seed", "1"),
        ("--without", "none"),
    ],
    run,
};

#[derive(Serialize)]
struct Figures {
    states: u64,
    steps: u64,
    violations: u64,
    scenes: Vec<Scene>,
}

/// What one configuration came to.
#[derive(Serialize)]
struct Scene {
    scene: &'static str,
    states: usize,
    depth: usize,
    complete: bool,
    steps: u64,
    seconds: f64,
    violation: Option<String>,
}

fn run(options: &Options, progress: &Progress) -> anyhow::Result<Report> {
    if options.is_given("--without") {
        return without(options.text("--without"));
    }
    let (most, steps, seed) =
        (options.get("--states")?, options.get("--steps")?, options.get("--seed")?);
    let name = options.text("--scene");
    let vast: Vec<&str> = vast().iter().map(|config| config.called).collect();
    let mut scenes = Vec::new();
    for config in chosen(name)? {
        progress.now(format_args!("{}", config.called));
        let model = Model::new(config);
        let (scene, broken) = if vast.contains(&model.config.called) {
            walk(&model, seed, steps)
        } else {
            explore(&model, most)
        };
        if let Some(broken) = broken {
            progress.note(format_args!("{}", model.tell(&broken)));
        }
        scenes.push(scene);
    }
    Ok(report(scenes))
}

fn chosen(name: &str) -> Result<Vec<Config>, Misuse> {
    if name == "all" {
        return Ok(small().into_iter().chain(large()).chain(vast()).collect());
    }
    scene(name)
        .map(|config| vec![config])
        .ok_or_else(|| Misuse(format!("--scene {name}: there is none")))
}

fn explore(model: &Model, most: usize) -> (Scene, Option<Broken>) {
    let begun = Instant::now();
    let found = model.explore(most);
    let scene = Scene {
        scene: model.config.called,
        states: found.states,
        depth: found.depth,
        complete: found.complete,
        steps: 0,
        seconds: begun.elapsed().as_secs_f64(),
        violation: found.broken.as_ref().map(in_words),
    };
    (scene, found.broken)
}

fn walk(model: &Model, seed: u64, steps: u64) -> (Scene, Option<Broken>) {
    let begun = Instant::now();
    let walked = model.walk(seed, steps);
    let scene = Scene {
        scene: model.config.called,
        states: 0,
        depth: 0,
        complete: false,
        steps: walked.steps,
        seconds: begun.elapsed().as_secs_f64(),
        violation: walked.broken.as_ref().map(in_words),
    };
    (scene, walked.broken)
}

fn in_words(broken: &Broken) -> String {
    format!("{}: {}", broken.violation.invariant, broken.violation.what)
}

fn report(scenes: Vec<Scene>) -> Report {
    let violations = scenes.iter().filter(|scene| scene.violation.is_some()).count() as u64;
    let states = scenes.iter().map(|scene| scene.states as u64).sum();
    let steps = scenes.iter().map(|scene| scene.steps).sum();
    let rows: Vec<(&str, String)> = scenes.iter().map(|scene| (scene.scene, row(scene))).collect();
    let rows: Vec<(String, String)> =
        rows.into_iter().map(|(name, row)| (name.to_owned(), row)).collect();
    let mut report = Report::new(&Figures { states, steps, violations, scenes });
    for (name, row) in rows {
        report.row(name, row);
    }
    report.row("states", thousands(states));
    report.row("random steps", thousands(steps));
    report.promise("violations", thousands(violations), "0", violations == 0);
    report
}

fn row(scene: &Scene) -> String {
    let Scene { states, depth, complete, steps, seconds, .. } = scene;
    if *steps > 0 {
        return format!("{} steps, {seconds:.1} s", thousands(*steps));
    }
    let all = if *complete { "" } else { ", not all" };
    format!("{} states{all}, {depth} deep, {seconds:.1} s", thousands(*states as u64))
}

/// Leaves a rule out, and tells the way to what must not be.
fn without(name: &str) -> anyhow::Result<Report> {
    let rule = Rule::named(name).ok_or_else(|| {
        let names: Vec<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        Misuse(format!("--without {name}: there is no such rule, but {}", names.join(", ")))
    })?;
    let Some((model, broken)) = rule.left_out() else {
        return Err(
            Misuse(format!("--without {name}: nothing was found that it is needed for")).into()
        );
    };
    let mut report = Report::new(&serde_json::json!({
        "rule": rule.name(),
        "scene": model.config.called,
        "steps": broken.as_ref().map(|broken| broken.way.len()),
    }));
    report.row("left out", rule.name());
    report.row("in", model.config.called);
    report.promise("violations", thousands(u64::from(broken.is_some())), "> 0", broken.is_some());
    if let Some(broken) = broken {
        report.note(model.tell(&broken));
    }
    Ok(report)
}
