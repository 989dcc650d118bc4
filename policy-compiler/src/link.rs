//! Joins generated functions with what they call of the runtime library.
//!
//! Only functions that the program reaches come along, with the maps and data they refer to and with their types, source lines
//! and CO-RE relocations. Hidden functions become static: the kernel then verifies them at each call, knowing what the caller
//! passes, and 5.10 accepts pointers as their arguments. Those with default visibility stay global and are verified once. All functions but the program's entry stand in `.text`, because
//! aya's linker tells functions apart by their offset alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::btf::copy::{CopiedTypes, TypeCopier};
use crate::btf::ext::{CoreRelocation, LineInfo};
use crate::btf::write::{BtfWriter, Linkage};
use crate::btf::{TypeId, write};
use crate::codegen::{FunctionCode, Symbol};
use crate::ir::Program;
use crate::isa::SLOT;
use crate::object::{self, Contents, DataItem, FunctionItem, MapItem, Reference};
use crate::output::{SourceLine, SourceRef};

mod library;
mod stack;

#[cfg(test)]
mod tests;

use library::{DataSection, Library, LibraryReference};

/// Why functions cannot be joined to an object.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LinkError {
    /// The runtime library is not what this linker understands.
    #[error("the runtime library cannot be linked: {what}")]
    BadLibrary {
        /// What is wrong with it.
        what: String,
    },
    /// The program calls a function that the library does not have.
    #[error("the runtime library has no function `{name}`")]
    UnknownFunction {
        /// Its name.
        name: String,
    },
    /// The program refers to a map that neither it nor the library defines.
    #[error("there is no map `{name}`")]
    UnknownMap {
        /// Its name.
        name: String,
    },
    /// A name that the kernel would refuse in BTF.
    #[error("`{name}` is not a C identifier")]
    BadName {
        /// The name.
        name: String,
    },
    /// Two things have one name.
    #[error("`{name}` is defined twice")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// The frames of a chain of calls are larger than the stack.
    #[error("the calls {} take {bytes} bytes of stack, 512 are allowed", chain.join(" → "))]
    StackTooDeep {
        /// Functions, outermost first.
        chain: Vec<String>,
        /// Their frames together, as the kernel counts them.
        bytes: u32,
    },
    /// More functions call each other than the kernel has frames.
    #[error("the calls {} are nested too deep, 8 frames are allowed", chain.join(" → "))]
    CallsTooDeep {
        /// Functions, outermost first.
        chain: Vec<String>,
    },
    /// Functions call each other in a circle.
    #[error("`{name}` calls itself")]
    Recursion {
        /// Function.
        name: String,
    },
    /// The ELF file could not be written.
    #[error("the object cannot be written: {what}")]
    Write {
        /// What is wrong.
        what: String,
    },
}

/// Whether the kernel accepts a name for a function or variable.
fn is_identifier(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit()) && name.len() < 128
}

/// The parts of the library that a program needs, by index, ascending.
#[derive(Default)]
struct Reached {
    functions: BTreeSet<usize>,
    maps: BTreeSet<usize>,
    data: BTreeSet<usize>,
}

impl Reached {
    fn from(program: &Program, functions: &[FunctionCode], library: &Library) -> Result<Self, LinkError> {
        let mut reached = Self::default();
        let mut open = Vec::new();
        for (_, symbol) in functions.iter().flat_map(|function| &function.references) {
            match symbol {
                Symbol::Function(name) => {
                    open.push(
                        library
                            .function(name)
                            .ok_or_else(|| LinkError::UnknownFunction { name: name.clone() })?,
                    );
                }
                Symbol::Map(name) if program.maps.iter().any(|map| map.name == *name) => {}
                Symbol::Map(name) => {
                    reached.maps.insert(
                        library
                            .map(name)
                            .ok_or_else(|| LinkError::UnknownMap { name: name.clone() })?,
                    );
                }
                Symbol::Local(_) => {}
            }
        }
        while let Some(index) = open.pop() {
            if !reached.functions.insert(index) {
                continue;
            }
            for (_, reference) in &library.functions[index].references {
                match *reference {
                    LibraryReference::Call(callee) | LibraryReference::FunctionAddress(callee) => open.push(callee),
                    LibraryReference::Map(map) => drop(reached.maps.insert(map)),
                    LibraryReference::Data { section, .. } => drop(reached.data.insert(section)),
                }
            }
        }
        Ok(reached)
    }
}

