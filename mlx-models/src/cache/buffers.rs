//! Keys and values in buffers with room to write into.

use super::rows::Rows;
use crate::Result;

/// The most positions that a buffer grows by. Writing into spare room costs nothing but the write; growing copies the whole.
pub(super) const MOST_ROOM: i32 = 256;

/// The fewest positions that a buffer grows by.
const LEAST_ROOM: i32 = 32;

/// Spare room of a buffer that holds so many positions: short prompts, of which there may be many at a time, take as much
/// again at most.
pub(super) fn room(held: i32) -> i32 {
    held.clamp(LEAST_ROOM, MOST_ROOM)
}

/// Positions beyond the window that stay when a sliding cache makes room, so that the last tokens can be taken back.
pub(super) const SPARE: i32 = 64;

/// Keys and values in the order of their positions.
#[derive(Clone, Debug)]
pub(super) struct Buffers<R> {
    /// `[B, Hkv, capacity, Dh]`
    pub(super) keys: R,
    /// `[B, Hkv, capacity, Dh]`
    pub(super) values: R,
    /// How many positions are filled, from the front; the last is that of the newest token.
    pub(super) end: i32,
}

impl<R: Rows> Buffers<R> {
    /// Takes in the keys and values of `length` tokens. Gives, beside the new buffers, the last `kept` positions and the
    /// new ones.
    pub(super) fn extended(
        old: Option<&Self>,
        [keys, values]: [&R; 2],
        length: i32,
        kept: i32,
        window: Option<i32>,
    ) -> Result<(Self, [R; 2])> {
        match old {
            Some(old) if old.end + length <= old.keys.capacity() => old.append(keys, values, length, kept),
            old => Self::grow(old, [keys, values], length, kept, window),
        }
    }

    /// Moves what is held into buffers of their own.
    pub(super) fn fit(&mut self) -> Result<()> {
        let moved = |rows: &R| R::joined([&rows.part(0, self.end)?], room(self.end));
        (self.keys, self.values) = (moved(&self.keys)?, moved(&self.values)?);
        Ok(())
    }

    /// Writes into the spare room.
    fn append(&self, keys: &R, values: &R, length: i32, kept: i32) -> Result<(Self, [R; 2])> {
        let (start, end) = (self.end - kept, self.end + length);
        let keys = self.keys.with(keys, self.end, end)?;
        let values = self.values.with(values, self.end, end)?;
        let seen = [keys.part(start, end)?, values.part(start, end)?];
        Ok((Buffers { keys, values, end }, seen))
    }

    /// Moves what is worth keeping, and the new rows, to the front of new buffers.
    fn grow(
        old: Option<&Self>,
        [keys, values]: [&R; 2],
        length: i32,
        kept: i32,
        window: Option<i32>,
    ) -> Result<(Self, [R; 2])> {
        let filled = old.map_or(0, |old| old.end);
        let all = filled + length;
        let held = window.map_or(all, |window| all.min((window - 1).saturating_add(SPARE)));
        let counts = Counts { length, kept, held };
        let (keys, seen_keys) = grown(old.map(|old| (&old.keys, filled)), keys, counts)?;
        let (values, seen_values) = grown(old.map(|old| (&old.values, filled)), values, counts)?;
        Ok((Buffers { keys, values, end: held }, [seen_keys, seen_values]))
    }
}

/// How many positions are new, are seen beside those, and are held from now on.
#[derive(Clone, Copy)]
struct Counts {
    length: i32,
    kept: i32,
    held: i32,
}

/// A buffer with room, which begins with what is held of the old rows, so many, and the new ones; and those that are seen.
fn grown<R: Rows>(old: Option<(&R, i32)>, new: &R, counts: Counts) -> Result<(R, R)> {
    let Counts { length, kept, held } = counts;
    let seen = kept + length;
    let joined = |count: i32, room: i32| match old {
        Some((old, end)) => R::joined([&old.part(end - count, end)?, new], room),
        None => R::joined([new], room),
    };
    if held >= seen {
        let buffer = joined(held - length, room(held))?;
        let seen = buffer.part(held - seen, held)?;
        return Ok((buffer, seen));
    }
    // What falls out of the window is seen this once and not held.
    let all = joined(kept, 0)?;
    let buffer = R::joined([&all.part(seen - held, seen)?], room(held))?;
    Ok((buffer, all))
}
