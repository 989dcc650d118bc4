//! What a call of a hook costs: instructions on the shortest way through its program.
//!
//! A program takes a scratch element when it starts and gives it back when it leaves. The shortest
//! way on which it does both is the call that nothing of the policies matches, the common case by
//! far. Work done inside of helpers of the kernel is not counted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use anyhow::Context as _;
use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind};
use policy_compiler::isa::{Form, Instruction};

/// Runtime function that ends the regular ways through a program.
const LEAVE: &str = "tetra_leave";

/// Bytes of an instruction slot.
const SLOT: u64 = 8;

/// Figures about a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// Instructions on the shortest way through, those of called functions included.
    pub(super) least: u64,
    /// Instructions of the program itself.
    pub(super) own: usize,
    /// Functions of the runtime library it may call, directly or not.
    pub(super) functions: usize,
    /// Instructions of those.
    pub(super) library: usize,
}

struct Function {
    instructions: Vec<Instruction>,
    /// Which function is called where.
    calls: BTreeMap<usize, String>,
}

/// Reads the figures off an object.
pub(super) fn measure(elf: &[u8], entry: &str) -> anyhow::Result<Cost> {
    let functions = functions(elf)?;
    let program = functions
        .get(entry)
        .with_context(|| format!("no function `{entry}` in the object"))?;
    let mut reached = BTreeSet::new();
    reach(entry, &functions, &mut reached);
    reached.remove(entry);
    let library = reached.iter().map(|name| count(&functions[*name])).sum();
    let least = Costs {
        functions: &functions,
        known: BTreeMap::new(),
    }
    .of_program(program);
    Ok(Cost {
        least,
        own: count(program),
        functions: reached.len(),
        library,
    })
}

fn functions(elf: &[u8]) -> anyhow::Result<BTreeMap<String, Function>> {
    let file = ElfFile64::<object::Endianness>::parse(elf)?;
    let mut places = BTreeMap::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        if let Some(section) = symbol.section_index() {
            places.insert(
                (section.0, symbol.address()),
                (symbol.name()?.to_owned(), symbol.size()),
            );
        }
    }
    let mut functions = BTreeMap::new();
    for (&(index, address), (name, size)) in &places {
        let section = file.section_by_index(object::SectionIndex(index))?;
        let bytes = section
            .data()?
            .get(address as usize..(address + size) as usize)
            .context("a function is cut off")?;
        let instructions = Instruction::decode_all(bytes);
        let relocations = section.relocations().collect::<BTreeMap<_, _>>();
        let mut calls = BTreeMap::new();
        for (at, instruction) in instructions
            .iter()
            .enumerate()
            .filter(|(_, instruction)| instruction.is_function_call())
        {
            let offset = address + at as u64 * SLOT;
            let relative = |base: u64| base.wrapping_add_signed((i64::from(instruction.imm) + 1) * SLOT as i64);
            let place = match relocations.get(&offset).map(object::Relocation::target) {
                Some(RelocationTarget::Symbol(symbol)) => {
                    let symbol = file.symbol_by_index(symbol)?;
                    let section = symbol.section_index().context("a call leads out of the object")?;
                    // static functions are called by their section, with the place in the instruction
                    let within = if symbol.kind() == SymbolKind::Section {
                        relative(0)
                    } else {
                        symbol.address()
                    };
                    (section.0, within)
                }
                _ => (index, relative(offset)),
            };
            let (callee, _) = places.get(&place).context("a call leads to no function")?;
            calls.insert(at, callee.clone());
        }
        functions.insert(name.clone(), Function { instructions, calls });
    }
    Ok(functions)
}

fn reach<'a>(name: &'a str, functions: &'a BTreeMap<String, Function>, reached: &mut BTreeSet<&'a str>) {
    if let Some(function) = functions.get(name)
        && reached.insert(name)
    {
        function
            .calls
            .values()
            .for_each(|callee| reach(callee, functions, reached));
    }
}

/// Instructions, a wide one counted once.
fn count(function: &Function) -> usize {
    let wide = function
        .instructions
        .iter()
        .filter(|instruction| instruction.is_wide())
        .count();
    function.instructions.len() - wide
}

/// Shortest ways, those through functions remembered.
struct Costs<'a> {
    functions: &'a BTreeMap<String, Function>,
    known: BTreeMap<&'a str, u64>,
}

impl<'a> Costs<'a> {
    /// The shortest way through a program that leaves as it should; through one that never does, the shortest at all.
    fn of_program(&mut self, program: &'a Function) -> u64 {
        let from_start = self.distances(program, 0);
        let leaves = program
            .calls
            .iter()
            .filter(|(_, callee)| *callee == LEAVE)
            .map(|(at, _)| *at);
        let ways = leaves
            .collect::<Vec<_>>()
            .into_iter()
            .filter_map(|at| Some(from_start[at]? + Self::to_exit(program, &self.distances(program, at))?));
        ways.min()
            .or_else(|| Self::to_exit(program, &from_start))
            .unwrap_or_default()
    }