/// Links a program's functions, of which the first is its entry, with the library, and writes the object.
pub(crate) fn link(
    program: &Program,
    functions: &[FunctionCode],
    source_lines: &[SourceLine],
    runtime: &[u8],
) -> Result<Vec<u8>, LinkError> {
    let library = Library::parse(runtime)?;
    let reached = Reached::from(program, functions, &library)?;
    check_names(program, functions, &library, &reached)?;

    let mut btf = BtfWriter::new();
    let own = OwnTypes::write(&mut btf, program, functions);
    let copied = copy_types(&mut btf, &library, &reached, program);

    // positions in the object: own things first, then those of the library in its order
    let place = |set: &BTreeSet<usize>, before: usize| -> BTreeMap<usize, usize> {
        set.iter()
            .enumerate()
            .map(|(rank, index)| (*index, before + rank))
            .collect()
    };
    let library_functions = place(&reached.functions, functions.len());
    let library_maps = place(&reached.maps, program.maps.len());
    let library_data = place(&reached.data, 0);

    let mut maps: Vec<_> = program
        .maps
        .iter()
        .zip(&own.maps)
        .map(|(map, (type_id, size))| MapItem {
            name: map.name.clone(),
            type_id: *type_id,
            size: *size,
        })
        .collect();
    maps.extend(reached.maps.iter().map(|index| {
        let map = &library.maps[*index];
        MapItem {
            name: map.name.clone(),
            type_id: copied.get(map.type_id),
            size: map.size,
        }
    }));

    let mut items: Vec<_> = Vec::with_capacity(functions.len() + reached.functions.len());
    for (index, function) in functions.iter().enumerate() {
        let references = function.references.iter().map(|(slot, symbol)| {
            let reference = match symbol {
                Symbol::Map(name) => Reference::Map(match program.maps.iter().position(|map| map.name == *name) {
                    Some(position) => position,
                    None => library_maps[&library.map(name).expect("what is not there was not reached")],
                }),
                Symbol::Function(name) => Reference::Call(
                    library_functions[&library.function(name).expect("what is not there was not reached")],
                ),
                Symbol::Local(id) => Reference::Call(id.0 as usize),
            };
            (*slot, reference)
        });
        items.push(FunctionItem {
            name: function.name.clone(),
            is_entry: index == 0,
            is_global: index == 0,
            instructions: function.instructions.clone(),
            references: references.collect(),
            type_id: own.functions[index],
            lines: line_info(&mut btf, function, source_lines),
            relocations: Vec::new(),
        });
    }
    for index in &reached.functions {
        let function = &library.functions[*index];
        let references = function.references.iter().map(|(slot, reference)| {
            let reference = match *reference {
                LibraryReference::Call(callee) => Reference::Call(library_functions[&callee]),
                LibraryReference::FunctionAddress(callee) => Reference::FunctionAddress(library_functions[&callee]),
                LibraryReference::Map(map) => Reference::Map(library_maps[&map]),
                LibraryReference::Data { section, offset } => Reference::Data {
                    section: library_data[&section],
                    offset,
                },
            };
            (*slot, reference)
        });
        let mut string = |offset: u32| btf.string(library.btf.string(offset));
        items.push(FunctionItem {
            name: function.name.clone(),
            is_entry: false,
            is_global: function.is_global,
            instructions: function.instructions.clone(),
            references: references.collect(),
            type_id: copied.get(function.type_id),
            lines: function
                .lines
                .iter()
                .map(|line| LineInfo {
                    file: string(line.file),
                    text: string(line.text),
                    ..*line
                })
                .collect(),
            relocations: function
                .relocations
                .iter()
                .map(|relocation| CoreRelocation {
                    type_id: copied.get(relocation.type_id),
                    access: string(relocation.access),
                    ..*relocation
                })
                .collect(),
        });
    }
    let frames = functions.iter().map(|function| function.frame_size);
    let frames: Vec<_> = frames
        .chain(
            reached
                .functions
                .iter()
                .map(|index| library.functions[*index].frame_size),
        )
        .collect();
    stack::check(&items, &frames)?;

    let data = reached.data.iter().map(|index| {
        let section = &library.data[*index];
        let bytes = contents(section, program);
        DataItem {
            name: section.name.clone(),
            bytes: bytes.to_vec(),
            size: if section.is_zero {
                section.size
            } else {
                bytes.len() as u64
            },
            align: section.align,
            is_zero: section.is_zero,
            is_read_only: section.is_read_only,
        }
    });
    object::write(Contents {
        program_section: program.section.clone(),
        functions: items,
        maps,
        data: data.collect(),
        btf,
    })
}

fn check_names(
    program: &Program,
    functions: &[FunctionCode],
    library: &Library,
    reached: &Reached,
) -> Result<(), LinkError> {
    let mut seen = BTreeSet::new();
    let own = functions
        .iter()
        .map(|function| &function.name)
        .chain(program.maps.iter().map(|map| &map.name));
    let foreign = reached.functions.iter().map(|index| &library.functions[*index].name);
    let foreign = foreign.chain(reached.maps.iter().map(|index| &library.maps[*index].name));
    for name in own.chain(foreign) {
        if !is_identifier(name) {
            return Err(LinkError::BadName { name: name.clone() });
        }
        if !seen.insert(name) {
            return Err(LinkError::DuplicateName { name: name.clone() });
        }
    }
    Ok(())
}

