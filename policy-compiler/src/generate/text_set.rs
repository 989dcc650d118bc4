//! Tests of a string against a set of constants, as a decision tree over its 8-byte words.
//!
//! No map and no copy: the words of the string are loaded from its text and compared with immediates, so the cost is
//! logarithmic in the number of values and linear in the length that still distinguishes them. What lies past the length of
//! a text is undefined, so every accepting path has compared the length.

use std::collections::{BTreeMap, BTreeSet};

use crate::hir::{TextComparison, TextTest};
use crate::ir::builder::FunctionBuilder;
use crate::ir::{AluOp, BlockId, CmpOp, Function, Size, Type, Value, Width};

use super::layout::{TEXT_BYTES, TEXT_LEN, TEXT_MAX, TEXT_SIZE};

/// Up to this many constants are compared one after the other; more are split in halves first.
const LINEAR: usize = 4;

/// A function `(text) -> 1 if the test holds, else 0`.
pub(super) fn function(name: &str, test: &TextTest) -> Function {
    let mut b = FunctionBuilder::new(name, &[Type::MapValue { size: TEXT_SIZE }]);
    let text = b.param(0);
    let (accept, reject) = (b.create_block(), b.create_block());
    let len = b.load(text, TEXT_LEN, Size::B4);
    let mut tree = Tree { b: &mut b, text, len, accept, reject };
    match test.comparison {
        TextComparison::Equal => tree.equal(&test.values),
        TextComparison::Prefix => tree.prefix(&without_implied(&test.values, |value, other| value.starts_with(other))),
        TextComparison::Postfix => tree.postfix(&without_implied(&test.values, |value, other| value.ends_with(other))),
    }
    b.switch_to(accept);
    b.ret(1i64);
    b.switch_to(reject);
    b.ret(0i64);
    b.finish()
}

/// Drops the values that another value of the set already implies.
fn without_implied(values: &[Vec<u8>], implies: impl Fn(&[u8], &[u8]) -> bool) -> Vec<&[u8]> {
    let mut by_length: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    by_length.sort_by_key(|v| (v.len(), *v));
    let mut kept: Vec<&[u8]> = Vec::with_capacity(by_length.len());
    // A set of 2,000 values must not cost 4,000,000 comparisons: look each candidate's own prefixes (suffixes) up instead.
    let mut known: BTreeSet<&[u8]> = BTreeSet::new();
    let mut lengths: BTreeSet<usize> = BTreeSet::new();
    for value in by_length {
        let implied = lengths.iter().any(|&n| {
            let (head, tail) = (&value[..n], &value[value.len() - n..]);
            (known.contains(head) && implies(value, head)) || (known.contains(tail) && implies(value, tail))
        });
        if !implied {
            known.insert(value);
            lengths.insert(value.len());
            kept.push(value);
        }
    }
    kept.sort_unstable();
    kept
}

/// The little-endian word that a load of the up to eight bytes gives, missing bytes zero.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

struct Tree<'a> {
    b: &'a mut FunctionBuilder,
    text: Value,
    len: Value,
    accept: BlockId,
    reject: BlockId,
}

