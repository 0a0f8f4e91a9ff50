//! From a seed to a script: everything that users, machines and networks do, in an order that
//! chance decides.

use std::time::Duration;

use super::script::{Deed, Line, Script};
use crate::Rng;

/// What kind of story to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Joins, leaves, broken links, short freezes: two lives of a bird may never coexist, not even
    /// for a moment.
    Smooth,
    /// Also crashes, cuts, long freezes, clocks that are off: two lives may coexist until the flock
    /// has found together again.
    Rough,
    /// As smooth, and in a hurry: a few birds are about to move all the time, over links that are
    /// slow and break, while users and the birds themselves do what they like.
    Restless,
    /// A nest stands still for so long that the others go on without it. As it thaws, users on both
    /// sides start the same birds, before the two pictures of the flock have become one.
    Thawing,
    /// Nothing but users, and links that stall or break: for measuring.
    Steady,
}

/// A story to be told.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    /// Decides everything.
    pub seed: u64,
    /// Of which kind.
    pub kind: Kind,
    /// Nests at the beginning.
    pub nests: u32,
    /// Names: few of them, so that requests meet.
    pub names: u32,
    /// How long it lasts at least, in simulated time.
    pub seconds: u32,
}

/// Writes a story's script. It holds deeds for longer than the story lasts: how long the flock takes
/// to come to rest after each chapter is seen only when it is told.
pub fn plan(story: Story) -> Script {
    let mut planner = Planner::new(story);
    planner.gather();
    // A chapter lasts 10 s and more.
    for _ in 0..=story.seconds / 10 {
        match story.kind {
            Kind::Restless => planner.scenes(),
            Kind::Thawing => planner.thaw(),
            _ => planner.chapter(),
        }
    }
    planner.script
}

/// Where birds move all the time, so many names are enough, and meet.
const FEW_NAMES: u32 = 8;

/// One each millisecond, for as long as two pictures of the flock take to become one.
const THAW_NAMES: u32 = 300;

struct Planner {
    story: Story,
    rng: Rng,
    /// What was thought of later is drawn from here, lest the stories told before become others.
    whims: Rng,
    script: Script,
    /// Hosts so far, as far as can be told beforehand.
    hosts: u32,
}

impl Planner {
    fn new(story: Story) -> Self {
        let mut rng = Rng::new(story.seed ^ 0x5eed_5eed_5eed_5eed);
        let steady = story.kind == Kind::Steady;
        let log_len = match rng.below(6) {
            0 if !steady => 8,
            1 if !steady => 64,
            _ => 4096,
        };
        let retire_ms = if rng.one_in(3) && !steady { 12_000 } else { 0 };
        let quick = steady || story.kind == Kind::Thawing || story.seed % 4 != 3;
        let slow_hatches = if quick { 0 } else { 8 };
        // By their seeds, so that the others are the stories that they were.
        let balance = !steady && story.kind != Kind::Thawing;
        let one_in = |n: u64, of: u64| balance && story.seed % n == of;
        let passive = if one_in(5, 0) { 1 + (story.seed / 5 % 2) as u32 } else { 0 };
        // Where nothing is rough, users wait in vain only if somebody is to blame; a slow hatch and a cut
        // may be enough.
        let forgiving = slow_hatches == 0 || story.kind == Kind::Rough;
        let standby = if !steady && story.seed % 3 == 1 && forgiving { 2 } else { 0 };
        let script = Script {
            seed: story.seed,
            log_len,
            retire_ms,
            slow_hatches,
            passive,
            cool_ms: if one_in(7, 3) && quick { 2_000 } else { 0 },
            pace: if one_in(6, 1) { 20 } else { 0 },
            majority: story.kind == Kind::Rough && story.seed % 5 == 2,
            standby,
            names: story.names,
            smooth: !matches!(story.kind, Kind::Rough | Kind::Thawing),
            lines: Vec::new(),
        };
        let whims = Rng::new(story.seed ^ 0x0057_a7e5_0f7e_3115);
        Self { story, rng, whims, script, hosts: 0 }
    }

    fn below(&mut self, n: u32) -> u32 {
        self.rng.below(n.into()) as u32
    }

    fn then(&mut self, deed: Deed, ms: u32) {
        let then = Duration::from_micros(u64::from(ms) * 1000 + self.rng.below(1000));
        self.script.lines.push(Line { deed, then });
    }

