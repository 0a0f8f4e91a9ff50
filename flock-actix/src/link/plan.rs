//! The knobs of the links.

use std::time::Duration;

#[cfg(feature = "noise")]
use super::noise::Keyring;
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::wall::Wall;

/// Knobs of the links.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Whoever has none of these stays out.
    #[cfg(feature = "noise")]
    pub(crate) keys: Option<Keyring>,
    /// Whoever has no certificate of this authority stays out.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
    /// Dial nobody beyond this machine.
    pub(crate) loopback_only: bool,
    /// How long a handshake may take.
    pub(crate) handshake: Duration,
    /// A link that was silent for longer doesn't prove that its nest lives.
    pub(crate) fresh: Duration,
    /// Bytes that may wait on a control link. One that is fuller is hung up.
    pub(crate) control_limit: usize,
    /// Bytes that may wait on a data link.
    pub(crate) data_limit: usize,
    /// Strangers that may stand in the door at one time.
    pub(crate) half_open: usize,
    /// Those of them that come from one address, other than this machine's own.
    pub(crate) half_open_each: usize,
    /// Links that may be open at one time, with all peers together. Beyond that nobody comes in.
    pub(crate) most_links: usize,
    /// Data links that one peer may have dialled: it needs one for each pair of threads, 81 at most. Those
    /// that broke unnoticed go first.
    pub(crate) data_links_each: usize,
    /// This nest's clock.
    pub(crate) wall: Wall,
    /// A peer whose clock is further off than this is refused: stamps decide which of two records
    /// wins, and fences grow by them.
    pub(crate) max_skew: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            #[cfg(feature = "noise")]
            keys: None,
            #[cfg(feature = "tls")]
            tls: None,
            loopback_only: true,
            handshake: Duration::from_secs(3),
            fresh: Duration::from_millis(1500),
            control_limit: 32 << 20,
            data_limit: 8 << 20,
            half_open: 64,
            half_open_each: 8,
            most_links: 4096,
            data_links_each: 96,
            wall: Wall::new(),
            max_skew: Duration::from_secs(10),
        }
    }
}
