//! Order of blocks.

use super::{BlockId, Function};

/// The blocks that can be reached, in reverse post-order: all edges but those of loops lead forward.
///
/// Of the two ways out of a branch, the `else` edge leads to the next block where it can. Code that is laid out in this order
/// has chains of tests running straight down and their shared exits at the end.
pub(crate) fn reverse_post_order(function: &Function) -> Vec<BlockId> {
    let mut visited = vec![false; function.blocks.len()];
    let mut order = Vec::with_capacity(function.blocks.len());
    // a block and how many of its successors were visited; functions are too large for recursion
    let mut stack = vec![(BlockId(0), 0)];
    visited[0] = true;
    while let Some((block, next)) = stack.last_mut() {
        // `then` first, `else` last: what is finished last comes first in reverse
        let Some(successor) = function.blocks[block.0 as usize].terminator.successors().nth(*next) else {
            order.push(*block);
            stack.pop();
            continue;
        };
        *next += 1;
        if !std::mem::replace(&mut visited[successor.0 as usize], true) {
            stack.push((successor, 0));
        }
    }
    order.reverse();
    order
}
