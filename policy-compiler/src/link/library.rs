//! The runtime library as clang wrote it, cut into functions.

use std::collections::BTreeMap;

use object::read::elf::ElfFile64;
use object::{
    Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags, RelocationTarget, SectionIndex,
    SymbolKind, SymbolScope,
};

use crate::btf::ext::{BtfExt, CoreRelocation, LineInfo};
use crate::btf::{Btf, TypeId};
use crate::isa::{Instruction, Reg, SLOT};

use super::LinkError;

/// Loads of 64-bit constants: maps, data, addresses of functions.
const R_BPF_64_64: u32 = 1;
/// Calls.
const R_BPF_64_32: u32 = 10;

/// What a library function refers to, by index into the [`Library`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum LibraryReference {
    /// Calls a function.
    Call(usize),
    /// Takes the address of a function.
    FunctionAddress(usize),
    /// Refers to a map.
    Map(usize),
    /// Takes an address in a data section.
    Data { section: usize, offset: u32 },
}

/// A function of the library. Offsets are from its start.
#[derive(Debug)]
pub(crate) struct LibraryFunction {
    pub(crate) name: String,
    pub(crate) instructions: Vec<Instruction>,
    /// References by slot, ascending.
    pub(crate) references: Vec<(usize, LibraryReference)>,
    pub(crate) type_id: TypeId,
    /// Keeps its global linkage: the kernel verifies it once, on its own. Hidden functions do not.
    pub(crate) is_global: bool,
    pub(crate) lines: Vec<LineInfo>,
    pub(crate) relocations: Vec<CoreRelocation>,
    /// Bytes of stack.
    pub(crate) frame_size: u32,
}

/// A BTF-defined map.
#[derive(Debug)]
pub(crate) struct LibraryMap {
    pub(crate) name: String,
    /// Its `BTF_KIND_VAR`.
    pub(crate) type_id: TypeId,
    pub(crate) size: u32,
}

/// A section of constants or variables.
#[derive(Debug)]
pub(crate) struct DataSection {
    pub(crate) name: String,
    /// Empty if `is_zero`.
    pub(crate) bytes: Vec<u8>,
    pub(crate) size: u64,
    pub(crate) align: u64,
    pub(crate) is_zero: bool,
    pub(crate) is_read_only: bool,
    /// Its `BTF_KIND_DATASEC`, if it has one.
    pub(crate) type_id: Option<TypeId>,
    /// Offset of each named variable.
    pub(crate) variables: BTreeMap<String, u32>,
}

/// The library.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) functions: Vec<LibraryFunction>,
    pub(crate) maps: Vec<LibraryMap>,
    pub(crate) data: Vec<DataSection>,
    pub(crate) btf: Btf,
}

fn bad(what: impl Into<String>) -> LinkError {
    LinkError::BadLibrary { what: what.into() }
}

/// Extent of a function in the text section, in bytes.
struct Extent {
    name: String,
    is_global: bool,
    start: u64,
    size: u64,
}

impl Library {
    /// Reads the object.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, LinkError> {
        let file = ElfFile64::<Endianness>::parse(bytes).map_err(|error| bad(error.to_string()))?;
        let btf = Btf::parse_object(bytes).map_err(|error| bad(error.to_string()))?;
        let ext = file
            .section_by_name(".BTF.ext")
            .ok_or_else(|| bad("no section `.BTF.ext`"))?;
        let ext = BtfExt::parse(ext.data().map_err(|error| bad(error.to_string()))?)
            .map_err(|error| bad(error.to_string()))?;
        let text = file.section_by_name(".text").ok_or_else(|| bad("no section `.text`"))?;

