//! The index: of many selectors, finds those that may hold by a few searches, whatever their number.
//!
//! Each selector hangs on one of its filters, its *key*: the cheapest that a search can answer. What is searched is a
//! dimension (a number, a word of stage-1 bits, a string, a port, an address); a leaf of the search sets the live bits of the
//! selectors that hang there. A selector without such a filter is always live. The decision then evaluates all filters of
//! live selectors, in the policy's order: the index has no say in what matches, it only leaves out what cannot.
//!
//! Values of one dimension that overlap are cut into ranges that do not, each with the selectors of all values it lies in.

use std::collections::{BTreeMap, BTreeSet};

use crate::binary_table::BinaryBit;
use crate::hir::{IntegerTest, Namespace, Network, Operand, Predicate, SockSide, SockTest, TextTest};
use crate::ir::{AluOp, BlockId, CmpOp, Size, Value, Width};
use crate::plan::{PlannedFilter, PlannedSelector, executable};
use crate::resolve::integer_width;

use super::socket::{AF_INET, AF_INET6, Place};
use super::{GenerateError, Generator, classifier, helper, state};

/// Live bits.
pub(super) type Selectors = BTreeSet<usize>;

/// Ranges of numbers, bounds included, with the selectors that have them. Signed numbers have their top bit flipped, so that the
/// order is that of unsigned ones.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ranges(Vec<(u64, u64, usize)>);

/// What is searched for a number, in the cheap phase.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Number {
    Integer(Operand),
    Pid,
    Namespace(Namespace),
}

/// What is searched of a gathered socket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Socket {
    Port(SockSide),
    /// The address as a number.
    AddressV4(SockSide),
    /// The upper half of the address: what agrees there is asked whole later.
    AddressV6(SockSide),
}

/// A part of a socket and the range that it must lie in.
type SocketRange = (Socket, u64, u64);

/// The key of a selector.
enum Key<'p> {
    Number(Number, Vec<(u64, u64)>),
    Bit(BinaryBit),
    Text(usize, &'p TextTest),
    Socket(usize, Vec<SocketRange>),
}

/// The selectors of a hook by their keys.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Index {
    /// Without a key.
    always: Selectors,
    pub(super) numbers: BTreeMap<Number, Ranges>,
    pub(super) bits: BTreeMap<BinaryBit, Selectors>,
    pub(super) texts: BTreeMap<(usize, TextTest), Selectors>,
    sockets: BTreeMap<(usize, Socket), Ranges>,
    /// Stage-1 bits without which none of these selectors can hold, though they hang on something dearer.
    pub(super) guarded: BTreeMap<BinaryBit, Selectors>,
    /// What is gathered as soon as any of these selectors is live.
    needs: BTreeMap<usize, u64>,
}

impl Index {
    pub(super) fn new(generator: &Generator<'_>) -> Self {
        let mut index = Self::default();
        for (k, instance) in generator.plan.instances.iter().enumerate() {
            for (i, selector) in instance.selectors.iter().enumerate() {
                let bit = generator.groups.first_live(k) + i;
                index.needs.insert(bit, generator.needed_by(instance, i));
                index.add(generator, selector, bit);
            }
        }
        index.numbers = index.split(index.numbers.clone());
        index.sockets = index.split(index.sockets.clone());
        index
    }

    fn add(&mut self, generator: &Generator<'_>, selector: &PlannedSelector, bit: usize) {
        let filters = selector.cheap.iter().chain(&selector.dear);
        // the first of the cheapest kind
        let key = filters
            .filter_map(|filter| key(generator, filter))
            .min_by_key(|(rank, _)| *rank);
        let is_dear = matches!(key, Some((_, Key::Text(..) | Key::Socket(..))));
        let guard = selector.cheap.iter().find_map(guard_bit).filter(|_| is_dear);
        if let Some(guard) = guard {
            self.guarded.entry(guard).or_default().insert(bit);
        }
        match key.map(|(_, key)| key) {
            None => {
                self.always.insert(bit);
            }
            Some(Key::Number(number, ranges)) => self.numbers.entry(number).or_default().add(ranges, bit),
            Some(Key::Bit(binary)) => {
                self.bits.entry(binary).or_default().insert(bit);
            }
            Some(Key::Text(text, test)) => {
                self.texts.entry((text, test.clone())).or_default().insert(bit);
            }
            Some(Key::Socket(place, parts)) => {
                for (part, low, high) in parts {
                    self.sockets
                        .entry((place, part))
                        .or_default()
                        .add(vec![(low, high)], bit);
                }
            }
        }
    }

