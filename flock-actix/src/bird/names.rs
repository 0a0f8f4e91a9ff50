//! Wire names, worked out and checked while the user's crate compiles.

use actix::{Actor, Context};

use super::Ear;

/// The last segment of a path as `stringify!` gives it: `a::b::Add` is `Add`. What follows a `<`
/// belongs to that segment.
pub const fn last_segment(path: &'static str) -> &'static str {
    let bytes = path.as_bytes();
    let mut from = 0;
    let mut at = 0;
    while at < bytes.len() && bytes[at] != b'<' {
        if bytes[at] == b':' || bytes[at] == b' ' {
            from = at + 1;
        }
        at += 1;
    }
    path.split_at(from).1
}

/// Whether no two of these share a wire name or its hash (the same name has the same hash).
pub const fn all_distinct<B: Actor<Context = Context<B>>>(ears: &[Ear<B>]) -> bool {
    let mut i = 0;
    while i < ears.len() {
        let mut j = i + 1;
        while j < ears.len() {
            if ears[i].id().0 == ears[j].id().0 {
                return false;
            }
            j += 1;
        }
        i += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::last_segment;

    #[test]
    fn the_default_wire_name_is_the_last_segment_of_the_path() {
        assert_eq!(last_segment("Add"), "Add");
        assert_eq!(last_segment("crate :: birds :: Add"), "Add");
        assert_eq!(last_segment("birds::Batch<other::Add>"), "Batch<other::Add>");
    }
}
