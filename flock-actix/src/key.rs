//! The key of a flock: whoever has it may join.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::secret::{self, Unread};

const BYTES: usize = 32;

/// No text of a key is longer, blanks around it included.
const MAX_TEXT: u64 = 1024;

/// So many different bytes, and so many different steps from one to the next, have all 32 random bytes
/// that anybody will ever see: fewer come up once in 10¹⁵ times.
const DIFFERENT: usize = 16;

/// The secret that the nests of a flock share: 32 random bytes.
///
/// Whoever has it may join, and have every handler of every bird run. As text it is 64 hex digits, or
/// 44 characters of base64 (of either alphabet, with or without the `=` at the end), with blanks and line
/// ends around it:
///
/// ```sh
/// openssl rand -hex 32
/// ```
///
/// Its `Debug` shows nothing of it. The last clone that is dropped overwrites it.
#[derive(Clone)]
pub struct ClusterKey(Arc<Zeroizing<[u8; BYTES]>>);

impl ClusterKey {
    /// The key in an environment variable.
    ///
    /// # Errors
    /// The variable isn't set, or is no key.
    pub fn from_env(variable: &str) -> Result<Self, KeyError> {
        let text = std::env::var_os(variable).ok_or_else(|| KeyError::NotSet(variable.into()))?;
        let text = text.into_encoded_bytes();
        Self::from_text(&Zeroizing::new(text))
    }

    /// The key in a file, which holds nothing else, and which nobody but its owner can read or write (if
    /// that is root, it may be readable by a group, too). Only on Unix is that looked at.
    ///
    /// # Errors
    /// The file can't be read, is open to others, or is no key.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        let text = secret::read(path, MAX_TEXT).map_err(|e| match e {
            Unread::Io(source) => KeyError::File { path: path.into(), source },
            Unread::Open { mode } => KeyError::OpenToOthers { path: path.into(), mode },
        })?;
        Self::from_text(&text)
    }

    /// A new key, from the operating system's randomness.
    ///
    /// # Errors
    /// The operating system has none to give.
    pub fn generate() -> Result<Self, KeyError> {
        loop {
            let mut bytes = Arc::new(Zeroizing::new([0; BYTES]));
            let fill = getrandom::fill(&mut **Arc::make_mut(&mut bytes));
            fill.map_err(|e| KeyError::NoRandomness(e.to_string()))?;
            if weakness(&bytes).is_none() {
                return Ok(Self(bytes));
            }
        }
    }

    /// The key as 64 hex digits, for bringing it to the other nests. Nothing overwrites this text.
    pub fn reveal(&self) -> String {
        self.0.iter().fold(String::with_capacity(2 * BYTES), |mut text, byte| {
            let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
            text.extend([digit(byte >> 4), digit(byte & 15)]);
            text
        })
    }

    pub(crate) fn bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    fn from_text(text: &[u8]) -> Result<Self, KeyError> {
        let text = text.trim_ascii();
        if text.len() as u64 > MAX_TEXT {
            return Err(KeyError::NotText);
        }
        let bytes = if text.iter().all(u8::is_ascii_hexdigit) { hex(text) } else { base64(text) };
        let bytes = bytes.ok_or(KeyError::NotText)?;
        let Ok(given) = <&[u8; BYTES]>::try_from(&bytes[..]) else {
            return Err(KeyError::WrongLength(bytes.len()));
        };
        if let Some(why) = weakness(given) {
            return Err(KeyError::Weak(why));
        }
        // Filled where it stays: a move would leave a copy behind.
        let mut key = Arc::new(Zeroizing::new([0; BYTES]));
        Arc::make_mut(&mut key).copy_from_slice(given);
        Ok(Self(key))
    }
}

impl FromStr for ClusterKey {
    type Err = KeyError;

    /// Reads the text of a key.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_text(text.as_bytes())
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}

/// Why there is no key. Nothing of what was read is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The environment variable isn't set.
    #[error("{0} is not set: it should hold a key, as `openssl rand -hex 32` makes one")]
    NotSet(String),
    /// The file can't be read.
    #[error("can't read a key from {path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file can be read or written by others than its owner.
    #[error(
        "{path} holds a secret and is open to others (mode {mode:o}): `chmod 600` it",
        path = path.display()
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The text is neither hex nor base64.
    #[error(
        "a key is 64 hex digits or 44 characters of base64, as `openssl rand -hex 32` makes one"
    )]
    NotText,
    /// The text stands for fewer bytes than a key has, or for more.
    #[error("the text stands for {0} bytes, and a key has 32: `openssl rand -hex 32` makes one")]
    WrongLength(usize),
    /// Somebody could guess it.
    #[error("the key can be guessed, {0}: `openssl rand -hex 32` makes a better one")]
    Weak(&'static str),
    /// The operating system gave no randomness.
    #[error("can't make a key: {0}")]
    NoRandomness(String),
}

