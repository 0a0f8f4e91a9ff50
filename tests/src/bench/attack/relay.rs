//! Somebody who sits on the way to a nest, passes on what comes, and keeps it to say it again.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

/// Of each connection so much is kept.
const KEPT: usize = 64 << 10;

/// Of so many connections.
const CONNECTIONS: usize = 64;

/// What each caller said, from the first byte on.
type Overheard = Arc<Mutex<Vec<Vec<u8>>>>;

/// A relay in front of one nest, which advertises its address. It lasts as long as the process.
#[derive(Debug)]
pub(super) struct Relay {
    address: String,
    target: Arc<OnceLock<String>>,
    overheard: Overheard,
}

impl Relay {
    pub(super) fn new() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let (target, overheard) = (Arc::<OnceLock<String>>::default(), Overheard::default());
        let (to, heard) = (Arc::clone(&target), Arc::clone(&overheard));
        thread::spawn(move || {
            for caller in listener.incoming().map_while(Result::ok) {
                // Before it is known where it leads to, nobody is dialled through it.
                if let Some(nest) = to.get().and_then(|to| TcpStream::connect(to).ok()) {
                    // Where a connection can't be passed on, the caller is hung up on.
                    let _ = join(&caller, &nest, &heard);
                }
            }
        });
        Ok(Self { address, target, overheard })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn lead_to(&self, target: &str) {
        // There is one caller, and it calls once.
        let _ = self.target.set(target.to_owned());
    }

    /// What callers have said so far.
    pub(super) fn overheard(&self) -> Vec<Vec<u8>> {
        self.overheard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn join(caller: &TcpStream, nest: &TcpStream, overheard: &Overheard) -> io::Result<()> {
    caller.set_nodelay(true)?;
    nest.set_nodelay(true)?;
    let number = {
        let mut all = overheard.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Vec::new());
        all.len() - 1
    };
    let kept = (number < CONNECTIONS).then(|| (number, Arc::clone(overheard)));
    let (there, back) =
        ((caller.try_clone()?, nest.try_clone()?), (nest.try_clone()?, caller.try_clone()?));
    thread::spawn(move || pass_on(there, kept));
    thread::spawn(move || pass_on(back, None));
    Ok(())
}

fn pass_on((mut from, mut to): (TcpStream, TcpStream), kept: Option<(usize, Overheard)>) {
    let mut room = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut room) {
        let bytes = room.get(..length).unwrap_or_default();
        if let Some((number, overheard)) = &kept {
            let mut all = overheard.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(so_far) = all.get_mut(*number) {
                let free = KEPT.saturating_sub(so_far.len());
                so_far.extend(bytes.iter().take(free));
            }
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    // Either end may be gone already.
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