impl Tree<'_> {
    fn equal(&mut self, values: &[Vec<u8>]) {
        let mut by_length: BTreeMap<u64, Vec<&[u8]>> = BTreeMap::new();
        for value in values {
            by_length.entry(value.len() as u64).or_default().push(value);
        }
        let len = self.len;
        let leaves = self.search(len, &by_length.keys().copied().collect::<Vec<_>>());
        for (leaf, values) in leaves.into_iter().zip(by_length.values()) {
            self.b.switch_to(leaf);
            self.words(values, self.text, 0);
        }
    }

    fn prefix(&mut self, values: &[&[u8]]) {
        self.prefix_words(values, 0);
    }

    /// All values agree on the words before `depth`; each is longer than they are, or exactly as long and alone.
    fn prefix_words(&mut self, values: &[&[u8]], depth: usize) {
        if let [value] = values
            && value.len() == depth * 8
        {
            return self.accept_if_long_enough(value.len());
        }
        let (tails, full): (Vec<&[u8]>, Vec<&[u8]>) = values.iter().partition(|v| v.len() - depth * 8 < 8);
        let loaded = self.load_word(self.text, depth);
        let mut by_tail: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
        for value in tails {
            by_tail.entry(value.len() - depth * 8).or_default().insert(word(&value[depth * 8..]));
        }
        for (tail, words) in by_tail {
            let next = self.b.create_block();
            let shifted = self.shift_to_top(loaded, tail);
            let constants: Vec<u64> = words.iter().map(|w| w << ((8 - tail) * 8)).collect();
            let mut sorted = constants;
            sorted.sort_unstable();
            let hit = self.b.create_block();
            self.search_into(shifted, &sorted, hit, next);
            self.b.switch_to(hit);
            self.accept_if_long_enough(depth * 8 + tail);
            self.b.switch_to(next);
        }
        let mut by_word: BTreeMap<u64, Vec<&[u8]>> = BTreeMap::new();
        for value in full {
            by_word.entry(word(&value[depth * 8..depth * 8 + 8])).or_default().push(value);
        }
        let leaves = self.search(loaded, &by_word.keys().copied().collect::<Vec<_>>());
        for (leaf, values) in leaves.into_iter().zip(by_word.values()) {
            self.b.switch_to(leaf);
            self.prefix_words(values, depth + 1);
        }
    }

    fn postfix(&mut self, values: &[&[u8]]) {
        let mut by_length: BTreeMap<usize, Vec<&[u8]>> = BTreeMap::new();
        for value in values {
            by_length.entry(value.len()).or_default().push(value);
        }
        // The upper bound lets the verifier see that what is left of the length stays inside the text.
        let bounded = self.b.create_block();
        self.b.branch(CmpOp::Gt, Width::W64, self.len, TEXT_MAX as i64, self.reject, bounded);
        self.b.switch_to(bounded);
        for (length, values) in by_length {
            let (long_enough, next) = (self.b.create_block(), self.b.create_block());
            self.b.branch(CmpOp::Lt, Width::W64, self.len, length as i64, next, long_enough);
            self.b.switch_to(long_enough);
            let start = self.b.alu(AluOp::Sub, Width::W64, self.len, length as i64);
            let bounded = self.b.create_block();
            self.b.branch(CmpOp::Gt, Width::W64, start, TEXT_MAX as i64 - length as i64, next, bounded);
            self.b.switch_to(bounded);
            let base = self.b.alu(AluOp::Add, Width::W64, self.text, start);
            let reject = std::mem::replace(&mut self.reject, next);
            self.words(&values, base, 0);
            self.reject = reject;
            self.b.switch_to(next);
        }
        self.b.jump(self.reject);
    }

    /// Compares strings of one length with the bytes at `base`, from word `depth` on.
    fn words(&mut self, values: &[&[u8]], base: Value, depth: usize) {
        let length = values[0].len();
        let rest = length - depth * 8;
        if rest == 0 {
            return self.b.jump(self.accept);
        }
        let loaded = self.load_word(base, depth);
        if rest < 8 {
            let shifted = self.shift_to_top(loaded, rest);
            let mut constants: Vec<u64> =
                values.iter().map(|v| word(&v[depth * 8..]) << ((8 - rest) * 8)).collect::<BTreeSet<_>>().into_iter().collect();
            constants.sort_unstable();
            return self.search_into(shifted, &constants, self.accept, self.reject);
        }
        let mut by_word: BTreeMap<u64, Vec<&[u8]>> = BTreeMap::new();
        for value in values {
            by_word.entry(word(&value[depth * 8..depth * 8 + 8])).or_default().push(value);
        }
        let leaves = self.search(loaded, &by_word.keys().copied().collect::<Vec<_>>());
        for (leaf, values) in leaves.into_iter().zip(by_word.values()) {
            self.b.switch_to(leaf);
            self.words(values, base, depth + 1);
        }
    }

    fn load_word(&mut self, base: Value, depth: usize) -> Value {
        self.b.load(base, TEXT_BYTES + depth as i32 * 8, Size::B8)
    }

    /// Keeps only the first `bytes` bytes of a word, in its top bits.
    fn shift_to_top(&mut self, word: Value, bytes: usize) -> Value {
        self.b.alu(AluOp::Lsh, Width::W64, word, ((8 - bytes) * 8) as i64)
    }

    fn accept_if_long_enough(&mut self, length: usize) {
        self.b.branch(CmpOp::Ge, Width::W64, self.len, length as i64, self.accept, self.reject);
    }

    /// Branches on equality with each of the ascending constants; returns a block per constant.
    fn search(&mut self, value: Value, constants: &[u64]) -> Vec<BlockId> {
        let leaves: Vec<BlockId> = constants.iter().map(|_| self.b.create_block()).collect();
        search(self.b, value, constants, &|i| leaves[i], self.reject);
        leaves
    }

    fn search_into(&mut self, value: Value, constants: &[u64], hit: BlockId, miss: BlockId) {
        search(self.b, value, constants, &|_| hit, miss);
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
            let next = if i + 1 == constants.len() { miss } else { b.create_block() };
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
