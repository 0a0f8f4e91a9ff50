use super::*;

fn measured(rate: f64) -> Measured {
    Measured { rate, cpu_us: 1.0, ..Measured::default() }
}

fn contender(name: &str, rates: &[f64], flock: &[f64]) -> Contender {
    let rounds =
        |rates: &[f64]| -> Vec<_> { rates.iter().map(|rate| [measured(*rate); 2]).collect() };
    Contender {
        name: name.to_owned(),
        version: "1.2.3".to_owned(),
        missing: None,
        calls: figures(&rounds(rates), &rounds(flock)),
    }
}

fn all(peers: &[(&str, f64)]) -> All {
    let flock = [600.0, 600.0, 600.0];
    let peers = peers.iter().map(|(name, rate)| contender(name, &[*rate; 3], &flock));
    let contenders = std::iter::once(contender(FLOCK, &flock, &flock)).chain(peers).collect();
    All { rounds: 3, span_s: 0.8, bytes: BYTES, cores: 2, others: 0.0, contenders }
}

#[test]
fn what_is_promised_is_so_of_the_best_of_the_others() {
    assert!(report(&all(&[("slow", 10.0), ("fast", 100.0)])).is_as_promised());
    assert!(!report(&all(&[("slow", 10.0), ("fast", 101.0)])).is_as_promised());
    assert!(!report(&all(&[])).is_as_promised(), "there is nobody to be better than");
}

#[test]
fn a_peer_without_figures_is_told_and_breaks_a_promise() {
    let mut all = all(&[("slow", 10.0), ("other", 20.0)]);
    assert!(report(&all).is_as_promised());
    let gone = all.contenders.last_mut().expect("it is there");
    (gone.missing, gone.calls) = (Some("it can't be built".to_owned()), BTreeMap::new());
    assert!(!report(&all).is_as_promised());
}

#[test]
fn a_call_of_flock_that_failed_breaks_a_promise_and_one_of_another_does_not() {
    let with = |name: &str| {
        let mut all = all(&[("slow", 10.0)]);
        let it = all.contenders.iter_mut().find(|it| it.name == name).expect("it is there");
        it.calls.get_mut(ONE).expect("of one at a time").failed = 1;
        report(&all).is_as_promised()
    };
    assert!(!with(FLOCK));
    assert!(with("slow"));
}

#[test]
fn ratios_are_those_of_each_round_and_not_of_the_medians() {
    // The machine was three times as fast in one of the rounds, for both.
    let it = contender("it", &[20.0, 60.0, 20.0], &[80.0, 300.0, 120.0]);
    let found = it.calls.get(MANY).expect("of many at a time");
    assert_eq!((found.per_second, found.flock_ratio), (20.0, 5.0));
}

#[test]
fn figures_that_were_printed_can_be_read_again() {
    let all = all(&[("slow", 10.0)]);
    let text = serde_json::to_string(&all).expect("plain data");
    let read: All = serde_json::from_str(&text).expect("what was just written");
    assert_eq!(read.contenders, all.contenders);
}

#[test]
fn names_of_nobody_are_misused() {
    let names =
        |only| wanted(only).map(|peers| peers.iter().map(|peer| peer.0).collect::<Vec<_>>());
    assert_eq!(names("all").map(|all| all.len()), Ok(PEERS.len()));
    assert_eq!(names("kameo,tonic"), Ok(vec!["kameo", "tonic"]));
    assert!(names("kameo,nobody").is_err());
}
