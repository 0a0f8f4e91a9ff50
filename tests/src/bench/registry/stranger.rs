//! One that is no nest, and tells a real one of operations: a nest that had written them, told of them
//! and gone would look like this.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use flock_proto::wire::{Frame, Header, Ops};
use flock_proto::{Delta, Hlc, NestId, Time};
use serde::{Deserialize, Serialize};

/// See `docs/wire.md`.
const WIRE: u8 = 1;
const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const MAX_HELLO: usize = 1024;

#[derive(Serialize, Deserialize)]
struct Hello {
    magic: String,
    flock: String,
    min: u8,
    max: u8,
    nest: String,
    id: NestId,
    address: String,
    clock: Hlc,
    link: String,
    nonce: u64,
}

/// Tells the nest at this address of these operations, in their order.
pub(super) fn tell(address: &str, deltas: &[Delta]) -> anyhow::Result<()> {
    // It is asked after when it is gone: nobody shall answer there.
    let own = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("it is after 1970")?;
    let clock = Hlc::at(Time::from_micros(since.as_micros() as u64));
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let hello = Hello {
        magic: "flock".into(),
        flock: "flock-tests".into(),
        min: WIRE,
        max: WIRE,
        nest: "stranger".into(),
        id: NestId(clock.0),
        address: own,
        clock,
        link: "Control".into(),
        nonce: 1,
    };
    let body = rmp_serde::to_vec_named(&hello)?;
    write(&mut stream, &[&[WIRE, HELLO][..], &body].concat())?;
    let dest = welcome(&mut stream)?.id;

    // What it says is of no interest, but must not pile up.
    let mut ear = stream.try_clone()?;
    ear.set_read_timeout(None)?;
    let listener = std::thread::spawn(move || std::io::copy(&mut ear, &mut std::io::sink()));
    let header = Header { hops: 0, stamp: clock, author: hello.id, dest };
    for delta in deltas {
        let ops = Frame::Ops(Ops { delta: delta.clone(), ack: false });
        write(&mut stream, &ops.encode(header))?;
    }
    // All is heard that was written before; the nest then closes its end.
    stream.shutdown(Shutdown::Write)?;
    drop(listener.join());
    Ok(())
}

fn write(to: &mut TcpStream, frame: &[u8]) -> std::io::Result<()> {
    to.write_all(&(frame.len() as u32).to_le_bytes())?;
    to.write_all(frame)
}

fn welcome(from: &mut TcpStream) -> anyhow::Result<Hello> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    ensure!(len <= MAX_HELLO, "a welcome of {len} bytes");
    let mut frame = vec![0; len];
    from.read_exact(&mut frame)?;
    match frame.as_slice() {
        [WIRE, WELCOME, body @ ..] => Ok(rmp_serde::from_slice(body)?),
        other => anyhow::bail!("no welcome: {}", String::from_utf8_lossy(other)),
    }
}
