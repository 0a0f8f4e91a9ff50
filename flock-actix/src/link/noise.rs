//! The handshake by which two nests show each other that they have the same key.
//!
//! It is the pattern NNpsk0 of the Noise protocol framework, revision 34
//! (<https://noiseprotocol.org/noise.html>), in one suite that is never negotiated: two messages of 48
//! bytes, with keys for this link alone that are forgotten with it. Whoever later learns the flock's
//! key reads nothing of what was said before.

use std::sync::Arc;

use snow::{Builder, HandshakeState};

use super::frame::WIRE;
use super::record::{Opener, Sealer};
use crate::key::ClusterKey;

const SUITE: &str = "Noise_NNpsk0_25519_AESGCM_BLAKE2s";

/// An ephemeral key, and the tag of an empty payload.
const MESSAGE: usize = 32 + 16;

/// The keys of this nest: it calls with the first, and answers to all.
#[derive(Clone, Debug)]
pub(crate) struct Keyring(Arc<[ClusterKey]>);

/// Why two nests don't come together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// The other's message was made with another key, or for another flock or version, or was changed on
    /// its way.
    #[error("it has another key, or is of another flock or version")]
    OtherKey,
    /// No message could be made: there is no randomness, say.
    #[error("the handshake can't be made: {0}")]
    Failed(String),
}

/// The two directions of a link between nests that have shown each other a key.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
}

/// A call that has not been answered.
pub(crate) struct Call(HandshakeState);

impl Keyring {
    /// The most keys: a stranger's message is tried with each.
    pub(crate) const MOST: usize = 8;

    /// `None`: there are no keys, or more than [`Keyring::MOST`].
    pub(crate) fn new(keys: Vec<ClusterKey>) -> Option<Self> {
        (1..=Self::MOST).contains(&keys.len()).then(|| Self(keys.into()))
    }

    /// The first message, and the call to which the second is the answer.
    pub(crate) fn call(&self, flock: &str) -> Result<(Call, Vec<u8>), Broken> {
        let key = self.0.first().ok_or_else(|| Broken::Failed("there is no key".into()))?;
        let mut state = handshake(key, &prologue(flock, WIRE), |b| b.build_initiator())?;
        let first = write(&mut state)?;
        Ok((Call(state), first))
    }

    /// The answer to a first message. Whoever sent it need not have the key: it may have been heard
    /// elsewhere, and said again. The first record that opens shows that.
    pub(crate) fn answer(&self, flock: &str, first: &[u8]) -> Result<(Session, Vec<u8>), Broken> {
        let prologue = prologue(flock, WIRE);
        for key in self.0.iter() {
            let mut state = handshake(key, &prologue, |b| b.build_responder())?;
            // Before any arithmetic on curves: to somebody without the key that isn't done at all.
            if state.read_message(first, &mut []).is_ok() {
                let second = write(&mut state)?;
                return Ok((session(state)?, second));
            }
        }
        Err(Broken::OtherKey)
    }
}

impl Call {
    /// The second message shows that the other has the key, too.
    pub(crate) fn finish(mut self, second: &[u8]) -> Result<Session, Broken> {
        self.0.read_message(second, &mut []).map_err(|_| Broken::OtherKey)?;
        session(self.0)
    }
}

/// What both must have in mind for their messages to fit. Not sent.
fn prologue(flock: &str, version: u8) -> Vec<u8> {
    [b"flock\0", &[version][..], flock.as_bytes()].concat()
}

