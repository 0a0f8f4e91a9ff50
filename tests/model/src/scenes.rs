//! Configurations: small ones, all states of which are looked at in every test run; large ones, for whoever
//! has minutes; vast ones, through which only random ways lead.

use crate::config::Config;

fn called(called: &'static str, nests: usize, up: u8, birds: u8) -> Config {
    Config::new(called, nests, up, birds)
}

/// Of these all states are looked at in every test run.
pub fn small() -> Vec<Config> {
    let mut all = two_nests();
    all.extend(two_nests_and_a_cut());
    all.extend(three_nests());
    all.extend(three_nests_apart());
    all
}

/// Two nests, or one that another joins.
fn two_nests() -> Vec<Config> {
    let one = |name| called(name, 2, 0b10, 0b1);
    let two = |name| called(name, 2, 0b11, 0b1);
    vec![
        one("join").joins(1),
        one("join-told").joins(1).told(1),
        one("join-told-break").joins(1).told(1).breaks(1),
        one("join-ends").joins(1).ends(1),
        one("join-break").joins(1).breaks(1),
        one("join-crash").joins(1).crashes(1),
        one("join-start").joins(1).start(0, 0).stop(0, 1),
        one("join-start-break").joins(1).start(0, 0).stop(0, 1).breaks(1),
        one("join-leave").joins(1).leaves(1),
        one("join-leave-told").joins(1).leaves(1).told(1).breaks(1),
        one("join-all").joins(1).leaves(1).breaks(1).crashes(1).told(1),
        one("join-misjudged").joins(1).misjudged(1).told(1),
        two("leave").leaves(1),
        two("leave-told").leaves(1).told(1),
        two("leave-ends").leaves(1).ends(1),
        two("repeat").start(1, 0).stop(1, 0).repeats(1),
        two("misjudged").misjudged(1),
        two("misjudged-leave").misjudged(1).leaves(1).told(1),
    ]
}

/// Two nests, which a cut parts.
fn two_nests_and_a_cut() -> Vec<Config> {
    let none = |name| called(name, 2, 0b11, 0).cut(0b1);
    let two = |name| called(name, 2, 0b11, 0b1).cut(0b1);
    vec![
        two("cut"),
        two("cut-ends").ends(1),
        two("cut-told").told(2),
        two("cut-told-break").told(2).breaks(1),
        two("cut-leave").told(1).leaves(1),
        two("cut-requests").stop_in_cut(0, 0).start_in_cut(0, 1),
        two("cut-start-stop").start_in_cut(1, 1).stop(1, 0),
        none("cut-deny").start_in_cut(0, 1).stop(0, 0),
        none("cut-starts").start_in_cut(0, 0).start_in_cut(0, 1),
        none("cut-starts-told").start_in_cut(0, 0).start_in_cut(0, 1).told(2),
    ]
}

/// Three nests that see each other, but for one that crashes.
fn three_nests() -> Vec<Config> {
    let three = |name| called(name, 3, 0b111, 0b1);
    let joins = |name| called(name, 3, 0b110, 0b1).joins(1);
    vec![
        joins("join-3"),
        joins("join-told-3").told(1),
        joins("join-break-3").breaks(1),
        joins("join-crash-3").crashes(1),
        joins("join-crash-told-3").crashes(1).told(1),
        joins("join-stop-3").stop(0, 2),
        called("join-names-3", 3, 0b101, 0b11).joins(1),
        called("joins-3", 3, 0b100, 0b1).joins(2),
        three("leave-3").leaves(1),
        called("leave-names-3", 3, 0b111, 0b11).leaves(1),
        three("crash-3").crashes(1),
        three("crash-names-3").crashes(1).start(1, 2),
        three("crash-stop-3").crashes(1).stop(0, 2),
        three("crash-start-3").crashes(1).start(1, 1),
        three("crash-token-3").crashes(1).start(1, 2),
    ]
}

