//! A story as a list of deeds: it can be written down, read again, and cut shorter.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Why a text is no script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct ScriptError {
    line: usize,
    why: String,
}

macro_rules! deeds {
    ($($(#[$doc:meta])* $name:ident = $word:literal ($($arg:ident),*),)*) => {
        /// Something that users, machines or networks do. Hosts and names are numbers; those that
        /// make no sense at the moment are passed over, so that any part of a script is a script.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Deed {
            $($(#[$doc])* $name {
                $(
                    #[allow(missing_docs, reason = "said where the deed is described")]
                    $arg: u32,
                )*
            },)*
        }

        impl fmt::Display for Deed {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name { $($arg),* } => {
                        f.write_str($word)?;
                        $(write!(f, " {}", $arg)?;)*
                        Ok(())
                    })*
                }
            }
        }

        impl FromStr for Deed {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let mut words = text.split_whitespace();
                let deed = match words.next().unwrap_or_default() {
                    $($word => Self::$name { $($arg: number(&mut words, stringify!($arg))?,)* },)*
                    other => return Err(format!("{other:?} is no deed")),
                };
                match words.next() {
                    None => Ok(deed),
                    Some(more) => Err(format!("{more:?} is too much")),
                }
            }
        }
    };
}

fn number<'a>(words: &mut impl Iterator<Item = &'a str>, what: &str) -> Result<u32, String> {
    let word = words.next().ok_or_else(|| format!("the {what} is missing"))?;
    word.parse().map_err(|e| format!("{what} {word:?}: {e}"))
}

deeds! {
    /// A nest starts on a host that has none; a new host, if the number is the next.
    Boot = "boot" (host),
    /// A nest starts on a new host whose clock is ahead by so many seconds, or behind (`early` 0).
    BootSkewed = "boot-skewed" (seconds, early),
    /// A user on a host starts a bird.
    Start = "start" (host, name),
    /// A user on a host stops a bird.
    Stop = "stop" (host, name),
    /// A user on a host wants a grounded bird to try again.
    Revive = "revive" (host, name),
    /// A user on a host calls a bird.
    Call = "call" (host, name),
    /// A user on a host casts to a bird.
    Cast = "cast" (host, name),
    /// Users on all hosts start one bird at once, and one of them five more, which it calls at once.
    Burst = "burst" (host, name),
    /// A bird on a host crashes.
    Fall = "fall" (host),
    /// A bird on a host ends of itself.
    End = "end" (host),
    /// A bird on a host ends of itself, also if its nest leaves.
    EndAny = "end-any" (host),
    /// A nest leaves in good order.
    Leave = "leave" (host),
    /// A nest's process dies.
    Kill = "kill" (host),
    /// It dies, and starts anew after so many milliseconds.
    Restart = "restart" (host, ms),
    /// All nests but those on so many hosts die: the first two, where seeds are, among the dead.
    KillSeeds = "kill-seeds" (),
    /// A host stands still for so many milliseconds: not long enough to be held dead.
    Freeze = "freeze" (host, ms),
    /// A host stands still for so many milliseconds, and may be held dead.
    FreezeLong = "freeze-long" (host, ms),
    /// The links between two hosts break.
    Break = "break" (a, b),
    /// A link breaks, and one end doesn't notice.
    BreakHalf = "break-half" (a, b),
    /// What is under way between two hosts is held up for so many milliseconds.
    Stall = "stall" (a, b, ms),
    /// Every frame between two hosts takes so many milliseconds longer.
    Slow = "slow" (a, b, ms),
    /// Two hosts don't hear each other; if a third sees both, that is no partition.
    CutPair = "cut-pair" (a, b),
    /// One host doesn't hear the other.
    CutOneWay = "cut-one-way" (from, to),
    /// The hosts whose bits are set don't hear the others, nor these them.
    Split = "split" (mask),
    /// Two hosts don't hear each other and hear each other again, so many times, so many
    /// milliseconds each.
    Flap = "flap" (a, b, times, ms),
    /// All cuts are healed.
    Heal = "heal" (),
    /// A user on a host asks all nests to take their shares.
    Rebalance = "rebalance" (host),
    /// The nest of a host is given another weight.
    Weigh = "weigh" (host, weight),
    /// So many nests start at once on new hosts.
    BootMany = "boot-many" (count),
    /// All nests leave at once but those on so many hosts.
    LeaveAllBut = "leave-all-but" (count),
    /// Faults cease, time passes, and everything must be in order.
    Rest = "rest" (),
}

/// A deed, and how long nothing is done after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// What is done.
    pub deed: Deed,
    /// How long until the next one.
    pub then: Duration,
}