    /// Leaves dimensions out whose ranges overlap so much that their leaves would be larger than what they save.
    fn split<K: Ord>(&mut self, dimensions: BTreeMap<K, Ranges>) -> BTreeMap<K, Ranges> {
        let (kept, dropped): (Vec<_>, Vec<_>) = dimensions.into_iter().partition(|(_, ranges)| {
            let leaves: usize = ranges.apart().iter().map(|(_, _, selectors)| selectors.len()).sum();
            leaves <= 64 * ranges.0.len()
        });
        self.always.extend(
            dropped
                .iter()
                .flat_map(|(_, ranges)| ranges.0.iter().map(|(.., bit)| *bit)),
        );
        kept.into_iter().collect()
    }

    /// Selectors that are live from the beginning.
    pub(super) fn always(&self) -> &Selectors {
        &self.always
    }

    /// What selectors need gathered.
    fn need<'s>(&self, selectors: impl IntoIterator<Item = &'s usize>) -> u64 {
        selectors
            .into_iter()
            .filter_map(|bit| self.needs.get(bit))
            .fold(0, |bits, need| bits | need)
    }

    /// Selectors whose key is read in the gather phase.
    fn gathered(&self) -> Selectors {
        let texts = self.texts.values().flatten().copied();
        texts.chain(self.of_sockets()).collect()
    }

    /// Selectors that hang on a part of a socket.
    pub(super) fn of_sockets(&self) -> impl Iterator<Item = usize> {
        self.sockets.values().flat_map(|r| r.0.iter().map(|(.., bit)| *bit))
    }

    /// The selectors that hang on a test of a text.
    pub(super) fn of_test(&self, text: usize, test: &TextTest) -> Option<&Selectors> {
        self.texts.get(&(text, test.clone()))
    }

    /// All selectors that hang on a text.
    fn of_text(&self, text: usize) -> Selectors {
        let tests = self.texts.iter().filter(|((of, _), _)| *of == text);
        tests.flat_map(|(_, selectors)| selectors).copied().collect()
    }
}

impl Ranges {
    fn add(&mut self, ranges: Vec<(u64, u64)>, selector: usize) {
        self.0
            .extend(ranges.into_iter().map(|(low, high)| (low, high, selector)));
    }

    /// Bounds of the ranges as they are compared.
    pub(super) fn bounds(&self, signed: bool) -> Vec<(i64, i64)> {
        let flip = flip(signed);
        let apart = self.apart();
        let bounds = apart
            .iter()
            .map(|(low, high, _)| ((low ^ flip) as i64, (high ^ flip) as i64));
        bounds.collect()
    }

    /// Ranges that do not overlap, ascending.
    fn apart(&self) -> Vec<(u64, u64, Selectors)> {
        let mut edges: BTreeMap<u64, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for (low, high, selector) in &self.0 {
            edges.entry(*low).or_default().0.push(*selector);
            if let Some(behind) = high.checked_add(1) {
                edges.entry(behind).or_default().1.push(*selector);
            }
        }
        let starts: Vec<u64> = edges.keys().copied().collect();
        // a selector may have overlapping ranges of its own
        let mut open: BTreeMap<usize, usize> = BTreeMap::new();
        let mut apart = Vec::new();
        for (i, (low, (begin, end))) in edges.into_iter().enumerate() {
            for selector in begin {
                *open.entry(selector).or_default() += 1;
            }
            for selector in end {
                if let Some(count) = open.get_mut(&selector) {
                    *count -= 1;
                    if *count == 0 {
                        open.remove(&selector);
                    }
                }
            }
            if !open.is_empty() {
                let high = starts.get(i + 1).map_or(u64::MAX, |next| next - 1);
                apart.push((low, high, open.keys().copied().collect()));
            }
        }
        apart
    }
}

/// The stage-1 bit without which a selector with this filter cannot hold.
fn guard_bit(filter: &PlannedFilter) -> Option<BinaryBit> {
    match filter.predicate {
        Predicate::Binary { negated: false, .. } => filter.binary_bit,
        _ => None,
    }
}

