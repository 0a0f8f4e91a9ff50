//! Whose code this project takes, and on what terms: the licences that `deny.toml` allows, and crates.io
//! alone. Of what this platform takes: `cargo deny check` says more, and of all platforms; this needs no other tool.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What `deny.toml` allows.
#[derive(Debug, Default)]
struct Rules {
    allow: BTreeSet<String>,
    exceptions: BTreeMap<String, BTreeSet<String>>,
}

impl Rules {
    /// Reads the lists of licences, which stand there a line each.
    fn read(text: &str) -> Self {
        let mut rules = Self::default();
        let quoted = |text: &str| text.split('"').skip(1).step_by(2).map(str::to_owned).collect();
        for line in text.lines().map(str::trim) {
            if let Some(list) = line.strip_prefix("allow = [") {
                rules.allow = quoted(list);
            }
            let exception =
                line.strip_prefix("{ allow = [").and_then(|it| it.split_once("], crate = "));
            if let Some((list, of)) = exception {
                let of: BTreeSet<String> = quoted(of);
                rules.exceptions.extend(of.into_iter().map(|of| (of, quoted(list))));
            }
        }
        rules
    }

    /// Why this package may not be used.
    fn complaint(&self, package: &Value, members: &BTreeSet<&str>) -> Option<String> {
        let [name, id] = ["name", "id"].map(|key| package[key].as_str().unwrap_or_default());
        match package["source"].as_str() {
            Some(CRATES_IO) => {}
            Some(source) => return Some(format!("{name} comes from {source}")),
            None if members.contains(id) => {}
            None => return Some(format!("{name} comes from a folder outside of the workspace")),
        }
        let Some(licence) = package["license"].as_str() else {
            // Examples and tests are not published.
            let private = package["publish"].as_array().is_some_and(Vec::is_empty);
            return (!private).then(|| format!("{name} names no licence"));
        };
        let more = self.exceptions.get(name);
        let allowed =
            |one: &str| self.allow.contains(one) || more.is_some_and(|it| it.contains(one));
        (!grants(licence, &allowed)).then(|| format!("{name} is licensed as {licence}"))
    }
}

/// Whether an SPDX expression can be met with what is allowed.
fn grants(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    // An old way to say "or".
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    let granted = any_of(&mut rest, allowed);
    granted == Some(true) && rest.is_empty()
}

/// `None`: it is no expression.
fn any_of(rest: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut granted = all_of(rest, allowed)?;
    while let [word, behind @ ..] = *rest
        && *word == "OR"
    {
        *rest = behind;
        granted |= all_of(rest, allowed)?;
    }
    Some(granted)
}

fn all_of(rest: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut granted = one(rest, allowed)?;
    while let [word, behind @ ..] = *rest
        && *word == "AND"
    {
        *rest = behind;
        granted &= one(rest, allowed)?;
    }
    Some(granted)
}

fn one(rest: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let (first, behind) = rest.split_first()?;
    *rest = behind;
    if *first == "(" {
        let granted = any_of(rest, allowed)?;
        let (last, behind) = rest.split_first()?;
        *rest = behind;
        return (*last == ")").then_some(granted);
    }
    // An exception grants more than the licence alone does.
    if let [word, _, behind @ ..] = *rest
        && *word == "WITH"
    {
        *rest = behind;
    }
    Some(allowed(first))
}

fn complaints(rules: &Rules, metadata: &Value) -> Vec<String> {
    let list = |key: &str| metadata[key].as_array().cloned().unwrap_or_default();
    let members = list("workspace_members");
    let members = members.iter().filter_map(Value::as_str).collect();
    list("packages").iter().filter_map(|package| rules.complaint(package, &members)).collect()
}

#[test]
fn every_dependency_comes_from_crates_io_under_a_licence_that_is_allowed() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    // What other platforms would take has not been fetched, and this shall need no network.
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let about = Command::new(rustc).arg("-vV").output().expect("rustc runs");
    let about = String::from_utf8(about.stdout).expect("text");
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).expect("its host");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version=1", "--all-features", "--locked", "--offline"]);
    cargo.args(["--filter-platform", host]);
    let output = cargo.current_dir(root).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().map_or(0, Vec::len);
    assert!(packages > 100, "only {packages} packages");
    let rules = Rules::read(include_str!("../../deny.toml"));
    let complaints = complaints(&rules, &metadata);
    assert!(complaints.is_empty(), "see deny.toml:\n{}", complaints.join("\n"));
    // What nobody needs any more goes.
    let all = metadata["packages"].as_array().into_iter().flatten();
    let names: BTreeSet<_> = all.filter_map(|package| package["name"].as_str()).collect();
    let idle: Vec<_> =
        rules.exceptions.keys().filter(|name| !names.contains(name.as_str())).collect();
    assert!(idle.is_empty(), "deny.toml has exceptions for {idle:?}, which aren't used");
}

#[test]
fn what_is_not_allowed_is_complained_of() {
    let rules = Rules::read(
        "allow = [\"MIT\", \"ISC\"]\n    { allow = [\"MPL-2.0\"], crate = \"foca\" },\n",
    );
    let about = |name: &str, licence: Value, source: Value| {
        let package =
            serde_json::json!({ "name": name, "id": name, "license": licence, "source": source });
        let metadata = serde_json::json!({ "packages": [package], "workspace_members": ["own"] });
        complaints(&rules, &metadata)
    };
    let from = |source: &str| Value::from(source);
    for (licence, fine) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("MIT AND ISC", true),
        ("(MIT OR GPL-3.0) AND ISC", true),
        ("MIT OR GPL-3.0 AND ISC", true),
        ("GPL-3.0 OR MIT AND Zlib", false),
        ("MIT WITH LLVM-exception", true),
        ("MIT OR", false),
        ("(MIT", false),
        ("", false),
        ("MPL-2.0", false),
    ] {
        let complaints = about("other", licence.into(), from(CRATES_IO));
        assert_eq!(complaints.is_empty(), fine, "{licence}: {complaints:?}");
    }
    assert_eq!(about("foca", "MPL-2.0".into(), from(CRATES_IO)), [""; 0]);
    assert_eq!(about("other", Value::Null, from(CRATES_IO)).len(), 1);
    assert_eq!(about("other", "MIT".into(), from("git+https://example.org/other")).len(), 1);
    assert_eq!(about("other", "MIT".into(), from("registry+https://example.org")).len(), 1);
    assert_eq!(about("other", "MIT".into(), Value::Null).len(), 1);
    assert_eq!(about("own", "MIT".into(), Value::Null).len(), 0);
}
