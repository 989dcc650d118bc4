//! Collects a program and the functions it reaches into one run of instructions.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd};

use policy_compiler::btf::Btf;

use super::maps::is_data;
use super::{Assembled, ObjectError, ObjectFile, Section, core};
use crate::sys::{FuncInfo, Instruction, LineInfo};

const R_BPF_64_64: u32 = 1;
const R_BPF_64_32: u32 = 10;

/// `BPF_LD | BPF_DW | BPF_IMM`, which takes two slots.
const LOAD_IMMEDIATE: u8 = 0x18;
/// `BPF_JMP | BPF_CALL`
const CALL: u8 = 0x85;

const PSEUDO_MAP_FD: u8 = 1;
const PSEUDO_MAP_VALUE: u8 = 2;
const PSEUDO_FUNC: u8 = 4;
const PSEUDO_CALL: u8 = 1;

const INSTRUCTION_BYTES: u64 = 8;

/// A function's place in the object: section and byte offset.
type Place = (usize, u64);

struct Function {
    place: Place,
    /// First instruction in the result.
    start: usize,
    /// Instructions.
    len: usize,
}

/// A reference to another function, to be filled in when all are placed.
struct Reference {
    instruction: usize,
    target: Place,
}

struct Assembler<'a> {
    object: &'a ObjectFile,
    functions: Vec<Function>,
    by_place: BTreeMap<Place, usize>,
    instructions: Vec<Instruction>,
    references: Vec<Reference>,
}

pub(super) fn assemble<'fd>(
    object: &ObjectFile,
    section: &str,
    symbol: &str,
    kernel: &Btf,
    map_fd: &dyn Fn(&str) -> Option<BorrowedFd<'fd>>,
) -> Result<Assembled, ObjectError> {
    let place = object
        .symbols
        .values()
        .filter(|candidate| candidate.is_function && candidate.name == symbol)
        .find_map(|candidate| {
            let index = candidate.section?;
            (object.sections.get(&index)?.name == section).then_some((index, candidate.address))
        })
        .ok_or_else(|| ObjectError::NoFunction(symbol.to_owned()))?;

    let mut assembler = Assembler {
        object,
        functions: Vec::new(),
        by_place: BTreeMap::new(),
        instructions: Vec::new(),
        references: Vec::new(),
    };
    assembler.place(place)?;
    let mut next = 0;
    while next < assembler.functions.len() {
        assembler.relocate(next, map_fd)?;
        next += 1;
    }
    assembler.resolve_references();
    assembler.apply_core(kernel)?;
    let (func_info, line_info) = assembler.info();
    Ok(Assembled {
        instructions: assembler.instructions,
        func_info,
        line_info,
    })
}

