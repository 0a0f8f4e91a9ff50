//! The four acts, and the stage on which they play.
//!
//! - `start`: three nests, and a ticker for each user.
//! - `kill`: one nest ends without a goodbye.
//! - `join`: it comes back.
//! - `partition`: the flock is cut in two, and healed.

pub mod join;
pub mod kill;
pub mod partition;
pub mod start;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::try_join_all;

use crate::calls::{Deed, Outcome};
use crate::child::Nest;
use crate::progress::Progress;
use crate::serve::Orders;
use crate::ticker;

/// How long the flock may take to come to rest: far more than it needs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What the acts work with.
#[derive(Debug)]
pub struct Stage {
    /// The nests that run.
    pub nests: Vec<Nest>,
    /// The birds.
    pub names: Vec<String>,
    /// The last position that each bird acknowledged.
    pub positions: BTreeMap<String, u64>,
    /// Where each bird lived when the last act ended.
    pub homes: BTreeMap<String, String>,
    /// What went wrong and shows in no figure.
    pub complaints: Vec<String>,
    /// What the onlooker sees.
    pub show: Progress,
    // Last, so that it is removed when the nests are gone.
    folder: Folder,
}

impl Stage {
    /// An empty stage with a folder of its own.
    pub fn new(birds: usize, show: Progress) -> anyhow::Result<Self> {
        Ok(Self {
            nests: Vec::new(),
            names: ticker::names(birds),
            positions: BTreeMap::new(),
            homes: BTreeMap::new(),
            complaints: Vec::new(),
            show,
            folder: Folder::new()?,
        })
    }

    /// Starts a nest of this name that joins those that run.
    pub async fn start_nest(&mut self, name: &str) -> anyhow::Result<()> {
        let seeds = self.nests.iter().map(|nest| nest.address.clone()).collect();
        let orders = Orders { name: name.into(), folder: self.folder.0.clone(), seeds };
        let nest = Nest::start(&orders).await?;
        let line = format!("  {name}: process {} listens on {}", nest.pid, nest.address);
        self.show.note(&line);
        self.nests.push(nest);
        self.nests.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    /// Takes this nest off the stage.
    pub fn take_nest(&mut self, name: &str) -> anyhow::Result<Nest> {
        let at = self.nests.iter().position(|nest| nest.name == name);
        Ok(self.nests.remove(at.with_context(|| format!("{name} doesn't run"))?))
    }

    /// Has all birds called, each by one of these nests in turn. Notes what they acknowledge.
    pub async fn call(&mut self, side: &[&str], deed: Deed) -> anyhow::Result<Answers> {
        let answers = each(&self.side(side), &self.names, deed).await?;
        self.acknowledge(&answers);
        Ok(answers)
    }

    /// Notes what birds acknowledged.
    pub fn acknowledge(&mut self, answers: &Answers) {
        self.positions.extend(answers.positions.iter().map(|(name, at)| (name.clone(), *at)));
    }

    /// The nests of these names.
    pub fn side(&self, names: &[&str]) -> Vec<&Nest> {
        self.nests.iter().filter(|nest| names.contains(&nest.name.as_str())).collect()
    }

    /// All nests.
    pub fn all(&self) -> Vec<&Nest> {
        self.nests.iter().collect()
    }

    /// Notes what went wrong, if anything did.
    pub fn complain(&mut self, complaint: Option<String>) {
        self.complaints.extend(complaint);
    }

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        let orders =
            Orders { name: String::new(), folder: self.folder.0.clone(), seeds: Vec::new() };
        orders.store()
    }

    /// Ends all nests.
    pub async fn close(&mut self) -> anyhow::Result<()> {
        for nest in self.nests.drain(..) {
            nest.kill().await?;
        }
        Ok(())
    }
}

/// What came of calls to all birds.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The positions of those that answered.
    pub positions: BTreeMap<String, u64>,
    /// Why others didn't.
    pub failures: BTreeMap<String, String>,
}

impl Answers {
    /// In words, if any bird didn't answer.
    pub fn complaint(&self, when: &str) -> Option<String> {
        let (name, why) = self.failures.first_key_value()?;
        Some(format!("{when}: {} birds failed; {name}: {why}", self.failures.len()))
    }
}

/// Does the same with each of these birds, each by one of these nests in turn.
pub async fn each(nests: &[&Nest], names: &[String], deed: Deed) -> anyhow::Result<Answers> {
    let part = |nth: usize| names.iter().skip(nth).step_by(nests.len()).cloned().collect();
    let parts = nests.iter().enumerate().map(|(nth, nest)| nest.each(part(nth), deed));
    let mut answers = Answers::default();
    for Outcome { name, position } in try_join_all(parts).await?.into_iter().flatten() {
        match position {
            Ok(position) => drop(answers.positions.insert(name, position)),
            Err(why) => drop(answers.failures.insert(name, why)),
        }
    }
    Ok(answers)
}

/// A fresh folder under the system's temporary one, removed at the end.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let name = format!("flock-tour-{}-{}", std::process::id(), stamp.as_nanos());
        let path = std::env::temp_dir().join(name);
        let made = create_private(&path);
        made.with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self(path))
    }
}

/// Fails if it exists, so nobody else has laid anything into it.
fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().mode(0o700).create(path)
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Already gone if a nest outlived the tour for a moment and cleaned up after it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Milliseconds since then.
fn millis(then: std::time::Instant) -> u64 {
    u64::try_from(then.elapsed().as_millis()).unwrap_or(u64::MAX)
}
