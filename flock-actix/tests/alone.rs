//! One nest alone needs no network.

mod common;

use std::collections::BTreeSet;
use std::fs;

use common::*;
use flock_actix::{CallError, Flock, RequestError};

/// The internet sockets of this process, by inode.
fn sockets() -> BTreeSet<String> {
    let mut own = BTreeSet::new();
    for file in fs::read_dir("/proc/self/fd").expect("this is Linux") {
        let Ok(target) = file.and_then(|file| fs::read_link(file.path())) else { continue };
        let target = target.to_string_lossy();
        let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        own.extend(inode.map(str::to_owned));
    }
    let mut internet = BTreeSet::new();
    for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
        let table = fs::read_to_string(format!("/proc/self/net/{table}")).unwrap_or_default();
        let inodes = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(9));
        internet.extend(inodes.map(str::to_owned));
    }
    own.intersection(&internet).cloned().collect()
}

// The only test of this file: another one's sockets would be this process's, too.
#[tokio::test]
async fn a_local_flock_opens_no_socket_and_runs_the_same_birds() {
    assert_eq!(sockets(), BTreeSet::new());
    let builder = || Flock::builder("canaries").species::<Counter>();
    let flock = builder().seeds(["127.0.0.1:9"]).local().await.expect("a nest");
    assert_eq!(flock.address(), None);
    let robin = flock.start::<Counter>("robin", 40).await.expect("it starts");
    assert_eq!(robin.send(Add(2)).await, Ok(42));
    let again = flock.start::<Counter>("robin", 40).await;
    assert!(matches!(again, Err(RequestError::AlreadyExists { .. })));
    assert_eq!(robin.send(Boom).await, Err(CallError::Crashed));
    assert_eq!(robin.send(Add(2)).await, Ok(42), "supervised as anywhere");
    assert_eq!(flock.nests().await.len(), 1);
    assert_eq!(owner(&flock, "robin").await.as_deref(), Some(flock.name()));
    assert_eq!(flock.count().await, 1);
    assert_eq!(sockets(), BTreeSet::new(), "no internet socket was opened");
    flock.stop("robin").await.expect("it stops");
    assert_eq!(robin.send(Add(2)).await, Err(CallError::NoSuchBird));
    flock.leave().await.expect("it leaves");
    assert_eq!(sockets(), BTreeSet::new());
    // And the look itself is able to see one.
    let flock = builder().form_after(std::time::Duration::ZERO).join().await.expect("a nest");
    assert_eq!(sockets().len(), 1, "a nest of a network listens");
    drop(flock);
}
