//! User payloads to bytes and back: named MessagePack, with bounds checked before decoding.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use flock_proto::wire::check_payload;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::CallError;
use crate::shared::Shared;

/// The largest payload, in bytes.
pub(crate) const MAX_PAYLOAD: usize = 16 << 20;

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

/// Encodes a bird's arguments, which are kept as long as the bird lives. `()`, and what else is but a byte, takes
/// no memory of its own.
pub(crate) fn encode_args<T: Serialize>(args: &T) -> Result<Bytes, CallError> {
    static BYTES: [u8; 256] = every_byte();
    with_encoded(args, |bytes| {
        let byte = match bytes {
            [byte] => BYTES.get(usize::from(*byte)..=usize::from(*byte)),
            _ => None,
        };
        byte.map_or_else(|| Bytes::copy_from_slice(bytes), Bytes::from_static)
    })
}

const fn every_byte() -> [u8; 256] {
    let mut bytes = [0; 256];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = at as u8;
        at += 1;
    }
    bytes
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
    check_payload(bytes).map_err(|why| CallError::NotDecodable(why.into()))?;
    let before = BINDING.with_borrow_mut(|binding| binding.bind(shared));
    let value = read(bytes);
    BINDING.with_borrow_mut(|binding| binding.restore(before));
    value
}

/// Decodes a value; bird references in it are bound to nothing.
#[cfg(all(feature = "testing", feature = "noise"))]
pub(crate) fn decode_unbound<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CallError> {
    check_payload(bytes).map_err(|why| CallError::NotDecodable(why.into()))?;
    read(bytes)
}

/// Reads a value that was checked.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CallError> {
    // What comes out is passed on as it is: to move what was just written is felt.
    match catch_unwind(AssertUnwindSafe(|| rmp_serde::from_slice(bytes))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(CallError::NotDecodable(error.to_string())),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn named<T: Serialize>(value: &T) -> Vec<u8> {
        encode(value).expect("encodable")
    }

    #[test]
    fn arguments_are_the_same_whether_they_take_memory_or_not() {
        assert_eq!(encode_args(&()).as_deref(), Ok(&named(&())[..]));
        for number in [0u32, 1, 127, 128, 255, 70_000] {
            assert_eq!(encode_args(&number).as_deref(), Ok(&named(&number)[..]));
        }
        assert_eq!(encode_args(&-1i8).as_deref(), Ok(&[0xff][..]));
        assert_eq!(encode_args(&"wren").as_deref(), Ok(&named(&"wren")[..]));
    }

    #[test]
    fn all_that_is_encoded_passes_the_check() {
        let many: Vec<Option<(i64, String, f64)>> =
            (0..300).map(|n| (n % 3 > 0).then(|| (n - 150, "x".repeat(n as usize), 0.5))).collect();
        assert_eq!(check_payload(&named(&many)), Ok(()));
        assert_eq!(
            check_payload(&named(&std::collections::BTreeMap::from([("a", 1u64 << 40)]))),
            Ok(())
        );
        assert_eq!(check_payload(&named(&serde_bytes::Bytes::new(&[7; 70_000]))), Ok(()));
        assert_eq!(check_payload(&named(&())), Ok(()));
    }
}
