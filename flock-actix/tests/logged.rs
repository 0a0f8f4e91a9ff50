//! What strangers say reaches the log in a form that does no harm there, and keys not at all.

#![cfg(feature = "noise")]

mod common;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::PATIENCE;
use flock_actix::{ClusterKey, Flock};
use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps each line that is logged, with all its fields, of every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("nobody panics with it").clone()
    }

    fn wait_for(&self, words: &str) {
        let begun = Instant::now();
        while !self.lines().iter().any(|line| line.contains(words)) {
            assert!(begun.elapsed() < PATIENCE, "no {words} in {:#?}", self.lines());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        // Only what is this crate's own.
        if event.metadata().target().starts_with("flock") {
            let mut line = Line(String::new());
            event.record(&mut line);
            self.0.lock().expect("nobody panics with it").push(line.0);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Serialize)]
struct Refuse<'a> {
    code: u8,
    why: &'a str,
    above: u64,
}

#[derive(Clone, Copy, Serialize)]
struct Hello<'a> {
    magic: &'a str,
    flock: &'a str,
    min: u8,
    max: u8,
    nest: &'a str,
    id: u64,
    address: &'a str,
    clock: u64,
    link: &'a str,
    nonce: u64,
}

fn frame(kind: u8, body: &impl Serialize) -> Vec<u8> {
    let body = rmp_serde::to_vec_named(body).expect("plain data");
    [&(body.len() as u32 + 2).to_le_bytes()[..], &[1, kind], &body].concat()
}

const NASTY: &str =
    "\u{1b}[2J\r\n2026-01-01 WARN all is well \u{9b}31m\u{7}<script>\u{202e}\u{2028}";

/// Answers whoever dials with a refusal, in these words.
fn refuser(why: String) -> String {
    let door = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = door.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for mut caller in door.incoming().map_while(Result::ok) {
            let _ = caller.read(&mut [0; 2048]);
            // 77: a reason of a later version.
            let _ = caller.write_all(&frame(3, &Refuse { code: 77, why: &why, above: 0 }));
        }
    });
    address
}

fn say(at: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(at).expect("somebody listens");
    stream.write_all(bytes).expect("it is heard");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    // Until the nest hangs up: then it has told what there is to tell.
    let _ = stream.read_to_end(&mut Vec::new());
}

#[tokio::test]
async fn texts_of_strangers_are_escaped_and_cut_in_the_log_and_no_key_is_in_it() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).expect("it is the only one here");

    let refuser = refuser(format!("go away {NASTY}{}", "x".repeat(700)));
    let open = Flock::builder("open").seeds([refuser]).form_after(Duration::ZERO);
    let open = open.join().await.expect("up");
    log.wait_for("go away");
    let address = open.address().expect("an address").to_string();
    let good = Hello {
        magic: "flock",
        flock: "open",
        min: 1,
        max: 1,
        nest: "mallory",
        id: 66,
        address: "127.0.0.1:1",
        clock: 0,
        link: "Control",
        nonce: 1,
    };
    say(&address, &frame(1, &Hello { link: NASTY, ..good }));
    say(&address, &frame(1, &Hello { nest: NASTY, ..good }));
    say(&address, &frame(1, &Hello { address: NASTY, ..good }));
    say(&address, &frame(1, &Hello { flock: NASTY, ..good }));
    // No control character is in it, so it is a name.
    say(&address, &frame(1, &Hello { nest: "\u{202e}yrollam\u{2028}", flock: "no", ..good }));
    log.wait_for("unknown variant");
    log.wait_for("yrollam");

    let key = ClusterKey::generate().expect("randomness");
    let keyed = Flock::builder("keyed").key(key.clone()).form_after(Duration::ZERO);
    let keyed = keyed.join().await.expect("up");
    let address = keyed.address().expect("an address").to_string();
    say(&address, &[&[50, 0, 0, 0, 1, 4][..], &[7; 48]].concat());
    log.wait_for("another key");

    for line in log.lines() {
        let harmless = |c: char| {
            !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(line.chars().all(harmless), "{line:?}");
        assert!(line.len() < 2500, "{} bytes", line.len());
        let secret = key.reveal();
        assert!(!line.to_lowercase().contains(&secret[..16]), "{line}");
    }
    assert_eq!(format!("{key:?}"), "ClusterKey(..)");
    open.leave().await.expect("it leaves");
    keyed.leave().await.expect("it leaves");
}
