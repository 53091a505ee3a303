//! What one feed lists: networks in the order of their first addresses, each with the network around it.
//!
//! A sorted column rather than a trie: 28 bytes an indicator whatever its family, written once and then only read, and
//! one binary search however many lengths of prefixes there are. Networks lie within each other or apart, so whatever
//! holds an address is the last network that begins before it, or lies around that one.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use jiff::Timestamp;
use rustc_hash::FxHashMap;

/// What else a feed says of an indicator: the family, the campaign, the kind of threat.
pub type Tags = Arc<[Box<str>]>;

/// So many indicators may a feed have: 112 MiB.
pub const MOST: usize = 4 << 20;

/// So many different sets of tags are kept; what has another one goes without.
const TAG_SETS: usize = 1 << 14;
/// So many tags are kept of an indicator, each so long.
const TAGS: usize = 8;
const LONGEST_TAG: usize = 64;

/// So many networks lie between two marks.
const STRIDE: usize = 32;

/// The length of the prefix under which IPv6 has the addresses of IPv4.
const MAPPED: u8 = 96;

/// The indicators of a feed.
#[derive(Debug, Default)]
pub struct List {
    /// By their first addresses, the wider first; IPv4's as IPv6 has them.
    networks: Vec<Entry>,
    /// The first address of every so many networks ([`STRIDE`]): where to search, within the processor's cache.
    marks: Vec<[u8; 16]>,
    /// What is said of them: mostly of many the same.
    notes: Vec<Note>,
    tags: Vec<Tags>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// Bytes rather than a number, which would be aligned to 16.
    network: [u8; 16],
    /// How many bits of it count.
    length: u8,
    note: u32,
    /// Where the narrowest network stands that holds this one.
    around: u32,
}

/// Nothing is around a network.
const NOTHING: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Note {
    confidence: u8,
    /// The second from which on it is not in force.
    expires: i64,
    tags: u32,
}

/// An indicator that holds an address.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The network, or the address itself.
    pub indicator: IpNet,
    /// How sure the feed is of it.
    pub confidence: u8,
    /// What else it says.
    pub tags: &'a Tags,
}

impl List {
    /// How many indicators it has.
    pub fn len(&self) -> usize {
        self.networks.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// How much memory they take.
    pub fn bytes(&self) -> usize {
        let tags = self.tags.iter().flat_map(|tags| tags.iter());
        size_of_val(&*self.networks)
            + size_of_val(&*self.marks)
            + size_of_val(&*self.notes)
            + tags.map(|tag| tag.len() + size_of::<Box<str>>()).sum::<usize>()
    }

    /// The surest indicator in force at that time that holds the address; of several the narrowest.
    pub fn find(&self, ip: IpAddr, at: Timestamp) -> Option<Found<'_>> {
        let ip = ip.to_canonical();
        let shortest = if ip.is_ipv4() { MAPPED } else { 0 };
        let bits = bits(ip);
        let holding = self
            .around(bits)
            .filter(|entry| masked(bits, entry.length) == entry.network);
        let of_family = holding.filter(|entry| entry.length >= shortest);
        let noted = of_family.map(|entry| (entry.length, self.notes[entry.note as usize]));
        let in_force = noted.filter(|(_, note)| at.as_second() < note.expires);
        let (length, note) = in_force.max_by_key(|(length, note)| (note.confidence, *length))?;
        let length = length.saturating_sub(shortest);
        Some(Found {
            indicator: IpNet::new(ip, length).ok()?.trunc(),
            confidence: note.confidence,
            tags: &self.tags[note.tags as usize],
        })
    }

    /// The last network that begins at that address or before it, and those around it.
    fn around(&self, bits: u128) -> impl Iterator<Item = &Entry> {
        let address = bits.to_be_bytes();
        let mark = self.marks.partition_point(|mark| *mark <= address);
        let begin = mark.saturating_sub(1) * STRIDE;
        let near = &self.networks[begin..self.networks.len().min(begin + STRIDE)];
        let last = near[..near.partition_point(|entry| entry.network <= address)].last();
        // None stands at `NOTHING`.
        std::iter::successors(last, |entry| self.networks.get(entry.around as usize))
    }
}

/// What the makers of a list say of an indicator.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// How sure the feed is of it.
    pub confidence: u8,
    /// Until when that is so.
    pub expires: Timestamp,
    /// What else it says.
    pub tags: &'a [String],
}

/// Makes a list.
#[derive(Debug)]
pub struct Builder {
    list: List,
    notes: FxHashMap<Note, u32>,
    tags: FxHashMap<Tags, u32>,
}

impl Default for Builder {
    fn default() -> Self {
        let none = Tags::default();
        let list = List {
            tags: vec![Arc::clone(&none)],
            ..List::default()
        };
        Self {
            list,
            notes: FxHashMap::default(),
            tags: FxHashMap::from_iter([(none, 0)]),
        }
    }
}

