//! What a bird's lives start from.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flock_proto::{SpeciesId, Why};

use super::End;
use super::crashes::CrashLog;
use crate::bird::Desk;
use crate::commands::Commands;
use crate::shared::{HatchOrder, Shared};
use crate::table::Entry;

/// Everything a bird's lives start from. There is one for each bird that is started, and it goes from one
/// thread to another: so it is small, and what most birds never have is kept apart.
pub(crate) struct LifeOrder {
    pub(crate) species: SpeciesId,
    pub(super) args: Bytes,
    pub(super) why: Why,
    pub(super) desk: Option<Arc<Desk>>,
    pub(crate) commands: Commands,
    pub(super) seldom: Option<Box<Seldom>>,
}

impl LifeOrder {
    pub(crate) fn new(order: HatchOrder, desk: Option<Arc<Desk>>, commands: Commands) -> Self {
        let HatchOrder { species, args, why, crashes, snapshot, merges, .. } = order;
        let any = !crashes.is_empty() || snapshot.is_some() || !merges.is_empty();
        let seldom = any.then(|| {
            let log = || crash_log(&commands.entry, &crashes);
            let crashes = (!crashes.is_empty()).then(log);
            Box::new(Seldom { crashes, snapshot, merges })
        });
        Self { species, args, why, desk, commands, seldom }
    }
}

/// What most birds never have.
#[derive(Default)]
pub(super) struct Seldom {
    pub(super) crashes: Option<CrashLog>,
    /// The state that the first life is to go on from.
    pub(super) snapshot: Option<Bytes>,
    /// States of other lives that are to be merged into the next one here.
    pub(super) merges: Vec<Bytes>,
}

pub(super) fn crash_log(entry: &Entry, ages: &[Duration]) -> CrashLog {
    let shared = &entry.home;
    let (limit, window) = (shared.settings.restarts, shared.settings.restart_window);
    CrashLog::new(limit, window, shared.now(), ages, entry.hash)
}

impl Shared {
    /// A bird of a species that this build doesn't know can't hatch.
    pub(crate) fn cannot_live(self: &Arc<Self>, order: LifeOrder) {
        let LifeOrder { species: SpeciesId(id), why, commands, .. } = order;
        let reason = format!("species {id:x} is unknown here");
        let end = match why {
            Why::Start => End::HatchFailed(reason),
            _ => End::Grounded { reason, crashes: 0 },
        };
        self.life_over(&commands.entry, commands.fence(), end);
    }
}