    /// The first nests come up: one after the other, all at once, or as two flocks that meet.
    fn gather(&mut self) {
        let nests = self.story.nests;
        let way = if self.story.kind == Kind::Rough { self.below(6) } else { self.below(2) };
        match way {
            0 => self.then(Deed::BootMany { count: nests }, 3_000),
            5 if nests > 2 => {
                // As if they had never heard of each other.
                let half = nests / 2;
                let mask = (1_u32 << half.min(20)) - 1;
                self.then(Deed::BootMany { count: half }, 500);
                self.then(Deed::Split { mask }, 10);
                self.then(Deed::BootMany { count: nests - half }, 4_000);
            }
            _ => {
                for host in 0..nests {
                    let pause = self.below(20);
                    self.then(Deed::Boot { host }, pause);
                }
            }
        }
        self.hosts = nests;
        let pause = self.below(4_000);
        self.then(Deed::Rest {}, pause);
    }

    fn thaw(&mut self) {
        let (frozen, ms, lag) = (self.host(), 6_000 + self.below(3_000), 1 + self.below(20));
        let other = (frozen + 1) % self.hosts;
        self.then(Deed::FreezeLong { host: frozen, ms }, ms);
        for name in 0..THAW_NAMES {
            self.then(Deed::Start { host: other, name }, 0);
            if let Some(name) = name.checked_sub(lag) {
                self.then(Deed::Start { host: frozen, name }, 0);
            }
        }
        self.then(Deed::Rest {}, 100);
    }

    fn host(&mut self) -> u32 {
        self.below(self.hosts)
    }

    fn name(&mut self) -> u32 {
        let few = if self.story.kind == Kind::Restless { FEW_NAMES } else { u32::MAX };
        self.below(self.story.names.min(few))
    }

    /// About one deed for each nest and second, in bursts and lulls.
    fn pause(&mut self) -> u32 {
        let nests = self.story.nests.max(1);
        match self.below(10) {
            0 => self.below(15_000 / nests + 1),
            1..=3 => self.below(1_500 / nests + 1),
            _ => self.below(75 / nests + 1),
        }
    }

    fn chapter(&mut self) {
        let deeds = self.story.nests * (2 + self.below(12));
        for _ in 0..deeds {
            self.deed();
        }
        if self.story.kind != Kind::Steady || self.rng.one_in(4) {
            self.then(Deed::Rest {}, 100);
        }
    }

    /// Users have a say over who owns how much, where nests wait.
    fn balance(&mut self) {
        let Script { passive, cool_ms, .. } = self.script;
        if (passive == 0 && cool_ms == 0) || !self.whims.one_in(24) {
            return;
        }
        let host = self.whims.below(self.hosts.into()) as u32;
        let weight = 1 + self.whims.below(3) as u32;
        let weigh = self.whims.one_in(3);
        let deed = if weigh { Deed::Weigh { host, weight } } else { Deed::Rebalance { host } };
        let then = Duration::from_micros(self.whims.below(2_000));
        self.script.lines.push(Line { deed, then });
    }

    fn deed(&mut self) {
        self.balance();
        let pause = self.pause();
        let host = self.host();
        let name = self.name();
        let deed = match self.below(100) {
            0..=25 => Deed::Start { host, name },
            26..=37 => Deed::Stop { host, name },
            38..=61 => Deed::Call { host, name },
            62..=67 => Deed::Cast { host, name },
            68..=69 => Deed::Revive { host, name },
            70..=74 => Deed::Fall { host },
            75..=77 => Deed::End { host },
            78..=79 => Deed::Burst { host, name },
            _ => return self.trouble(host, pause),
        };
        self.then(deed, pause);
    }

