//! A hash of states.

use std::hash::{Hash, Hasher};

/// A quick hash of small numbers; nobody chooses states to do harm.
#[derive(Debug, Default)]
pub(crate) struct Mix(u64);

impl Mix {
    /// The hash of something, by which states are told apart: of a hundred million states two are taken for one
    /// with a chance of one in four thousand.
    pub(crate) fn of(it: &impl Hash) -> u64 {
        let mut mix = Self::default();
        it.hash(&mut mix);
        mix.finish()
    }
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        let mut x = self.0;
        for _ in 0..2 {
            x = (x ^ x >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        }
        x ^ x >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }

    fn write_u16(&mut self, n: u16) {
        self.write_u64(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 =
            (self.0.rotate_left(23) ^ n.wrapping_add(0x51)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.write_u64(n as u64);
    }
}
