//! Nests with certificates: who comes in, and what becomes of those who have none, or another's.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flock_proto::Event;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, ServerConfig,
    ServerConnection, SignatureScheme, version::TLS13,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::fixture::{Body, body, body_with, control, data, overheard, until};
use crate::data_link::{LinkError, Links as _};
use crate::link::hello::{Identity, LinkKind, Word};
use crate::link::{Plan, lock};
use crate::tls::Tls;

#[path = "../../../tests/common/authority.rs"]
mod authority;
use authority::{Authority, Papers};

async fn certified_of(flock: &str, name: &str, id: u64, tls: Tls) -> Body {
    let plan = Plan {
        tls: Some(tls),
        handshake: Duration::from_millis(1500),
        data_limit: 64 * 1024,
        ..Plan::default()
    };
    body_with(flock, name, id, plan).await
}

async fn certified(name: &str, id: u64, by: &Authority) -> Body {
    certified_of("canaries", name, id, by.tls(&[name])).await
}

fn refusals(of: &Body) -> Vec<String> {
    let why = |event| match event {
        Event::Refused { why, .. } => Some(why),
        _ => None,
    };
    of.events().into_iter().filter_map(why).collect()
}

async fn still_links(a: &Body, by: &Authority) {
    let b = certified("honest", 77, by).await;
    b.is_linked_to(a).await;
    b.links.send(a.id, &control("hello"));
    until(|| a.frames().contains(&control("hello"))).await;
}

fn hello_of(name: &str) -> Vec<u8> {
    let nest = flock_proto::NestName::new(name).unwrap();
    let (id, clock) =
        (flock_proto::NestId(99), flock_proto::Hlc::at(crate::wall::Wall::new().now()));
    let me =
        Identity { flock: "canaries".into(), nest, id, address: "127.0.0.1:1".into(), seats: 0 };
    Word::Hello(me.hello(LinkKind::Control, clock, 1)).encode().to_vec()
}

/// Takes whoever answers for good.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn chain(file: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap).collect()
}

/// A stranger with these papers, if any, who speaks as nests do.
fn stranger(papers: Option<&Papers>) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible));
    let mut config = match papers {
        Some(Papers { certificate, key, .. }) => config
            .with_client_auth_cert(chain(certificate), PrivateKeyDer::from_pem_file(key).unwrap())
            .unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"flock/1".to_vec()];
    config
}

/// Comes in with this and says hello by a name. What was answered, or how it ended.
async fn comes(
    config: Arc<ClientConfig>,
    to: &Body,
    name: &str,
) -> io::Result<(Word, HandshakeKind)> {
    let (address, hello) = (to.address.clone(), hello_of(name));
    let task = tokio::task::spawn_blocking(move || {
        let mut tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(Duration::from_secs(5)))?;
        let nobody = ServerName::try_from("nobody").unwrap();
        let mut tls = ClientConnection::new(config, nobody).map_err(io::Error::other)?;
        let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
        stream.write_all(&hello)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut word = vec![0; u32::from_le_bytes(length) as usize];
        stream.read_exact(&mut word)?;
        Ok((Word::decode(&word).unwrap(), tls.handshake_kind().unwrap()))
    });
    task.await.unwrap()
}

#[tokio::test]
async fn nests_of_one_authority_link_and_frames_of_all_sizes_pass_both_ways() {
    let authority = Authority::new();
    let (a, b) = (certified("a", 1, &authority).await, certified("b", 2, &authority).await);
    a.is_linked_to(&b).await;
    let large = control(&"x".repeat(3 << 20));
    a.links.send(b.id, &large);
    b.links.send(a.id, &control("to a"));
    until(|| b.frames() == [large.clone()] && a.frames() == [control("to a")]).await;
    a.knows(&[&a, &b]);
    let link = a.links.data(b.id, None).unwrap();
    for len in [1, 1000, 16 * 1024 + 1, 65_536 - 6, 65_537 - 6, 1 << 20, 16 << 20] {
        let body: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
        while link.append(&data("")[..], &body) == Err(LinkError::Full) {
            link.drained().await;
        }
        until(|| lock(&b.heard.frames).last().is_some_and(|f| f[2..] == body)).await;
    }
    let back = lock(&b.heard.links)[0].clone();
    back.append(&data("reply"), &[]).unwrap();
    until(|| *lock(&a.heard.frames) == [data("reply")]).await;
    assert_eq!(a.closed() + b.closed(), 0);
}

