//! Connections from those who are no nests.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use flock_tests::{Nest, Nests, eventually, names, throughout};

const NEST: &str = env!("CARGO_BIN_EXE_nest-under-test");
const SOON: Duration = Duration::from_secs(10);

#[test]
fn strangers_on_a_port_neither_stop_nor_swell_a_nest() {
    let birds = names(60);
    let mut nests = Nests::of(NEST, 2);
    nests.start("nest-0", &birds);
    let before = nests.all_answer(&birds, SOON);
    let port = nests.nest("nest-0").address().to_owned();
    let lean = memory(nests.nest("nest-0"));

    let mute: Vec<_> = (0..100).map(|_| stranger(&port, &[])).collect();
    let rude: Vec<_> = (0..100).map(|seed| stranger(&port, &noise(seed))).collect();
    // A hello cut short: its length promises more than there is.
    let short: Vec<_> =
        (0..20).map(|_| stranger(&port, b"\x40\0\0\0\x01\x01\x89\xa5magic\xa5fl")).collect();
    // A length of nearly 4 GiB, with much behind it.
    let huge = [&[0xfe, 0xff, 0xff, 0xff][..], &[1; 1 << 20]].concat();
    let huge: Vec<_> = (0..20).map(|_| stranger(&port, &huge)).collect();

    throughout(Duration::from_secs(2), || {
        let voices = nests.all_answer(&birds, SOON);
        if voices == before { Ok(()) } else { Err("a life was disturbed") }
    });
    // Peers still get in.
    nests.join_by("guest", vec![port.clone()], 1);
    nests.agree();
    nests.one_life_each(&birds, SOON);
    drop((mute, rude, short, huge));
    nests.all_answer(&birds, SOON);
    // The rest is what a third nest costs.
    if let (Some(lean), Some(now)) = (lean, memory(nests.nest("nest-0"))) {
        println!("{lean} KiB before, {now} KiB after");
        assert!(now < lean + 32 * 1024, "{lean} KiB have become {now} KiB");
    }
}

#[test]
fn strangers_who_say_nothing_are_shown_out() {
    use std::io::{ErrorKind, Read as _};

    let nests = Nests::of(NEST, 1);
    let port = nests.nest("nest-0").address();
    let mut mute: Vec<_> = (0..20).map(|_| stranger(port, &[])).collect();
    for stranger in &mute {
        stranger.set_nonblocking(true).expect("it can be asked without waiting");
    }
    eventually(Duration::from_secs(20), || {
        mute.retain_mut(|stranger| {
            matches!(stranger.read(&mut [0; 64]), Err(e) if e.kind() == ErrorKind::WouldBlock)
        });
        if mute.is_empty() { Ok(()) } else { Err(format!("{} are still in", mute.len())) }
    });
}

/// Connects, and says this; that the nest may hang up in the middle is its good right.
fn stranger(port: &str, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(port).expect("somebody listens");
    stream.set_write_timeout(Some(Duration::from_millis(200))).expect("not zero");
    let _ = stream.write_all(bytes);
    stream
}

/// The same bytes in every run; each seed has its own.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(500).collect()
}

/// What a nest's process holds in memory, in KiB. None where the system doesn't tell.
fn memory(nest: &Nest) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", nest.pid())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}