    fn trouble(&mut self, host: u32, pause: u32) {
        let (other, third) = (self.host(), self.below(100));
        let (a, b) = (host, other);
        match (self.story.kind, third) {
            (Kind::Steady, 0..=10) => {
                let ms = self.below(800);
                self.then(Deed::Stall { a, b, ms }, pause);
            }
            (Kind::Steady, 11) => self.then(Deed::Break { a, b }, pause),
            (Kind::Steady, _) => {
                let name = self.name();
                self.then(Deed::Call { host, name }, pause);
            }
            (_, 0..=17) => self.come(pause),
            (_, 18..=29) => self.then(Deed::Leave { host }, pause),
            (_, 30..=36) => {
                let ms = self.below(800);
                self.then(Deed::Stall { a, b, ms }, pause);
            }
            (_, 37..=43) => self.then(Deed::Break { a, b }, pause),
            (_, 44..=46) => self.then(Deed::BreakHalf { a, b }, pause),
            (_, 47..=50) => {
                let ms = self.below(300);
                self.then(Deed::Slow { a, b, ms }, pause);
            }
            (_, 51..=57) => {
                let ms = self.below(1_000);
                self.then(Deed::Freeze { host, ms }, pause);
            }
            (_, 58..=65) => self.cut_pair(a, b),
            (_, 66..=67) => {
                let count = 1 + self.below(3);
                self.then(Deed::BootMany { count }, pause);
            }
            (Kind::Rough, _) => self.disaster(host, other, pause),
            (Kind::Smooth | Kind::Restless | Kind::Thawing, _) => {
                let ms = self.below(1_000);
                self.then(Deed::Freeze { host, ms }, pause);
            }
        }
    }

    /// A few scenes, and a rest.
    fn scenes(&mut self) {
        for _ in 0..2 + self.below(3) {
            match self.below(8) {
                0 => self.apart(),
                1 => self.falls(),
                2 => self.rush(),
                3 => self.newborns(),
                _ => self.removal(),
            }
        }
        self.then(Deed::Rest {}, 100);
    }

    /// Nests come and go over slow links while much is asked for.
    fn removal(&mut self) {
        for _ in 0..self.below(2 * self.story.nests) {
            let pause = self.below(20);
            self.hinder(pause);
        }
        if self.rng.one_in(3) {
            let (host, ms) = (self.host(), self.below(1_000));
            self.then(Deed::Freeze { host, ms }, 1);
        }
        let (deeds, haste) = (20 + self.below(40), 5 + self.below(60));
        for _ in 0..deeds {
            let pause = self.below(haste);
            match self.below(12) {
                0 => self.come(pause),
                1 => {
                    let host = self.host();
                    self.then(Deed::Leave { host }, pause);
                }
                2..=3 => self.hinder(pause),
                _ => self.wish(pause),
            }
        }
        let pause = self.below(2_500);
        self.then(Deed::Heal {}, pause);
    }

    /// Two nests don't hear each other, and others pass on what they have to say.
    fn apart(&mut self) {
        let (a, b) = (self.host(), self.host());
        self.then(Deed::CutPair { a, b }, 1);
        for _ in 0..10 + self.below(30) {
            let (pause, name) = (self.below(400), self.name());
            match self.below(6) {
                0..=1 => self.then(Deed::Call { host: a, name }, pause),
                2..=3 => self.then(Deed::Call { host: b, name }, pause),
                _ => self.wish(pause),
            }
        }
        self.then(Deed::Heal {}, 1_000);
    }

    /// One nest's birds crash until they are grounded, and nobody asks for anything else.
    fn falls(&mut self) {
        self.then(Deed::Rest {}, 100);
        let host = self.host();
        for _ in 0..25 {
            let pause = self.below(40);
            self.then(Deed::Fall { host }, pause);
        }
        for name in 0..self.story.names.min(FEW_NAMES) {
            let host = self.host();
            self.then(Deed::Revive { host, name }, 10);
        }
        self.then(Deed::Rest {}, 100);
    }

    /// Calls wait for birds that hatch, while the links break that bring their answers.
    fn rush(&mut self) {
        let host = self.host();
        for _ in 0..12 {
            let (other, name) = (self.host(), self.name());
            let (hatching, broken, after) = (self.below(6), self.below(6), 100 + self.below(100));
            self.then(Deed::Burst { host, name }, hatching);
            self.then(Deed::Break { a: host, b: other }, broken);
            self.then(Deed::Burst { host, name: name + 6 }, after);
            for name in name..name + 12 {
                self.then(Deed::Stop { host, name: name % self.story.names.max(1) }, 1);
            }
            self.then(Deed::Heal {}, after);
        }
    }

