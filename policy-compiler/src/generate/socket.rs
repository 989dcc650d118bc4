//! Tests of sockets and socket addresses.

use std::collections::BTreeMap;

use crate::hir::{Network, Operand, SockSide, SockTest};
use crate::ir::{AluOp, BlockId, CmpOp, Size, Value, Width};

use ebpf::record::{ArgumentSock, ArgumentSockaddr};
use std::mem::offset_of;

use super::decide::Outcomes;
use super::{Generator, classifier, layout};

pub(super) const AF_INET: i64 = 2;
pub(super) const AF_INET6: i64 = 10;

impl Generator<'_> {
    /// Branches on a test of a gathered socket.
    pub(super) fn socket_test(&mut self, operand: &Operand, test: &SockTest, negated: bool, to: Outcomes) {
        let Some(index) = self.gathered_index(operand) else {
            return self.b.jump(to.no);
        };
        let (hit, miss) = if negated { (to.no, to.yes) } else { (to.yes, to.no) };
        self.require_read(index, operand, to);
        let place = Place::new(operand, index, self.plan.texts.len(), self.plan.socks.len());
        match test {
            SockTest::Family(values) => self.number_test(place.family(), Size::B2, values, hit, miss),
            SockTest::Protocol(values) => self.number_test(place.protocol(), Size::B2, values, hit, miss),
            SockTest::State(values) => self.number_test(place.state(), Size::B2, values, hit, miss),
            SockTest::Port(side, ranges) => {
                let port = self.frame_load(place.port(*side), Size::B2);
                let ranges: Vec<(i64, i64)> = ranges
                    .iter()
                    .map(|(low, high)| (i64::from(*low), i64::from(*high)))
                    .collect();
                self.ranges(port, false, &ranges, hit, miss);
            }
            SockTest::Address(side, networks) => self.address_test(&place, *side, networks, hit, miss, to.no),
        }
    }

    fn number_test(&mut self, offset: i32, size: Size, values: &[u16], hit: BlockId, miss: BlockId) {
        let number = self.frame_load(offset, size);
        let values: Vec<u64> = values.iter().map(|v| u64::from(*v)).collect();
        classifier::search(&mut self.b, number, &values, &|_| hit, miss);
    }

    fn address_test(
        &mut self,
        place: &Place,
        side: SockSide,
        networks: &[Network],
        hit: BlockId,
        miss: BlockId,
        other_family: BlockId,
    ) {
        let family = self.frame_load(place.family(), Size::B2);
        let (v4, not_v4, v6) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.branch(CmpOp::Eq, Width::W64, family, AF_INET, v4, not_v4);
        self.b.switch_to(not_v4);
        self.b.branch(CmpOp::Eq, Width::W64, family, AF_INET6, v6, other_family);

        let mut short: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
        let mut long: BTreeMap<u8, Vec<u128>> = BTreeMap::new();
        for network in networks {
            match network {
                Network::V4(address, prefix) => short.entry(*prefix).or_default().push(u64::from(*address)),
                Network::V6(address, prefix) => long.entry(*prefix).or_default().push(*address),
            }
        }
        self.b.switch_to(v4);
        let address = self.big_endian(place.address(side), Size::B4);
        for (prefix, addresses) in &short {
            let shift = i64::from(32 - *prefix);
            let next = self.b.create_block();
            if *prefix == 0 {
                self.b.jump(hit);
            } else {
                let head = self.b.alu(AluOp::Rsh, Width::W64, address, shift);
                let heads: Vec<u64> = addresses.iter().map(|a| a >> shift).collect();
                classifier::search(&mut self.b, head, &heads, &|_| hit, next);
            }
            self.b.switch_to(next);
        }
        self.b.jump(miss);

        self.b.switch_to(v6);
        let high = self.big_endian(place.address(side), Size::B8);
        let low = self.big_endian(place.address(side) + 8, Size::B8);
        for (prefix, addresses) in &long {
            let next = self.b.create_block();
            self.long_prefix(u32::from(*prefix), addresses, (high, low), hit, next);
            self.b.switch_to(next);
        }
        self.b.jump(miss);
    }

    /// Branches on equality of the first `prefix` bits with any of the ascending addresses.
    fn long_prefix(&mut self, prefix: u32, addresses: &[u128], address: (Value, Value), hit: BlockId, miss: BlockId) {
        if prefix == 0 {
            return self.b.jump(hit);
        }
        let (high, low) = address;
        if prefix <= 64 {
            let shift = 64 - prefix;
            let head = self.b.alu(AluOp::Rsh, Width::W64, high, i64::from(shift));
            let heads: Vec<u64> = addresses.iter().map(|a| (*a >> 64) as u64 >> shift).collect();
            return classifier::search(&mut self.b, head, &heads, &|_| hit, miss);
        }
        let shift = 128 - prefix;
        let tail = self.b.alu(AluOp::Rsh, Width::W64, low, i64::from(shift));
        let mut by_high: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for address in addresses {
            by_high
                .entry((*address >> 64) as u64)
                .or_default()
                .push(*address as u64 >> shift);
        }
        let leaves: Vec<BlockId> = by_high.keys().map(|_| self.b.create_block()).collect();
        let heads: Vec<u64> = by_high.keys().copied().collect();
        classifier::search(&mut self.b, high, &heads, &|i| leaves[i], miss);
        for (leaf, tails) in leaves.into_iter().zip(by_high.values()) {
            self.b.switch_to(leaf);
            classifier::search(&mut self.b, tail, tails, &|_| hit, miss);
        }
    }

    pub(super) fn big_endian(&mut self, offset: i32, size: Size) -> Value {
        let loaded = self.frame_load(offset, size);
        self.b.byte_swap(size, loaded)
    }
}

