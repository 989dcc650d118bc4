//! Decides where each value lives: in a register, in a stack slot, or nowhere because it is cheaper to compute it again.
//!
//! Values are placed one after the other, those with the most accesses per position first, each in a register that is free in
//! all of its live ranges. A value keeps its place for its whole life: the kernel's verifier refines what it knows of a number
//! in the register that is compared, so a value that is checked must still be in that register when it is used.
//!
//! ```text
//!  r0       result of calls; scratch while an instruction is put together
//!  r1 – r4  values that do not live over a call (and arguments)
//!  r5       second scratch (and argument)
//!  r6 – r9  any values
//!  r10      frame pointer
//! ```

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::ir::{BlockId, Function, Inst, Operand, SlotId, Value};
use crate::isa::Reg;

use super::liveness::{Liveness, Range, argument_values};

/// From the top: parameters come and arguments go in the low ones.
const CALLER_SAVED: [Reg; 4] = [Reg::R4, Reg::R3, Reg::R2, Reg::R1];
const CALLEE_SAVED: [Reg; 4] = [Reg::R6, Reg::R7, Reg::R8, Reg::R9];

/// r0 to r10.
const REGISTERS: usize = 11;

/// Where a value lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Nowhere: it is never read.
    Unused,
    /// In a register.
    Register(Reg),
    /// In the spill slot with this number.
    Spilled(u32),
    /// A constant that is loaded where it is read.
    Constant(i64),
    /// The address of a stack slot, computed where it is read.
    StackAddress(SlotId),
    /// A map reference, loaded where it is read.
    Map(String),
}

/// Places of all values of a function.
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) places: Vec<Place>,
    /// Spill slots in use, of 8 bytes each.
    pub(super) spill_slots: u32,
}

impl Allocation {
    pub(super) fn place(&self, value: Value) -> &Place {
        &self.places[value.0 as usize]
    }

    /// The register a value lives in.
    pub(super) fn register(&self, value: Value) -> Option<Reg> {
        match self.place(value) {
            Place::Register(register) => Some(*register),
            _ => None,
        }
    }
}

/// Ranges in which a register or spill slot is taken, by start.
#[derive(Default)]
struct Occupancy(BTreeMap<u32, u32>);

impl Occupancy {
    fn is_free(&self, ranges: &[Range]) -> bool {
        ranges.iter().all(|range| {
            self.0
                .range(..range.end)
                .next_back()
                .is_none_or(|(_, end)| *end <= range.start)
        })
    }

    fn take(&mut self, ranges: &[Range]) {
        self.0.extend(ranges.iter().map(|range| (range.start, range.end)));
    }
}

/// A place that would save a move.
#[derive(Clone, Copy)]
enum Hint {
    Register(Reg),
    /// The place of this value.
    Same(Value),
}

/// Places all values.
pub(super) fn allocate(function: &Function, order: &[BlockId], liveness: &Liveness) -> Allocation {
    let count = function.value_types.len();
    let hints = collect_hints(function, order);
    let mut places = fixed_places(function, order, count);
    let mut registers: [Occupancy; REGISTERS] = Default::default();
    let mut slots: Vec<Occupancy> = Vec::new();

    for value in by_weight(function, liveness) {
        let index = value.0 as usize;
        let ranges = &liveness.ranges[index];
        let remade = places[index].clone();
        if ranges.is_empty() || matches!(remade, Some(Place::StackAddress(_) | Place::Map(_))) {
            continue;
        }
        let survives = liveness.crosses_call(value);
        let hinted = hints[index].iter().filter_map(|hint| match hint {
            Hint::Register(register) => Some(*register),
            Hint::Same(other) => match places[other.0 as usize] {
                Some(Place::Register(register)) => Some(register),
                _ => None,
            },
        });
        let usual: &[Reg] = if survives { &[] } else { &CALLER_SAVED };
        let candidates = hinted.filter(|register| !survives || CALLEE_SAVED.contains(register));
        let free = candidates
            .chain(usual.iter().copied())
            .chain(CALLEE_SAVED)
            .find(|register| registers[register.number() as usize].is_free(ranges));
        places[index] = Some(match (free, remade) {
            (Some(register), _) => {
                registers[register.number() as usize].take(ranges);
                Place::Register(register)
            }
            (None, Some(constant)) => constant,
            (None, None) => {
                let slot = slots.iter().position(|slot| slot.is_free(ranges)).unwrap_or_else(|| {
                    slots.push(Occupancy::default());
                    slots.len() - 1
                });
                slots[slot].take(ranges);
                Place::Spilled(slot as u32)
            }
        });
    }
    let places = places.into_iter().map(|place| place.unwrap_or(Place::Unused)).collect();
    Allocation {
        places,
        spill_slots: slots.len() as u32,
    }
}

/// Values that can be computed where they are read. Of these only constants compete for registers.
fn fixed_places(function: &Function, order: &[BlockId], count: usize) -> Vec<Option<Place>> {
    let mut places = vec![None; count];
    for located in order.iter().flat_map(|id| &function.blocks[id.0 as usize].insts) {
        match &located.inst {
            Inst::Const { dest, value } => places[dest.0 as usize] = Some(Place::Constant(*value)),
            Inst::StackAddr { dest, slot } => places[dest.0 as usize] = Some(Place::StackAddress(*slot)),
            Inst::MapRef { dest, map } => places[dest.0 as usize] = Some(Place::Map(map.clone())),
            _ => {}
        }
    }
    places
}

/// Values in the order in which they are placed: accesses per position, then number.
fn by_weight(function: &Function, liveness: &Liveness) -> Vec<Value> {
    let mut values: Vec<_> = (0..function.value_types.len() as u32).map(Value).collect();
    let weight = |value: &Value| {
        let accesses = u64::from(liveness.accesses[value.0 as usize]);
        (accesses << 32) / u64::from(liveness.length(*value).max(1))
    };
    values.sort_by_cached_key(|value| (std::cmp::Reverse(weight(value)), value.0));
    values
}

fn collect_hints(function: &Function, order: &[BlockId]) -> Vec<SmallVec<[Hint; 2]>> {
    let mut hints = vec![SmallVec::new(); function.value_types.len()];
    let mut pairs = Vec::new();
    for (index, param) in function.params.iter().enumerate() {
        hints[param.0 as usize].push(Hint::Register(Reg::argument(index)));
    }
    for located in order.iter().flat_map(|id| &function.blocks[id.0 as usize].insts) {
        for (index, value) in argument_values(&located.inst) {
            hints[value.0 as usize].insert(0, Hint::Register(Reg::argument(index)));
        }
        let pair = match located.inst {
            Inst::Alu {
                dest,
                a: Operand::Value(a),
                ..
            }
            | Inst::ByteSwap { dest, a, .. } => Some((dest, a)),
            _ => None,
        };
        if let Some((dest, a)) = pair {
            hints[dest.0 as usize].push(Hint::Same(a));
            hints[a.0 as usize].push(Hint::Same(dest));
            pairs.push((dest, a));
        }
    }
    // what ends up in a certain register is best computed there from the beginning
    for (dest, a) in pairs.into_iter().rev() {
        if let Some(Hint::Register(register)) = hints[dest.0 as usize].first().copied() {
            hints[a.0 as usize].insert(0, Hint::Register(register));
        }
    }
    hints
}
