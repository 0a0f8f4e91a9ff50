use super::*;

/// Memory that begins so, and changes by so much each second.
fn seen(begin: f64, change: f64) -> Vec<(f64, [f64; NESTS])> {
    (0..=100).map(f64::from).map(|at| (at, [begin + change * at; NESTS])).collect()
}

fn good() -> Figures {
    Figures {
        calls: 1,
        wanted: 100.0,
        per_second: 96.0,
        rss: grown(seen(10.0, 0.0)),
        ..Figures::default()
    }
}

#[test]
fn each_thing_that_goes_wrong_breaks_a_promise() {
    assert!(report(&good()).is_as_promised());
    let bad: [fn(&mut Figures); 5] = [
        |it| it.rss = grown(seen(10.0, 0.01)),
        |it| it.rss = grown(Vec::new()),
        |it| it.errors = [("the deadline passed".to_owned(), 1)].into(),
        |it| it.per_second = 94.0,
        |it| it.downs = 1,
    ];
    for (number, bad) in bad.into_iter().enumerate() {
        let mut figures = good();
        bad(&mut figures);
        assert!(!report(&figures).is_as_promised(), "{number}");
    }
}

#[test]
fn growth_is_that_of_the_last_half() {
    let mut early = seen(10.0, 0.0);
    for (at, mb) in &mut early {
        if *at < 50.0 {
            *mb = [*at / 5.0; NESTS];
        }
    }
    assert!(grown(early).growth_percent.abs() < 0.01);
    let rss = grown(seen(10.0, 0.1));
    // From 15 to 20 MB.
    assert!((rss.growth_percent - 100.0 / 3.0).abs() < 0.01, "{rss:?}");
}

#[test]
fn one_that_grows_while_another_shrinks_is_seen() {
    let of = |(at, _): (f64, _)| (at, [10.0 + at / 10.0, 30.0 - at / 10.0, 10.0]);
    let rss = grown(seen(0.0, 0.0).into_iter().map(of).collect());
    assert!(rss.growth_percent.abs() < 0.01 && rss.worst_percent > 30.0, "{rss:?}");
}