/// A filter as a key, with its rank among those of a selector.
fn key<'p>(generator: &Generator<'_>, filter: &'p PlannedFilter) -> Option<(u32, Key<'p>)> {
    match &filter.predicate {
        Predicate::Integer {
            operand,
            test,
            negated: false,
        } if !operand.is_loaded() => {
            let ranges = integer_ranges(operand, test)?;
            Some((0, Key::Number(Number::Integer(operand.clone()), ranges)))
        }
        Predicate::Pid {
            values,
            is_namespace_pid: false,
            follow_forks: false,
            negated: false,
        } => Some((1, Key::Number(Number::Pid, points(values)))),
        Predicate::Binary { test, negated: false } => match filter.binary_bit {
            Some(bit) => Some((2, Key::Bit(bit))),
            None => Some((6, Key::Text(generator.plan.text(&executable())?, test))),
        },
        Predicate::Namespace {
            namespace,
            values,
            negated: false,
        } => Some((3, Key::Number(Number::Namespace(*namespace), points(values)))),
        Predicate::Text {
            operand,
            test,
            negated: false,
        } => Some((5, Key::Text(generator.plan.text(operand)?, test))),
        Predicate::Sock {
            operand,
            test,
            negated: false,
        } => {
            let place = generator.gathered_index(operand)?;
            let (rank, parts) = socket_ranges(test)?;
            Some((rank, Key::Socket(place, parts)))
        }
        _ => None,
    }
}

fn points(values: &[u32]) -> Vec<(u64, u64)> {
    values.iter().map(|v| (u64::from(*v), u64::from(*v))).collect()
}

fn is_signed(operand: &Operand) -> bool {
    integer_width(operand.argument_type).is_some_and(|(_, signed)| signed)
}

/// Where the top bit of a number is flipped, so that signed numbers are in the order of unsigned ones.
fn flip(signed: bool) -> u64 {
    u64::from(signed) << 63
}

fn integer_ranges(operand: &Operand, test: &IntegerTest) -> Option<Vec<(u64, u64)>> {
    let flip = flip(is_signed(operand));
    match test {
        IntegerTest::Equal(values) => Some(values.iter().map(|v| (v ^ flip, v ^ flip)).collect()),
        IntegerTest::Within(ranges) => Some(ranges.iter().map(|(l, h)| (l ^ flip, h ^ flip)).collect()),
        IntegerTest::Above(_) | IntegerTest::Below(_) | IntegerTest::Mask(_) => None,
    }
}

fn socket_ranges(test: &SockTest) -> Option<(u32, Vec<SocketRange>)> {
    match test {
        SockTest::Port(side, ranges) => {
            let part = |(low, high): &(u16, u16)| (Socket::Port(*side), u64::from(*low), u64::from(*high));
            Some((7, ranges.iter().map(part).collect()))
        }
        SockTest::Address(side, networks) => {
            let part = |network: &Network| match *network {
                Network::V4(address, prefix) => {
                    let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
                    (Socket::AddressV4(*side), u64::from(address), u64::from(address | host))
                }
                Network::V6(address, prefix) => {
                    let high = (address >> 64) as u64;
                    let host = u64::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
                    (Socket::AddressV6(*side), high, high | host)
                }
            };
            Some((8, networks.iter().map(part).collect()))
        }
        SockTest::Family(_) | SockTest::Protocol(_) | SockTest::State(_) => None,
    }
}

