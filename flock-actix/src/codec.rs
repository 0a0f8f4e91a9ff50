//! User payloads to bytes and back: named MessagePack, with bounds checked before decoding.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::CallError;
use crate::shared::Shared;

/// The largest payload, in bytes.
pub(crate) const MAX_PAYLOAD: usize = 16 << 20;

/// How deep values may nest.
const MAX_DEPTH: usize = 32;

/// How many values a payload may hold, each element of an array counting as one. A nil of one byte
/// may decode to a large struct, so bytes alone are no bound on memory.
const MAX_VALUES: usize = 4 << 20;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static BINDING: RefCell<Binding> = const { RefCell::new(Binding { to: Weak::new(), on: false }) };
}

/// What references that are decoded on this thread are bound to, if it is `on`. It stays from one payload
/// to the next, nearly always for the same nest: the count of its owners, which all threads would write
/// with each payload, is left alone.
struct Binding {
    to: Weak<Shared>,
    on: bool,
}

impl Binding {
    /// Binds to this one. What was before is to be given to [`Binding::restore`].
    fn bind(&mut self, shared: &Arc<Shared>) -> (Option<Weak<Shared>>, bool) {
        let same = std::ptr::eq(self.to.as_ptr(), Arc::as_ptr(shared));
        let before = (!same).then(|| std::mem::replace(&mut self.to, Arc::downgrade(shared)));
        (before, std::mem::replace(&mut self.on, true))
    }

    fn restore(&mut self, (before, on): (Option<Weak<Shared>>, bool)) {
        if let Some(before) = before.filter(|_| on) {
            self.to = before;
        }
        self.on = on;
    }
}

/// Encodes a value and hands the bytes to `then`. The user's `Serialize` may fail, panic, or send
/// messages itself.
pub(crate) fn with_encoded<T: Serialize, R>(
    value: &T,
    then: impl FnOnce(&[u8]) -> R,
) -> Result<R, CallError> {
    // Taken out, not borrowed: a nested encode simply finds an empty one.
    let mut scratch = SCRATCH.take();
    scratch.clear();
    let written = catch_unwind(AssertUnwindSafe(|| {
        rmp_serde::encode::write_named(&mut scratch, value).map_err(|error| error.to_string())
    }));
    let result = match written {
        Ok(Ok(())) if scratch.len() > MAX_PAYLOAD => {
            Err(format!("{} bytes are more than {MAX_PAYLOAD}", scratch.len()))
        }
        Ok(Ok(())) => Ok(then(&scratch)),
        Ok(Err(error)) => Err(error),
        Err(panic) => Err(panic_text(&*panic)),
    };
    if scratch.capacity() <= 1 << 16 {
        SCRATCH.set(scratch);
    }
    result.map_err(CallError::NotEncodable)
}

/// Encodes a value.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CallError> {
    with_encoded(value, <[u8]>::to_vec)
}

/// Decodes a value; bird references in it are bound to `shared`.
pub(crate) fn decode<T: DeserializeOwned>(
    shared: &Arc<Shared>,
    bytes: &[u8],
) -> Result<T, CallError> {
    check(bytes).map_err(|why| CallError::NotDecodable(why.into()))?;
    let before = BINDING.with_borrow_mut(|binding| binding.bind(shared));
    let read = catch_unwind(AssertUnwindSafe(|| {
        rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
    }));
    BINDING.with_borrow_mut(|binding| binding.restore(before));
    match read {
        Ok(result) => result.map_err(CallError::NotDecodable),
        Err(panic) => Err(CallError::NotDecodable(panic_text(&*panic))),
    }
}

/// The data plane that payloads are being decoded for on this thread.
pub(crate) fn binding() -> Option<Arc<Shared>> {
    BINDING.with_borrow(|binding| if binding.on { binding.to.upgrade() } else { None })
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("(no text)"))
}

