//! Bytes, taken apart.

/// What is left of an input. What isn't there is 0, or empty.
#[derive(Clone, Debug)]
pub struct Feed<'a>(pub &'a [u8]);

impl<'a> Feed<'a> {
    /// Is there nothing more?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *byte
    }

    /// The next two, as a number.
    pub fn half(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// So many bytes, or what is there.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// As many bytes as the two before them say.
    pub fn block(&mut self) -> &'a [u8] {
        let len = self.half();
        self.take(len.into())
    }

    /// All that is left, in pieces of 1 up to `most` bytes: chance begins with this seed.
    pub fn pieces(self, seed: u8, most: usize) -> impl Iterator<Item = &'a [u8]> {
        let (mut rest, mut chance) = (self.0, u32::from(seed));
        std::iter::from_fn(move || {
            // Numerical Recipes' own: any order will do, if it is the same next time.
            chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let len = 1 + (chance >> 8) as usize % most;
            let (piece, left) = rest.split_at(len.min(rest.len()));
            rest = left;
            (!piece.is_empty()).then_some(piece)
        })
    }
}
