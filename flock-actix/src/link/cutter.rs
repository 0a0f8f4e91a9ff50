//! Partitions at will, for tests.
//!
//! A cut link stays open and is mute: nothing is read from its socket and nothing written to it,
//! as when the network loses every packet. What was under way arrives after the heal, or never, if
//! the core hangs the link up before.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use flock_proto::NestName;
use tokio::sync::watch;

use super::lock;

/// Whom this nest doesn't hear and who doesn't hear it.
#[derive(Debug)]
pub(crate) struct Cutter {
    /// Looked at before every read and write; the rest only when it is set.
    any: AtomicBool,
    cut: Mutex<Cut>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Cut {
    names: BTreeSet<NestName>,
    addresses: BTreeSet<String>,
}

impl Default for Cutter {
    fn default() -> Self {
        let (changed, _) = watch::channel(());
        Self { any: AtomicBool::new(false), cut: Mutex::default(), changed }
    }
}

impl Cutter {
    #[cfg(any(test, feature = "testing"))]
    /// Cuts these nests off, by name and by the address they are dialled at.
    pub(crate) fn cut(
        &self,
        names: impl IntoIterator<Item = NestName>,
        addresses: impl IntoIterator<Item = String>,
    ) {
        let mut cut = lock(&self.cut);
        cut.names.extend(names);
        cut.addresses.extend(addresses);
        self.any.store(!cut.names.is_empty() || !cut.addresses.is_empty(), Ordering::Release);
        drop(cut);
        self.changed.send_replace(());
    }

    #[cfg(any(test, feature = "testing"))]
    /// Undoes every cut.
    pub(crate) fn heal(&self) {
        *lock(&self.cut) = Cut::default();
        self.any.store(false, Ordering::Release);
        self.changed.send_replace(());
    }

    /// Whether this nest is cut off.
    pub(crate) fn is_cut(&self, nest: &NestName) -> bool {
        self.any.load(Ordering::Acquire) && lock(&self.cut).names.contains(nest)
    }

    /// Whether this address is.
    pub(crate) fn is_address_cut(&self, address: &str) -> bool {
        self.any.load(Ordering::Acquire) && lock(&self.cut).addresses.contains(address)
    }

    /// Resolves at once unless this nest is cut off, and then once it is no longer.
    pub(crate) async fn passable(&self, nest: &NestName) {
        if !self.is_cut(nest) {
            return;
        }
        let mut changed = self.changed.subscribe();
        while self.is_cut(nest) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}