        let mut extents: Vec<_> = file
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.section_index() == Some(text.index()))
            .map(|symbol| Extent {
                name: symbol.name().unwrap_or("").to_owned(),
                is_global: symbol.is_global() && symbol.scope() != SymbolScope::Linkage,
                start: symbol.address(),
                size: symbol.size(),
            })
            .collect();
        extents.sort_by(|a, b| (a.start, &a.name).cmp(&(b.start, &b.name)));

        let (maps, map_section) = read_maps(&file, &btf)?;
        let (data, data_sections) = read_data(&file, &btf)?;
        let context = Context {
            file: &file,
            extents: &extents,
            text: text.index(),
            map_section,
            data_sections,
        };
        let code = text.data().map_err(|error| bad(error.to_string()))?;
        let relocations = context.relocations(&text)?;
        let info = ext.sections.iter().find(|section| btf.string(section.name) == ".text");
        let mut functions = Vec::with_capacity(extents.len());
        for extent in &extents {
            let range = extent.start..extent.start + extent.size;
            let bytes = code
                .get(range.start as usize..range.end as usize)
                .ok_or_else(|| bad(format!("`{}` has no code", extent.name)))?;
            let mut instructions = Instruction::decode_all(bytes);
            let references = context.references(&mut instructions, extent, &relocations)?;
            let start = extent.start as u32;
            let within = |offset: u32| range.contains(&u64::from(offset));
            let type_id = info
                .and_then(|info| info.functions.iter().find(|function| function.offset == start))
                .map(|function| function.type_id)
                .ok_or_else(|| bad(format!("`{}` has no type", extent.name)))?;
            let lines = info
                .map_or(&[][..], |info| &info.lines)
                .iter()
                .filter(|line| within(line.offset));
            let core = info
                .map_or(&[][..], |info| &info.relocations)
                .iter()
                .filter(|relocation| within(relocation.offset));
            functions.push(LibraryFunction {
                name: extent.name.clone(),
                frame_size: frame_size(&instructions),
                instructions,
                references,
                type_id,
                is_global: extent.is_global,
                lines: lines
                    .map(|line| LineInfo {
                        offset: line.offset - start,
                        ..*line
                    })
                    .collect(),
                relocations: core
                    .map(|relocation| CoreRelocation {
                        offset: relocation.offset - start,
                        ..*relocation
                    })
                    .collect(),
            });
        }
        Ok(Self {
            functions,
            maps,
            data,
            btf,
        })
    }

    /// Index of a function.
    pub(crate) fn function(&self, name: &str) -> Option<usize> {
        self.functions.iter().position(|function| function.name == name)
    }

    /// Index of a map.
    pub(crate) fn map(&self, name: &str) -> Option<usize> {
        self.maps.iter().position(|map| map.name == name)
    }
}

/// Where the maps are defined.
#[derive(Default)]
struct MapSection {
    index: Option<SectionIndex>,
    /// Map by the address of its definition.
    by_address: BTreeMap<u64, usize>,
}

fn read_maps(file: &ElfFile64<'_>, btf: &Btf) -> Result<(Vec<LibraryMap>, MapSection), LinkError> {
    let Some(section) = file.section_by_name(".maps") else {
        return Ok((Vec::new(), MapSection::default()));
    };
    let datasec = btf
        .datasec(".maps")
        .ok_or_else(|| bad("section `.maps` has no types"))?;
    let mut symbols: Vec<_> = file
        .symbols()
        .filter(|symbol| symbol.section_index() == Some(section.index()) && symbol.kind() != SymbolKind::Section)
        .map(|symbol| (symbol.address(), symbol.name().unwrap_or("").to_owned()))
        .collect();
    symbols.sort();
    let mut maps = Vec::new();
    let mut by_address = BTreeMap::new();
    for (address, name) in symbols {
        let variable = btf.variables(datasec).find(|variable| variable.name == name);
        let variable = variable.ok_or_else(|| bad(format!("map `{name}` has no type")))?;
        let size = btf
            .size(variable.type_id)
            .ok_or_else(|| bad(format!("map `{name}` has no size")))?;
        by_address.insert(address, maps.len());
        maps.push(LibraryMap {
            name,
            type_id: variable.id,
            size,
        });
    }
    Ok((
        maps,
        MapSection {
            index: Some(section.index()),
            by_address,
        },
    ))
}

/// Data sections, and the index of each by that of its section.
fn read_data(file: &ElfFile64<'_>, btf: &Btf) -> Result<(Vec<DataSection>, BTreeMap<usize, usize>), LinkError> {
    let mut data = Vec::new();
    let mut by_section = BTreeMap::new();
    for section in file.sections() {
        let name = section.name().unwrap_or("");
        let of_kind = |kind: &str| name == kind || name.strip_prefix(kind).is_some_and(|rest| rest.starts_with('.'));
        let is_zero = of_kind(".bss");
        let is_read_only = of_kind(".rodata");
        if !(is_zero || is_read_only || of_kind(".data")) {
            continue;
        }
        let variables = file
            .symbols()
            .filter(|symbol| symbol.section_index() == Some(section.index()) && symbol.kind() != SymbolKind::Section)
            .map(|symbol| (symbol.name().unwrap_or("").to_owned(), symbol.address() as u32))
            .collect();
        by_section.insert(section.index().0, data.len());
        data.push(DataSection {
            name: name.to_owned(),
            bytes: if is_zero {
                Vec::new()
            } else {
                section.data().map_err(|error| bad(error.to_string()))?.to_vec()
            },
            size: section.size(),
            align: section.align().max(1),
            is_zero,
            is_read_only,
            type_id: btf.datasec(name),
            variables,
        });
    }
    Ok((data, by_section))
}

/// What is needed to say what an instruction refers to.
struct Context<'a> {
    file: &'a ElfFile64<'a>,
    extents: &'a [Extent],
    text: SectionIndex,
    map_section: MapSection,
    data_sections: BTreeMap<usize, usize>,
}

