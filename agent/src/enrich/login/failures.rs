//! Attempts to log in that came to nothing, counted for an hour by address and network.

use std::{
    hash::{BuildHasher as _, Hasher as _},
    num::NonZeroUsize,
};

use ipnet::IpNet;
use jiff::Timestamp;
use lru::LruCache;
use rustc_hash::FxBuildHasher;

use crate::event::Login;

/// Networks whose failures are counted: at some 200 bytes 800 KiB, and only where so many try.
pub(super) const NETWORKS: NonZeroUsize = NonZeroUsize::new(4_096).expect("not 0");

/// Failures are counted by so many seconds …
const SLICE: i64 = 10 * 60;
/// … of which so many count: the last hour.
const SLICES: usize = 6;

/// Names that are told apart.
const NAMES: usize = 16;

/// Attempts that came to nothing in the last hour, by network. Behind one address there may be many people, of whom now and
/// then one mistypes: what lies back longer, and what somebody mistyped before he came in, says nothing of the next.
#[derive(Debug)]
pub struct Failures(LruCache<IpNet, Recent>);

/// The failures of one network.
#[derive(Debug, Default)]
struct Recent {
    /// Which slice of time the first count of each name is of.
    slice: i64,
    /// By the names that were tried …
    names: Vec<Tried>,
    /// … and by those beyond [`NAMES`].
    others: Counts,
}

#[derive(Debug)]
struct Tried {
    /// A hash of the name.
    name: u32,
    counts: Counts,
}

/// How many there were in each slice, the newest first.
#[derive(Clone, Copy, Debug, Default)]
struct Counts([u16; SLICES]);

impl Default for Failures {
    fn default() -> Self {
        Self(LruCache::new(NETWORKS))
    }
}

impl Failures {
    /// Of how many networks.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many there were before that time, and under how many names.
    pub(super) fn of(&mut self, network: IpNet, time: Timestamp) -> (u32, u32) {
        let Some(recent) = self.0.get_mut(&network) else {
            return (0, 0);
        };
        recent.go_to(time);
        let counts = recent.names.iter().map(|tried| tried.counts.sum());
        let all = counts.sum::<u32>() + recent.others.sum();
        (all, recent.names.len().try_into().unwrap_or(u32::MAX))
    }

    /// Notes one from that network.
    pub(super) fn note(&mut self, network: IpNet, time: Timestamp, login: &Login) {
        let recent = self.0.get_or_insert_mut(network, Recent::default);
        recent.go_to(time);
        let newest = &mut recent.of(hash(&login.user)).0[0];
        *newest = newest.saturating_add(login.times.try_into().unwrap_or(u16::MAX));
    }

    /// Somebody came in: what he mistyped there before was no guess.
    pub(super) fn forgive(&mut self, host: IpNet, network: IpNet, user: &str) {
        let name = hash(user);
        let Some(of_host) = self.0.peek_mut(&host) else {
            return;
        };
        let Some(at) = of_host.names.iter().position(|tried| tried.name == name) else {
            return;
        };
        let (slice, own) = (of_host.slice, of_host.names.swap_remove(at).counts);
        // What others tried under his name from elsewhere in the network stays.
        let in_network = self.0.peek_mut(&network).filter(|recent| recent.slice == slice);
        if let Some(recent) = in_network
            && let Some(at) = recent.names.iter().position(|tried| tried.name == name)
        {
            let counts = &mut recent.names[at].counts;
            counts
                .0
                .iter_mut()
                .zip(own.0)
                .for_each(|(all, own)| *all = all.saturating_sub(own));
            if counts.sum() == 0 {
                recent.names.swap_remove(at);
            }
        }
    }
}

impl Recent {
    /// Forgets what is too old at that time.
    fn go_to(&mut self, time: Timestamp) {
        let slice = time.as_second().div_euclid(SLICE);
        // Lines of several hosts may come a little out of order: they count as the newest.
        let by = usize::try_from(slice.saturating_sub(self.slice))
            .unwrap_or(0)
            .min(SLICES);
        if by > 0 {
            self.slice = slice;
            self.others.age(by);
            self.names.iter_mut().for_each(|tried| tried.counts.age(by));
            self.names.retain(|tried| tried.counts.sum() > 0);
        }
    }

    /// Where a name's are counted.
    fn of(&mut self, name: u32) -> &mut Counts {
        match self.names.iter().position(|tried| tried.name == name) {
            Some(at) => &mut self.names[at].counts,
            None if self.names.len() < NAMES => {
                let counts = Counts::default();
                &mut self.names.push_mut(Tried { name, counts }).counts
            }
            None => &mut self.others,
        }
    }
}

impl Counts {
    fn sum(self) -> u32 {
        self.0.into_iter().map(u32::from).sum()
    }

    fn age(&mut self, by: usize) {
        self.0.rotate_right(by);
        self.0[..by].fill(0);
    }
}

fn hash(name: &str) -> u32 {
    let mut hasher = FxBuildHasher.build_hasher();
    hasher.write(name.as_bytes());
    (hasher.finish() >> 32) as u32
}
