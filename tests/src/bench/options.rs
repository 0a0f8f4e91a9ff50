//! The command line of a bench.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What is wrong with a command line, in words for the one who typed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misuse(pub String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// The options of a bench, those left out with their defaults.
#[derive(Clone, Debug)]
pub struct Options {
    json: bool,
    values: BTreeMap<&'static str, String>,
    given: BTreeMap<&'static str, String>,
}

impl Options {
    /// Reads the words behind a bench's name. An option with an empty default is a switch.
    pub(super) fn parse(
        known: &'static [(&'static str, &'static str)],
        words: impl IntoIterator<Item = String>,
    ) -> Result<Self, Misuse> {
        let (mut json, mut given) = (false, BTreeMap::new());
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if word == "--json" {
                json = true;
                continue;
            }
            let option = known.iter().find(|(name, _)| *name == word);
            let (name, default) = option.ok_or_else(|| Misuse(format!("{word} is no option")))?;
            let value = if default.is_empty() {
                "yes".to_owned()
            } else {
                words.next().ok_or_else(|| Misuse(format!("{name} needs a value")))?
            };
            given.insert(*name, value);
        }
        let values = known.iter().map(|(name, default)| (*name, (*default).to_owned())).collect();
        Ok(Self { json, values, given })
    }

    /// Whether the figures are wanted as JSON.
    pub const fn json(&self) -> bool {
        self.json
    }

    /// The words that were read, for another program that takes the same ones.
    pub fn words(&self) -> Vec<String> {
        let json = self.json.then(|| "--json".to_owned());
        let given = self.given.iter().flat_map(|(name, value)| {
            let is_switch = self.values.get(name).is_some_and(String::is_empty);
            let value = (!is_switch).then(|| value.clone());
            [Some((*name).to_owned()), value]
        });
        json.into_iter().chain(given.flatten()).collect()
    }

    /// Whether an option was given; the only question to ask of a switch.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The text of an option.
    pub fn text(&self, name: &str) -> &str {
        self.given.get(name).or_else(|| self.values.get(name)).map_or("", String::as_str)
    }

    /// An option as a number, or whatever else can be read.
    pub fn get<T: FromStr>(&self, name: &str) -> Result<T, Misuse>
    where
        T::Err: fmt::Display,
    {
        let text = self.text(name);
        text.parse().map_err(|e| Misuse(format!("{name} {text}: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[(&str, &str)] = &[("--nests", "5"), ("--keep", "")];

    fn parse(words: &str) -> Result<Options, Misuse> {
        Options::parse(KNOWN, words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn another_program_is_given_the_same_words() {
        let options = parse("--keep --nests 7 --json").expect("good words");
        assert_eq!(options.words(), ["--json", "--keep", "--nests", "7"]);
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let options = parse("--json").expect("good words");
        assert!(options.json() && !options.is_given("--keep"));
        assert_eq!(options.get::<u32>("--nests"), Ok(5));
        assert_eq!(parse("--nests 7 --keep").and_then(|o| o.get::<u32>("--nests")), Ok(7));
    }

    #[test]
    fn words_that_make_no_sense_are_errors() {
        for words in ["--nest 5", "--nests", "5"] {
            assert!(parse(words).is_err(), "{words}");
        }
        assert!(parse("--nests many").is_ok_and(|o| o.get::<u32>("--nests").is_err()));
    }
}