fn handshake(
    key: &ClusterKey,
    prologue: &[u8],
    build: impl FnOnce(Builder<'_>) -> Result<HandshakeState, snow::Error>,
) -> Result<HandshakeState, Broken> {
    let suite = SUITE.parse().map_err(failed)?;
    let builder = Builder::new(suite).prologue(prologue).map_err(failed)?;
    build(builder.psk(0, key.bytes()).map_err(failed)?).map_err(failed)
}

fn write(state: &mut HandshakeState) -> Result<Vec<u8>, Broken> {
    let mut message = vec![0; MESSAGE];
    let length = state.write_message(&[], &mut message).map_err(failed)?;
    message.truncate(length);
    Ok(message)
}

fn session(state: HandshakeState) -> Result<Session, Broken> {
    let ciphers = Arc::new(state.into_stateless_transport_mode().map_err(failed)?);
    Ok(Session { sealer: Sealer::new(ciphers.clone()), opener: Opener::new(ciphers) })
}

fn failed(e: snow::Error) -> Broken {
    Broken::Failed(e.to_string())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::link) fn key(n: u8) -> ClusterKey {
        let hex = format!("{n:02x}2c0a71d4e85b36c7118fa2604de39b7c5512e0ad9846f3b1d70e6a28c4953f");
        hex.parse().unwrap()
    }

    pub(in crate::link) fn ring(keys: &[u8]) -> Keyring {
        Keyring::new(keys.iter().map(|n| key(*n)).collect()).unwrap()
    }

    /// Both ends of a link.
    pub(in crate::link) fn sessions() -> (Session, Session) {
        meet(&ring(&[1]), &ring(&[1]), "canaries").unwrap()
    }

    fn meet(caller: &Keyring, answers: &Keyring, of: &str) -> Result<(Session, Session), Broken> {
        let (call, first) = caller.call("canaries")?;
        assert_eq!(first.len(), MESSAGE);
        let (theirs, second) = answers.answer(of, &first)?;
        Ok((call.finish(&second)?, theirs))
    }

    #[test]
    fn the_first_key_calls_and_all_answer() {
        for (caller, answers, meets) in [
            (&[1][..], &[1][..], true),
            (&[1], &[2, 1], true),
            (&[1, 2], &[2, 1], true),
            (&[2, 1], &[1, 2], true),
            (&[1], &[2], false),
            (&[2, 1], &[1], false),
        ] {
            let met = meet(&ring(caller), &ring(answers), "canaries");
            assert_eq!(met.is_ok(), meets, "{caller:?} calls {answers:?}");
        }
    }

    #[test]
    fn another_flock_and_another_version_are_as_another_key() {
        assert_eq!(meet(&ring(&[1]), &ring(&[1]), "sparrows").err(), Some(Broken::OtherKey));
        let later = prologue("canaries", WIRE + 1);
        let mut state = handshake(&key(1), &later, |b| b.build_initiator()).unwrap();
        let first = write(&mut state).unwrap();
        assert_eq!(ring(&[1]).answer("canaries", &first).err(), Some(Broken::OtherKey));
    }

    #[test]
    fn no_bit_of_either_message_may_be_another_and_none_may_be_missing() {
        let ring = ring(&[1]);
        let (_, first) = ring.call("canaries").unwrap();
        for bit in 0..first.len() * 8 {
            let mut first = first.clone();
            first[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ring.answer("canaries", &first).err(), Some(Broken::OtherKey), "bit {bit}");
        }
        for length in 0..first.len() {
            assert!(ring.answer("canaries", &first[..length]).is_err());
        }
        assert!(ring.answer("canaries", &[&first[..], &[0]].concat()).is_err());
        for bit in (0..MESSAGE * 8).step_by(7) {
            let (call, first) = ring.call("canaries").unwrap();
            let (_, mut second) = ring.answer("canaries", &first).unwrap();
            second[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(call.finish(&second).err(), Some(Broken::OtherKey), "bit {bit}");
        }
    }

    #[test]
    fn an_answer_to_another_call_is_none() {
        let ring = ring(&[1]);
        let (_, heard) = ring.call("canaries").unwrap();
        let (_, old) = ring.answer("canaries", &heard).unwrap();
        let (call, _) = ring.call("canaries").unwrap();
        assert_eq!(call.finish(&old).err(), Some(Broken::OtherKey));
    }

    #[test]
    fn a_ring_has_one_to_eight_keys() {
        assert!(Keyring::new(Vec::new()).is_none());
        assert!(Keyring::new((0..8).map(key).collect()).is_some());
        assert!(Keyring::new((0..9).map(key).collect()).is_none());
    }
}
