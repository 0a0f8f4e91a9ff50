//! Files that hold a secret.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

/// Why there is nothing of a secret.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The operating system said no.
    Io(io::Error),
    /// Others than its owner could have read it, too.
    Open {
        /// Its mode, as `chmod` takes it.
        mode: u32,
    },
}

impl From<io::Error> for Unread {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// All of a file, but no more than `most` bytes and one, if nobody else can read it.
pub(crate) fn read(path: &Path, most: u64) -> Result<Zeroizing<Vec<u8>>, Unread> {
    let file = File::open(path)?;
    // Of the file that is open, not of its name: that may be another's by now.
    if let Some(mode) = open_to_others(&file)? {
        return Err(Unread::Open { mode });
    }
    // Room for all of it from the start: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(most as usize + 2));
    file.take(most + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// Its mode, if somebody besides its owner may read or write it. A group may read what belongs to root:
/// so a secret is given to a service that runs as somebody else.
#[cfg(unix)]
fn open_to_others(file: &File) -> io::Result<Option<u32>> {
    use std::os::unix::fs::MetadataExt;
    let meta = file.metadata()?;
    // A pipe has no other readers.
    if !meta.is_file() {
        return Ok(None);
    }
    let allowed = if meta.uid() == 0 { 0o740 } else { 0o700 };
    let mode = meta.mode() & 0o777;
    Ok((mode & !allowed != 0).then_some(mode))
}

#[cfg(not(unix))]
fn open_to_others(_: &File) -> io::Result<Option<u32>> {
    Ok(None)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

    use super::*;

    #[test]
    fn a_file_that_others_can_read_or_write_is_refused() {
        let path = std::env::temp_dir().join(format!("flock-secret-{}", std::process::id()));
        std::fs::write(&path, "secret").unwrap();
        let root = std::fs::metadata(&path).unwrap().uid() == 0;
        let read_as = |mode: u32| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            read(&path, 100)
        };
        let opens = |mode: u32| match read_as(mode) {
            Ok(text) => text[..] == *b"secret",
            Err(Unread::Open { mode: told }) => {
                assert_eq!(told, mode);
                false
            }
            Err(Unread::Io(e)) => panic!("{mode:o}: {e}"),
        };
        for mode in [0o600, 0o400, 0o700] {
            assert!(opens(mode), "{mode:o}");
        }
        for mode in [0o644, 0o604, 0o602, 0o620, 0o660, 0o666, 0o777] {
            assert!(!opens(mode), "{mode:o}");
        }
        // Only root may have given it to somebody else's group.
        assert_eq!(opens(0o640), root);
        if root {
            chown(&path, Some(1), None).unwrap();
            assert!(!opens(0o640));
            assert!(opens(0o600));
        }
        std::fs::remove_file(&path).unwrap();
    }
}
