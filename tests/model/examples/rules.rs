//! Scratch.
use flock_model::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let most: usize = a[1].parse().unwrap();
    let only: Vec<&str> = a[2..].iter().map(|s| s.as_str()).collect();
    let rules: Vec<Rule> = Rule::ALL.iter().copied().filter(|r| only.is_empty() || only.contains(&r.name())).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|s| for _ in 0..2 { s.spawn(|| loop {
        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if n >= rules.len() { break }
        let r = rules[n];
        let mut cs: Vec<_> = small().into_iter().chain(large()).collect();
        cs.sort_by_key(|c| (c.nests, c.requests.len()));
        let mut best = String::new();
        for c in cs {
            let mut m = Model::new(c); m.rules = m.rules.without(r);
            let f = m.explore(most);
            if let Some(b) = f.broken { best = format!("{:<22} {:<20} {:>7} states, {:>2} steps, {}: {}", r.name(), m.config.called, f.states, b.way.len(), b.violation.invariant, b.violation.what); break }
        }
        if best.is_empty() { best = format!("{:<22} NOT FOUND", r.name()); }
        println!("{best}");
    }); });
}