impl Generator<'_> {
    /// The words that live bits begin with.
    pub(super) fn first_live_words(&self) -> BTreeMap<usize, u32> {
        self.index
            .as_ref()
            .map_or_else(BTreeMap::new, |index| live_words(index.always()))
    }

    /// Searches what is at hand, and notes what has to be gathered.
    pub(super) fn index_phase(&mut self) -> Result<(), GenerateError> {
        let Some(index) = self.index.clone() else {
            return Ok(());
        };
        self.b.set_source(None);
        for (number, ranges) in &index.numbers {
            let (value, signed) = self.indexed_number(number)?;
            self.search_ranges(&index, value, signed, ranges);
        }
        self.index_bits(&index);
        let gathered = index.gathered();
        let guarded: Selectors = index.guarded.values().flatten().copied().collect();
        self.add_need(index.need(gathered.difference(&guarded)) | index.need(&index.always));
        for (bit, selectors) in &index.guarded {
            let need = index.need(selectors);
            self.if_bit(*bit, |generator| generator.add_need(need));
        }
        Ok(())
    }

    /// A number that is searched, and whether it is signed.
    pub(super) fn indexed_number(&mut self, number: &Number) -> Result<(Value, bool), GenerateError> {
        Ok(match number {
            Number::Integer(operand) => (self.integer(operand)?, is_signed(operand)),
            Number::Pid => {
                let pid_tgid = self.b.call_helper(helper::GET_CURRENT_PID_TGID, &[]);
                (self.b.alu(AluOp::Rsh, Width::W64, pid_tgid, 32i64), false)
            }
            Number::Namespace(namespace) => (self.namespace_inode(*namespace)?, false),
        })
    }

    /// Looks at stage-1 bits: one test for each word of them, unless one is set.
    fn index_bits(&mut self, index: &Index) {
        let words: BTreeSet<u32> = index.bits.keys().map(|bit| bit.word).collect();
        for word in words {
            let of_word: Vec<_> = index.bits.iter().filter(|(bit, _)| bit.word == word).collect();
            let mask = of_word.iter().fold(0i64, |mask, (bit, _)| mask | 1 << bit.bit);
            let next = self.b.create_block();
            let bits = self.binary_word(word);
            self.b.begin_cold();
            self.require(CmpOp::Set, bits, mask, next);
            for (bit, selectors) in of_word {
                self.if_bit(*bit, |generator| generator.set_candidates(index, selectors));
            }
            self.b.jump(next);
            self.b.end_cold();
            self.b.switch_to(next);
        }
    }

    /// Does something if a stage-1 bit is set.
    fn if_bit(&mut self, bit: BinaryBit, then: impl FnOnce(&mut Self)) {
        let next = self.b.create_block();
        self.b.begin_cold();
        let set = self.b.create_block();
        self.binary_test(bit, false, set, next);
        self.b.switch_to(set);
        then(self);
        self.b.jump(next);
        self.b.end_cold();
        self.b.switch_to(next);
    }

    /// Searches a gathered socket.
    pub(super) fn index_socket(&mut self, place: usize) {
        let Some(index) = self.index.clone() else {
            return;
        };
        let parts: Vec<(Socket, &Ranges)> = index
            .sockets
            .iter()
            .filter(|((of, _), _)| *of == place)
            .map(|((_, part), ranges)| (*part, ranges))
            .collect();
        if parts.is_empty() {
            return;
        }
        let next = self.b.create_block();
        let all = parts
            .iter()
            .flat_map(|(_, r)| r.0.iter().map(|(.., bit)| *bit))
            .collect();
        self.when_read(place, &index, &all, next);
        let operand = self.gathered_operand(place);
        let socket = Place::new(&operand, place, self.plan.texts.len(), self.plan.socks.len());
        for (part, ranges) in parts {
            let skip = self.b.create_block();
            let value = match part {
                Socket::Port(side) => self.frame_load(socket.port(side), Size::B2),
                Socket::AddressV4(side) => {
                    let family = self.frame_load(socket.family(), Size::B2);
                    self.require(CmpOp::Eq, family, AF_INET, skip);
                    self.big_endian(socket.address(side), Size::B4)
                }
                Socket::AddressV6(side) => {
                    let family = self.frame_load(socket.family(), Size::B2);
                    self.require(CmpOp::Eq, family, AF_INET6, skip);
                    self.big_endian(socket.address(side), Size::B8)
                }
            };
            self.search_ranges(&index, value, false, ranges);
            self.b.jump(skip);
            self.b.switch_to(skip);
        }
        self.b.jump(next);
        self.b.switch_to(next);
    }

    /// Goes on if an operand has been read. If its user memory could not be read, all selectors that hang on it stay live, to
    /// be found undecided.
    fn when_read(&mut self, place: usize, index: &Index, all: &Selectors, next: BlockId) {
        let read = self.frame_load(self.state_place(place), Size::B1);
        let operand = self.gathered_operand(place);
        if !crate::attach::reads_user_memory(&operand) {
            return self.require(CmpOp::Eq, read, state::READ, next);
        }
        let is_read = self.b.create_block();
        self.b.begin_cold();
        let (other, unreadable) = (self.b.create_block(), self.b.create_block());
        self.b.branch(CmpOp::Eq, Width::W64, read, state::READ, is_read, other);
        self.b.switch_to(other);
        self.b
            .branch(CmpOp::Eq, Width::W64, read, state::UNREADABLE_USER, unreadable, next);
        self.b.switch_to(unreadable);
        self.set_candidates(index, all);
        self.b.jump(next);
        self.b.end_cold();
        self.b.switch_to(is_read);
    }

    /// As [`Self::when_read`], for a text that is to be classified.
    pub(super) fn when_text_read(&mut self, text: usize, next: BlockId) {
        if let Some(index) = self.index.clone() {
            self.when_read(text, &index, &index.of_text(text), next);
        } else {
            let read = self.frame_load(self.state_place(text), Size::B1);
            self.require(CmpOp::Eq, read, state::READ, next);
        }
    }

    fn gathered_operand(&self, place: usize) -> Operand {
        let plan = self.plan;
        let mut all = plan
            .texts
            .iter()
            .chain(&plan.socks)
            .chain(&plan.sockaddrs)
            .chain(&plan.numbers);
        all.nth(place).cloned().unwrap_or_else(executable)
    }

    fn search_ranges(&mut self, index: &Index, value: Value, signed: bool, ranges: &Ranges) {
        let apart = ranges.apart();
        let bounds = ranges.bounds(signed);
        let next = self.b.create_block();
        self.b.begin_cold();
        let leaves: Vec<BlockId> = apart.iter().map(|_| self.b.create_block()).collect();
        self.b.end_cold();
        classifier::search_ranges(&mut self.b, value, signed, &bounds, &|i| leaves[i], next);
        for (leaf, (_, _, selectors)) in leaves.into_iter().zip(&apart) {
            self.b.switch_to(leaf);
            self.set_candidates(index, selectors);
            self.b.jump(next);
        }
        self.b.switch_to(next);
    }

    /// Makes selectors live.
    fn set_candidates(&mut self, index: &Index, selectors: &Selectors) {
        for (word, mask) in live_words(selectors) {
            let place = self.places.live + word as i32 * 4;
            let live = self.frame_load(place, Size::B4);
            let live = self.b.alu(AluOp::Or, Width::W64, live, i64::from(mask));
            self.frame_store(place, Size::B4, live);
        }
        self.add_need(index.need(selectors));
    }

    /// Bits that a classification sets beside that of a test, counted from the place of the classes.
    pub(super) fn live_bits_of(&self, text: usize, test: &TextTest) -> Vec<usize> {
        let selectors = self.index.as_ref().and_then(|index| index.of_test(text, test));
        let first = (self.places.live - self.places.classes) as usize * 8;
        selectors.into_iter().flatten().map(|bit| first + bit).collect()
    }
}

