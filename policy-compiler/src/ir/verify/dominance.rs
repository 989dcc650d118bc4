//! Which block is on every path to which other block.

use smallvec::SmallVec;

use crate::ir::order::reverse_post_order;
use crate::ir::{BlockId, Function};

/// Most blocks have one or two edges of a kind.
type Edges = SmallVec<[usize; 2]>;

/// The dominator tree of a function, as intervals: a block dominates those whose number lies in its interval.
pub(super) struct Dominance {
    /// (number, end) by block; `None` if the block cannot be reached.
    intervals: Vec<Option<(u32, u32)>>,
    /// Edges that lead to each block, by block.
    pub(super) incoming: Vec<u32>,
}

impl Dominance {
    /// Needs all successors to exist.
    pub(super) fn new(function: &Function) -> Self {
        let count = function.blocks.len();
        let mut predecessors: Vec<Edges> = vec![Edges::new(); count];
        let mut incoming = vec![0; count];
        let order: Vec<_> = reverse_post_order(function)
            .into_iter()
            .map(|block| block.0 as usize)
            .collect();
        let mut rank = vec![usize::MAX; count];
        for (position, block) in order.iter().enumerate() {
            rank[*block] = position;
            for successor in function.blocks[*block].terminator.successors() {
                predecessors[successor.0 as usize].push(*block);
                incoming[successor.0 as usize] += 1;
            }
        }
        let immediate = immediate_dominators(&order, &rank, &predecessors);

        let mut children: Vec<Edges> = vec![Edges::new(); count];
        for &block in order.iter().skip(1) {
            children[immediate[block]].push(block);
        }
        let mut intervals = vec![None; count];
        let mut number = 0;
        let mut stack = vec![(0, 0)];
        while let Some((block, next)) = stack.last_mut() {
            let block = *block;
            if *next == 0 {
                intervals[block] = Some((number, number));
                number += 1;
            }
            if let Some(child) = children[block].get(*next) {
                *next += 1;
                stack.push((*child, 0));
                continue;
            }
            if let Some((_, end)) = &mut intervals[block] {
                *end = number;
            }
            stack.pop();
        }
        Self { intervals, incoming }
    }

    pub(super) fn is_reachable(&self, block: BlockId) -> bool {
        self.intervals[block.0 as usize].is_some()
    }

    /// Whether each path to `block` leads through `dominator`.
    pub(super) fn dominates(&self, dominator: BlockId, block: BlockId) -> bool {
        match (self.intervals[dominator.0 as usize], self.intervals[block.0 as usize]) {
            (Some((start, end)), Some((number, _))) => (start..end).contains(&number),
            _ => false,
        }
    }
}

/// The algorithm of Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm".
fn immediate_dominators(order: &[usize], rank: &[usize], predecessors: &[Edges]) -> Vec<usize> {
    let mut immediate = vec![usize::MAX; rank.len()];
    immediate[0] = 0;
    let mut changed = true;
    while changed {
        changed = false;
        for &block in order.iter().skip(1) {
            let known = predecessors[block]
                .iter()
                .copied()
                .filter(|predecessor| immediate[*predecessor] != usize::MAX);
            let common = known.reduce(|mut a, mut b| {
                while a != b {
                    while rank[a] > rank[b] {
                        a = immediate[a];
                    }
                    while rank[b] > rank[a] {
                        b = immediate[b];
                    }
                }
                a
            });
            if let Some(common) = common
                && immediate[block] != common
            {
                immediate[block] = common;
                changed = true;
            }
        }
    }
    immediate
}
