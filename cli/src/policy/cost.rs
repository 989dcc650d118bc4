//! What a call of a hook costs, estimated from its program: instructions on the shortest and on the longest way through it.
//!
//! A program takes a scratch element when it starts and gives it back when it leaves. The shortest
//! way on which it does both is the call that nothing of the policies matches, the common case by
//! far. The longest reads everything, tests everything and acts for all policies; loops are gone
//! through once, so that long paths and strings cost more. Which ways a call can really take is not
//! looked at, and work done inside of helpers of the kernel is not counted: both are estimates.

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
    /// Instructions on the longest way through, likewise, each loop gone through once.
    pub(super) most: u64,
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
    let most = Longest {
        functions: &functions,
        known: BTreeMap::new(),
    }
    .of(entry);
    Ok(Cost {
        least,
        most,
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

/// Longest ways, those through functions remembered.
struct Longest<'a> {
    functions: &'a BTreeMap<String, Function>,
    known: BTreeMap<&'a str, u64>,
}

impl<'a> Longest<'a> {
    fn of(&mut self, name: &'a str) -> u64 {
        if let Some(cost) = self.known.get(name) {
            return *cost;
        }
        // as for the shortest: this ends a recursion that there cannot be
        self.known.insert(name, 0);
        let cost = self.functions.get(name).map_or(0, |function| self.through(function));
        self.known.insert(name, cost);
        cost
    }

    /// The longest way to an exit. The instructions of a loop count together, once each, so that what is left has no loops.
    fn through(&mut self, function: &'a Function) -> u64 {
        let loops = Loops::of(&function.instructions);
        // by loop; an instruction outside of loops is one by itself
        let mut weights = vec![0; loops.count];
        let mut rests: Vec<Option<u64>> = vec![None; loops.count];
        // in order of the program's flow, so from the end all that follows is settled
        for &at in loops.order.iter().rev() {
            let own = loops.number[at];
            weights[own] += 1 + function.calls.get(&at).map_or(0, |callee| self.of(callee));
            if is_exit(function.instructions[at]) {
                rests[own] = rests[own].max(Some(0));
            }
            for to in successors(&function.instructions, at) {
                let Some(&other) = loops.number.get(to).filter(|other| **other != own) else {
                    continue;
                };
                let rest = rests[other].map(|rest| rest + weights[other]);
                rests[own] = rests[own].max(rest);
            }
        }
        let Some(first) = loops.order.first().map(|at| loops.number[*at]) else {
            return 0;
        };
        // a way that only goes round ends nowhere
        rests[first].map_or(0, |rest| rest + weights[first])
    }
}

/// Which instructions are of one loop: the strongly connected components of a function, by Kosaraju's two passes.
struct Loops {
    /// Of each instruction, the number of its loop; those that cannot be reached have one nobody asks for.
    number: Vec<usize>,
    count: usize,
    /// All that can be reached, loop by loop, each before those it leads to.
    order: Vec<usize>,
}

impl Loops {
    fn of(instructions: &[Instruction]) -> Self {
        let forward: Vec<Vec<usize>> = (0..instructions.len())
            .map(|at| {
                let mut next = successors(instructions, at);
                next.retain(|to| *to < instructions.len());
                next
            })
            .collect();
        let mut backward = vec![Vec::new(); instructions.len()];
        for (at, next) in forward.iter().enumerate() {
            for to in next {
                backward[*to].push(at);
            }
        }
        let mut seen = vec![false; instructions.len()];
        let mut finished = Vec::new();
        if !instructions.is_empty() {
            visit(0, &forward, &mut seen, &mut finished);
        }
        let mut number = vec![0; instructions.len()];
        let mut taken: Vec<bool> = seen.iter().map(|reached| !reached).collect();
        let (mut count, mut order) = (1, Vec::with_capacity(finished.len()));
        for &at in finished.iter().rev().filter(|at| seen[**at]) {
            if taken[at] {
                continue;
            }
            let start = order.len();
            visit(at, &backward, &mut taken, &mut order);
            for &member in &order[start..] {
                number[member] = count;
            }
            count += 1;
        }
        Self { number, count, order }
    }
}

/// Goes through all that can be reached from `start` and was not seen; adds each when all behind it has been added.
fn visit(start: usize, next: &[Vec<usize>], seen: &mut [bool], finished: &mut Vec<usize>) {
    let mut stack = vec![(start, false)];
    while let Some((at, followed)) = stack.pop() {
        if followed {
            finished.push(at);
        } else if !seen[at] {
            seen[at] = true;
            stack.push((at, true));
            stack.extend(next[at].iter().map(|to| (*to, false)));
        }
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

    fn most(program: Vec<Instruction>, calls: &[(usize, &str)], library: &[(&str, usize)]) -> u64 {
        let straight = |length| {
            let mut instructions = vec![Instruction::mov_imm(Reg::R0, 0); length - 1];
            instructions.push(Instruction::exit());
            Function {
                instructions,
                calls: BTreeMap::new(),
            }
        };
        let mut functions: BTreeMap<String, Function> = library
            .iter()
            .map(|(name, length)| ((*name).to_owned(), straight(*length)))
            .collect();
        let program = Function {
            instructions: program,
            calls: calls.iter().map(|(at, name)| (*at, (*name).to_owned())).collect(),
        };
        functions.insert("entry".to_owned(), program);
        Longest {
            functions: &functions,
            known: BTreeMap::new(),
        }
        .of("entry")
    }

    #[test]
    fn the_longest_way_takes_the_longer_branch_and_loops_once() {
        let program = vec![
            branch(2), // the long way falls through
            Instruction::call_function(0),
            Instruction::mov_imm(Reg::R0, 0),
            Instruction::exit(),
        ];
        assert_eq!(most(program, &[(1, "read")], &[("read", 30)]), 1 + 1 + 30 + 1 + 1);
        // body, back to it, exit
        let program = vec![Instruction::mov_imm(Reg::R0, 0), branch(-2), Instruction::exit()];
        assert_eq!(most(program, &[], &[]), 3);
        assert_eq!(most(vec![Instruction::goto(-1)], &[], &[]), 0);
        // a loop that is left at its head
        let program = vec![
            branch(2),
            Instruction::mov_imm(Reg::R0, 0),
            Instruction::goto(-3),
            Instruction::mov_imm(Reg::R0, 0),
            Instruction::exit(),
        ];
        assert_eq!(most(program, &[], &[]), 3 + 2);
    }

    #[test]
    fn loops_end() {
        let program = vec![Instruction::goto(-1)];
        assert_eq!(least(program, &[], &[]), 0);
        let program = vec![branch(-1), Instruction::exit()];
        assert_eq!(least(program, &[], &[]), 2);
    }
}