    /// Birds are called as soon as they live, while their owners change and links are slow.
    fn newborns(&mut self) {
        for name in 0..self.story.names {
            let host = self.host();
            self.then(Deed::Stop { host, name }, 4);
        }
        let host = self.hosts;
        self.hosts = (host + 1).min(self.story.nests + 4);
        self.then(Deed::Boot { host }, 5);
        self.come(25);
        // Now they have links.
        for _ in 0..4 * self.story.nests {
            let (a, b, ms) = (self.host(), self.host(), 100 + self.below(400));
            self.then(Deed::Slow { a, b, ms }, 0);
        }
        let pace = 20 + self.below(40);
        for name in 0..self.story.names + 12 {
            let (starter, caller) = (self.host(), self.host());
            if name < self.story.names {
                self.then(Deed::Start { host: starter, name }, pace);
            }
            for back in [4, 8, 12] {
                if let Some(name) = name.checked_sub(back).filter(|n| *n < self.story.names) {
                    self.then(Deed::Call { host: caller, name }, pace / 4);
                }
            }
        }
    }

    /// Links are slow, break, or stand still.
    fn hinder(&mut self, pause: u32) {
        let (a, b, ms) = (self.host(), self.host(), self.below(500));
        let deed = match self.below(10) {
            0..=4 => Deed::Slow { a, b, ms },
            5..=7 => Deed::Break { a, b },
            8 => Deed::BreakHalf { a, b },
            _ => Deed::Stall { a, b, ms },
        };
        self.then(deed, pause);
    }

    /// What users ask for, and what birds do.
    fn wish(&mut self, pause: u32) {
        self.balance();
        let (host, name) = (self.host(), self.name());
        let deed = match self.below(20) {
            0..=5 => Deed::Start { host, name },
            6..=8 => Deed::Stop { host, name },
            9..=13 => Deed::Call { host, name },
            14 => Deed::Cast { host, name },
            15..=16 => Deed::Fall { host },
            17 => Deed::Revive { host, name },
            _ => Deed::EndAny { host },
        };
        self.then(deed, pause);
    }

    fn come(&mut self, pause: u32) {
        let host = if self.rng.one_in(3) { self.hosts } else { self.host() };
        self.hosts = self.hosts.max(host + 1).min(self.story.nests + 4);
        self.then(Deed::Boot { host }, pause);
    }

    /// A cut that others see round, for a while, with something to do for the two.
    fn cut_pair(&mut self, a: u32, b: u32) {
        let span = self.below(4_500);
        self.then(Deed::CutPair { a, b }, span);
        let name = self.name();
        self.then(Deed::Start { host: a, name }, 5);
        self.then(Deed::Call { host: b, name }, span);
        self.then(Deed::Heal {}, 2_000);
    }

    fn disaster(&mut self, host: u32, other: u32, pause: u32) {
        match self.below(100) {
            0..=29 => self.then(Deed::Kill { host }, pause),
            30..=41 => {
                let ms = self.below(3_000);
                self.then(Deed::Restart { host, ms }, pause);
            }
            42..=61 => self.split(),
            62..=69 => self.then(Deed::Heal {}, pause),
            70..=75 => {
                let ms = 2_000 + self.below(8_000);
                self.then(Deed::FreezeLong { host, ms }, pause);
            }
            76..=83 => {
                let span = self.below(6_000);
                self.then(Deed::CutOneWay { from: host, to: other }, span);
            }
            84..=89 => {
                let (times, ms) = (1 + self.below(8), 10 + self.below(1_500));
                self.then(Deed::Flap { a: host, b: other, times, ms }, pause);
            }
            90..=93 => {
                let (seconds, early) = (1 + self.below(3_600), self.below(2));
                self.hosts = (self.hosts + 1).min(self.story.nests + 4);
                self.then(Deed::BootSkewed { seconds, early }, pause);
            }
            94..=96 => {
                let count = 1 + self.below(2);
                self.then(Deed::LeaveAllBut { count }, pause);
            }
            _ => self.then(Deed::KillSeeds {}, pause),
        }
    }

    /// A partition, with one name on both sides of it.
    fn split(&mut self) {
        let mask = 1 + self.below((1 << self.hosts.min(20)) - 1);
        let span = self.below(12_000);
        self.then(Deed::Split { mask }, span);
        let name = self.name();
        let (a, b) = (mask.trailing_zeros(), mask.trailing_ones());
        self.then(Deed::Start { host: a, name }, 5);
        self.then(Deed::Start { host: b, name }, 5);
    }
}