impl Assembler<'_> {
    fn section(&self, index: usize) -> &Section {
        &self.object.sections[&index]
    }

    /// Appends a function unless it is there already.
    fn place(&mut self, place: Place) -> Result<(), ObjectError> {
        if self.by_place.contains_key(&place) {
            return Ok(());
        }
        let (index, offset) = place;
        let section = self.section(index);
        let name = || format!("{}+{offset:#x}", section.name);
        let size = self
            .function_size(place)
            .ok_or_else(|| ObjectError::NoFunction(name()))?;
        let bytes = offset
            .checked_add(size)
            .and_then(|end| section.data.get(offset as usize..end as usize));
        let bytes = bytes
            .filter(|bytes| bytes.len() % 8 == 0 && !bytes.is_empty())
            .ok_or_else(|| ObjectError::BadFunction(name()))?;
        let code: Vec<_> = bytes
            .chunks_exact(8)
            .map(|chunk| Instruction::from_bytes(chunk.try_into().expect("chunks of 8")))
            .collect();
        self.by_place.insert(place, self.functions.len());
        self.functions.push(Function {
            place,
            start: self.instructions.len(),
            len: code.len(),
        });
        self.instructions.extend(code);
        Ok(())
    }

    /// Bytes of the function that starts at a place.
    fn function_size(&self, (index, offset): Place) -> Option<u64> {
        let section = self.object.sections.get(&index).filter(|section| section.is_code)?;
        let starts = || {
            self.object
                .symbols
                .values()
                .filter(|symbol| symbol.is_function && symbol.section == Some(index))
        };
        let symbol = starts().find(|symbol| symbol.address == offset)?;
        if symbol.size != 0 {
            return Some(symbol.size);
        }
        // Without a size it reaches to the next function.
        let next = starts()
            .map(|symbol| symbol.address)
            .filter(|address| *address > offset)
            .min();
        Some(next.unwrap_or(section.data.len() as u64) - offset)
    }

    /// Resolves the relocations and calls of one function.
    fn relocate<'fd>(
        &mut self,
        function: usize,
        map_fd: &dyn Fn(&str) -> Option<BorrowedFd<'fd>>,
    ) -> Result<(), ObjectError> {
        let Function {
            place: (index, base),
            start,
            len,
        } = self.functions[function];
        let mut position = 0;
        while position < len {
            let at = start + position;
            let offset = base + position as u64 * INSTRUCTION_BYTES;
            let instruction = self.instructions[at];
            let wide = instruction.code == LOAD_IMMEDIATE;
            if let Some(relocation) = self.section(index).relocations.get(&offset).copied() {
                match relocation.kind {
                    R_BPF_64_64 if wide && position + 1 < len => {
                        self.relocate_load(at, index, offset, relocation.symbol, map_fd)?;
                    }
                    R_BPF_64_32 if instruction.code == CALL => {
                        let target = self.call_target(index, offset, relocation.symbol, instruction)?;
                        self.refer(at, PSEUDO_CALL, target)?;
                    }
                    kind => {
                        return Err(self.bad(
                            index,
                            offset,
                            format!("type {kind} on opcode {:#04x}", instruction.code),
                        ));
                    }
                }
            } else if instruction.code == CALL && instruction.source() == PSEUDO_CALL {
                // A call inside one section needs no relocation.
                let target = offset as i64 + (i64::from(instruction.immediate) + 1) * INSTRUCTION_BYTES as i64;
                let target =
                    u64::try_from(target).map_err(|_| self.bad(index, offset, "call to before the section"))?;
                self.refer(at, PSEUDO_CALL, (index, target))?;
            }
            position += if wide { 2 } else { 1 };
        }
        Ok(())
    }

    fn call_target(
        &self,
        index: usize,
        offset: u64,
        symbol: usize,
        instruction: Instruction,
    ) -> Result<Place, ObjectError> {
        let target = self
            .object
            .symbols
            .get(&symbol)
            .ok_or_else(|| self.bad(index, offset, "no such symbol"))?;
        let section = target
            .section
            .ok_or_else(|| self.bad(index, offset, format!("`{}` is not defined", target.name)))?;
        if target.is_function {
            return Ok((section, target.address));
        }
        // Against the section: the immediate counts instructions, less one.
        let address = (i64::from(instruction.immediate) + 1) * INSTRUCTION_BYTES as i64;
        let address = u64::try_from(address).map_err(|_| self.bad(index, offset, "call to before the section"))?;
        Ok((section, address))
    }

    fn relocate_load<'fd>(
        &mut self,
        at: usize,
        index: usize,
        offset: u64,
        symbol: usize,
        map_fd: &dyn Fn(&str) -> Option<BorrowedFd<'fd>>,
    ) -> Result<(), ObjectError> {
        let object = self.object;
        let symbol = object
            .symbols
            .get(&symbol)
            .ok_or_else(|| self.bad(index, offset, "no such symbol"))?;
        let section = symbol
            .section
            .ok_or_else(|| self.bad(index, offset, format!("`{}` is not defined", symbol.name)))?;
        let section_name = self.section(section).name.as_str();
        let instruction = self.instructions[at];
        if self.section(section).is_code {
            let addend = if symbol.is_function {
                0
            } else {
                u64::from(instruction.immediate as u32)
            };
            return self.refer(at, PSEUDO_FUNC, (section, symbol.address.wrapping_add(addend)));
        }
        let fd_of = |name: &str| {
            map_fd(name)
                .map(|fd| fd.as_raw_fd())
                .ok_or_else(|| ObjectError::NoMap(name.to_owned()))
        };
        if is_data(section_name) {
            // The address of a variable: the map that holds the section, and the offset in its value.
            let within = (symbol.address as i32).wrapping_add(instruction.immediate);
            let fd = fd_of(section_name)?;
            self.instructions[at] = Instruction {
                immediate: fd,
                ..instruction.with_source(PSEUDO_MAP_VALUE)
            };
            self.instructions[at + 1].immediate = within;
            return Ok(());
        }
        if section_name != ".maps" {
            return Err(self.bad(
                index,
                offset,
                format!("`{}` in section `{section_name}` is no map", symbol.name),
            ));
        }
        let fd = fd_of(&symbol.name)?;
        // An instruction that asks for the address of the value carries the offset in its second half.
        let source = if instruction.source() == PSEUDO_MAP_VALUE {
            PSEUDO_MAP_VALUE
        } else {
            PSEUDO_MAP_FD
        };
        self.instructions[at] = Instruction {
            immediate: fd,
            ..instruction.with_source(source)
        };
        Ok(())
    }

    /// Notes that the instruction refers to a function, and takes that in.
    fn refer(&mut self, instruction: usize, source: u8, target: Place) -> Result<(), ObjectError> {
        self.place(target)?;
        self.instructions[instruction] = self.instructions[instruction].with_source(source);
        self.references.push(Reference { instruction, target });
        Ok(())
    }

    /// Distances count from the instruction after the reference.
    fn resolve_references(&mut self) {
        for reference in &self.references {
            let target = self.functions[self.by_place[&reference.target]].start;
            self.instructions[reference.instruction].immediate =
                (target as i64 - reference.instruction as i64 - 1) as i32;
        }
    }

    /// The functions that stand in a section, with an offset in it: (first instruction in the result, byte range).
    fn locate(&self, section: usize, offset: u32) -> Option<usize> {
        self.functions.iter().find_map(|function| {
            let (index, base) = function.place;
            let within = u64::from(offset).checked_sub(base)? / INSTRUCTION_BYTES;
            (index == section && within < function.len as u64).then_some(function.start + within as usize)
        })
    }

    fn section_of_info(&self, name: u32) -> Option<usize> {
        let name = self.object.btf.string(name);
        self.object
            .sections
            .iter()
            .find(|(_, section)| section.name == name)
            .map(|(index, _)| *index)
    }

    fn apply_core(&mut self, kernel: &Btf) -> Result<(), ObjectError> {
        let object = self.object;
        for info in &object.ext.sections {
            let Some(section) = self.section_of_info(info.name) else {
                continue;
            };
            for relocation in &info.relocations {
                let Some(at) = self.locate(section, relocation.offset) else {
                    continue;
                };
                core::apply(&object.btf, kernel, relocation, &mut self.instructions[at..]).map_err(|error| {
                    ObjectError::Core {
                        section: object.sections[&section].name.clone(),
                        offset: relocation.offset,
                        error,
                    }
                })?;
            }
        }
        Ok(())
    }

    fn info(&self) -> (Vec<FuncInfo>, Vec<LineInfo>) {
        let mut functions = Vec::new();
        let mut lines = Vec::new();
        for info in &self.object.ext.sections {
            let Some(section) = self.section_of_info(info.name) else {
                continue;
            };
            for function in &info.functions {
                if let Some(at) = self.by_place.get(&(section, u64::from(function.offset))) {
                    functions.push(FuncInfo {
                        instruction: self.functions[*at].start as u32,
                        type_id: function.type_id.0,
                    });
                }
            }
            for line in &info.lines {
                if let Some(at) = self.locate(section, line.offset) {
                    lines.push(LineInfo {
                        instruction: at as u32,
                        file_name: line.file,
                        text: line.text,
                        line_column: line.line.min((1 << 22) - 1) << 10 | line.column.min(1023),
                    });
                }
            }
        }
        functions.sort_by_key(|function| function.instruction);
        lines.sort_by_key(|line| line.instruction);
        lines.dedup_by_key(|line| line.instruction);
        // The kernel wants a function's first line at its first instruction, and info for all functions or none.
        let has_first_lines = self.functions.iter().all(|function| {
            lines
                .binary_search_by_key(&(function.start as u32), |line| line.instruction)
                .is_ok()
        });
        if !has_first_lines {
            lines.clear();
        }
        if functions.len() != self.functions.len() {
            functions.clear();
            lines.clear();
        }
        (functions, lines)
    }

    fn bad(&self, section: usize, offset: u64, reason: impl Into<String>) -> ObjectError {
        ObjectError::BadRelocation {
            section: self.section(section).name.clone(),
            offset,
            reason: reason.into(),
        }
    }
}