/// Why these bytes are surely not random.
fn weakness(key: &[u8; BYTES]) -> Option<&'static str> {
    let steps = key.iter().zip(&key[1..]).map(|(one, next)| next.wrapping_sub(*one));
    if different(key.iter().copied()) == 1 {
        Some("it is one byte over and over")
    } else if (2..=BYTES / 2).any(|n| key.iter().zip(&key[n..]).all(|(one, later)| one == later)) {
        Some("it repeats itself")
    } else if key.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        Some("it is readable text, not random bytes")
    } else if different(key.iter().copied()) < DIFFERENT {
        Some("it has too few different bytes")
    } else if different(steps) < DIFFERENT {
        Some("its bytes follow a pattern")
    } else {
        None
    }
}

fn different(bytes: impl Iterator<Item = u8>) -> usize {
    let mut seen = [false; 256];
    bytes.for_each(|byte| seen[usize::from(byte)] = true);
    seen.iter().filter(|seen| **seen).count()
}

fn hex(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    for pair in text.chunks(2) {
        let [high, low] = pair else { return None };
        bytes.push(digit(*high)? << 4 | digit(*low)?);
    }
    Some(bytes)
}

fn base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let ended = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    if ended.len() % 4 == 1 || (ended.len() < text.len() && !text.len().is_multiple_of(4)) {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(ended.len() / 4 * 3 + 3));
    let (mut held, mut bits) = (0_u32, 0);
    for &c in ended {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    // What is left over is no byte; a text with something in it was cut short or mistyped.
    (held == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "9f2c0a71d4e85b36c7118fa2604de39b7c5512e0ad9846f3b1d70e6a28c4953f";
    const BASE64: &str = "nywKcdToWzbHEY+iYE3jm3xVEuCtmEbzsdcOaijElT8=";

    fn refused(text: &str) -> String {
        text.parse::<ClusterKey>().expect_err(text).to_string()
    }

    #[test]
    fn a_key_reads_from_hex_and_from_base64_of_either_alphabet() {
        let url = BASE64.replace('+', "-").replace('/', "_");
        let same = [HEX, &HEX.to_uppercase(), BASE64, &BASE64[..43], &url, &format!("  {HEX}\r\n")];
        for text in same {
            assert_eq!(text.parse::<ClusterKey>().unwrap().reveal(), HEX, "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_key_is_refused_with_what_a_key_is() {
        let short = "nywKcdToWzbHEY+iYE3jm3xVEuCtmEbzsdcOaijElQ==";
        let mistyped = BASE64.replace("T8=", "T9=");
        for text in
            ["geheim!", "ä", &HEX[..63], &mistyped, &BASE64[..42], "nywK=", &"a".repeat(2000)]
        {
            assert!(refused(text).contains("64 hex digits"), "{text}: {}", refused(text));
        }
        assert!(refused("").contains("0 bytes"));
        assert!(refused(&HEX[..32]).contains("16 bytes"));
        assert!(refused(&HEX.repeat(2)).contains("64 bytes"));
        assert!(refused(short).contains("31 bytes"), "{}", refused(short));
    }

    #[test]
    fn a_key_that_can_be_guessed_is_refused_with_the_reason() {
        let text =
            |key: [u8; BYTES]| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let from = |f: fn(u8) -> u8| text(std::array::from_fn(|i| f(i as u8)));
        assert!(refused(&text([0; BYTES])).contains("one byte"));
        assert!(refused(&text([0xa7; BYTES])).contains("one byte"));
        assert!(
            refused(&from(|i| [0xde, 0xad, 0xbe, 0xef][usize::from(i % 4)])).contains("repeats")
        );
        assert!(refused(&from(|i| (i % 16).wrapping_mul(91) ^ 0x35)).contains("repeats"));
        assert!(refused(&from(|i| (i % 7).wrapping_mul(37))).contains("repeats"));
        assert!(refused(&from(|i| i)).contains("pattern"));
        assert!(refused(&from(|i| 255 - 7 * i)).contains("pattern"));
        assert!(refused(&from(|i| i / 3)).contains("too few"));
        assert!(refused(&text(*b"correct horse battery staple 123")).contains("text"));
    }

    #[test]
    fn a_new_key_is_another_each_time_and_reads_from_what_it_reveals() {
        let (one, other) = (ClusterKey::generate().unwrap(), ClusterKey::generate().unwrap());
        assert_ne!(one.bytes(), other.bytes());
        assert_eq!(one.reveal().parse::<ClusterKey>().unwrap().bytes(), one.bytes());
    }

    #[test]
    fn debug_shows_nothing_of_a_key() {
        assert_eq!(format!("{:?}", HEX.parse::<ClusterKey>().unwrap()), "ClusterKey(..)");
    }

    #[test]
    fn a_variable_that_isn_t_set_and_a_file_that_isn_t_there_are_named() {
        let unset = ClusterKey::from_env("FLOCK_KEY_OF_NOBODY").unwrap_err();
        assert!(unset.to_string().contains("FLOCK_KEY_OF_NOBODY"));
        let gone = ClusterKey::from_file("/nowhere/flock.key").unwrap_err();
        assert!(gone.to_string().contains("/nowhere/flock.key"));
    }
}
