//! Who may join where there are certificates: nests whose certificate is of the flock's authority, by the
//! name that is in it.
#![cfg(feature = "tls")]

#[path = "common/authority.rs"]
mod authority;
mod common;

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use authority::{Authority, Papers};
use common::*;
use flock_actix::testing::TestFlock;
use flock_actix::{Builder, Flock, StartError, Tls, TlsError};

/// Each nest has a certificate of its own.
async fn certified(nests: usize) -> TestFlock {
    let (authority, next) = (Authority::new(), AtomicUsize::new(0));
    let certify = move |nest: Builder| {
        let name = format!("nest-{}", next.fetch_add(1, Ordering::Relaxed));
        nest.tls(authority.tls(&[&name])).workers(2).species::<Counter>()
    };
    TestFlock::with(nests, certify).await
}

#[tokio::test]
async fn nests_with_certificates_are_one_flock_whoever_dies_leaves_or_is_cut_off() {
    let mut flock = certified(3).await;
    let birds = names("bird", 30);
    start_all(flock.nest(0), &birds).await;
    for nest in flock.nests() {
        for name in &birds {
            assert!(counter(nest, name).send(Add(1)).await.is_ok());
        }
    }
    assert_eq!(counter(flock.nest(1), "bird-7").send(Add(0)).await, Ok(3));

    flock.partition(&[0], &[1, 2]);
    let both_sides = || async {
        let [a, b, c] = [0, 1, 2].map(|i| flock.nest(i).local_birds());
        let (a, b, c) = (a.await, b.await, c.await);
        a.len() == 30 && b.len() + c.len() == 30
    };
    flock.eventually(PATIENCE, both_sides).await;
    for name in &birds {
        assert!(counter(flock.nest(1), name).send(Add(1)).deadline(PATIENCE).await.is_ok());
    }
    flock.heal();
    flock.agree().await;
    flock.one_life_each(30, PATIENCE).await;

    flock.kill(2).await;
    flock.agree().await;
    flock.one_life_each(30, PATIENCE).await;
    flock.start_nest("nest-3").await;
    flock.agree().await;
    flock.nest(0).leave().await.expect("it leaves");
    for name in &birds {
        for nest in [1, 3] {
            assert!(counter(flock.nest(nest), name).send(Add(1)).deadline(PATIENCE).await.is_ok());
        }
    }
}

#[tokio::test]
async fn a_stranger_stays_out_and_both_ends_say_so() {
    let (authority, other) = (Authority::new(), Authority::new());
    let inside = lone("papers").tls(authority.tls(&["inside"])).join().await.expect("up");
    assert_eq!(inside.name(), "inside", "the only name of its certificate");
    let mut told = inside.events();
    let stranger = |name: &str| lone("papers").name(name).seeds([seed(&inside)]);
    let mut cases = vec![
        (stranger("other").tls(other.tls(&["other"])), "doesn't accept", "authority"),
        (stranger("none"), "it has no certificate, and", "it has a certificate, and"),
    ];
    #[cfg(feature = "noise")]
    {
        let key = flock_actix::ClusterKey::generate().expect("randomness");
        let keyed = stranger("keyed").key(key);
        cases.push((keyed, "it has no certificate, and", "it has a certificate, and"));
    }
    let refused = cases.len() as u64;
    for (stranger, here, there) in cases {
        let mut heard = stranger.events();
        let stranger = stranger.join().await.expect("a flock of its own");
        let refused = until(&mut told, why).await;
        assert!(refused.contains(here), "{refused}");
        let refused = until(&mut heard, why).await;
        assert!(refused.contains(there), "{refused}");
        for nest in [&inside, &stranger] {
            assert_eq!(nest.nests().await.len(), 1);
        }
    }
    assert!(inside.counters().await.refused >= refused, "{:?}", inside.counters().await);
}

#[tokio::test]
async fn a_nest_whose_certificate_is_for_another_doesn_t_start() {
    let authority = Authority::new();
    let tls = authority.tls(&["one", "two"]);
    let error = lone("papers").name("three").tls(tls.clone()).join().await.expect_err("no");
    assert!(matches!(error, StartError::NotCertified { .. }), "{error}");
    assert!(error.to_string().contains("for one, two, and the nest is named three"), "{error}");
    let error = lone("papers").tls(tls.clone()).join().await.expect_err("which of the two?");
    assert!(error.to_string().contains("has no name"), "{error}");
    lone("papers").name("two").tls(tls).join().await.expect("up");
}

#[cfg(feature = "noise")]
#[tokio::test]
async fn a_key_beside_certificates_is_a_start_up_error() {
    let authority = Authority::new();
    let key = flock_actix::ClusterKey::generate().expect("randomness");
    let both = lone("papers").tls(authority.tls(&["both"])).key(key);
    let error = both.join().await.expect_err("no");
    assert!(matches!(error, StartError::KeyAndCertificate), "{error}");
}

