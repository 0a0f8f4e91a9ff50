//! What a nest may expect of TCP holds here as well.

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, sleep, timeout};
use turmoil::{Builder, Result, Sim};

use super::*;

const MS: Duration = Duration::from_millis(1);

fn sim<'a>(seed: u64) -> Sim<'a> {
    let mut builder = Builder::new();
    builder.rng_seed(seed).udp_capacity(100_000).simulation_duration(Duration::from_secs(600));
    builder.min_message_latency(MS).max_message_latency(40 * MS).build()
}

/// A host that takes one connection after the other and does this with each.
fn server<F: Future<Output = Result> + 'static>(
    sim: &mut Sim<'_>,
    each: impl Fn(Reading, Writing) -> F + Copy + 'static,
) {
    sim.host("server", move || async move {
        let host = Host::boot(1).await?;
        let door = Door::open(&host, &[SocketAddr::from(([0, 0, 0, 0], 80))])?;
        loop {
            let (Stream(reading, writing), _) = door.accept().await?;
            tokio::task::spawn_local(each(reading, writing));
        }
    });
}

async fn dial(host: &Host, port: u16) -> io::Result<(Reading, Writing)> {
    let at = resolve(&format!("server:{port}"))?[0];
    let Stream(reading, writing) = connect(host, at).await?;
    Ok((reading, writing))
}

/// All that comes until the end.
async fn read_all(reading: &Reading) -> io::Result<BytesMut> {
    let mut all = BytesMut::new();
    loop {
        reading.readable().await?;
        match reading.try_read(&mut all) {
            Ok(0) => return Ok(all),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

async fn write_all(writing: &Writing, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        writing.writable().await?;
        match writing.try_write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

async fn echo(reading: Reading, writing: Writing) -> Result {
    let all = read_all(&reading).await?;
    Ok(write_all(&writing, &all).await?)
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

#[test]
fn bytes_come_once_and_in_order_whatever_is_lost() {
    let again = Rc::new(Cell::new(0));
    for seed in 0..20 {
        let mut sim = sim(seed);
        server(&mut sim, echo);
        let again = again.clone();
        sim.client("client", async move {
            let host = Host::boot(2).await?;
            let (reading, writing) = dial(&host, 80).await?;
            write_all(&writing, &text(700_000)).await?;
            drop(writing);
            let back = read_all(&reading).await?;
            assert!(back == text(700_000), "{} bytes came back", back.len());
            again.set(again.get() + host.traffic().again);
            Ok(())
        });
        sim.set_link_fail_rate("server", "client", 0.05);
        sim.run().unwrap();
    }
    assert!(again.get() > 20, "hardly anything was lost");
}

#[test]
fn what_is_held_or_cut_off_for_a_while_is_merely_late() {
    let cut = |sim: &Sim<'_>| sim.partition("server", "client");
    let hold = |sim: &Sim<'_>| sim.hold("server", "client");
    let mend = |sim: &Sim<'_>| sim.repair("server", "client");
    let release = |sim: &Sim<'_>| sim.release("server", "client");
    for (fault, end) in [(&cut as &dyn Fn(&Sim<'_>), &mend as &dyn Fn(&Sim<'_>)), (&hold, &release)]
    {
        let mut sim = sim(1);
        server(&mut sim, echo);
        sim.client("client", async {
            let host = Host::boot(2).await?;
            let (reading, writing) = dial(&host, 80).await?;
            sleep(1000 * MS - sim_now()).await;
            let start = Instant::now();
            write_all(&writing, b"late").await?;
            drop(writing);
            assert_eq!(read_all(&reading).await?, "late");
            assert!(start.elapsed() > 1000 * MS);
            Ok(())
        });
        for step in 0.. {
            match step {
                900 => fault(&sim),
                2_100 => end(&sim),
                _ => {}
            }
            if sim.step().unwrap() {
                break;
            }
        }
    }
}

fn sim_now() -> Duration {
    turmoil::sim_elapsed().unwrap()
}

#[test]
fn only_a_host_that_lives_refuses() {
    let mut sim = sim(1);
    server(&mut sim, echo);
    sim.client("client", async {
        let host = Host::boot(2).await?;
        let refused = dial(&host, 81).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        turmoil::partition("server", "client");
        for port in [80, 81] {
            assert!(timeout(3000 * MS, dial(&host, port)).await.is_err(), "an answer");
        }
        assert!(lock(&host.0.state).conns.is_empty(), "a dial was given up, and stayed");
        let late = timeout(3000 * MS, dial(&host, 80));
        let repair = async {
            sleep(500 * MS).await;
            turmoil::repair("server", "client");
        };
        let (late, ()) = tokio::join!(late, repair);
        assert!(late.unwrap().is_ok(), "the request was not sent again");
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn a_host_that_crashes_says_nothing_and_knows_nothing_when_it_is_back() {
    let mut sim = sim(1);
    server(&mut sim, echo);
    sim.client("client", async {
        let host = Host::boot(2).await?;
        let (reading, writing) = dial(&host, 80).await?;
        sleep(4000 * MS - sim_now()).await;
        let end = timeout(Duration::ZERO, reading.readable()).await;
        assert!(end.is_err(), "the host crashed, and its end closed the connection");
        write_all(&writing, b"anybody there?").await?;
        reading.readable().await?;
        let end = reading.try_read(&mut BytesMut::new()).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::ConnectionReset);
        assert_eq!(writing.try_write(b"?").unwrap_err().kind(), ErrorKind::BrokenPipe);
        Ok(())
    });
    for step in 0.. {
        match step {
            500 => sim.crash("server"),
            5_000 => sim.bounce("server"),
            _ => {}
        }
        if sim.step().unwrap() {
            break;
        }
    }
}

#[test]
fn a_process_that_is_killed_closes_its_connections_and_its_port_refuses() {
    let mut sim = sim(1);
    sim.host("server", || async {
        let host = Host::boot(1).await?;
        let door = Door::open(&host, &[SocketAddr::from(([0, 0, 0, 0], 80))])?;
        let accepted = door.accept().await?;
        sleep(300 * MS).await;
        drop((accepted, door));
        std::future::pending().await
    });
    sim.client("client", async {
        let host = Host::boot(2).await?;
        let (reading, _writing) = dial(&host, 80).await?;
        assert!(read_all(&reading).await?.is_empty());
        assert!(sim_now() < 500 * MS);
        assert_eq!(dial(&host, 80).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn who_closes_without_having_read_all_resets() {
    let mut sim = sim(1);
    server(&mut sim, |reading, writing| async move {
        reading.readable().await?;
        drop((reading, writing));
        Ok(())
    });
    sim.client("client", async {
        let host = Host::boot(2).await?;
        let (reading, writing) = dial(&host, 80).await?;
        write_all(&writing, b"unread").await?;
        let end = read_all(&reading).await.unwrap_err();
        assert_eq!(end.kind(), ErrorKind::ConnectionReset);
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn who_does_not_read_is_not_written_to_without_end() {
    let mut sim = sim(1);
    server(&mut sim, |reading, writing| async move {
        let _open = (reading, writing);
        std::future::pending().await
    });
    sim.client("client", async {
        let host = Host::boot(2).await?;
        let (_reading, writing) = dial(&host, 80).await?;
        let megabytes = timeout(5000 * MS, write_all(&writing, &text(4_000_000))).await;
        assert!(megabytes.is_err(), "all of it was taken");
        Ok(())
    });
    sim.run().unwrap();
}
