//! What is remembered of who logs in from where: attempts that came to nothing, by address and network, and who came in
//! from there before. Only who was let in teaches: whoever tries leaves no more than a count.

use std::{
    hash::{BuildHasher as _, Hasher as _},
    net::IpAddr,
    num::NonZeroUsize,
    sync::Arc,
};

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use lru::LruCache;
use rustc_hash::FxBuildHasher;

use crate::event::{Login, Outcome, Remembered, baseline::Sight};

/// Networks whose failures are counted: at some 200 bytes 800 KiB, and only where so many try.
const NETWORKS: NonZeroUsize = NonZeroUsize::new(4_096).expect("not 0");

/// Users with the networks from which they came in. Strangers cannot add to them.
pub const SIGHTS: NonZeroUsize = NonZeroUsize::new(4_096).expect("not 0");

/// Failures are counted by so many seconds …
const SLICE: i64 = 10 * 60;
/// … of which so many count: the last hour.
const SLICES: usize = 6;

/// How long a user need not come in from somewhere until it is as if he never had.
const UNSEEN: SignedDuration = SignedDuration::from_hours(180 * 24);

/// How exactly it is kept when somebody was last seen: each time would have all that was learned written.
const PRECISELY: SignedDuration = SignedDuration::from_hours(24);

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

/// Who came in from where.
#[derive(Debug)]
pub struct Sights {
    seen: LruCache<(Arc<str>, IpNet), (Timestamp, Timestamp)>,
    changed: bool,
}

impl Default for Failures {
    fn default() -> Self {
        Self(LruCache::new(NETWORKS))
    }
}

impl Default for Sights {
    fn default() -> Self {
        Self {
            seen: LruCache::new(SIGHTS),
            changed: false,
        }
    }
}

/// Adds to a line what is remembered of its address and user, and notes what it tells.
pub fn remember(login: &mut Login, time: Timestamp, failures: &mut Failures, sights: &mut Sights) {
    let Some(ip) = login.source else {
        return;
    };
    let (host, network) = networks(ip);
    let user: Arc<str> = (&*login.user).into();
    let (network_failures, failed_users) = failures.of(network, time);
    login.remembered = Some(Arc::new(Remembered {
        failures: failures.of(host, time).0,
        network_failures,
        failed_users,
        first_seen: sights.first_seen(&user, host, time),
        network_first_seen: sights.first_seen(&user, network, time),
    }));
    match login.outcome {
        Some(Outcome::Success) => {
            sights.note(&user, host, time);
            sights.note(&user, network, time);
            failures.forgive(host, network, &user);
        }
        Some(Outcome::Failure) if can_be_guessed(&login.method) => {
            failures.note(host, time, login);
            failures.note(network, time, login);
        }
        Some(Outcome::Failure) | None => {}
    }
}

/// Whether somebody who fails so may have guessed. To ask by which proofs one may come in is no attempt, and a client
/// offers one key after the other.
fn can_be_guessed(method: &str) -> bool {
    !matches!(method, "none" | "publickey" | "hostbased") && !method.starts_with("gssapi")
}

/// What counts as one address, and the network of it: of IPv6 a line's holder has a /64, and changes within it daily.
fn networks(ip: IpAddr) -> (IpNet, IpNet) {
    let ip = ip.to_canonical();
    let (host, network) = match ip {
        IpAddr::V4(_) => (32, 24),
        IpAddr::V6(_) => (64, 48),
    };
    let of = |length| IpNet::new(ip, length).map_or(IpNet::from(ip), |network| network.trunc());
    (of(host), of(network))
}

impl Failures {
    /// How many there were before that time, and under how many names.
    fn of(&mut self, network: IpNet, time: Timestamp) -> (u32, u32) {
        let Some(recent) = self.0.get_mut(&network) else {
            return (0, 0);
        };
        recent.go_to(time);
        let counts = recent.names.iter().map(|tried| tried.counts.sum());
        let all = counts.sum::<u32>() + recent.others.sum();
        (all, recent.names.len().try_into().unwrap_or(u32::MAX))
    }

    fn note(&mut self, network: IpNet, time: Timestamp, login: &Login) {
        let recent = self.0.get_or_insert_mut(network, Recent::default);
        recent.go_to(time);
        let newest = &mut recent.of(hash(&login.user)).0[0];
        *newest = newest.saturating_add(login.times.try_into().unwrap_or(u16::MAX));
    }