#[tokio::test]
async fn whoever_shows_no_good_certificate_is_refused_told_why_and_counted() {
    let (authority, other) = (Authority::new(), Authority::new());
    let revoked = authority.papers(&["b"]);
    let tls = authority.tls(&["a"]).revoked(authority.revoke(&[&revoked])).unwrap();
    let a = certified_of("canaries", "a", 1, tls).await;
    let later = authority.unusual(&["b"], |p| p.not_before = rcgen::date_time_ymd(2900, 1, 1));
    let serves = authority.unusual(&["b"], |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    let cases = [
        (None, "it has no certificate", "CertificateRequired"),
        (Some(other.papers(&["b"])), "not of the flock's authority", "UnknownCA"),
        (Some(authority.expired(&["b"])), "expired", "CertificateExpired"),
        (Some(later), "not valid yet", "CertificateExpired"),
        (Some(serves), "for client authentication", "AlertReceived"),
        (Some(revoked), "revoked", "CertificateRevoked"),
        (Some(authority.papers(&["*.b"])), "no DNS name", "connection"),
    ];
    for (n, (papers, here, there)) in cases.iter().enumerate() {
        let told = comes(stranger(papers.as_ref()).into(), &a, "b").await.unwrap_err();
        until(|| refusals(&a).len() == n + 1).await;
        let why = &refusals(&a)[n];
        assert!(why.contains(here), "{here}: {why}");
        assert!(format!("{told} {told:?}").contains(there) || n == 6, "{there}: {told:?}");
    }
    assert_eq!(a.opened(), 0);
    assert_eq!(a.links.counts.refused.load(Ordering::Relaxed), cases.len() as u64);
    let good = comes(stranger(Some(&authority.papers(&["b"]))).into(), &a, "b").await.unwrap();
    assert!(matches!(good.0, Word::Welcome(_)), "{good:?}");
    still_links(&a, &authority).await;
}

#[tokio::test]
async fn nobody_goes_by_a_name_that_isn_t_in_his_certificate() {
    let authority = Authority::new();
    let a = certified("a", 1, &authority).await;
    for (n, (papers, name)) in
        [("c", "b"), ("B", "b"), ("b.nests", "b"), ("b", "a")].into_iter().enumerate()
    {
        let papers = authority.papers(&[papers]);
        let word = comes(stranger(Some(&papers)).into(), &a, name).await.unwrap().0;
        let Word::Refuse(refuse) = word else { panic!("{word:?}") };
        assert!(refuse.why.contains(&format!("it calls itself {name}")), "{}", refuse.why);
        until(|| refusals(&a).len() == n + 1).await;
    }
    // Neither here nor there, and both say so: the one by refusing, the other by being refused.
    let liar = certified_of("canaries", "b", 2, authority.tls(&["c", "d"])).await;
    liar.links.dial(a.address.clone());
    until(|| liar.failed().is_some()).await;
    let theirs = refusals(&liar);
    assert!(theirs[0].contains("this nest was refused: it calls itself b"), "{theirs:?}");
    assert!(theirs[0].contains("certificate is for c, d"), "{theirs:?}");
    a.links.dial(liar.address.clone());
    until(|| a.failed().is_some()).await;
    let mine = refusals(&a);
    assert!(mine.last().unwrap().contains("it calls itself b"), "{mine:?}");
    assert_eq!((a.opened(), a.links.counts.refused.load(Ordering::Relaxed)), (0, 6));
    still_links(&a, &authority).await;
}

#[tokio::test]
async fn another_authority_is_refused_by_both_and_both_say_so() {
    let (here, there) = (Authority::new(), Authority::new());
    let (a, b) = (certified("a", 1, &here).await, certified("b", 2, &there).await);
    b.links.dial(a.address.clone());
    // Whoever dials sees the other's certificate first.
    until(|| b.failed().is_some() && refusals(&a).len() == 1 && refusals(&b).len() == 1).await;
    assert!(refusals(&b)[0].contains("not of the flock's authority"), "{:?}", refusals(&b));
    assert!(
        refusals(&a)[0].contains("doesn't accept this nest's certificate"),
        "{:?}",
        refusals(&a)
    );
    // One that takes whatever it sees is refused by the other, and hears of it.
    let both = here.at("both.pem");
    std::fs::write(&both, format!("{}{}", here.pem, there.pem)).unwrap();
    let Papers { certificate, key, .. } = there.papers(&["c"]);
    let c = certified_of("canaries", "c", 3, Tls::from_pem_files(both, certificate, key).unwrap());
    let c = c.await;
    c.links.dial(a.address.clone());
    until(|| c.failed().is_some() && refusals(&c).len() == 1).await;
    assert!(refusals(&c)[0].contains("this nest was refused"), "{:?}", refusals(&c));
    assert!(refusals(&c)[0].contains("UnknownCA"), "{:?}", refusals(&c));
    assert_eq!(a.opened() + b.opened() + c.opened(), 0);
    still_links(&a, &here).await;
}

#[tokio::test]
async fn an_expired_certificate_of_one_that_is_dialled_is_refused() {
    let authority = Authority::new();
    let a = certified("a", 1, &authority).await;
    let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = door.local_addr().unwrap().to_string();
    let Papers { certificate, key, .. } = authority.expired(&["b"]);
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain(&certificate), PrivateKeyDer::from_pem_file(key).unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"flock/1".to_vec()];
    let old = tokio::task::spawn_blocking(move || {
        let (mut tcp, _) = door.accept().unwrap();
        let mut tls = ServerConnection::new(config.into()).unwrap();
        let end = rustls::Stream::new(&mut tls, &mut tcp).read(&mut [0; 100]);
        end.expect_err("no hello comes").to_string()
    });
    a.links.dial(at);
    until(|| a.failed().is_some() && refusals(&a).len() == 1).await;
    assert!(refusals(&a)[0].contains("expired"), "{:?}", refusals(&a));
    assert!(old.await.unwrap().contains("CertificateExpired"));
}