/// Types of what the program itself defines.
struct OwnTypes {
    functions: Vec<TypeId>,
    /// Variable and size of each map.
    maps: Vec<(TypeId, u32)>,
}

impl OwnTypes {
    fn write(btf: &mut BtfWriter, program: &Program, functions: &[FunctionCode]) -> Self {
        let int = btf.int("int", 4, true);
        let number = btf.int("unsigned long", 8, false);
        let context = btf.ptr(TypeId::VOID);
        let function_types = functions.iter().enumerate().map(|(index, code)| {
            if index == 0 {
                let proto = btf.func_proto(int, &[("ctx", context)]);
                return btf.func(&code.name, proto, Linkage::Global);
            }
            let names = ["a", "b", "c", "d", "e"].into_iter().take(code.parameters);
            let params: Vec<_> = names.map(|name| (name, number)).collect();
            let proto = btf.func_proto(number, &params);
            btf.func(&code.name, proto, Linkage::Static)
        });
        let function_types = function_types.collect();
        let maps = program.maps.iter().map(|map| {
            // libbpf's encoding: a number is the length of an array that a member points to
            let mut members = vec![("type", map.map_type)];
            if map.key_size != 0 {
                members.push(("key_size", map.key_size));
            }
            if map.value_size != 0 {
                members.push(("value_size", map.value_size));
            }
            members.push(("max_entries", map.max_entries));
            if map.flags != 0 {
                members.push(("map_flags", map.flags));
            }
            let members: Vec<_> = members
                .into_iter()
                .enumerate()
                .map(|(index, (name, number))| {
                    let array = btf.array(int, int, number);
                    (name, btf.ptr(array), index as u32 * 64)
                })
                .collect();
            let size = members.len() as u32 * 8;
            let definition = btf.struct_type("", size, &members);
            (btf.var(&map.name, definition, Linkage::Global), size)
        });
        Self {
            functions: function_types,
            maps: maps.collect(),
        }
    }
}

/// What a section of the library holds: what the program puts there, or else its own bytes.
fn contents<'a>(section: &'a DataSection, program: &'a Program) -> &'a [u8] {
    let own = program.data.iter().find(|data| data.section == section.name);
    own.map_or(&section.bytes, |data| &data.bytes)
}

/// Copies the types that what was reached needs. Hidden functions become static, sections get the sizes and offsets that clang leaves
/// to the symbol table.
fn copy_types(btf: &mut BtfWriter, library: &Library, reached: &Reached, program: &Program) -> CopiedTypes {
    let mut copier = TypeCopier::new(&library.btf);
    let mut statics = BTreeSet::new();
    for function in reached.functions.iter().map(|index| &library.functions[*index]) {
        copier.want(function.type_id);
        if !function.is_global {
            statics.insert(function.type_id);
        }
        function
            .relocations
            .iter()
            .for_each(|relocation| copier.want(relocation.type_id));
    }
    for map in reached.maps.iter().map(|index| &library.maps[*index]) {
        copier.want(map.type_id);
    }
    let mut sections = BTreeMap::new();
    for section in reached.data.iter().map(|index| &library.data[*index]) {
        if let Some(type_id) = section.type_id {
            copier.want(type_id);
            sections.insert(type_id, section);
        }
    }
    copier.finish(btf, |id, words| {
        if statics.contains(&id) {
            words[1] = (words[1] & !0xffff) | write::STATIC_FUNCTION;
        }
        if let Some(section) = sections.get(&id) {
            words[2] = if section.is_zero {
                section.size as u32
            } else {
                contents(section, program).len() as u32
            };
            for variable in words[3..].chunks_exact_mut(3) {
                let name = library.btf.name(TypeId(variable[0]));
                variable[1] = section.variables.get(name).copied().unwrap_or(variable[1]);
            }
        }
    })
}

/// Line info of a generated function: an entry wherever the policy line changes, and one at the start in any case, which the
/// kernel asks for.
fn line_info(btf: &mut BtfWriter, function: &FunctionCode, source_lines: &[SourceLine]) -> Vec<LineInfo> {
    let mut lines = Vec::new();
    let mut last: Option<Option<SourceRef>> = None;
    let mut second_half = false;
    for (slot, (instruction, source)) in function.instructions.iter().zip(&function.sources).enumerate() {
        let changed = last != Some(*source) && !second_half;
        second_half = instruction.is_wide() && !second_half;
        if !changed {
            continue;
        }
        last = Some(*source);
        let offset = (slot * SLOT) as u32;
        lines.push(match source.and_then(|source| source_lines.get(source.0 as usize)) {
            Some(line) => LineInfo {
                offset,
                file: btf.string(&line.file),
                text: btf.string(&line.text),
                line: line.line,
                column: line.column,
            },
            // what no single policy line is the reason for
            None => LineInfo {
                offset,
                file: btf.string("<generated>"),
                text: btf.string(&function.name),
                line: 0,
                column: 0,
            },
        });
    }
    lines
}
