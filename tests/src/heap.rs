//! How many bytes of the heap something takes: counted, not estimated.
//!
//! A program that asks must have [`Counted`] for its allocator. Bytes are those that were asked for;
//! what the system's allocator needs besides, some 8 bytes a piece and rounding, is not among them.

// An allocator is an unsafe trait, and there is no other way to see every allocation. Nothing is done
// here but counting: every call is passed on as it came.
#![expect(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// The system's allocator, which counts while it is told to.
#[derive(Debug)]
pub struct Counted;

/// Off in all that measures time: counting isn't free.
static COUNTS: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicI64 = AtomicI64::new(0);
/// The most that there were since it was last set.
static PEAK: AtomicI64 = AtomicI64::new(0);
/// One count at a time.
static TURN: Mutex<()> = Mutex::new(());

fn count(bytes: i64) {
    if COUNTS.load(Ordering::Relaxed) {
        let now = BYTES.fetch_add(bytes, Ordering::Relaxed) + bytes;
        PEAK.fetch_max(now, Ordering::Relaxed);
    }
}

// SAFETY: all four do what the system's allocator does, with the arguments that they were given.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller vouches for the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller vouches for the layout.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: the caller vouches for the block, its layout and the size.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller vouches for the block and its layout.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Does something, and says by how many bytes the heap has grown: what it allocated and not freed,
/// less what it freed of older things. Other threads count, too.
///
/// # Panics
/// If this program's allocator isn't [`Counted`]: nothing would have been counted.
pub fn growth<T>(work: impl FnOnce() -> T) -> (T, i64) {
    let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    COUNTS.store(true, Ordering::Relaxed);
    let before = BYTES.load(Ordering::Relaxed);
    let probe = std::hint::black_box(Box::new([0_u8; 64]));
    assert!(BYTES.load(Ordering::Relaxed) > before, "the allocator doesn't count");
    drop(probe);
    let before = BYTES.load(Ordering::Relaxed);
    let done = work();
    let bytes = BYTES.load(Ordering::Relaxed) - before;
    COUNTS.store(false, Ordering::Relaxed);
    drop(turn);
    (done, bytes)
}

/// Does something, and says how far the heap has grown meanwhile, at its largest. Other threads count, too.
///
/// # Panics
/// If this program's allocator isn't [`Counted`]: nothing would have been counted.
pub fn peak<T>(work: impl FnOnce() -> T) -> (T, i64) {
    let ((done, peak), _) = growth(|| {
        let before = BYTES.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let done = work();
        (done, PEAK.load(Ordering::Relaxed) - before)
    });
    (done, peak)
}
