//! A way to a nest on which everything takes its time: a proxy that passes on what comes, in both
//! directions, after a delay.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Stands in front of one nest, which advertises its address. A connection is made without delay:
/// that is the system's work. All bytes after that, and the connection's end, are late.
#[derive(Debug)]
pub struct Detour {
    address: String,
    listener: TcpListener,
    delay: Duration,
    carried: Arc<AtomicU64>,
    closed: Arc<AtomicBool>,
}

impl Detour {
    /// A detour of so long each way. Who comes early waits until it is known where it leads to.
    ///
    /// # Panics
    /// If no port is free.
    #[track_caller]
    pub fn of(delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        Self { address, listener, delay, carried: Arc::default(), closed: Arc::default() }
    }

    /// Where it begins, as `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How many bytes came through so far.
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    /// Leads whoever comes to this address.
    ///
    /// # Panics
    /// If the system has no more sockets.
    #[track_caller]
    pub fn lead_to(&self, target: &str) {
        let listener = self.listener.try_clone().expect("a second handle");
        let (target, delay) = (target.to_owned(), self.delay);
        let (carried, closed) = (Arc::clone(&self.carried), Arc::clone(&self.closed));
        thread::spawn(move || {
            for caller in listener.incoming().map_while(Result::ok) {
                if closed.load(Ordering::Relaxed) {
                    return;
                }
                // Where nobody listens any more, the caller is hung up on.
                if let Ok(nest) = TcpStream::connect(&target) {
                    let _ = join(&caller, &nest, delay, &carried);
                }
            }
        });
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for callers. Those of connections end with the connections.
        let _ = TcpStream::connect(&self.address);
    }
}

/// What is under way, and when it arrives.
type Lane = (Instant, Vec<u8>);

fn join(
    one: &TcpStream,
    other: &TcpStream,
    delay: Duration,
    carried: &Arc<AtomicU64>,
) -> io::Result<()> {
    for (from, to) in [(one, other), (other, one)] {
        to.set_nodelay(true)?;
        let (from, to, carried) = (from.try_clone()?, to.try_clone()?, Arc::clone(carried));
        let (enter, leave) = channel();
        thread::spawn(move || take_in(from, delay, &enter));
        thread::spawn(move || let_out(to, &leave, &carried));
    }
    Ok(())
}

/// Takes in what is sent, until its sender is done.
fn take_in(mut from: TcpStream, delay: Duration, lane: &Sender<Lane>) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        // An error is an end, too, and nothing is the word for that.
        let read = from.read(&mut bytes).unwrap_or(0);
        let passed = lane.send((Instant::now() + delay, bytes[..read].to_vec()));
        if read == 0 || passed.is_err() {
            return;
        }
    }
}

/// Lets it out, each piece at its time.
fn let_out(mut to: TcpStream, lane: &Receiver<Lane>, carried: &AtomicU64) {
    for (at, bytes) in lane {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        if bytes.is_empty() {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
        if to.write_all(&bytes).is_err() {
            // So that whoever still sends hears of it.
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
        carried.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_a_detour_arrives_late_and_whole_in_both_directions_and_so_does_the_end() {
        let delay = Duration::from_millis(80);
        let echo = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let detour = Detour::of(delay);
        detour.lead_to(&echo.local_addr().expect("its address").to_string());
        thread::spawn(move || {
            let (mut from, _) = echo.accept().expect("a caller");
            let mut to = from.try_clone().expect("a second handle");
            io::copy(&mut from, &mut to).expect("it comes back");
            // Both are dropped, so the connection ends.
        });
        let mut caller = TcpStream::connect(detour.address()).expect("it is there");
        let sent: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let begun = Instant::now();
        caller.write_all(&sent).expect("it takes all");
        caller.shutdown(Shutdown::Write).expect("it hears the end");
        let mut came = vec![0];
        caller.read_exact(&mut came).expect("a byte");
        assert!(begun.elapsed() >= 2 * delay, "after {:?}", begun.elapsed());
        caller.read_to_end(&mut came).expect("all, and the end");
        assert_eq!(came, sent);
        assert_eq!(detour.carried(), 2 * sent.len() as u64);
    }
}
