//! Order of the blocks in memory.
//!
//! Reverse post-order, so that all edges but those of loops lead forward. Of the two ways out of a branch, the `else` edge is
//! made to fall through where it can: a chain of tests then runs straight down and its shared exits stand at the end.

use crate::ir::{BlockId, Function};

/// Blocks in order; all that can be reached from the entry.
pub(super) fn order(function: &Function) -> Vec<BlockId> {
    let mut visited = vec![false; function.blocks.len()];
    let mut post_order = Vec::with_capacity(function.blocks.len());
    // a block and how many of its successors were visited; functions are too large for recursion
    let mut stack = vec![(BlockId(0), 0)];
    visited[0] = true;
    while let Some((block, next)) = stack.last_mut() {
        // `then` first, `else` last: what is finished last comes first in reverse
        let successor = function.blocks[block.0 as usize].terminator.successors().nth(*next);
        *next += 1;
        match successor {
            Some(successor) => {
                let seen = &mut visited[successor.0 as usize];
                if !*seen {
                    *seen = true;
                    stack.push((successor, 0));
                }
            }
            None => {
                post_order.push(*block);
                stack.pop();
            }
        }
    }
    post_order.reverse();
    post_order
}
