//! Offsets of jumps.
//!
//! A jump's offset has 16 bits, so a function of more than 32,768 slots has jumps that cannot reach their targets. Such a
//! function is cut into chunks with an island between each two: a jump over a longer way leads to an island, which has one
//! jump for each distant target, to the target or to the next island. Where the kernel has `gotol`, islands lead straight to
//! the target.
//!
//! ```text
//!  chunk 0 │ island 0 │ chunk 1 │ island 1 │ chunk 2 │ …
//!     ╰──────────────────────────╴▲ ╰───────────────────▶
//! ```

use std::collections::BTreeMap;

use crate::ir::BlockId;
use crate::isa::{Form, Instruction};

use super::emit::{Emitted, Slot, Target};
use super::{CodegenError, FunctionCode};

/// Most slots of a chunk, unless a single block has more. Two chunks and their islands must be within reach of a jump.
const CHUNK: usize = 14_000;

/// Functions up to this size need no islands.
const REACH: usize = i16::MAX as usize;

/// Where a jump leads directly.
#[derive(Clone, Copy)]
enum Hop {
    Block(BlockId),
    /// To the island's entry for this block.
    Island(usize, BlockId),
}

struct Islands {
    /// First slot of each chunk, before islands are put in.
    chunk_starts: Vec<usize>,
    /// Entries of each island: final target and next hop.
    entries: Vec<BTreeMap<BlockId, Hop>>,
    /// Whether what is before each island runs on into it, and must be led over it. The verifier refuses jumps that nothing
    /// leads to.
    runs_on: Vec<bool>,
    /// First slot and chunk of each block, by id; blocks that are not laid out are never asked for.
    blocks: Vec<(usize, usize)>,
    jumps32: bool,
}

impl Islands {
    fn new(emitted: &Emitted, jumps32: bool) -> Self {
        let mut chunk_starts = vec![0];
        let ids = emitted
            .starts
            .iter()
            .map(|(id, _)| id.0 as usize + 1)
            .max()
            .unwrap_or(0);
        let mut blocks = vec![(0, 0); ids];
        let ends = emitted
            .starts
            .iter()
            .skip(1)
            .map(|(_, start)| *start)
            .chain([emitted.slots.len()]);
        for (&(id, start), end) in emitted.starts.iter().zip(ends) {
            let chunk = chunk_starts.last().copied().unwrap_or(0);
            if emitted.slots.len() > REACH && end - chunk > CHUNK && start > chunk {
                chunk_starts.push(start);
            }
            blocks[id.0 as usize] = (start, chunk_starts.len() - 1);
        }
        let entries = vec![BTreeMap::new(); chunk_starts.len()];
        let chunk_ends = chunk_starts.iter().skip(1).copied().chain([emitted.slots.len()]);
        let runs_on = chunk_ends
            .map(|end: usize| {
                let last = end.checked_sub(1).map(|last| emitted.slots[last].instruction.form());
                !matches!(last, Some(Some(Form::Goto | Form::Exit)))
            })
            .collect();
        Self {
            chunk_starts,
            entries,
            runs_on,
            blocks,
            jumps32,
        }
    }

    fn chunk_of_slot(&self, slot: usize) -> usize {
        self.chunk_starts.partition_point(|start| *start <= slot) - 1
    }

    /// The first hop of a jump from a chunk, with the islands on the way extended.
    fn route(&mut self, from: usize, target: BlockId) -> Hop {
        let to = self.blocks[target.0 as usize].1;
        if to.abs_diff(from) <= 1 {
            return Hop::Block(target);
        }
        // island `i` stands between the chunks `i` and `i + 1`
        let first = if to > from { from + 1 } else { from - 2 };
        let mut island = first;
        while !self.entries[island].contains_key(&target) {
            let near = if to > island {
                to <= island + 2
            } else {
                to + 1 >= island
            };
            let hop = if near || self.jumps32 {
                Hop::Block(target)
            } else {
                Hop::Island(if to > island { island + 2 } else { island - 2 }, target)
            };
            self.entries[island].insert(target, hop);
            match hop {
                Hop::Block(_) => break,
                Hop::Island(next, _) => island = next,
            }
        }
        Hop::Island(first, target)
    }

    /// Slots of an island, the jump over it included.
    fn size(&self, island: usize) -> usize {
        match self.entries[island].len() {
            0 => 0,
            entries => entries + self.jumps_over(island),
        }
    }

    /// Jumps over an island that has entries.
    fn jumps_over(&self, island: usize) -> usize {
        usize::from(self.runs_on[island])
    }

    /// Final position of what was at this slot.
    fn position(&self, slot: usize, chunk: usize) -> usize {
        slot + (0..chunk).map(|island| self.size(island)).sum::<usize>()
    }

    fn position_of(&self, hop: Hop) -> usize {
        match hop {
            Hop::Block(block) => {
                let (start, chunk) = self.blocks[block.0 as usize];
                self.position(start, chunk)
            }
            Hop::Island(island, block) => {
                let rank = self.entries[island].keys().position(|key| *key == block).unwrap_or(0);
                self.position(self.chunk_starts[island + 1], island) + self.jumps_over(island) + rank
            }
        }
    }
}