/// Where a socket or socket address stands in the scratch element.
pub(super) enum Place {
    Sock(i32),
    Sockaddr(i32),
}

impl Place {
    pub(super) fn new(operand: &Operand, index: usize, texts: usize, socks: usize) -> Self {
        if operand.is_sock() {
            Self::Sock(layout::sock(index - texts))
        } else {
            Self::Sockaddr(layout::sockaddr(index - texts - socks))
        }
    }

    pub(super) fn family(&self) -> i32 {
        match self {
            Self::Sock(at) => at + offset_of!(ArgumentSock, family) as i32,
            Self::Sockaddr(at) => at + offset_of!(ArgumentSockaddr, family) as i32,
        }
    }

    /// Only socks have one; resolution refuses the operators on a sockaddr.
    fn protocol(&self) -> i32 {
        let (Self::Sock(at) | Self::Sockaddr(at)) = self;
        at + offset_of!(ArgumentSock, protocol) as i32
    }

    /// As [`Place::protocol`].
    fn state(&self) -> i32 {
        let (Self::Sock(at) | Self::Sockaddr(at)) = self;
        at + offset_of!(ArgumentSock, state) as i32
    }

    pub(super) fn port(&self, side: SockSide) -> i32 {
        match (self, side) {
            (Self::Sock(at), SockSide::Source) => at + offset_of!(ArgumentSock, sport) as i32,
            (Self::Sock(at), SockSide::Destination) => at + offset_of!(ArgumentSock, dport) as i32,
            (Self::Sockaddr(at), _) => at + offset_of!(ArgumentSockaddr, port) as i32,
        }
    }

    pub(super) fn address(&self, side: SockSide) -> i32 {
        match (self, side) {
            (Self::Sock(at), SockSide::Source) => at + offset_of!(ArgumentSock, saddr) as i32,
            (Self::Sock(at), SockSide::Destination) => at + offset_of!(ArgumentSock, daddr) as i32,
            (Self::Sockaddr(at), _) => at + offset_of!(ArgumentSockaddr, addr) as i32,
        }
    }
}
