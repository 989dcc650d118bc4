//! Classification of a string: one walk over its 8-byte words finds all tests that hold, whatever their number.
//!
//! The values of all tests of one kind on one string form a decision tree over words; its leaves set a bit for each test that
//! has the value. No map and no copy: words are loaded from the text and compared with immediates, so the cost is logarithmic
//! in the number of values and linear in the length that still distinguishes them. What lies past the length of a text is
//! undefined, so every leaf comes after a comparison of the length.

use std::collections::{BTreeMap, BTreeSet};

use crate::hir::TextComparison;
use crate::ir::builder::FunctionBuilder;
use crate::ir::{AluOp, BlockId, CmpOp, Function, Size, Type, Value, Width};

use super::layout::{SCRATCH_SIZE, TEXT_BYTES, TEXT_LEN, TEXT_MAX, TEXT_SIZE};

/// Up to this many constants are compared one after the other; more are split in halves first.
pub(crate) const LINEAR: usize = 4;

/// Values with the bits to set when they match.
pub(super) type Classes = BTreeMap<Vec<u8>, BTreeSet<usize>>;

/// A function `(text, scratch)` that sets the bits of every value that matches, in 32-bit words from `base` in the scratch
/// element. The bits must be clear before.
pub(super) fn function(name: &str, comparison: TextComparison, classes: &Classes, base: i32) -> Function {
    let mut b = FunctionBuilder::new(
        name,
        &[
            Type::MapValue { size: TEXT_SIZE },
            Type::MapValue { size: SCRATCH_SIZE },
        ],
    );
    let (text, scratch) = (b.param(0), b.param(1));
    let len = b.load(text, TEXT_LEN, Size::B4);
    let done = b.create_block();
    let mut tree = Tree {
        b: &mut b,
        text,
        scratch,
        len,
        base,
        done,
    };
    let values: Vec<Entry<'_>> = classes.iter().map(|(value, bits)| Entry { value, bits }).collect();
    match comparison {
        TextComparison::Equal => tree.equal(&values),
        TextComparison::Prefix => tree.prefix(&values, 0),
        // only anchored ones come here: automata find the others
        _ => tree.postfix(&values),
    }
    b.switch_to(done);
    b.ret(0);
    b.finish()
}

#[derive(Clone, Copy)]
struct Entry<'a> {
    value: &'a [u8],
    bits: &'a BTreeSet<usize>,
}

/// The little-endian word that a load of up to eight bytes gives, missing bytes zero.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

struct Tree<'a> {
    b: &'a mut FunctionBuilder,
    text: Value,
    scratch: Value,
    len: Value,
    base: i32,
    /// Where a walk ends.
    done: BlockId,
}