    /// Somebody came in: what he mistyped there before was no guess.
    fn forgive(&mut self, host: IpNet, network: IpNet, user: &str) {
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

impl Sights {
    fn first_seen(&mut self, user: &Arc<str>, network: IpNet, time: Timestamp) -> Option<Timestamp> {
        let (first, last) = self.seen.get(&(Arc::clone(user), network))?;
        (time.duration_since(*last) < UNSEEN).then_some(*first)
    }

    fn note(&mut self, user: &Arc<str>, network: IpNet, time: Timestamp) {
        let key = (Arc::clone(user), network);
        match self.seen.get_mut(&key) {
            Some((_, last)) if time.duration_since(*last) < PRECISELY => {}
            Some((first, last)) => {
                if time.duration_since(*last) >= UNSEEN {
                    *first = time;
                }
                *last = time;
                self.changed = true;
            }
            None => {
                self.seen.put(key, (time, time));
                self.changed = true;
            }
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.seen.clear();
        self.changed = true;
    }

    /// Adds what was learned elsewhere or before, the longest unseen first.
    pub fn merge(&mut self, sights: &[Sight]) {
        for sight in sights {
            let key = (Arc::clone(&sight.user), sight.network);
            let (first, last) = self.seen.get_or_insert_mut(key, || (sight.first_seen, sight.last_seen));
            (*first, *last) = ((*first).min(sight.first_seen), (*last).max(sight.last_seen));
        }
    }

    /// All of them, the longest unseen first.
    pub fn learned(&self) -> Vec<Sight> {
        let sights = self.seen.iter().rev();
        sights
            .map(|((user, network), (first_seen, last_seen))| Sight {
                user: Arc::clone(user),
                network: *network,
                first_seen: *first_seen,
                last_seen: *last_seen,
            })
            .collect()
    }

    /// Whether something was learned since this was last asked.
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// All that was learned is kept now.
    pub fn set_kept(&mut self) {
        self.changed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Table {
        failures: Failures,
        sights: Sights,
    }

    impl Table {
        /// What is remembered when that line comes, so many seconds after 1970.
        fn see(&mut self, second: i64, ip: &str, user: &str, outcome: Outcome) -> (u32, u32, u32, bool, bool) {
            let mut login = Login {
                user: user.into(),
                source: Some(ip.parse().unwrap()),
                outcome: Some(outcome),
                method: "password".into(),
                times: 1,
                ..Login::default()
            };
            let time = Timestamp::from_second(second).unwrap();
            remember(&mut login, time, &mut self.failures, &mut self.sights);
            let found = login.remembered.unwrap();
            let Remembered {
                failures,
                network_failures,
                failed_users,
                first_seen,
                network_first_seen,
            } = *found;
            let seen = (first_seen.is_some(), network_first_seen.is_some());
            (failures, network_failures, failed_users, seen.0, seen.1)
        }
    }

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    const FAILURE: Outcome = Outcome::Failure;

    #[test]
    fn failures_count_for_an_hour() {
        let mut table = Table::default();
        let mut fails = |second, ip, user| table.see(second, ip, user, FAILURE);
        let tried = |failures, network, names| (failures, network, names, false, false);
        assert_eq!(fails(0, "192.0.2.1", "root"), tried(0, 0, 0));
        assert_eq!(fails(HOUR - 1, "192.0.2.1", "root"), tried(1, 1, 1));
        assert_eq!(fails(HOUR, "192.0.2.2", "admin"), tried(0, 1, 1));
        assert_eq!(fails(HOUR, "192.0.3.1", "root"), tried(0, 0, 0));
        assert_eq!(fails(HOUR + 1, "192.0.2.1", "root"), tried(1, 2, 2));
        // A line that is late.
        assert_eq!(fails(HOUR - 2, "192.0.2.1", "root"), tried(2, 3, 2));
        assert_eq!(fails(2 * HOUR - 1, "192.0.2.1", "root"), tried(2, 3, 2));
        assert_eq!(fails(20 * HOUR, "192.0.2.1", "root"), tried(0, 0, 0));
        assert_eq!(fails(0, "2001:db8:1:2::a", "root"), tried(0, 0, 0));
        assert_eq!(fails(1, "2001:db8:1:2::b", "root"), tried(1, 1, 1));
        assert_eq!(fails(2, "2001:db8:1:3::b", "root"), tried(0, 2, 1));
        assert_eq!(fails(0, "::ffff:198.51.100.1", "root"), tried(0, 0, 0));
        assert_eq!(fails(1, "198.51.100.1", "root"), tried(1, 1, 1));
    }

    #[test]
    fn who_comes_in_has_mistyped_and_nobody_else() {
        let mut table = Table::default();
        for user in ["bob", "bob", "eve"] {
            table.see(0, "192.0.2.1", user, FAILURE);
        }
        table.see(0, "192.0.2.2", "bob", FAILURE);
        let bob = table.see(1, "192.0.2.1", "bob", Outcome::Success);
        assert_eq!((bob.0, bob.1, bob.2), (3, 4, 2));
        let next = table.see(2, "192.0.2.1", "ann", Outcome::Success);
        assert_eq!((next.0, next.1, next.2), (1, 2, 2), "eve's, and bob's from next door");
        table.see(3, "192.0.2.2", "bob", Outcome::Success);
        table.see(3, "192.0.2.1", "eve", Outcome::Success);
        let last = table.see(4, "192.0.2.1", "kim", Outcome::Success);
        assert_eq!((last.0, last.1, last.2), (0, 0, 0));
    }

    #[test]
    fn a_busy_address_gathers_nothing_and_an_attack_from_there_shows() {
        let (mut table, bastion) = (Table::default(), "192.0.2.1");
        for number in 0..2_000_i64 {
            let user = format!("user{}", number % 200);
            table.see(number * 300, bastion, &user, FAILURE);
            let (failures, _, users, ..) = table.see(number * 300 + 5, bastion, &user, Outcome::Success);
            assert!(failures == 1 && users == 1, "{failures} under {users} names");
        }
        for second in 600_000..600_030 {
            table.see(second, bastion, "root", FAILURE);
        }
        assert_eq!(table.see(600_031, bastion, "root", Outcome::Success).0, 30);
    }

    #[test]
    fn only_who_came_in_is_known_afterwards() {
        let mut table = Table::default();
        table.see(0, "192.0.2.1", "bob", Outcome::Failure);
        assert_eq!(
            table.see(1, "192.0.2.1", "bob", Outcome::Success),
            (1, 1, 1, false, false)
        );
        let learned = table.sights.learned();
        assert_eq!(learned.len(), 2);
        let mut table = Table::default();
        table.sights.merge(&learned);
        assert_eq!(
            table.see(2, "192.0.2.1", "bob", Outcome::Success),
            (0, 0, 0, true, true)
        );
        assert!(!table.sights.has_changed(), "that was known to the day");
        assert_eq!(
            table.see(2, "192.0.2.2", "bob", Outcome::Success),
            (0, 0, 0, false, true)
        );
        assert_eq!(
            table.see(2, "192.0.2.1", "eve", Outcome::Success),
            (0, 0, 0, false, false)
        );
        table.see(DAY, "192.0.2.1", "eve", Outcome::Success);
        assert!(table.see(180 * DAY, "192.0.2.1", "eve", Outcome::Success).3);
        assert!(!table.see(180 * DAY + 1, "192.0.2.1", "bob", Outcome::Success).3);
        assert!(table.see(180 * DAY + 2, "192.0.2.1", "bob", Outcome::Success).3);
    }

    #[test]
    fn what_strangers_can_add_is_bounded() {
        let mut table = Table::default();
        for number in 0..40_000_u32 {
            let ip = std::net::Ipv4Addr::from(0x0a00_0000 + number * 251).to_string();
            table.see(0, &ip, &number.to_string(), Outcome::Failure);
            table.see(1, "203.0.113.1", &number.to_string(), Outcome::Failure);
        }
        assert_eq!(table.failures.0.len(), NETWORKS.get());
        assert_eq!(
            table.see(2, "203.0.113.1", "root", Outcome::Failure),
            (40_000, 40_000, 16, false, false)
        );
        assert!(table.sights.learned().is_empty());
    }
}