/// Walks over one MessagePack value without building anything: nothing may be cut off, follow it,
/// nest too deep or claim more elements than there are bytes.
fn check(bytes: &[u8]) -> Result<(), &'static str> {
    let mut at = Walk(bytes);
    // How many values are still to come at each open level.
    let mut open = [0usize; MAX_DEPTH];
    let mut depth = 0;
    let mut values = 0;
    loop {
        values += 1;
        if values > MAX_VALUES {
            return Err("the payload holds too many values");
        }
        let inner = at.value().ok_or("the payload is cut off or malformed")?;
        if inner > at.0.len() {
            return Err("the payload claims more elements than it has bytes");
        }
        if inner > 0 {
            *open.get_mut(depth).ok_or("the payload nests too deep")? = inner;
            depth += 1;
            continue;
        }
        loop {
            let Some(level) = depth.checked_sub(1).and_then(|top| open.get_mut(top)) else {
                return if at.0.is_empty() { Ok(()) } else { Err("bytes follow the payload") };
            };
            *level -= 1;
            if *level > 0 {
                break;
            }
            depth -= 1;
        }
    }
}

struct Walk<'a>(&'a [u8]);

impl Walk<'_> {
    /// Reads one value's head and flat body; gives the number of values inside it.
    fn value(&mut self) -> Option<usize> {
        let mark = self.number(1)?;
        let (skip, inner) = match mark {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 0),
            0x80..=0x8f => (0, (mark & 0xf) * 2),
            0x90..=0x9f => (0, mark & 0xf),
            0xa0..=0xbf => (mark & 0x1f, 0),
            0xc4 | 0xd9 => (self.number(1)?, 0),
            0xc5 | 0xda => (self.number(2)?, 0),
            0xc6 | 0xdb => (self.number(4)?, 0),
            0xc7 => (self.number(1)? + 1, 0),
            0xc8 => (self.number(2)? + 1, 0),
            0xc9 => (self.number(4)? + 1, 0),
            0xcc | 0xd0 => (1, 0),
            0xcd | 0xd1 => (2, 0),
            0xca | 0xce | 0xd2 => (4, 0),
            0xcb | 0xcf | 0xd3 => (8, 0),
            0xd4..=0xd8 => ((1 << (mark - 0xd4)) + 1, 0),
            0xdc => (0, self.number(2)?),
            0xdd => (0, self.number(4)?),
            0xde => (0, self.number(2)? * 2),
            0xdf => (0, self.number(4)? * 2),
            _ => return None,
        };
        self.0 = self.0.get(skip..)?;
        Some(inner)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        let (head, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(head.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<T: Serialize>(value: &T) -> Vec<u8> {
        encode(value).expect("encodable")
    }

    #[test]
    fn all_that_is_encoded_passes_the_check() {
        let many: Vec<Option<(i64, String, f64)>> =
            (0..300).map(|n| (n % 3 > 0).then(|| (n - 150, "x".repeat(n as usize), 0.5))).collect();
        assert_eq!(check(&named(&many)), Ok(()));
        assert_eq!(check(&named(&std::collections::BTreeMap::from([("a", 1u64 << 40)]))), Ok(()));
        assert_eq!(check(&named(&serde_bytes::Bytes::new(&[7; 70_000]))), Ok(()));
        assert_eq!(check(&named(&())), Ok(()));
    }

    #[test]
    fn cut_trailing_deep_and_boastful_payloads_are_refused() {
        let whole = named(&("some", vec![1u16, 2, 3]));
        for cut in 0..whole.len() {
            assert!(check(&whole[..cut]).is_err(), "{cut}");
        }
        assert_eq!(check(&[&whole[..], &[0]].concat()), Err("bytes follow the payload"));
        assert_eq!(check(&[0x91; 64]), Err("the payload nests too deep"));
        let boast = [0xdd, 0x7f, 0xff, 0xff, 0xff, 0xc0];
        assert_eq!(check(&boast), Err("the payload claims more elements than it has bytes"));
        assert!(check(&[0xc1]).is_err());
    }
}
