//! Scratch.
use flock_model::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let steps: u64 = a[1].parse().unwrap();
    let which = a[2].clone();
    let seed: u64 = a.get(4).and_then(|s| s.parse().ok()).unwrap_or(1);
    let rule = a.get(3).and_then(|r| Rule::named(r));
    for c in small().into_iter().chain(large()).filter(|c| which == "all" || c.called == which || (which == "4" && c.nests == 4)) {
        let mut m = Model::new(c);
        if let Some(r) = rule { m.rules = m.rules.without(r); }
        let t = std::time::Instant::now();
        let f = m.walk(seed, steps);
        println!("{:<24} ways {:>7} steps {:>9} rest {:>7} {:.2}s {}", m.config.called, f.ways, f.steps, f.at_rest, t.elapsed().as_secs_f32(), f.broken.as_ref().map_or(String::new(), |b| format!("{} {}: {}", b.way.len(), b.violation.invariant, b.violation.what)));
        if let Some(b) = &f.broken { if a.len() > 5 { println!("{}", m.tell(b)); } }
    }
}