#[tokio::test]
async fn nests_without_a_certificate_and_nests_with_one_tell_each_other_why_not() {
    let authority = Authority::new();
    let mut others = vec![body("plain", 2).await];
    #[cfg(feature = "noise")]
    {
        let keys = Some(crate::link::noise::tests::ring(&[1]));
        others.push(body_with("canaries", "keyed", 3, Plan { keys, ..Plan::default() }).await);
    }
    for other in others {
        let a = certified("a", 1, &authority).await;
        other.links.dial(a.address.clone());
        until(|| other.failed().is_some() && refusals(&other).len() == 1).await;
        until(|| refusals(&a).len() == 1).await;
        a.links.dial(other.address.clone());
        until(|| a.failed().is_some() && refusals(&a).len() == 2).await;
        until(|| refusals(&other).len() == 2).await;
        let (mine, theirs) = (refusals(&a), refusals(&other));
        assert!(mine.iter().all(|why| why.contains("it has no certificate, and this")), "{mine:?}");
        assert!(
            theirs.iter().all(|why| why.contains("it has a certificate, and this")),
            "{theirs:?}"
        );
        assert_eq!(a.opened() + other.opened(), 0);
        // In good order: nothing of it was broken.
        assert_eq!(a.links.counts.bad.load(Ordering::Relaxed), 0);
        still_links(&a, &authority).await;
    }
}

#[tokio::test]
async fn another_flock_and_another_protocol_are_refused_whatever_the_certificate() {
    let authority = Authority::new();
    let a = certified("a", 1, &authority).await;
    let c = certified_of("sparrows", "c", 3, authority.tls(&["c"])).await;
    c.links.dial(a.address.clone());
    until(|| c.failed().is_some() && refusals(&a).len() == 1).await;
    assert!(c.failed().unwrap().contains("this is flock canaries"));
    for protocols in [vec![], vec![b"h2".to_vec()], vec![b"flock/2".to_vec()]] {
        let mut config = stranger(Some(&authority.papers(&["b"])));
        config.alpn_protocols = protocols;
        comes(config.into(), &a, "b").await.unwrap_err();
    }
    until(|| refusals(&a).len() == 4).await;
    assert_eq!(a.opened(), 0);
    still_links(&a, &authority).await;
}

#[tokio::test]
async fn garbage_gets_no_word_too_much_is_cut_short_and_silence_ends_in_time() {
    let authority = Authority::new();
    let a = certified("a", 1, &authority).await;
    let endless: Vec<u8> = [0x16, 3, 1, 0x40, 0].into_iter().chain([1; 40_000]).collect();
    let long: Vec<u8> =
        [0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff].into_iter().chain([7; 20_000]).collect();
    let cases: [(&[u8], &str); 6] = [
        (b"GET / HTTP/1.1\r\n\r\n", "no handshake"),
        (&[0xff; 300], "no handshake"),
        (&endless, ""),
        (&long, "too long"),
        (b"", "in time"),
        (&[0x16, 3, 1], "in time"),
    ];
    for (n, (bytes, why)) in cases.into_iter().enumerate() {
        let mut stream = tokio::net::TcpStream::connect(&a.address).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        let _ = end.expect("it is left open");
        // An alert of TLS at most: a record of two bytes.
        assert!(rest.len() <= 7, "{rest:?}");
        until(|| refusals(&a).len() == n + 1).await;
        assert!(refusals(&a)[n].contains(why), "{why}: {}", refusals(&a)[n]);
    }
    assert!(a.links.counts.bad.load(Ordering::Relaxed) >= 2);
    still_links(&a, &authority).await;
}

#[tokio::test]
async fn no_link_goes_on_from_an_earlier_one() {
    let authority = Authority::new();
    let a = certified("a", 1, &authority).await;
    // It would resume, if it were let: then nobody would look at its certificate again.
    let config = Arc::new(stranger(Some(&authority.papers(&["b"]))));
    for _ in 0..2 {
        let (word, kind) = comes(config.clone(), &a, "b").await.unwrap();
        assert!(matches!(word, Word::Welcome(_)), "{word:?}");
        assert_eq!(kind, HandshakeKind::Full);
    }
}

#[tokio::test]
async fn whoever_sits_on_the_way_reads_nothing_and_changes_nothing() {
    let authority = Authority::new();
    for meddle in [None, Some(8000)] {
        let (a, b) = (certified("a", 1, &authority).await, certified("b", 2, &authority).await);
        overheard(a, b, 400, meddle, 8000).await;
    }
}
