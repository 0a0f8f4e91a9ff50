//! What happens on a new connection before anybody says who he is: where this nest has a key, both
//! ends show that they have it.

use std::io;

#[cfg(feature = "noise")]
use super::accept::read_frame;
use super::accept::{NoWord, write_all};
use super::dial::Failed;
#[cfg(feature = "noise")]
use super::frame::{Cut, MAX_HELLO};
#[cfg(any(feature = "noise", feature = "tls"))]
use super::hello::Unreadable;
#[cfg(any(feature = "noise", feature = "tls"))]
use super::knock::Bar;
use super::knock::Knock;
use super::lane::{self, Incoming, Outgoing};
use super::links::Links;
#[cfg(feature = "noise")]
use super::lock;
#[cfg(feature = "noise")]
use super::noise::{Broken, Keyring};
#[cfg(feature = "tls")]
use super::tls;
use crate::net::Stream;
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// Why nobody was let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotMet {
    /// The other end is gone, or sent something else.
    #[error("{0}")]
    NoWord(#[from] NoWord),
    /// It may not come in.
    #[cfg(any(feature = "noise", feature = "tls"))]
    #[error("{0}")]
    Barred(String),
}

impl Links {
    /// Both directions of a connection that a peer dialled, sealed where this nest has a key. The peer
    /// has shown the key once something of it opens, and not before.
    pub(super) async fn meet_dialler(
        &self,
        stream: Stream,
    ) -> Result<(Incoming, Outgoing), NotMet> {
        let lanes = lane::lanes(stream);
        #[cfg(feature = "noise")]
        if let Some(keys) = &self.plan.keys {
            return self.answer_with(keys, lanes).await;
        }
        #[cfg(feature = "tls")]
        if let Some(certificates) = &self.plan.tls {
            return answer_by(certificates, lanes).await;
        }
        Ok(lanes)
    }

    /// Both directions of a connection that this nest dialled, sealed where it has a key.
    pub(super) async fn meet_dialled(
        &self,
        stream: Stream,
    ) -> Result<(Incoming, Outgoing), Failed> {
        let lanes = lane::lanes(stream);
        #[cfg(feature = "noise")]
        if let Some(keys) = &self.plan.keys {
            return self.call_with(keys, lanes).await;
        }
        #[cfg(feature = "tls")]
        if let Some(certificates) = &self.plan.tls {
            return call_by(certificates, lanes).await;
        }
        Ok(lanes)
    }

    #[cfg(feature = "noise")]
    async fn answer_with(
        &self,
        keys: &Keyring,
        (mut incoming, mut outgoing): (Incoming, Outgoing),
    ) -> Result<(Incoming, Outgoing), NotMet> {
        let mut cut = Cut::new(MAX_HELLO);
        // Not one byte is looked at beyond the kind of the frame.
        let first = read_frame(&mut incoming, &mut cut, |frame| match Knock::decode(frame) {
            Some(Knock::Lock(message)) => Ok(Some(message.to_vec())),
            _ if super::hello::is_word(frame) => Ok(None),
            _ => Err(Unreadable::Foreign),
        });
        let first = first.await;
        if let Err(NoWord::Unreadable(Unreadable::Tls)) = &first {
            let _ = write_knock(&outgoing, Knock::Barred(Bar::NoCertificate)).await;
        }
        let Some(first) = first? else {
            // If it doesn't hear this, it will wonder.
            let _ = write_knock(&outgoing, Knock::Barred(Bar::KeyNeeded)).await;
            return Err(NotMet::Barred("it has no key, and this nest has one".into()));
        };
        // The other waits for the answer, so nothing can be there yet.
        if !cut.is_empty() {
            return Err(NotMet::Barred("it spoke before it was answered".into()));
        }
        let flock = lock(&self.me).flock.clone();
        match keys.answer(&flock, &first) {
            Ok((session, second)) => {
                write_knock(&outgoing, Knock::Unlock(&second)).await.map_err(NoWord::from)?;
                lane::seal(&mut incoming, &mut outgoing, session);
                Ok((incoming, outgoing))
            }
            Err(e) => {
                if e == Broken::OtherKey {
                    let _ = write_knock(&outgoing, Knock::Barred(Bar::OtherKey)).await;
                }
                Err(NotMet::Barred(e.to_string()))
            }
        }
    }