impl Tree<'_> {
    /// At most one value is equal: each leaf ends the walk.
    fn equal(&mut self, values: &[Entry<'_>]) {
        let mut by_length: BTreeMap<u64, Vec<Entry<'_>>> = BTreeMap::new();
        for entry in values {
            by_length.entry(entry.value.len() as u64).or_default().push(*entry);
        }
        let lengths: Vec<u64> = by_length.keys().copied().collect();
        let (len, done) = (self.len, self.done);
        let leaves = self.search(len, &lengths, done);
        for (leaf, values) in leaves.into_iter().zip(by_length.values()) {
            self.b.switch_to(leaf);
            self.words(values, self.text, 0, done);
        }
    }

    /// Values that agree on the words before `depth`. Several may match: the walk goes on after each.
    fn prefix(&mut self, values: &[Entry<'_>], depth: usize) {
        let start = depth * 8;
        let (ends, rest): (Vec<Entry<'_>>, Vec<Entry<'_>>) = values.iter().partition(|e| e.value.len() == start);
        for entry in ends {
            let next = self.b.create_block();
            self.set_if_long_enough(entry, next);
            self.b.switch_to(next);
        }
        if rest.is_empty() {
            return self.b.jump(self.done);
        }
        let loaded = self.load_word(self.text, depth);
        let (tails, full): (Vec<Entry<'_>>, Vec<Entry<'_>>) = rest.iter().partition(|e| e.value.len() - start < 8);
        let mut by_tail: BTreeMap<usize, BTreeMap<u64, Entry<'_>>> = BTreeMap::new();
        for entry in tails {
            let tail = entry.value.len() - start;
            by_tail
                .entry(tail)
                .or_default()
                .insert(word(&entry.value[start..]) << ((8 - tail) * 8), entry);
        }
        for (tail, entries) in by_tail {
            let next = self.b.create_block();
            let shifted = self.shift_to_top(loaded, tail);
            let leaves = self.search(shifted, &entries.keys().copied().collect::<Vec<_>>(), next);
            for (leaf, entry) in leaves.into_iter().zip(entries.values()) {
                self.b.switch_to(leaf);
                self.set_if_long_enough(*entry, next);
            }
            self.b.switch_to(next);
        }
        let done = self.done;
        self.by_word(&full, loaded, start, done, &mut |tree, values| {
            tree.prefix(values, depth + 1);
        });
    }

    fn postfix(&mut self, values: &[Entry<'_>]) {
        let mut by_length: BTreeMap<usize, Vec<Entry<'_>>> = BTreeMap::new();
        for entry in values {
            by_length.entry(entry.value.len()).or_default().push(*entry);
        }
        // The upper bound lets the verifier see that what is left of the length stays inside the text.
        let bounded = self.b.create_block();
        self.b
            .branch(CmpOp::Gt, Width::W64, self.len, TEXT_MAX as i64, self.done, bounded);
        self.b.switch_to(bounded);
        for (length, values) in by_length {
            // lengths ascend: a text that is too short for this one is too short for all that follow
            let long_enough = self.b.create_block();
            self.b
                .branch(CmpOp::Lt, Width::W64, self.len, length as i64, self.done, long_enough);
            self.b.switch_to(long_enough);
            let next = self.b.create_block();
            let start = self.b.alu(AluOp::Sub, Width::W64, self.len, length as i64);
            let bounded = self.b.create_block();
            self.b.branch(
                CmpOp::Gt,
                Width::W64,
                start,
                TEXT_MAX as i64 - length as i64,
                next,
                bounded,
            );
            self.b.switch_to(bounded);
            let base = self.b.alu(AluOp::Add, Width::W64, self.text, start);
            self.words(&values, base, 0, next);
            self.b.switch_to(next);
        }
        self.b.jump(self.done);
    }

    /// Compares values of one length with the bytes at `base`, from word `depth` on; goes to `next` in the end.
    fn words(&mut self, values: &[Entry<'_>], base: Value, depth: usize, next: BlockId) {
        let start = depth * 8;
        let rest = values[0].value.len() - start;
        if rest == 0 {
            return self.set(values[0], next);
        }
        let loaded = self.load_word(base, depth);
        if rest >= 8 {
            return self.by_word(values, loaded, start, next, &mut |tree, values| {
                tree.words(values, base, depth + 1, next);
            });
        }
        let shifted = self.shift_to_top(loaded, rest);
        let by_tail: BTreeMap<u64, Entry<'_>> = values
            .iter()
            .map(|e| (word(&e.value[start..]) << ((8 - rest) * 8), *e))
            .collect();
        let leaves = self.search(shifted, &by_tail.keys().copied().collect::<Vec<_>>(), next);
        for (leaf, entry) in leaves.into_iter().zip(by_tail.values()) {
            self.b.switch_to(leaf);
            self.set(*entry, next);
        }
    }

    /// Branches on the word of each value at `start`; `then` goes on with the values that share it.
    fn by_word(
        &mut self,
        values: &[Entry<'_>],
        loaded: Value,
        start: usize,
        miss: BlockId,
        then: &mut dyn FnMut(&mut Self, &[Entry<'_>]),
    ) {
        let mut by_word: BTreeMap<u64, Vec<Entry<'_>>> = BTreeMap::new();
        for entry in values {
            by_word
                .entry(word(&entry.value[start..start + 8]))
                .or_default()
                .push(*entry);
        }
        let leaves = self.search(loaded, &by_word.keys().copied().collect::<Vec<_>>(), miss);
        for (leaf, values) in leaves.into_iter().zip(by_word.values()) {
            self.b.switch_to(leaf);
            then(self, values);
        }
    }

    fn load_word(&mut self, base: Value, depth: usize) -> Value {
        self.b.load(base, TEXT_BYTES + depth as i32 * 8, Size::B8)
    }

    /// Keeps only the first `bytes` bytes of a word, in its top bits.
    fn shift_to_top(&mut self, word: Value, bytes: usize) -> Value {
        self.b.alu(AluOp::Lsh, Width::W64, word, ((8 - bytes) * 8) as i64)
    }

    fn set_if_long_enough(&mut self, entry: Entry<'_>, next: BlockId) {
        let hit = self.b.create_block();
        self.b
            .branch(CmpOp::Ge, Width::W64, self.len, entry.value.len() as i64, hit, next);
        self.b.switch_to(hit);
        self.set(entry, next);
    }

    /// Sets the bits of a value.
    fn set(&mut self, entry: Entry<'_>, next: BlockId) {
        set_bits(self.b, self.scratch, self.base, entry.bits);
        self.b.jump(next);
    }

    /// Branches on equality with each of the ascending constants; returns a block per constant.
    fn search(&mut self, value: Value, constants: &[u64], miss: BlockId) -> Vec<BlockId> {
        let leaves: Vec<BlockId> = constants.iter().map(|_| self.b.create_block()).collect();
        search(self.b, value, constants, &|i| leaves[i], miss);
        leaves
    }
}

/// Sets bits, in 32-bit words from `base` in the scratch element.
pub(super) fn set_bits(b: &mut FunctionBuilder, scratch: Value, base: i32, bits: &BTreeSet<usize>) {
    let mut words: BTreeMap<usize, u32> = BTreeMap::new();
    for bit in bits {
        *words.entry(bit / 32).or_default() |= 1 << (bit % 32);
    }
    for (index, mask) in words {
        let place = base + index as i32 * 4;
        let bits = b.load(scratch, place, Size::B4);
        let bits = b.alu(AluOp::Or, Width::W64, bits, i64::from(mask));
        b.store(scratch, place, Size::B4, bits);
    }
}

/// Emits a balanced search for `value` among ascending `constants`: to `leaf(i)` if it equals the i-th, else to `miss`.
pub(super) fn search(
    b: &mut FunctionBuilder,
    value: Value,
    constants: &[u64],
    leaf: &dyn Fn(usize) -> BlockId,
    miss: BlockId,
) {
    search_range(b, value, constants, 0, leaf, miss);
}

/// Emits a balanced search for the range that `value` lies in: to `leaf(i)` for the i-th, else to `miss`. The ranges, bounds
/// included, ascend and do not overlap.
pub(super) fn search_ranges(
    b: &mut FunctionBuilder,
    value: Value,
    signed: bool,
    ranges: &[(i64, i64)],
    leaf: &dyn Fn(usize) -> BlockId,
    miss: BlockId,
) {
    let below = if signed { CmpOp::Slt } else { CmpOp::Lt };
    let at_most = if signed { CmpOp::Sle } else { CmpOp::Le };
    if ranges.len() > LINEAR {
        let middle = ranges.len() / 2;
        let (low, high) = (b.create_block(), b.create_block());
        b.branch(below, Width::W64, value, ranges[middle].0, low, high);
        b.switch_to(low);
        search_ranges(b, value, signed, &ranges[..middle], leaf, miss);
        b.switch_to(high);
        search_ranges(b, value, signed, &ranges[middle..], &|i| leaf(middle + i), miss);
        return;
    }
    for (i, &(low, high)) in ranges.iter().enumerate() {
        let next = b.create_block();
        if low == high {
            b.branch(CmpOp::Eq, Width::W64, value, low, leaf(i), next);
        } else {
            let above = b.create_block();
            // below this range it is below all that follow
            b.branch(below, Width::W64, value, low, miss, above);
            b.switch_to(above);
            b.branch(at_most, Width::W64, value, high, leaf(i), next);
        }
        b.switch_to(next);
    }
    b.jump(miss);
}

fn search_range(
    b: &mut FunctionBuilder,
    value: Value,
    constants: &[u64],
    first: usize,
    leaf: &dyn Fn(usize) -> BlockId,
    miss: BlockId,
) {
    if constants.len() <= LINEAR {
        for (i, constant) in constants.iter().enumerate() {
            let next = if i + 1 == constants.len() {
                miss
            } else {
                b.create_block()
            };
            b.branch(CmpOp::Eq, Width::W64, value, *constant as i64, leaf(first + i), next);
            if next != miss {
                b.switch_to(next);
            }
        }
        if constants.is_empty() {
            b.jump(miss);
        }
        return;
    }
    let middle = constants.len() / 2;
    let (low, high) = (b.create_block(), b.create_block());
    b.branch(CmpOp::Lt, Width::W64, value, constants[middle] as i64, low, high);
    b.switch_to(low);
    search_range(b, value, &constants[..middle], first, leaf, miss);
    b.switch_to(high);
    search_range(b, value, &constants[middle..], first + middle, leaf, miss);
}
