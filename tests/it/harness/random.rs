//! A small seeded generator of random numbers (SplitMix64): the same seed gives the same test everywhere.

use std::time::Duration;

/// The seed of this test: that of the environment, else `default`. Printed, and so shown when the test fails.
pub(crate) fn seed(default: u64) -> u64 {
    let seed = std::env::var("RBAC_SYNC_TEST_SEED").ok().map_or(default, |text| text.parse().expect("a number"));
    println!("RBAC_SYNC_TEST_SEED={seed}");
    seed
}

/// The size of a larger archive: that of the environment, else `default`.
pub(crate) fn studies(default: u32) -> u32 {
    std::env::var("RBAC_SYNC_TEST_STUDIES").ok().map_or(default, |text| text.parse().expect("a number"))
}

/// How long concurrent writers write: the seconds of the environment, else `default`.
pub(crate) fn writing(default: u64) -> Duration {
    let seconds = std::env::var("RBAC_SYNC_TEST_SECONDS").ok();
    Duration::from_secs(seconds.map_or(default, |text| text.parse().expect("a number")))
}

#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True in `percent` of a hundred calls.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[usize::try_from(self.below(items.len() as u64)).expect("an index")]
    }
}
