//! Where each value is live, as ranges of positions in the final order of instructions.
//!
//! Each instruction takes [`STEP`] positions: it reads its operands at the first one, a call destroys registers at the second
//! and the result is written at the third. So a value that is read last by an instruction can share a register with that
//! instruction's result, and a value that ends in a call does not have to survive it.

use smallvec::{SmallVec, smallvec};

use crate::ir::{BlockId, Function, Inst, Operand, Type, Value};

/// Positions per instruction.
const STEP: u32 = 4;
const CLOBBER: u32 = 1;
const WRITE: u32 = 2;

/// Half-open range of positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// Most values live in one or two ranges.
pub(super) type Ranges = SmallVec<[Range; 2]>;

/// Most values are read once or twice.
type Uses = SmallVec<[(BlockId, u32); 2]>;

/// Live ranges of all values, in ascending order and disjoint.
pub(super) struct Liveness {
    pub(super) ranges: Vec<Ranges>,
    /// How often each value is read or written.
    pub(super) accesses: Vec<u32>,
    /// Positions at which r0 to r5 are destroyed, ascending.
    clobbers: Vec<u32>,
}

impl Liveness {
    /// Whether a value is live over a call.
    pub(super) fn crosses_call(&self, value: Value) -> bool {
        self.ranges[value.0 as usize].iter().any(|range| {
            let next = self.clobbers.partition_point(|clobber| *clobber < range.start);
            self.clobbers.get(next).is_some_and(|clobber| *clobber < range.end)
        })
    }

    /// Positions a value is live for.
    pub(super) fn length(&self, value: Value) -> u32 {
        self.ranges[value.0 as usize]
            .iter()
            .map(|range| range.end - range.start)
            .sum()
    }
}

/// Whether r0 to r5 do not survive an instruction.
pub(super) fn clobbers(function: &Function, inst: &Inst) -> bool {
    match inst {
        Inst::Call { .. } | Inst::MapValueAddr { .. } => true,
        Inst::LoadKernel { base, .. } => !reads_directly(function, *base),
        _ => false,
    }
}

/// Whether kernel memory at this address is read by a plain load.
pub(super) fn reads_directly(function: &Function, base: Value) -> bool {
    matches!(function.value_types[base.0 as usize], Type::Trusted(_))
}

/// Definitions and uses with their positions.
struct Positions {
    /// Where each value is written: block and position.
    definitions: Vec<Option<(BlockId, u32)>>,
    /// Where each value is read.
    uses: Vec<Uses>,
    clobbers: Vec<u32>,
    /// Positions of each block, by id.
    blocks: Vec<Range>,
}

fn number(function: &Function, order: &[BlockId]) -> Positions {
    let count = function.value_types.len();
    let mut positions = Positions {
        definitions: vec![None; count],
        uses: vec![Uses::new(); count],
        clobbers: Vec::new(),
        blocks: vec![Range { start: 0, end: 0 }; function.blocks.len()],
    };
    for param in &function.params {
        positions.definitions[param.0 as usize] = Some((BlockId(0), 0));
    }
    // the entry moves the parameters to their places before anything else
    let mut at = STEP;
    for &id in order {
        let block = &function.blocks[id.0 as usize];
        let start = if id == BlockId(0) { 0 } else { at };
        for located in &block.insts {
            for value in located.inst.uses() {
                positions.uses[value.0 as usize].push((id, at));
            }
            if clobbers(function, &located.inst) {
                positions.clobbers.push(at + CLOBBER);
            }
            if let Some(dest) = located.inst.dest() {
                positions.definitions[dest.0 as usize] = Some((id, at + WRITE));
            }
            at += STEP;
        }
        for value in block.terminator.uses() {
            positions.uses[value.0 as usize].push((id, at));
        }
        at += STEP;
        positions.blocks[id.0 as usize] = Range { start, end: at };
    }
    positions
}

/// Computes the live ranges: for each value, walks from its uses back to its definition.
pub(super) fn analyze(function: &Function, order: &[BlockId]) -> Liveness {
    let positions = number(function, order);
    let mut predecessors = vec![SmallVec::new(); function.blocks.len()];
    for &id in order {
        for successor in function.blocks[id.0 as usize].terminator.successors() {
            predecessors[successor.0 as usize].push(id);
        }
    }
    let count = function.value_types.len();
    let mut ranges = Vec::with_capacity(count);
    // the last value that was found live at the end of a block
    let mut live_out = vec![None; function.blocks.len()];
    for value in 0..count {
        ranges.push(match positions.definitions[value] {
            Some(definition) => {
                let uses = &positions.uses[value];
                ranges_of(value, definition, uses, &positions.blocks, &predecessors, &mut live_out)
            }
            None => Ranges::new(),
        });
    }
    let accesses = positions.uses.iter().map(|uses| uses.len() as u32 + 1).collect();
    Liveness {
        ranges,
        accesses,
        clobbers: positions.clobbers,
    }
}

fn ranges_of(
    value: usize,
    (home, written): (BlockId, u32),
    uses: &[(BlockId, u32)],
    blocks: &[Range],
    predecessors: &[SmallVec<[BlockId; 2]>],
    live_out: &mut [Option<usize>],
) -> Ranges {
    // even a value that is never read is written somewhere
    let mut ranges: Ranges = smallvec![Range {
        start: written,
        end: written + 1,
    }];
    let mut open: SmallVec<[BlockId; 8]> = SmallVec::new();
    for &(block, at) in uses {
        if block == home && at >= written {
            ranges.push(Range {
                start: written,
                end: at + 1,
            });
        } else {
            ranges.push(Range {
                start: blocks[block.0 as usize].start,
                end: at + 1,
            });
            open.push(block);
        }
    }
    while let Some(block) = open.pop() {
        for &predecessor in &predecessors[block.0 as usize] {
            let seen = &mut live_out[predecessor.0 as usize];
            if *seen == Some(value) {
                continue;
            }
            *seen = Some(value);
            let whole = blocks[predecessor.0 as usize];
            if predecessor == home {
                ranges.push(Range {
                    start: written,
                    end: whole.end,
                });
            } else {
                ranges.push(whole);
                open.push(predecessor);
            }
        }
    }
    merge(ranges)
}

/// Sorts ranges and joins those that touch.
fn merge(mut ranges: Ranges) -> Ranges {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    ranges.dedup_by(|next, last| {
        let touches = next.start <= last.end;
        if touches {
            last.end = last.end.max(next.end);
        }
        touches
    });
    ranges
}

/// The value of an operand that ends up in register `index + 1` of a call.
pub(super) fn argument_values(inst: &Inst) -> impl Iterator<Item = (usize, Value)> {
    let args: &[Operand] = if let Inst::Call { args, .. } = inst { args } else { &[] };
    args.iter()
        .enumerate()
        .filter_map(|(index, operand)| operand.value().map(|value| (index, value)))
}
