//! Who a nest is, and where.

mod common;

use std::net::TcpListener;
use std::time::Duration;

use common::*;
use flock_actix::{Builder, Flock, NameError, StartError};

/// A nest that forms a flock of its own at once.
fn lone(flock: &str) -> Builder {
    Flock::builder(flock).form_after(Duration::ZERO)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[tokio::test]
async fn port_0_is_any_free_port_and_peers_are_told_which() {
    let first = lone("ports").bind("127.0.0.1:0").join().await.expect("up");
    let address = first.address().expect("an address");
    assert!(address.ip().is_loopback() && address.port() != 0);
    let second = Flock::builder("ports").seeds([address.to_string()]).join().await.expect("up");
    assert_ne!(second.address(), first.address());
    let seen: Vec<_> = second.nests().await.into_iter().map(|nest| nest.address).collect();
    assert!(seen.contains(&address.to_string()), "{seen:?}");
}

#[tokio::test]
async fn a_nest_is_named_as_it_says_and_else_by_the_address_it_advertises() {
    let named = lone("names").name("nest-3").join().await.expect("up");
    assert_eq!(named.name(), "nest-3");
    let nameless = lone("names").join().await.expect("up");
    assert_eq!(nameless.name(), nameless.address().expect("an address").to_string());
    let port = free_port();
    let advertised = format!("localhost:{port}");
    let shown = lone("names").bind(format!("127.0.0.1:{port}")).advertise(&advertised);
    assert_eq!(shown.join().await.expect("up").name(), advertised);
}

#[tokio::test]
async fn peers_dial_what_a_nest_advertises() {
    let port = free_port();
    let advertised = format!("localhost:{port}");
    let first = lone("advertised")
        .name("a")
        .bind(format!("127.0.0.1:{port}"))
        .advertise(&advertised)
        .species::<Counter>()
        .join()
        .await
        .expect("up");
    let join = |name: &str, seed: String| {
        let nest = Flock::builder("advertised").name(name).seeds([seed]).species::<Counter>();
        async { nest.form_after(PATIENCE).join().await.expect("up") }
    };
    let second = join("b", format!("127.0.0.1:{port}")).await;
    // The third knows only the second, and so the first by what it says of itself.
    let third = join("c", second.address().expect("an address").to_string()).await;
    let a = third.nests().await.into_iter().find(|nest| nest.name.as_str() == "a").expect("a nest");
    assert_eq!(a.address, advertised);
    for n in 0..12 {
        let name = format!("bird-{n}");
        third.start::<Counter>(&name, n).await.expect("it starts");
        for nest in [&first, &second, &third] {
            assert_eq!(counter(nest, &name).send(Add(0)).await, Ok(n));
        }
    }
}

#[tokio::test]
async fn listening_everywhere_without_an_advertised_address_is_a_start_up_error() {
    for everywhere in ["0.0.0.0:0", "[::]:0"] {
        let error = lone("everywhere").bind(everywhere).insecure().join().await.expect_err("no");
        assert!(matches!(error, StartError::Unspecified { .. }), "{error}");
        assert!(error.to_string().contains("advertise"), "it says how to fix it: {error}");
        let error = lone("everywhere").bind(everywhere).join().await.expect_err("no");
        assert!(matches!(error, StartError::NotLoopback { .. }), "{error}");
    }
}

#[tokio::test]
async fn listening_everywhere_with_an_advertised_address_works() {
    let port = free_port();
    let nest = lone("everywhere")
        .bind(format!("0.0.0.0:{port}"))
        .advertise(format!("127.0.0.1:{port}"))
        .insecure()
        .join()
        .await
        .expect("up");
    let seed = format!("127.0.0.1:{port}");
    let second = Flock::builder("everywhere").seeds([seed]).join().await.expect("up");
    assert_eq!(second.nests().await.len(), 2);
    assert_eq!(nest.name(), format!("127.0.0.1:{port}"));
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_a_start_up_error_that_says_why() {
    let error = lone("open").bind("192.0.2.1:0").join().await.expect_err("no");
    assert!(matches!(error, StartError::NotLoopback { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("may join") && text.contains("insecure"), "{text}");
}

#[tokio::test]
async fn names_of_nests_and_flocks_keep_the_rules_of_names() {
    let long = "x".repeat(256);
    for (name, error) in [("", NameError::Empty), (&*long, NameError::TooLong(256))] {
        let starts = [
            lone(name).join().await,
            lone("names").name(name).join().await,
            lone(name).local().await,
        ];
        for start in starts {
            let Err(StartError::BadName(found)) = start else { panic!("{name:?}: {start:?}") };
            assert_eq!(found, error);
        }
    }
}

#[tokio::test]
async fn a_species_given_twice_and_a_weight_too_large_are_start_up_errors() {
    let twice = lone("twice").species::<Counter>().species::<Counter>().local().await;
    assert!(matches!(twice, Err(StartError::DuplicateSpecies("counter"))));
    assert!(matches!(lone("heavy").weight(u32::MAX).local().await, Err(StartError::BadWeight(_))));
}

#[tokio::test]
async fn birds_are_shared_by_weight() {
    let light = lone("weights").name("light").species::<Counter>().join().await.expect("up");
    let seed = light.address().expect("an address").to_string();
    let heavy = Flock::builder("weights").name("heavy").weight(3).seeds([seed]);
    let heavy = heavy.species::<Counter>().join().await.expect("up");
    start_all(&heavy, &names("bird", 200)).await;
    let nests = heavy.nests().await;
    let share = nests.iter().find(|nest| nest.name.as_str() == "heavy").expect("a nest").share;
    assert!((0.6..0.9).contains(&share), "three quarters, more or less: {share}");
}