/// A story, ready to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Decides what the deeds leave open: how long frames take, whom SWIM probes.
    pub seed: u64,
    /// How many operations of each incarnation the registries' logs hold.
    pub log_len: usize,
    /// After how many milliseconds a dead incarnation is retired; 0: as configured by default.
    pub retire_ms: u64,
    /// One hatch in so many takes long; 0: none.
    pub slow_hatches: u64,
    /// Which nests wait until they are asked to take their shares of the names. 0: none; 1: all; 2: those
    /// on every other host.
    pub passive: u32,
    /// How many milliseconds the ring must have been the same before a nest takes its share.
    pub cool_ms: u64,
    /// How many birds may depart from a nest in a second; 0: any number. If there is a bound, two are
    /// under way at once.
    pub pace: u32,
    /// Of a flock that is cut in two, only the side with the most nests goes on.
    pub majority: bool,
    /// A bird takes a checkpoint after one in so many calls; 0: never.
    pub standby: u64,
    /// How many names there are.
    pub names: u32,
    /// No crash, no cut: two lives of a bird may never coexist, not even for a moment.
    pub smooth: bool,
    /// The deeds.
    pub lines: Vec<Line>,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, log_len, retire_ms, names, smooth, lines, .. } = self;
        let climate = if *smooth { "smooth" } else { "rough" };
        write!(f, "{climate} seed {seed} log {log_len} retire {retire_ms} names {names}")?;
        for (word, value) in self.later() {
            if value > 0 {
                write!(f, " {word} {value}")?;
            }
        }
        writeln!(f)?;
        for Line { deed, then } in lines {
            writeln!(f, "{deed} | {}", then.as_micros())?;
        }
        Ok(())
    }
}

impl Script {
    /// What scripts that were written down before it was thought of don't say.
    fn later(&self) -> [(&'static str, u64); 6] {
        let (passive, pace) = (self.passive.into(), self.pace.into());
        let (slow, cool) = (self.slow_hatches, self.cool_ms);
        let majority = self.majority.into();
        [
            ("slow", slow),
            ("passive", passive),
            ("cool", cool),
            ("pace", pace),
            ("majority", majority),
            ("standby", self.standby),
        ]
    }
}

impl FromStr for Script {
    type Err = ScriptError;

    /// Reads what `Display` wrote. Empty lines and those that begin with `#` are passed over.
    fn from_str(text: &str) -> Result<Self, ScriptError> {
        let mut script: Option<Self> = None;
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let fail = |why| ScriptError { line, why };
            match &mut script {
                None => script = Some(head(text).map_err(fail)?),
                Some(script) => script.lines.push(read(text).map_err(fail)?),
            }
        }
        script.ok_or(ScriptError { line: 1, why: "there is nothing".into() })
    }
}

fn head(text: &str) -> Result<Script, String> {
    let mut words = text.split_whitespace();
    let smooth = match words.next() {
        Some("smooth") => true,
        Some("rough") => false,
        _ => return Err("neither smooth nor rough".into()),
    };
    let mut value = |what: &str| -> Result<u64, String> {
        match (words.next(), words.next().map(str::parse)) {
            (Some(word), Some(Ok(value))) if word == what => Ok(value),
            _ => Err(format!("no {what}")),
        }
    };
    let mut script = Script {
        smooth,
        seed: value("seed")?,
        log_len: value("log")? as usize,
        retire_ms: value("retire")?,
        names: value("names")? as u32,
        slow_hatches: 0,
        passive: 0,
        cool_ms: 0,
        pace: 0,
        majority: false,
        standby: 0,
        lines: Vec::new(),
    };
    while let Some(word) = words.next() {
        let value = number(&mut words, word)?;
        match word {
            "slow" => script.slow_hatches = value.into(),
            "passive" => script.passive = value,
            "cool" => script.cool_ms = value.into(),
            "pace" => script.pace = value,
            "majority" => script.majority = value > 0,
            "standby" => script.standby = value.into(),
            other => return Err(format!("{other:?} is nothing that a script says")),
        }
    }
    Ok(script)
}

fn read(text: &str) -> Result<Line, String> {
    let (deed, then) = text.split_once('|').ok_or("no pause")?;
    let then = then.trim().parse().map_err(|e| format!("pause: {e}"))?;
    Ok(Line { deed: deed.parse()?, then: Duration::from_micros(then) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_reads_as_it_was_written() {
        let line = |deed| Line { deed, then: Duration::from_micros(1500) };
        let script = Script {
            seed: 7,
            log_len: 64,
            retire_ms: 0,
            slow_hatches: 8,
            passive: 2,
            cool_ms: 0,
            pace: 20,
            majority: true,
            standby: 2,
            names: 24,
            smooth: false,
            lines: vec![
                line(Deed::Boot { host: 0 }),
                line(Deed::Flap { a: 0, b: 1, times: 3, ms: 20 }),
                line(Deed::Rest {}),
            ],
        };
        let text = script.to_string();
        assert_eq!(text.parse(), Ok(script));
        assert!(text.lines().nth(2).is_some_and(|line| line == "flap 0 1 3 20 | 1500"), "{text}");
    }

    #[test]
    fn a_text_that_is_no_script_says_where() {
        for (text, line) in [
            ("", 1),
            ("smooth seed 1", 1),
            ("smooth seed 1 log 2 retire 0 names 3 swift 1", 1),
            ("smooth seed 1 log 2 retire 0 names 3\n\nflop | 1", 3),
            ("smooth seed 1 log 2 retire 0 names 3\nboot | 1", 2),
            ("smooth seed 1 log 2 retire 0 names 3\nboot 1 2 | 1", 2),
        ] {
            assert_eq!(text.parse::<Script>().map_err(|e| e.line), Err(line), "{text}");
        }
    }
}