/// Puts numbers to jumps and separates references from code.
pub(super) fn resolve(
    name: &str,
    emitted: &Emitted,
    frame_size: u32,
    jumps32: bool,
) -> Result<FunctionCode, CodegenError> {
    let mut islands = Islands::new(emitted, jumps32);
    let hops: Vec<Option<Hop>> = emitted
        .slots
        .iter()
        .enumerate()
        .map(|(at, slot)| match slot.target {
            Some(Target::Block(block)) => Some(islands.route(islands.chunk_of_slot(at), block)),
            _ => None,
        })
        .collect();

    let mut code = FunctionCode {
        name: name.to_owned(),
        frame_size,
        ..FunctionCode::default()
    };
    let too_far = || CodegenError::JumpTooFar {
        function: name.to_owned(),
        slots: emitted.slots.len(),
    };
    let mut chunk = 0;
    for (
        at,
        (
            Slot {
                instruction,
                target,
                source,
            },
            hop,
        ),
    ) in emitted.slots.iter().zip(&hops).enumerate()
    {
        if islands.chunk_starts.get(chunk + 1) == Some(&at) {
            emit_island(&mut code, &islands, chunk).ok_or_else(too_far)?;
            chunk += 1;
        }
        let here = code.instructions.len();
        let mut instruction = *instruction;
        match target {
            Some(Target::Block(_)) => {
                let to = hop.map_or(0, |hop| islands.position_of(hop));
                instruction.off = i16::try_from(to as i64 - here as i64 - 1).map_err(|_| too_far())?;
            }
            Some(Target::Skip(slots)) => instruction.off = *slots as i16,
            Some(Target::Symbol(symbol)) => code.references.push((here, symbol.clone())),
            None => {}
        }
        code.instructions.push(instruction);
        code.sources.push(*source);
    }
    Ok(code)
}

/// `None` if a jump cannot reach.
fn emit_island(code: &mut FunctionCode, islands: &Islands, island: usize) -> Option<()> {
    let entries = &islands.entries[island];
    if entries.is_empty() {
        return Some(());
    }
    let source = code.sources.last().copied().flatten();
    if islands.runs_on[island] {
        code.instructions
            .push(Instruction::goto(i16::try_from(entries.len()).ok()?));
        code.sources.push(source);
    }
    for hop in entries.values() {
        let off = islands.position_of(*hop) as i64 - code.instructions.len() as i64 - 1;
        code.instructions.push(match i16::try_from(off) {
            Ok(off) => Instruction::goto(off),
            Err(_) if islands.jumps32 => Instruction::goto_long(i32::try_from(off).ok()?),
            Err(_) => return None,
        });
        code.sources.push(source);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Reg;

    /// `blocks` blocks of `size` slots; each ends in a jump to the block `step` further on, round about.
    fn ring(blocks: usize, size: usize, step: usize) -> Emitted {
        let mut slots = Vec::new();
        let mut starts = Vec::new();
        for block in 0..blocks {
            starts.push((BlockId(block as u32), slots.len()));
            for _ in 1..size {
                slots.push(Slot {
                    instruction: Instruction::mov_imm(Reg::R0, block as i32),
                    target: None,
                    source: None,
                });
            }
            let target = BlockId(((block + step) % blocks) as u32);
            slots.push(Slot {
                instruction: Instruction::goto(0),
                target: Some(Target::Block(target)),
                source: None,
            });
        }
        Emitted { slots, starts }
    }

    /// Follows the jumps from each block and checks where they lead.
    fn check(blocks: usize, size: usize, step: usize, jumps32: bool) {
        let code = resolve("f", &ring(blocks, size, step), 0, jumps32).expect("within reach");
        let mut reached = vec![false; code.instructions.len()];
        for (at, instruction) in code.instructions.iter().enumerate() {
            let off = match instruction.form() {
                Some(Form::Goto) => i64::from(instruction.off),
                Some(Form::GotoLong) => i64::from(instruction.imm),
                _ => 0,
            };
            reached[(at as i64 + 1 + off) as usize] = true;
        }
        let unreached: Vec<usize> = (1..reached.len()).filter(|at| !reached[*at]).collect();
        assert!(unreached.is_empty(), "nothing leads to {unreached:?}");
        for (at, instruction) in code.instructions.iter().enumerate() {
            // a block's last payload says which block it is
            let is_end = instruction.form() == Some(Form::Goto)
                && at > 0
                && code.instructions[at - 1].form() != Some(Form::Goto);
            if !is_end || code.instructions[at - 1].form() == Some(Form::GotoLong) {
                continue;
            }
            let block = code.instructions[at - 1].imm as usize;
            let mut to = at;
            while let Some(Form::Goto | Form::GotoLong) = code.instructions[to].form() {
                let jump = code.instructions[to];
                let off = if jump.form() == Some(Form::Goto) {
                    i64::from(jump.off)
                } else {
                    i64::from(jump.imm)
                };
                to = (to as i64 + 1 + off) as usize;
            }
            assert_eq!(
                code.instructions[to].imm as usize,
                (block + step) % blocks,
                "from block {block}"
            );
        }
    }

    #[test]
    fn short_functions_need_no_islands() {
        let code = resolve("f", &ring(10, 100, 3), 0, false).expect("within reach");
        assert_eq!(code.instructions.len(), 1000);
        check(10, 100, 3, false);
    }

    #[test]
    fn far_jumps_lead_through_islands() {
        for jumps32 in [false, true] {
            check(1000, 100, 1, jumps32);
            check(1000, 100, 500, jumps32);
            check(1000, 100, 999, jumps32);
            check(40, 9_000, 17, jumps32);
        }
    }
}
