//! Which rows make which step: a function of the seed and the step's number alone.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::data::Row;

/// The order of the rows of a data set.
pub(super) struct Order {
    seed: u64,
    /// Rows of a step.
    size: usize,
    /// Tokens of each row.
    lengths: Vec<usize>,
    /// An epoch and its steps.
    epoch: Option<(u64, Vec<Vec<usize>>)>,
}

impl Order {
    /// Steps of `size` rows each; `size` is at least 1, and there is at least one row.
    pub(super) fn new(rows: &[Row], size: usize, seed: u64) -> Self {
        Order {
            seed,
            size: size.max(1),
            lengths: rows.iter().map(|row| row.tokens.len()).collect(),
            epoch: None,
        }
    }

    /// Steps in which each row comes once.
    pub(super) fn steps_per_epoch(&self) -> u64 {
        self.lengths.len().div_ceil(self.size).max(1) as u64
    }

    /// The rows of a step; the first is 0.
    pub(super) fn step(&mut self, step: u64) -> Vec<usize> {
        let (epoch, index) = (step / self.steps_per_epoch(), (step % self.steps_per_epoch()) as usize);
        if self.epoch.as_ref().is_none_or(|(known, _)| *known != epoch) {
            self.epoch = Some((epoch, self.shuffled(epoch)));
        }
        self.epoch.as_ref().and_then(|(_, steps)| steps.get(index)).cloned().unwrap_or_default()
    }

    /// Rows of like length stand together, so that little is padded; which those are among equals, and the order of the
    /// steps, is random.
    fn shuffled(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&epoch.to_le_bytes());
        let mut random = ChaCha8Rng::from_seed(key);
        let mut rows: Vec<usize> = (0..self.lengths.len()).collect();
        shuffle(&mut rows, &mut random);
        rows.sort_by_key(|row| self.lengths[*row]);
        let mut steps: Vec<Vec<usize>> = rows.chunks(self.size).map(<[usize]>::to_vec).collect();
        shuffle(&mut steps, &mut random);
        steps
    }
}

/// Fisher and Yates's, as Durstenfeld has it.
fn shuffle<T>(items: &mut [T], random: &mut impl Rng) {
    for last in (1..items.len()).rev() {
        // The remainder favours small numbers by one part in 2^64 / length.
        let other = (random.next_u64() % (last as u64 + 1)) as usize;
        items.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(lengths: &[usize]) -> Vec<Row> {
        lengths.iter().map(|length| Row { tokens: vec![1; *length], counted: vec![true; *length] }).collect()
    }

    #[test]
    fn every_row_comes_once_an_epoch_beside_rows_of_like_length() {
        let rows = rows(&[5, 3, 9, 3, 7, 2, 8, 4, 6, 10, 1]);
        let mut order = Order::new(&rows, 3, 7);
        assert_eq!(order.steps_per_epoch(), 4);
        let mut epochs = Vec::new();
        for epoch in 0..3 {
            let steps: Vec<Vec<usize>> = (0..4).map(|step| order.step(4 * epoch + step)).collect();
            let mut all: Vec<usize> = steps.concat();
            all.sort_unstable();
            assert_eq!(all, (0..11).collect::<Vec<_>>());
            for step in &steps {
                let lengths: Vec<usize> = step.iter().map(|row| rows[*row].tokens.len()).collect();
                assert!(lengths.iter().max().unwrap() - lengths.iter().min().unwrap() <= 2, "{lengths:?}");
            }
            epochs.push(steps);
        }
        assert!(epochs[0] != epochs[1] || epochs[1] != epochs[2], "epochs do not differ");
    }

    #[test]
    fn the_order_follows_from_seed_and_step_whatever_was_asked_before() {
        let rows = rows(&[3; 20]);
        let (mut one, mut other, mut third) =
            (Order::new(&rows, 4, 7), Order::new(&rows, 4, 7), Order::new(&rows, 4, 8));
        let steps: Vec<_> = (0..15).map(|step| one.step(step)).collect();
        assert_eq!(other.step(11), steps[11]);
        assert_eq!(other.step(2), steps[2]);
        assert_ne!((0..15).map(|step| third.step(step)).collect::<Vec<_>>(), steps);
    }
}