/// Three nests that don't always see each other.
fn three_nests_apart() -> Vec<Config> {
    let three = |name| called(name, 3, 0b111, 0b1);
    vec![
        three("misjudged-3").misjudged(1),
        three("cut-3").cut(1),
        three("cut-told-3").cut(1).told(1),
        three("majority-crash-3").crashes(1).majority(),
        three("frozen-3").cut(1).frozen().majority(),
        called("majority-2", 2, 0b11, 0b1).cut(1).majority().told(1),
    ]
}

/// Of these all states are looked at by whoever has minutes.
pub fn large() -> Vec<Config> {
    let none = |name| called(name, 3, 0b111, 0).cut(1);
    let three = |name| called(name, 3, 0b111, 0b1);
    let joins = |name| called(name, 3, 0b110, 0b1).joins(1);
    vec![
        joins("join-leave-3").leaves(1),
        joins("join-misjudged-3").misjudged(1),
        joins("join-stop-start-3").stop(0, 2).start(0, 1),
        called("joins-leave-3", 3, 0b100, 0b1).joins(2).leaves(1),
        three("leaves-3").leaves(2),
        three("cut-tolds-3").cut(1).told(2),
        none("cut-starts-3").start_in_cut(0, 0).start_in_cut(0, 1).told(1),
        joins("cut-join-3").cut(0b10).told(1),
        three("majority-3").cut(1).majority(),
        three("majority-told-3").cut(1).majority().told(1),
        none("majority-start-3").majority().start_in_cut(0, 0),
        none("majority-starts-3").majority().start_in_cut(0, 0).start_in_cut(0, 1),
        called("names-3", 3, 0b111, 0b11).leaves(1).breaks(1),
    ]
}

/// Four nests and two names: random ways lead through these.
pub fn vast() -> Vec<Config> {
    let four = |name, up, birds| called(name, 4, up, birds);
    vec![
        four("smooth-4", 0b1100, 0b11)
            .joins(2)
            .leaves(2)
            .breaks(3)
            .told(3)
            .ends(1)
            .stop(0, 2)
            .start(1, 3),
        four("requests-4", 0b1110, 0b1)
            .joins(1)
            .leaves(1)
            .breaks(2)
            .repeats(2)
            .start(1, 1)
            .stop(0, 2)
            .start(0, 3),
        four("crashes-4", 0b1110, 0b11)
            .joins(1)
            .leaves(1)
            .breaks(2)
            .crashes(1)
            .told(2)
            .stop(0, 2)
            .start(0, 3),
        four("cut-4", 0b1110, 0b11).cut(0b1010).joins(1).leaves(1).breaks(2).told(4).ends(1),
        four("cut-crash-4", 0b1111, 0b11).cut(0b11).crashes(1).breaks(1).told(3).misjudged(1),
        four("cut-requests-4", 0b1111, 0b10)
            .cut(0b11)
            .breaks(2)
            .told(3)
            .start_in_cut(0, 0)
            .start_in_cut(0, 2)
            .stop_in_cut(1, 3),
        four("heal-requests-4", 0b1111, 0b1)
            .cut(0b11)
            .breaks(1)
            .told(3)
            .repeats(1)
            .stop_in_cut(0, 0)
            .start_in_cut(0, 1)
            .stop(0, 2),
        four("majority-4", 0b1111, 0b11).cut(0b1).majority().leaves(1).breaks(1).crashes(1).told(3),
        four("majority-requests-4", 0b1111, 0b1)
            .cut(0b11)
            .majority()
            .breaks(1)
            .start_in_cut(1, 0)
            .stop_in_cut(0, 3)
            .start(0, 1),
        four("majority-join-4", 0b1110, 0b11).cut(0b10).majority().joins(1).leaves(1).told(2),
        four("frozen-4", 0b1111, 0b11).cut(0b1).frozen().majority().breaks(1).leaves(1).told(3),
        four("misjudged-4", 0b1110, 0b11).joins(1).leaves(1).breaks(2).misjudged(2).told(3),
    ]
}

/// The configuration of that name.
pub fn scene(name: &str) -> Option<Config> {
    let mut all = small().into_iter().chain(large()).chain(vast());
    all.find(|config| config.called == name)
}
