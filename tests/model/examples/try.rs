//! Scratch.
use flock_model::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let which = a.get(1).map_or("", |s| s.as_str());
    let most: usize = a.get(2).and_then(|m| m.parse().ok()).unwrap_or(1_000_000);
    let rule = a.get(3).and_then(|r| Rule::named(r));
    for c in small().into_iter().chain(large()).filter(|c| c.called == which || which == "all" || which.ends_with('*') && c.called.starts_with(which.trim_end_matches('*'))) {
        let mut m = Model::new(c);
        if let Some(r) = rule { m.rules = m.rules.without(r); }
        let t = std::time::Instant::now();
        let f = m.explore(most);
        println!("{:<24} states {:>9} depth {:>3} rest {:>6} {} {:.2}s {}", m.config.called, f.states, f.depth, f.at_rest, if f.complete {"complete"} else {"cut"}, t.elapsed().as_secs_f32(), f.broken.as_ref().map_or(String::new(), |b| format!("{} {}: {}", b.way.len(), b.violation.invariant, b.violation.what)));
        if let Some(b) = &f.broken { if which != "all" && a.len() < 5 { println!("{}", m.tell(b)); } }
    }
}
