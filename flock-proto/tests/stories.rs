//! Stories that once broke an invariant, each shrunk to what is needed: none may break one again.
//!
//! `FLOCK_SIM_STORY=path` tells one more, from a file.

use std::path::{Path, PathBuf};

use flock_proto::sim::{Script, perform};

fn stories() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let entries = folder.read_dir().expect("the folder of stories");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a story").path()).collect();
    paths.sort();
    paths
}

fn tell(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let script: Script = text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let told = perform(&script, None);
    assert_eq!(told.broken, None, "{}", path.display());
}

#[test]
fn no_story_that_was_mended_breaks_again() {
    match std::env::var("FLOCK_SIM_STORY") {
        Ok(path) => tell(Path::new(&path)),
        Err(_) => stories().iter().for_each(|path| tell(path)),
    }
}
