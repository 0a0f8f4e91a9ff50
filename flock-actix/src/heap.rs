//! Room on the heap for many small things, had from the kernel at once.

use std::hint::black_box;

/// Below what an allocator takes for something out of the ordinary.
const MOST: usize = 60_000;

/// Has this thread's heap grow, should it be full, for so many bytes that are about to be allocated piece by
/// piece.
///
/// The GNU library's allocator, for one, has the heap of any but a program's first thread grow by as much as
/// the present piece needs, and asks the kernel each time: for every second bird of thousands that are started
/// together. Where an allocator thinks ahead by itself, this costs next to nothing.
pub(crate) fn make_room(bytes: usize) {
    drop(black_box(Vec::<u8>::with_capacity(bytes.min(MOST))));
}
