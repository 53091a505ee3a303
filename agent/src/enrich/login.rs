//! What is remembered of who logs in from where: attempts that came to nothing, by address and network, and who came in
//! from there before. Only who was let in teaches: whoever tries leaves no more than a count.

mod failures;

use std::{net::IpAddr, num::NonZeroUsize, sync::Arc};

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use lru::LruCache;

pub use self::failures::Failures;
use crate::event::{Login, Outcome, Remembered, baseline::Sight};

/// Users with the networks from which they came in. Strangers cannot add to them.
pub const SIGHTS: NonZeroUsize = NonZeroUsize::new(4_096).expect("not 0");

/// How long a user need not come in from somewhere until it is as if he never had.
const UNSEEN: SignedDuration = SignedDuration::from_hours(180 * 24);

/// How exactly it is kept when somebody was last seen: each time would have all that was learned written.
const PRECISELY: SignedDuration = SignedDuration::from_hours(24);

/// Who came in from where.
#[derive(Debug)]
pub struct Sights {
    seen: LruCache<(Arc<str>, IpNet), (Timestamp, Timestamp)>,
    changed: bool,
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
        assert_eq!(table.failures.len(), failures::NETWORKS.get());
        assert_eq!(
            table.see(2, "203.0.113.1", "root", Outcome::Failure),
            (40_000, 40_000, 16, false, false)
        );
        assert!(table.sights.learned().is_empty());
    }
}
