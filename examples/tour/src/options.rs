//! Reading a command line, without a library: three programs, a dozen options.

use std::str::FromStr;

/// The words of a command line, taken one by one.
#[derive(Debug)]
pub struct Words {
    rest: std::vec::IntoIter<String>,
}

/// What is wrong with a command line, in words for the one who typed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misuse(pub String);

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

impl Words {
    /// The words that this process was started with, its own name left out.
    pub fn of_this_process() -> Self {
        // A word that is not UTF-8 can't be an option; as a name or a path it will fail with itself
        // in the message.
        let words: Vec<_> =
            std::env::args_os().skip(1).map(|w| w.to_string_lossy().into_owned()).collect();
        Self::from(words)
    }

    /// The next word as a value of `option`.
    pub fn value(&mut self, option: &str) -> Result<String, Misuse> {
        self.next().ok_or_else(|| Misuse(format!("{option} needs a value")))
    }

    /// The next word as a number, or whatever else can be read, for `option`.
    pub fn parse<T: FromStr>(&mut self, option: &str) -> Result<T, Misuse>
    where
        T::Err: std::fmt::Display,
    {
        let word = self.value(option)?;
        word.parse().map_err(|e| Misuse(format!("{option} {word}: {e}")))
    }
}

impl From<Vec<String>> for Words {
    fn from(words: Vec<String>) -> Self {
        Self { rest: words.into_iter() }
    }
}

impl Iterator for Words {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.rest.next()
    }
}

/// Says what is wrong and where help is; the exit status for a misused program.
pub fn misused(program: &str, misuse: &Misuse) -> std::process::ExitCode {
    eprintln!("{program}: {misuse}\nTry --help.");
    std::process::ExitCode::from(2)
}