    fn of_function(&mut self, name: &'a str) -> u64 {
        if let Some(cost) = self.known.get(name) {
            return *cost;
        }
        // the verifier forbids recursion; if there were any, this ends it
        self.known.insert(name, 0);
        let cost = self.functions.get(name).map_or(0, |function| {
            let distances = self.distances(function, 0);
            Self::to_exit(function, &distances).unwrap_or_default()
        });
        self.known.insert(name, cost);
        cost
    }

    /// Instructions executed from `start` up to each instruction, that one left out; `None` if it can't be reached.
    fn distances(&mut self, function: &'a Function, start: usize) -> Vec<Option<u64>> {
        let mut distances = vec![None; function.instructions.len()];
        let mut queue = BinaryHeap::from([Reverse((0, start))]);
        while let Some(Reverse((distance, at))) = queue.pop() {
            match distances.get_mut(at) {
                Some(known @ None) => *known = Some(distance),
                _ => continue,
            }
            let callee = function.calls.get(&at).map_or(0, |callee| self.of_function(callee));
            let next = distance + 1 + callee;
            queue.extend(
                successors(&function.instructions, at)
                    .into_iter()
                    .map(|target| Reverse((next, target))),
            );
        }
        distances
    }

    fn to_exit(function: &Function, distances: &[Option<u64>]) -> Option<u64> {
        let exits = function
            .instructions
            .iter()
            .zip(distances)
            .filter(|(instruction, _)| is_exit(**instruction));
        exits
            .filter_map(|(_, distance)| distance.map(|distance| distance + 1))
            .min()
    }
}

fn is_exit(instruction: Instruction) -> bool {
    matches!(instruction.form(), Some(Form::Exit))
}

fn successors(instructions: &[Instruction], at: usize) -> Vec<usize> {
    let instruction = instructions[at];
    let next = at + 1 + usize::from(instruction.is_wide());
    let jump = |offset: i64| usize::try_from(at as i64 + 1 + offset).ok();
    match instruction.form() {
        Some(Form::Exit) => vec![],
        Some(Form::Goto) => jump(instruction.off.into()).into_iter().collect(),
        Some(Form::GotoLong) => jump(instruction.imm.into()).into_iter().collect(),
        Some(Form::Jump { .. }) => jump(instruction.off.into()).into_iter().chain([next]).collect(),
        _ => vec![next],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy_compiler::isa::{JumpOperation, Reg, Width};

    fn branch(off: i16) -> Instruction {
        Instruction::jump_imm(JumpOperation::Eq, Width::W64, Reg::R0, 0, off)
    }

    fn least(program: Vec<Instruction>, calls: &[(usize, &str)], library: &[(&str, usize)]) -> u64 {
        let calls = calls.iter().map(|(at, name)| (*at, (*name).to_owned())).collect();
        let straight = |length| {
            let mut instructions = vec![Instruction::mov_imm(Reg::R0, 0); length - 1];
            instructions.push(Instruction::exit());
            Function {
                instructions,
                calls: BTreeMap::new(),
            }
        };
        let functions = library
            .iter()
            .map(|(name, length)| ((*name).to_owned(), straight(*length)))
            .collect();
        let program = Function {
            instructions: program,
            calls,
        };
        Costs {
            functions: &functions,
            known: BTreeMap::new(),
        }
        .of_program(&program)
    }

    #[test]
    fn the_way_that_leaves_counts_though_another_is_shorter() {
        let program = vec![
            branch(3), // nothing to enter with: out at once
            Instruction::call_function(0),
            Instruction::mov_imm(Reg::R0, 0),
            Instruction::exit(),
            Instruction::exit(),
        ];
        assert_eq!(least(program.clone(), &[(1, LEAVE)], &[(LEAVE, 5)]), 1 + 1 + 5 + 2);
        assert_eq!(least(program, &[(1, "other")], &[("other", 5)]), 2);
    }

    #[test]
    fn the_shorter_branch_and_wide_instructions_count_once() {
        let [low, high] = Instruction::load_imm64(Reg::R1, 0, 7);
        let program = vec![
            branch(2), // skips the wide instruction
            low,
            high,
            Instruction::call_function(0),
            Instruction::exit(),
        ];
        assert_eq!(least(program, &[(3, LEAVE)], &[(LEAVE, 1)]), 1 + 1 + 1 + 1);
        let program = vec![low, high, Instruction::exit()];
        assert_eq!(least(program, &[], &[]), 2);
    }

    #[test]
    fn loops_end() {
        let program = vec![Instruction::goto(-1)];
        assert_eq!(least(program, &[], &[]), 0);
        let program = vec![branch(-1), Instruction::exit()];
        assert_eq!(least(program, &[], &[]), 2);
    }
}