    #[cfg(feature = "noise")]
    async fn call_with(
        &self,
        keys: &Keyring,
        (mut incoming, mut outgoing): (Incoming, Outgoing),
    ) -> Result<(Incoming, Outgoing), Failed> {
        let broken = |why: String| Failed::Network(crate::net::DialError::new(why));
        let flock = lock(&self.me).flock.clone();
        let (call, first) = keys.call(&flock).map_err(|e| broken(e.to_string()))?;
        let said = write_knock(&outgoing, Knock::Lock(&first)).await;
        said.map_err(|e| broken(e.to_string()))?;
        let mut cut = Cut::new(MAX_HELLO);
        let second = read_frame(&mut incoming, &mut cut, |frame| match Knock::decode(frame) {
            Some(Knock::Unlock(message)) => Ok(Ok(message.to_vec())),
            Some(Knock::Barred(bar)) => Ok(Err(bar)),
            _ => Err(Unreadable::Foreign),
        });
        let second = second
            .await
            .map_err(|e| broken(e.to_string()))?
            .map_err(|bar| Failed::Barred(bar.to_string()))?;
        if !cut.is_empty() {
            return Err(broken("it spoke before it was asked".into()));
        }
        let session =
            call.finish(&second).map_err(|_| Failed::Barred(Bar::OtherKey.to_string()))?;
        lane::seal(&mut incoming, &mut outgoing, session);
        Ok((incoming, outgoing))
    }
}

/// Whoever dialled shows a certificate, and sees this nest's.
#[cfg(feature = "tls")]
async fn answer_by(
    certificates: &Tls,
    (mut incoming, mut outgoing): (Incoming, Outgoing),
) -> Result<(Incoming, Outgoing), NotMet> {
    let tls = certificates.dialled().map_err(|e| NotMet::Barred(e.to_string()))?;
    let e = match tls::shake(tls.into(), &mut incoming, &outgoing).await {
        Ok(session) => {
            lane::seal_tls(&mut incoming, &mut outgoing, session);
            return Ok((incoming, outgoing));
        }
        Err(e) => e,
    };
    Err(match e {
        tls::Broken::Lost(e) => NoWord::Lost(e).into(),
        tls::Broken::Foreign => NoWord::Unreadable(Unreadable::Foreign).into(),
        e => {
            if let tls::Broken::Frame(_) = &e {
                let _ = write_knock(&outgoing, Knock::Barred(Bar::CertificateNeeded)).await;
            }
            tls::hear_out(incoming, outgoing).await;
            NotMet::Barred(e.to_string())
        }
    })
}

#[cfg(feature = "tls")]
async fn call_by(
    certificates: &Tls,
    (mut incoming, mut outgoing): (Incoming, Outgoing),
) -> Result<(Incoming, Outgoing), Failed> {
    let broken = |why: String| Failed::Network(crate::net::DialError::new(why));
    let tls = certificates.dialler().map_err(|e| broken(e.to_string()))?;
    let session = tls::shake(tls.into(), &mut incoming, &outgoing).await;
    let session = session.map_err(|e| match e {
        tls::Broken::Frame(frame) => match tls::barred(&frame) {
            Some(bar) => Failed::Barred(bar.to_string()),
            None => broken(Unreadable::Foreign.to_string()),
        },
        e @ tls::Broken::Refused(_) => Failed::Barred(e.to_string()),
        e @ tls::Broken::Distrusted(_) => Failed::Distrusted(e.to_string()),
        e => broken(e.to_string()),
    })?;
    lane::seal_tls(&mut incoming, &mut outgoing, session);
    Ok((incoming, outgoing))
}

pub(super) async fn write_knock(outgoing: &Outgoing, knock: Knock<'_>) -> io::Result<()> {
    write_all(outgoing, &knock.encode()).await
}
