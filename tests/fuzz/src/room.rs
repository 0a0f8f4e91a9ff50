//! How much memory something takes: the allocator counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

/// Bytes that are in use, and the most that were since the last look. Targets have one thread.
static USED: AtomicIsize = AtomicIsize::new(0);
static MOST: AtomicIsize = AtomicIsize::new(0);

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(bytes: isize) {
    let used = USED.fetch_add(bytes, Relaxed) + bytes;
    if used > MOST.load(Relaxed) {
        MOST.store(used, Relaxed);
    }
}

// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// Does this, and checks that it never takes more than so many bytes beyond what was in use before.
///
/// # Panics
/// If it does.
#[track_caller]
pub fn within<R>(bytes: usize, act: impl FnOnce() -> R) -> R {
    let before = USED.load(Relaxed);
    MOST.store(before, Relaxed);
    let done = act();
    let most = MOST.load(Relaxed) - before;
    assert!(most <= bytes as isize, "{most} bytes of memory were in use, and {bytes} may be");
    done
}
