//! What the same sockets and the same runtime give without flock. Frames are a length and as many
//! bytes.

use std::cell::RefCell;
use std::io::Write as _;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Context as _;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use slab::Slab;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::meter::{Measured, Meter, SAMPLE, Tally};

/// Bytes of a frame's length.
const PREFIX: usize = 4;

/// Read at one time, at most.
const PIECE: usize = 64 << 10;

/// Buffers that hold anything in flight, so that none grows while something is measured.
const ROOM: usize = 1 << 20;

/// Sends back whatever frames come, for as long as this process lives: all that one read brought
/// by one write.
pub(super) fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let door = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", door.local_addr()?);
        std::io::stdout().flush()?;
        loop {
            let (stream, _) = door.accept().await?;
            stream.set_nodelay(true)?;
            // Its end is the end of the connection.
            tokio::spawn(async move { drop(echo(stream).await) });
        }
    })
}

async fn echo(mut stream: TcpStream) -> anyhow::Result<()> {
    let (mut came, mut goes) = (BytesMut::with_capacity(ROOM), BytesMut::with_capacity(ROOM));
    loop {
        read_some(&mut stream, &mut came).await?;
        while let Some(frame) = next_frame(&mut came) {
            put_frame(&mut goes, &frame);
        }
        if !goes.is_empty() {
            stream.write_all(&goes).await?;
            goes.clear();
        }
    }
}

/// The loop: so many frames go round and round, and nobody waits for any of them. With one, it is
/// a ping-pong.
pub(super) async fn bare(
    meter: &Meter,
    at: &str,
    in_flight: usize,
    bytes: usize,
) -> anyhow::Result<Measured> {
    let stream = connect(at).await?;
    let tally = Rc::<Tally>::default();
    let rounds = tokio::task::spawn_local(go_round(stream, in_flight, bytes, tally.clone()));
    let measured = meter.measure(&tally).await?;
    rounds.await??;
    Ok(measured)
}

async fn go_round(
    mut stream: TcpStream,
    in_flight: usize,
    bytes: usize,
    tally: Rc<Tally>,
) -> anyhow::Result<()> {
    let (mut came, mut goes) = (BytesMut::with_capacity(ROOM), BytesMut::with_capacity(ROOM));
    let frame = vec![7; bytes];
    for _ in 0..in_flight {
        put_frame(&mut goes, &frame);
    }
    let mut sent = Instant::now();
    while !tally.is_over() {
        if !goes.is_empty() {
            sent = Instant::now();
            stream.write_all(&goes).await?;
            goes.clear();
        }
        read_some(&mut stream, &mut came).await?;
        let mut back = 0;
        while let Some(frame) = next_frame(&mut came) {
            put_frame(&mut goes, &frame);
            back += 1;
        }
        if in_flight == 1 && back == 1 {
            tally.took(sent);
        }
        tally.add(back);
    }
    Ok(())
}

/// Callers that share one connection: each has a frame sent by the one task that writes, and waits
/// for the answer, which it is given by the one that reads.
pub(super) async fn chan(
    meter: &Meter,
    at: &str,
    in_flight: usize,
    bytes: usize,
) -> anyhow::Result<Measured> {
    let (from, to) = connect(at).await?.into_split();
    let tally = Rc::<Tally>::default();
    let waiting = Rc::<RefCell<Slab<oneshot::Sender<Bytes>>>>::default();
    let (out, frames) = mpsc::unbounded_channel();
    let writer = tokio::task::spawn_local(write_frames(to, frames));
    let reader = tokio::task::spawn_local(hand_out(from, waiting.clone()));
    let caller = |_| {
        let (out, waiting, tally) = (out.clone(), waiting.clone(), tally.clone());
        tokio::task::spawn_local(call_on(out, waiting, bytes, tally, in_flight == 1))
    };
    let callers: Vec<_> = (0..in_flight).map(caller).collect();
    drop(out);
    let measured = meter.measure(&tally).await?;
    for caller in callers {
        caller.await??;
    }
    writer.await??;
    reader.abort();
    Ok(measured)
}

async fn call_on(
    out: mpsc::UnboundedSender<Vec<u8>>,
    waiting: Rc<RefCell<Slab<oneshot::Sender<Bytes>>>>,
    bytes: usize,
    tally: Rc<Tally>,
    alone: bool,
) -> anyhow::Result<()> {
    let mut calls = 0;
    while !tally.is_over() {
        calls += 1;
        let begun = (alone || calls % SAMPLE == 0).then(Instant::now);
        let (answer, answered) = oneshot::channel();
        let id = waiting.borrow_mut().insert(answer);
        let mut frame = Vec::with_capacity(PREFIX + bytes);
        frame.put_u32_le(u32::try_from(bytes)?);
        frame.put_u64_le(id as u64);
        frame.resize(PREFIX + bytes, 7);
        out.send(frame)?;
        let answer = answered.await?;
        anyhow::ensure!(answer.len() == bytes, "another's answer");
        if let Some(begun) = begun {
            tally.took(begun);
        }
        tally.add(1);
    }
    Ok(())
}

async fn write_frames(
    mut to: OwnedWriteHalf,
    mut frames: mpsc::UnboundedReceiver<Vec<u8>>,
) -> anyhow::Result<()> {
    let mut goes = BytesMut::with_capacity(ROOM);
    while let Some(frame) = frames.recv().await {
        goes.put_slice(&frame);
        while let Ok(frame) = frames.try_recv() {
            goes.put_slice(&frame);
        }
        to.write_all(&goes).await?;
        goes.clear();
    }
    Ok(())
}

async fn hand_out(
    mut from: OwnedReadHalf,
    waiting: Rc<RefCell<Slab<oneshot::Sender<Bytes>>>>,
) -> anyhow::Result<()> {
    let mut came = BytesMut::with_capacity(ROOM);
    loop {
        read_some(&mut from, &mut came).await?;
        while let Some(frame) = next_frame(&mut came) {
            let frame = frame.freeze();
            let id = frame.first_chunk().map(|id| u64::from_le_bytes(*id));
            let id = id.context("a frame without a number")? as usize;
            let answer = waiting.borrow_mut().try_remove(id).context("an answer to nobody")?;
            // A caller waits until it has its answer.
            let _ = answer.send(frame);
        }
    }
}

async fn connect(at: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn read_some(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    came: &mut BytesMut,
) -> anyhow::Result<()> {
    came.reserve(PIECE);
    anyhow::ensure!(from.read_buf(came).await? > 0, "the other end is gone");
    Ok(())
}

fn next_frame(came: &mut BytesMut) -> Option<BytesMut> {
    let length = u32::from_le_bytes(*came.first_chunk()?) as usize;
    if came.len() < PREFIX + length {
        return None;
    }
    came.advance(PREFIX);
    Some(came.split_to(length))
}

fn put_frame(goes: &mut BytesMut, frame: &[u8]) {
    goes.put_u32_le(frame.len() as u32);
    goes.put_slice(frame);
}