impl Builder {
    /// Adds an indicator, if there is room for it.
    pub fn add(&mut self, network: IpNet, said: Said<'_>) -> Result<(), &'static str> {
        if network.prefix_len() == 0 {
            return Err("it holds every address");
        }
        if self.list.networks.len() == MOST {
            return Err("the feed has too many indicators");
        }
        let note = Note {
            confidence: said.confidence,
            expires: said.expires.as_second(),
            tags: self.tags(said.tags),
        };
        let notes = &mut self.list.notes;
        let note = *self.notes.entry(note).or_insert_with(|| {
            notes.push(note);
            // No more than there are indicators.
            (notes.len() - 1) as u32
        });
        // IPv4's addresses that are written as IPv6's are the same ones.
        let length = network.prefix_len() + if network.addr().is_ipv4() { MAPPED } else { 0 };
        let network = masked(bits(network.addr()), length);
        self.list.networks.push(Entry {
            network,
            length,
            note,
            around: NOTHING,
        });
        Ok(())
    }

    /// The list of all that was added.
    pub fn finish(mut self) -> List {
        let networks = &mut self.list.networks;
        networks.sort_unstable();
        networks.dedup();
        networks.shrink_to_fit();
        self.list.marks = networks.iter().step_by(STRIDE).map(|entry| entry.network).collect();
        let mut open: Vec<u32> = Vec::new();
        for at in 0..networks.len() {
            let begins = u128::from_be_bytes(networks[at].network);
            let holds = |other: &u32| {
                let other = networks[*other as usize];
                masked(begins, other.length) == other.network
            };
            while open.last().is_some_and(|last| !holds(last)) {
                open.pop();
            }
            networks[at].around = open.last().copied().unwrap_or(NOTHING);
            // `MOST` fits.
            open.push(at as u32);
        }
        self.list.notes.shrink_to_fit();
        self.list
    }

    fn tags(&mut self, tags: &[String]) -> u32 {
        let cut = |tag: &String| Box::from(tag.get(..tag.floor_char_boundary(LONGEST_TAG)).unwrap_or_default());
        let tags: Tags = tags.iter().take(TAGS).map(cut).collect();
        if let Some(known) = self.tags.get(&tags) {
            return *known;
        }
        let number = self.list.tags.len();
        if number == TAG_SETS {
            return 0;
        }
        self.list.tags.push(Arc::clone(&tags));
        self.tags.insert(tags, number as u32);
        number as u32
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn masked(bits: u128, length: u8) -> [u8; 16] {
    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or_default();
    (bits & mask).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn said(confidence: u8) -> Said<'static> {
        Said {
            confidence,
            expires: Timestamp::MAX,
            tags: &[],
        }
    }

    #[test]
    fn the_surest_and_narrowest_indicator_that_is_in_force_is_found() {
        let mut builder = Builder::default();
        let until = |second| Timestamp::from_second(second).unwrap();
        for (network, confidence, expires) in [
            ("192.0.2.0/24", 50, Timestamp::MAX),
            ("192.0.2.7/32", 50, Timestamp::MAX),
            ("192.0.2.8/32", 40, Timestamp::MAX),
            ("192.0.2.9/32", 90, until(100)),
            ("192.0.2.9/32", 60, until(200)),
            ("::ffff:198.51.100.1/128", 50, Timestamp::MAX),
            ("2001:db8::/32", 50, Timestamp::MAX),
            ("2001:db8::1/128", 70, Timestamp::MAX),
        ] {
            let said = Said {
                expires,
                ..said(confidence)
            };
            builder.add(network.parse().unwrap(), said).unwrap();
        }
        let list = builder.finish();
        assert_eq!(list.len(), 8);
        for (ip, second, expected) in [
            ("192.0.2.1", 0, Some(("192.0.2.0/24", 50))),
            ("192.0.2.7", 0, Some(("192.0.2.7/32", 50))),
            ("::ffff:192.0.2.7", 0, Some(("192.0.2.7/32", 50))),
            ("192.0.2.8", 0, Some(("192.0.2.0/24", 50))),
            ("192.0.2.9", 99, Some(("192.0.2.9/32", 90))),
            ("192.0.2.9", 100, Some(("192.0.2.9/32", 60))),
            ("192.0.2.9", 200, Some(("192.0.2.0/24", 50))),
            ("192.0.3.1", 0, None),
            ("198.51.100.1", 0, Some(("198.51.100.1/32", 50))),
            ("2001:db8::1", 0, Some(("2001:db8::1/128", 70))),
            ("2001:db8::2", 0, Some(("2001:db8::/32", 50))),
            ("2001:db9::", 0, None),
        ] {
            let found = list.find(ip.parse().unwrap(), until(second));
            let found = found.map(|found| (found.indicator.to_string(), found.confidence));
            let expected = expected.map(|(network, confidence)| (network.to_owned(), confidence));
            assert_eq!(found, expected, "{ip} at {second}");
        }
    }

    #[test]
    fn what_holds_every_address_is_none() {
        let mut builder = Builder::default();
        for network in ["0.0.0.0/0", "::/0"] {
            assert!(builder.add(network.parse().unwrap(), said(50)).is_err(), "{network}");
        }
    }

    #[test]
    fn a_million_indicators_take_what_they_may() {
        let mut builder = Builder::default();
        for number in 0..1_000_000_u32 {
            let tags = [format!("tag {}", number % 20_000), "x".repeat(1000)];
            let said = Said {
                tags: &tags,
                ..said(50)
            };
            let address = Ipv4Addr::from_bits(number.wrapping_mul(2_654_435_761));
            builder.add(IpNet::from(IpAddr::V4(address)), said).unwrap();
        }
        let list = builder.finish();
        assert_eq!(list.len(), 1_000_000);
        assert!(list.bytes() < 64 << 20, "{} bytes", list.bytes());
        let found = list.find(Ipv4Addr::from_bits(2_654_435_761).into(), Timestamp::UNIX_EPOCH);
        let tags: Vec<_> = found.unwrap().tags.iter().map(|tag| tag.len()).collect();
        assert_eq!(tags, [5, LONGEST_TAG]);
    }
}