/// The symbol that a relocation names.
struct Reference {
    kind: u32,
    section: Option<SectionIndex>,
    address: u64,
    name: String,
}

impl Context<'_> {
    /// Relocations of the text section, by byte offset.
    fn relocations(
        &self,
        text: &object::read::elf::ElfSection64<'_, '_, Endianness>,
    ) -> Result<BTreeMap<u64, Reference>, LinkError> {
        let mut references = BTreeMap::new();
        for (offset, relocation) in text.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else {
                return Err(bad("relocation without symbol"));
            };
            let symbol = self
                .file
                .symbol_by_index(index)
                .map_err(|error| bad(error.to_string()))?;
            let RelocationFlags::Elf { r_type } = relocation.flags() else {
                return Err(bad("relocation of another format"));
            };
            references.insert(
                offset,
                Reference {
                    kind: r_type.0,
                    section: symbol.section_index(),
                    address: symbol.address(),
                    name: symbol.name().unwrap_or("").to_owned(),
                },
            );
        }
        Ok(references)
    }

    fn function_at(&self, address: i64) -> Option<usize> {
        self.extents.iter().position(|extent| extent.start as i64 == address)
    }

    /// References of a function's instructions, whose fields are made independent of where things were.
    fn references(
        &self,
        instructions: &mut [Instruction],
        extent: &Extent,
        relocations: &BTreeMap<u64, Reference>,
    ) -> Result<Vec<(usize, LibraryReference)>, LinkError> {
        let mut references = Vec::new();
        for (slot, instruction) in instructions.iter_mut().enumerate() {
            let at = extent.start + (slot * SLOT) as u64;
            let relocation = relocations.get(&at);
            let lost = || {
                bad(format!(
                    "`{}` refers to `{}`, which is not there",
                    extent.name,
                    relocation.map_or("", |r| &r.name)
                ))
            };
            if instruction.is_function_call() {
                let next = (i64::from(instruction.imm) + 1) * SLOT as i64;
                let address = match relocation {
                    Some(relocation) if relocation.kind == R_BPF_64_32 && relocation.section == Some(self.text) => {
                        relocation.address as i64 + next
                    }
                    Some(_) => return Err(lost()),
                    None => at as i64 + next,
                };
                let callee = self.function_at(address).ok_or_else(lost)?;
                instruction.imm = -1;
                references.push((slot, LibraryReference::Call(callee)));
            } else if let Some(relocation) = relocation {
                if relocation.kind != R_BPF_64_64 || !instruction.is_wide() {
                    return Err(bad(format!(
                        "`{}` has a relocation of type {}",
                        extent.name, relocation.kind
                    )));
                }
                let section = relocation.section.ok_or_else(lost)?;
                let address = relocation.address as i64 + i64::from(instruction.imm);
                let reference = if section == self.text {
                    LibraryReference::FunctionAddress(self.function_at(address).ok_or_else(lost)?)
                } else if Some(section) == self.map_section.index {
                    LibraryReference::Map(*self.map_section.by_address.get(&(address as u64)).ok_or_else(lost)?)
                } else {
                    let section = *self.data_sections.get(&section.0).ok_or_else(lost)?;
                    LibraryReference::Data {
                        section,
                        offset: u32::try_from(address).map_err(|_| lost())?,
                    }
                };
                instruction.imm = 0;
                references.push((slot, reference));
            }
        }
        Ok(references)
    }
}

/// Bytes of stack that code uses: how far below the frame pointer it accesses memory or takes addresses.
fn frame_size(instructions: &[Instruction]) -> u32 {
    use crate::isa::{AluOperation, Form, Width};
    let mut depth = 0;
    let fp = Reg::FP.number();
    for (slot, instruction) in instructions.iter().enumerate() {
        let offset = match instruction.form() {
            Some(Form::Load { .. }) if instruction.src == fp => i32::from(instruction.off),
            Some(Form::Store { .. } | Form::Atomic { .. }) if instruction.dst == fp => i32::from(instruction.off),
            Some(Form::Alu {
                operation: AluOperation::Add,
                width: Width::W64,
                register: false,
            }) => {
                // `r = r10` stands right before or a little earlier in the same run of moves
                let copies = |earlier: &Instruction| {
                    matches!(
                        earlier.form(),
                        Some(Form::Alu {
                            operation: AluOperation::Mov,
                            register: true,
                            ..
                        })
                    ) && earlier.dst == instruction.dst
                        && earlier.src == fp
                };
                let recent = &instructions[slot.saturating_sub(8)..slot];
                if recent.iter().any(copies) { instruction.imm } else { 0 }
            }
            _ => 0,
        };
        depth = depth.max(-offset);
    }
    depth.max(0) as u32
}
