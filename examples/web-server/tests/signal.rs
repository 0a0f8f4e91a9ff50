//! A server that is told to end while it is used.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use flock_actix::{ClusterKey, Event, Flock};
use web_server::{FLOCK, VISITS, Visit, Visits};

/// Longer than anything here takes, on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server's own shutdown timeout.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The server, and where it serves.
struct Server {
    process: Child,
    http: String,
}

impl Server {
    fn start(seed: &str) -> Self {
        Self::start_with(seed, &[])
    }

    fn start_with(seed: &str, variables: &[(&str, &str)]) -> Self {
        let process = Command::new(env!("CARGO_BIN_EXE_web-server"))
            .args(["127.0.0.1:0", "127.0.0.1:0", seed])
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        // From here on it is killed if anything goes wrong.
        let mut server = Self { process, http: String::new() };
        let mut line = String::new();
        let stdout = server.process.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        server.http = line.split_whitespace().last().expect("an address").to_owned();
        server
    }

    fn terminate(&self) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("`kill` runs");
        assert!(sent.success(), "{sent}");
    }

    /// Waits until it has ended, with success.
    fn ended(&mut self) -> Duration {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("a status") {
                assert!(status.success(), "{status}");
                return begun.elapsed();
            }
            assert!(begun.elapsed() < PATIENCE, "it runs on");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The nest that stays; the server's joins it.
async fn other_nest() -> Flock {
    let nest = web_server::builder().expect("a good key, or none").name("other");
    let nest = nest.species::<Visits>().form_after(Duration::ZERO);
    nest.join().await.expect("it is up")
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Answered,
    /// The server had stopped to listen, or hung up without having read the request.
    NotTaken,
}

/// A visit over a connection of its own.
fn visit(http: &str) -> Outcome {
    let Ok(mut stream) = TcpStream::connect(http) else { return Outcome::NotTaken };
    let request =
        "POST /visit HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let mut response = String::new();
    let told = stream.write_all(request.as_bytes());
    if told.and_then(|()| stream.read_to_string(&mut response)).is_err() || response.is_empty() {
        assert_eq!(response, "", "it broke off");
        return Outcome::NotTaken;
    }
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    Outcome::Answered
}

#[actix_web::test]
async fn no_request_fails_that_was_accepted_when_the_server_is_told_to_end() {
    let other = other_nest().await;
    let mut events = other.events();
    let mut server = Server::start(&other.address().expect("an address").to_string());
    let (http, over) = (server.http.clone(), AtomicBool::new(false));
    let answered: u64 = thread::scope(|scope| {
        let client = || {
            let mut answered = 0;
            while !over.load(Ordering::Acquire) {
                match visit(&http) {
                    Outcome::Answered => answered += 1,
                    Outcome::NotTaken => thread::sleep(Duration::from_millis(1)),
                }
            }
            answered
        };
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(client)).collect();
        // All the time that it has, and some more.
        thread::sleep(Duration::from_secs(1));
        server.terminate();
        server.ended();
        over.store(true, Ordering::Release);
        clients.into_iter().map(|client| client.join().expect("no request fails")).sum()
    });
    println!("{answered} requests were answered");
    assert!(answered > 100, "only {answered}");
    // It took the count along, of each request that it accepted and no other.
    let visits = other.bird::<Visits>(VISITS).expect("a name");
    assert_eq!(visits.send(Visit).deadline(PATIENCE).await, Ok(answered + 1));
    loop {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.expect("an event");
        match event.expect("the nest lives") {
            Event::NestLeft(_) => break,
            lost @ (Event::NestDown(_) | Event::StateLost { .. }) => panic!("{lost}"),
            _ => {}
        }
    }
    other.leave().await.expect("it leaves");
}

#[actix_web::test]
async fn a_response_that_does_not_end_holds_the_server_up_for_its_shutdown_timeout_only() {
    let other = other_nest().await;
    let mut server = Server::start(&other.address().expect("an address").to_string());
    assert_eq!(visit(&server.http), Outcome::Answered);
    let mut live = TcpStream::connect(&server.http).expect("it listens");
    live.write_all(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
    let mut some = [0; 64];
    live.read_exact(&mut some).expect("it writes");
    server.terminate();
    let took = server.ended();
    println!("it ended after {took:?}");
    assert!(took < 3 * TIMEOUT, "{took:?}");
    let visits = other.bird::<Visits>(VISITS).expect("a name");
    assert_eq!(visits.send(Visit).deadline(PATIENCE).await, Ok(2));
    other.leave().await.expect("it leaves");
}

#[actix_web::test]
async fn with_a_key_in_its_environment_the_server_joins_nests_that_have_it() {
    let key = ClusterKey::generate().expect("randomness");
    let nest = Flock::builder(FLOCK).key(key.clone()).species::<Visits>();
    let keyed = nest.form_after(Duration::ZERO).join().await.expect("it is up");
    let seed = keyed.address().expect("an address").to_string();
    let server = Server::start_with(&seed, &[("FLOCK_KEY", &key.reveal())]);
    for _ in 0..3 {
        assert_eq!(visit(&server.http), Outcome::Answered);
    }
    let visits = keyed.bird::<Visits>(VISITS).expect("a name");
    assert_eq!(visits.send(Visit).deadline(PATIENCE).await, Ok(4));
}

#[test]
fn a_bad_key_in_its_environment_ends_the_server_at_once() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_web-server"));
    let server = server.args(["127.0.0.1:0", "127.0.0.1:0"]).env("FLOCK_KEY", "hunter2");
    let ended = server.output().expect("it runs");
    assert!(!ended.status.success());
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(told.contains("64 hex digits") && !told.contains("hunter2"), "{told}");
}

#[test]
fn the_book_shows_the_program_that_is_tested() {
    let book = include_str!("../../../docs/moving-house.md");
    let program = include_str!("../src/main.rs");
    let (_, beside) = book.split_once("Beside an actix-web server").expect("a paragraph");
    let (_, code) = beside.split_once("```rust,ignore\n").expect("its program");
    let (code, _) = code.split_once("```").expect("an end of it");
    let lines = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    assert!(lines(program).contains(lines(code).trim()), "{code}");
}
