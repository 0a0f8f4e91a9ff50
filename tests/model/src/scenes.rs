//! Configurations.

use crate::config::Config;

/// Small ones: all their states are looked at in every test run.
pub fn small() -> Vec<Config> {
    let one = |called| Config::new(called, 2, 0b10, 0b1);
    let two = |called| Config::new(called, 2, 0b11, 0b1);
    let three = |called| Config::new(called, 3, 0b111, 0b1);
    let joins = |called| Config::new(called, 3, 0b110, 0b1).joins(1);
    vec![
        one("join").joins(1),
        one("join-told").joins(1).told(1),
        one("join-told-break").joins(1).told(1).breaks(1),
        one("join-ends").joins(1).ends(1),
        two("leave").leaves(1),
        two("leave-told").leaves(1).told(1),
        two("leave-ends").leaves(1).ends(1),
        one("join-leave").joins(1).leaves(1),
        one("join-leave-told").joins(1).leaves(1).told(1).breaks(1),
        one("join-break").joins(1).breaks(1),
        one("join-crash").joins(1).crashes(1),
        one("join-start").joins(1).start(0, 0).stop(0, 1),
        one("join-start-break").joins(1).start(0, 0).stop(0, 1).breaks(1),
        one("join-all").joins(1).leaves(1).breaks(1).crashes(1).told(1),
        two("2-cut").cut(1),
        two("2-cut-told").cut(1).told(2),
        two("2-cut-told-break").cut(1).told(2).breaks(1),
        two("2-cut-leave").cut(1).told(1).leaves(1),
        two("2-cut-reqs").cut(1).stop_in_cut(0, 0).start_in_cut(0, 1),
        two("2-cut-stop-after").cut(1).start_in_cut(1, 1).stop(1, 0),
        Config::new("2-cut-starts", 2, 0b11, 0).cut(1).start_in_cut(0, 0).start_in_cut(0, 1),
        Config::new("2-cut-starts-told", 2, 0b11, 0).cut(1).start_in_cut(0, 0).start_in_cut(0, 1).told(2),
        two("2-misjudged").misjudged(1),
        two("2-misjudged-leave").misjudged(1).leaves(1).told(1),
        one("join-misjudged").joins(1).misjudged(1).told(1),
        two("2-ends").ends(1).cut(1),
        two("2-repeat").start(1, 0).stop(1, 0).repeats(1),
        three("leave-3").leaves(1),
        joins("join-3"),
        joins("join-leave-3").leaves(1),
        joins("join-crash-3").crashes(1),
        joins("join-crash-told-3").crashes(1).told(1),
        joins("join-break-3").breaks(1),
        joins("join-stop-3").stop(0, 2),
        joins("join-stop-start-3").stop(0, 2).start(0, 1),
        joins("join-told-3").told(1),
        joins("join-misjudged-3").misjudged(1),
        three("crash-3").crashes(1),
        three("crash-stop-3").crashes(1).stop(0, 2),
        three("crash-start-3").crashes(1).start(1, 1),
        three("crash-start-3b").crashes(1).start(1, 2),
        three("cut-3").cut(1),
        three("cut-told-3").cut(1).told(2),
        Config::new("cut-starts-told-3", 3, 0b111, 0).cut(1).start_in_cut(0, 0).start_in_cut(0, 1).told(1),
        Config::new("cut-join-3", 3, 0b110, 0b1).joins(1).cut(0b10).told(1),
        three("maj-cut-3").cut(1).majority(),
        Config::new("maj-starts-3", 3, 0b111, 0).cut(1).majority().start_in_cut(0, 0).start_in_cut(0, 1),
        three("maj-cut-told-3").cut(1).majority().told(1),
        three("maj-frozen-3").cut(1).frozen().majority(),
        three("maj-crash-3").crashes(1).majority(),
        Config::new("names-3", 3, 0b110, 0b11).joins(1),
        Config::new("joins-3", 3, 0b100, 0b1).joins(2),
        Config::new("joins-leave-3", 3, 0b100, 0b1).joins(2).leaves(1),
        three("misjudged-3").misjudged(1),
        three("leaves-3").leaves(2),
    ]
}

/// Larger ones.
pub fn large() -> Vec<Config> {
    let four = |called, up, birds| Config::new(called, 4, up, birds);
    vec![
        four("smooth-4", 0b1100, 0b11).joins(2).leaves(2).breaks(3).told(3).ends(1).stop(0, 2).start(1, 3),
        four("requests-4", 0b1110, 0b1).joins(1).leaves(1).breaks(2).start(1, 1).stop(0, 2).start(0, 3).repeats(2),
        four("crashes-4", 0b1100, 0b11).joins(2).leaves(1).breaks(2).crashes(2).told(2).stop(0, 2).start(0, 3),
        four("cut-4", 0b1110, 0b11).cut(0b1010).joins(1).leaves(1).breaks(2).told(4).ends(1),
        four("cut-crash-4", 0b1111, 0b11).cut(0b11).crashes(1).breaks(1).told(3).misjudged(1),
        four("cut-requests-4", 0b1111, 0b10).cut(0b11).breaks(2).told(3).start_in_cut(0, 0).start_in_cut(0, 2).stop_in_cut(1, 3),
        four("heal-requests-4", 0b1111, 0b1).cut(0b11).breaks(1).told(3).stop_in_cut(0, 0).start_in_cut(0, 1).stop(0, 2).repeats(1),
        four("majority-4", 0b1111, 0b11).cut(0b1).majority().leaves(1).breaks(1).crashes(1).told(3),
        four("majority-requests-4", 0b1111, 0b1).cut(0b11).majority().breaks(1).start_in_cut(1, 0).stop_in_cut(0, 3).start(0, 1),
        four("majority-join-4", 0b1110, 0b11).cut(0b10).majority().joins(1).leaves(1).told(2),
        four("frozen-4", 0b1111, 0b11).cut(0b1).frozen().majority().breaks(1).leaves(1).told(3),
        four("misjudged-4", 0b1110, 0b11).joins(1).leaves(1).breaks(2).misjudged(2).told(3),
    ]
}