#[tokio::test]
async fn with_certificates_a_nest_listens_everywhere_and_nothing_warns() {
    let warnings = Warnings::install();
    let authority = Authority::new();
    let everywhere = lone("wide").bind("0.0.0.0:0").advertise("127.0.0.1:1");
    everywhere.tls(authority.tls(&["wide"])).join().await.expect("up");
    let lines = warnings.lines();
    assert!(!lines.iter().any(|line| line.contains("may join")), "{lines:?}");
}

#[test]
fn papers_that_the_others_would_refuse_are_refused_where_they_are_read() {
    let (authority, other) = (Authority::new(), Authority::new());
    let read = |ca, papers: &Papers| {
        let error = Tls::from_pem_files(ca, &papers.certificate, &papers.key).expect_err("no");
        error.to_string()
    };
    let good = authority.papers(&["nest"]);
    let mixed = |certificate: &Papers, key: &Papers| Papers {
        certificate: certificate.certificate.clone(),
        key: key.key.clone(),
        serial: good.serial.clone(),
    };
    let empty = authority.at("empty");
    fs::write(&empty, "nothing").expect("it is written");
    let serves = authority.unusual(&["nest"], |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    for (ca, papers, why) in [
        (other.file(), &good, "not of the flock's authority"),
        (authority.file(), &authority.expired(&["nest"]), "expired"),
        (authority.file(), &authority.papers(&[]), "no DNS name"),
        (authority.file(), &authority.papers(&["*.nest"]), "no DNS name"),
        (authority.file(), &authority.papers(&["10.0.0.7"]), "no DNS name"),
        (authority.file(), &serves, "would be refused"),
        (authority.file(), &mixed(&good, &other.papers(&["nest"])), "private key"),
        (authority.at("gone"), &good, "can't read"),
        (empty.clone(), &good, "holds no certificate"),
        (good.key.clone(), &good, "holds no certificate"),
    ] {
        let told = read(ca, papers);
        assert!(told.contains(why), "{why}: {told}");
    }
    assert!(authority.tls_with(&good).revoked(&empty).is_err());
    let error = authority.tls_with(&good).revoked(authority.revoke(&[&good])).expect_err("no");
    assert!(error.to_string().contains("revoked"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_private_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let authority = Authority::new();
    let papers = authority.papers(&["nest"]);
    fs::set_permissions(&papers.key, fs::Permissions::from_mode(0o644)).expect("its mode is set");
    let read = Tls::from_pem_files(authority.file(), &papers.certificate, &papers.key);
    let error = read.expect_err("no");
    assert!(matches!(error, TlsError::OpenToOthers { mode: 0o644, .. }), "{error}");
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

/// Asks all the time, from one nest to the birds of both.
struct Caller {
    answered: Arc<AtomicU64>,
    failed: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Caller {
    fn of(nest: Flock, birds: Vec<String>) -> Self {
        let (answered, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (count, errors) = (answered.clone(), failed.clone());
        let task = tokio::spawn(async move {
            for bird in birds.iter().cycle() {
                match counter(&nest, bird).send(Add(1)).deadline(PATIENCE).await {
                    Ok(_) => drop(count.fetch_add(1, Ordering::Relaxed)),
                    Err(e) => errors
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(format!("{bird}: {e}")),
                }
            }
        });
        Self { answered, failed, task }
    }

    async fn hears(&self, more: u64) {
        let (start, from) = (Instant::now(), self.answered.load(Ordering::Relaxed));
        while self.answered.load(Ordering::Relaxed) < from + more {
            assert!(start.elapsed() < PATIENCE, "calls stand still");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(failed.is_empty(), "{failed:?}");
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_is_replaced_without_a_restart_and_no_call_fails() {
    let (old, new) = (Authority::new(), Authority::new());
    let join = async |name: &str, seeds: Vec<String>| {
        let papers = old.papers(&[name]);
        // Files of its own, which will be overwritten.
        let ca = old.at(&format!("{name}-ca.pem"));
        fs::copy(old.file(), &ca).expect("it is copied");
        let tls = Tls::from_pem_files(&ca, &papers.certificate, &papers.key).expect("good papers");
        let nest = lone("house").name(name).seeds(seeds).tls(tls.clone()).form_after(PATIENCE);
        (nest, tls, ca, papers)
    };
    let (one, one_tls, one_ca, one_papers) = join("one", Vec::new()).await;
    let one = one.form_after(Duration::ZERO).join().await.expect("up");
    let (two, two_tls, two_ca, two_papers) = join("two", vec![seed(&one)]).await;
    let two = two.join().await.expect("up");
    let birds = names("bird", 24);
    start_all(&one, &birds).await;
    let caller = Caller::of(one.clone(), birds);
    caller.hears(48).await;

    let nests = [("one", &one_tls, &one_ca, &one_papers), ("two", &two_tls, &two_ca, &two_papers)];
    // First all trust both, then they show the new one, then they trust the old one no longer.
    for (_, tls, ca, _) in nests {
        fs::write(ca, format!("{}{}", old.pem, new.pem)).expect("it is written");
        tls.reload().expect("both count");
    }
    for (name, tls, _, papers) in nests {
        let fresh = new.papers(&[name]);
        fs::copy(fresh.certificate, &papers.certificate).expect("it is copied");
        fs::copy(fresh.key, &papers.key).expect("it is copied");
        tls.reload().expect("the new one counts");
    }
    for (_, tls, ca, _) in nests {
        fs::write(ca, &new.pem).expect("it is written");
        tls.reload().expect("the new one is enough");
    }
    caller.hears(48).await;
    let mut told = one.events();
    let late = lone("house").name("late").tls(old.tls(&["late"])).seeds([seed(&one)]);
    let late = late.join().await.expect("a flock of its own");
    assert!(until(&mut told, why).await.contains("doesn't accept this nest's certificate"));
    assert_eq!(late.nests().await.len(), 1);
    // Whoever comes with a new one is let in, by both.
    let third = lone("house").name("third").tls(new.tls(&["third"])).seeds([seed(&two)]);
    let third = third.form_after(PATIENCE).join().await.expect("up");
    assert_eq!(third.nests().await.len(), 3);
    caller.hears(48).await;
}

#[tokio::test]
async fn what_is_reloaded_and_bad_leaves_all_as_it_was() {
    let authority = Authority::new();
    let papers = authority.papers(&["nest", "extra"]);
    let tls = authority.tls_with(&papers);
    let put = |new: &Papers| {
        fs::copy(&new.certificate, &papers.certificate).expect("it is copied");
        fs::copy(&new.key, &papers.key).expect("it is copied");
    };
    put(&authority.papers(&["nest"]));
    let error = tls.reload().expect_err("no");
    assert!(matches!(&error, TlsError::NameGone(name) if name == "extra"), "{error}");
    put(&authority.expired(&["nest", "extra"]));
    tls.reload().expect_err("no");
    let inside = lone("papers").name("extra").tls(tls.clone()).join().await.expect("up");
    let friend = lone("papers").tls(authority.tls(&["friend"])).seeds([seed(&inside)]);
    let friend = friend.form_after(PATIENCE).join().await.expect("up");
    assert_eq!(friend.nests().await.len(), 2);
    put(&authority.papers(&["extra", "nest", "more"]));
    tls.reload().expect("it has all names");
}

#[tokio::test]
async fn whoever_is_put_on_the_list_of_revoked_ones_stays_out() {
    let authority = Authority::new();
    let traitor = authority.papers(&["traitor"]);
    let list = authority.revoke(&[]);
    let tls = authority.tls(&["inside"]).revoked(&list).expect("an empty list");
    let inside = lone("papers").tls(tls.clone()).join().await.expect("up");
    let comes = |form_after| {
        let nest = lone("papers").tls(authority.tls_with(&traitor)).seeds([seed(&inside)]);
        nest.form_after(form_after).join()
    };
    let within = comes(PATIENCE).await.expect("up");
    assert_eq!(within.nests().await.len(), 2);
    within.leave().await.expect("it leaves");
    authority.revoke(&[&traitor]);
    tls.reload().expect("a list");
    let mut told = inside.events();
    let without = comes(Duration::ZERO).await.expect("a flock of its own");
    assert!(until(&mut told, why).await.contains("revoked"));
    assert_eq!(without.nests().await.len(), 1);
}

/// The commands of the book, as they stand there.
#[tokio::test]
async fn the_openssl_commands_of_the_book_make_certificates_that_nests_meet_with() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: there is no openssl");
        return;
    }
    let book = include_str!("../../docs/security.md");
    let (_, behind) = book.split_once("```sh\n# certificates\n").expect("they are in the book");
    let (commands, _) = behind.split_once("```").expect("and end");
    let dir = std::env::temp_dir().join(format!("flock-openssl-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a directory");
    let run = |script: &str| {
        let output = Command::new("sh").args(["-euc", script]).current_dir(&dir).output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(commands);
    let (_, again) = commands.split_once("# for each nest\n").expect("what is done for each");
    run(&again.replace("nest-1", "nest-2"));
    let tls = |name: &str| {
        let file = |end: &str| dir.join(format!("{name}.{end}"));
        Tls::from_pem_files(dir.join("flock-ca.pem"), file("pem"), file("key")).expect("good")
    };
    let one = lone("book").tls(tls("nest-1")).join().await.expect("up");
    let two = lone("book").tls(tls("nest-2")).seeds([seed(&one)]).form_after(PATIENCE);
    let two = two.join().await.expect("up");
    assert_eq!(two.nests().await.len(), 2);
    fs::remove_dir_all(&dir).expect("it was there");
}