/// Words (u32) of live bits with these set.
fn live_words(selectors: &Selectors) -> BTreeMap<usize, u32> {
    let mut words = BTreeMap::new();
    for bit in selectors {
        *words.entry(bit / 32).or_default() |= 1u32 << (bit % 32);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apart(ranges: &[(u64, u64, usize)]) -> Vec<(u64, u64, Vec<usize>)> {
        Ranges(ranges.to_vec())
            .apart()
            .into_iter()
            .map(|(low, high, selectors)| (low, high, selectors.into_iter().collect()))
            .collect()
    }

    #[test]
    fn ranges_are_cut_where_they_overlap() {
        assert_eq!(
            apart(&[(10, 20, 1), (15, 30, 2), (20, 20, 3)]),
            [
                (10, 14, vec![1]),
                (15, 19, vec![1, 2]),
                (20, 20, vec![1, 2, 3]),
                (21, 30, vec![2])
            ]
        );
    }

    #[test]
    fn ranges_reach_the_largest_number() {
        assert_eq!(
            apart(&[(0, u64::MAX, 1), (u64::MAX, u64::MAX, 2)]),
            [(0, u64::MAX - 1, vec![1]), (u64::MAX, u64::MAX, vec![1, 2])]
        );
    }

    #[test]
    fn a_selector_may_have_overlapping_ranges() {
        assert_eq!(
            apart(&[(1, 5, 1), (3, 8, 1)]),
            [(1, 2, vec![1]), (3, 5, vec![1]), (6, 8, vec![1])]
        );
    }
}
