//! Writes relocatable ELF objects as libbpf, aya, bpftool and llvm-objdump read them.
//!
//! ```text
//!  license              "GPL"
//!  .maps                one struct of zeros per map; BTF says what the map is
//!  .rodata, .data, .bss data of the runtime library, if a reached function refers to it
//!  <program section>    the entry function, a global symbol
//!  .text                all other functions, most of them local symbols
//!  .rel…                references: R_BPF_64_64 to maps, data and function addresses, R_BPF_64_32 to called functions
//!  .BTF, .BTF.ext       types; functions, source lines and CO-RE relocations by instruction
//! ```

use object::write::{Object, Relocation, SectionId, StandardSection, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
};

use crate::btf::TypeId;
use crate::btf::ext::{BtfExt, CoreRelocation, FuncInfo, LineInfo};
use crate::btf::write::BtfWriter;
use crate::isa::{Instruction, SLOT};
use crate::link::LinkError;

const R_BPF_64_64: u32 = 1;
const R_BPF_64_32: u32 = 10;

/// What goes into an object.
pub(crate) struct Contents {
    /// Section of the entry function.
    pub(crate) program_section: String,
    /// Functions.
    pub(crate) functions: Vec<FunctionItem>,
    /// Maps.
    pub(crate) maps: Vec<MapItem>,
    /// Data sections.
    pub(crate) data: Vec<DataItem>,
    /// Types of all these; the section `.maps` is added.
    pub(crate) btf: BtfWriter,
}

/// A reference, by index into [`Contents`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reference {
    /// Call of a function.
    Call(usize),
    /// Address of a function.
    FunctionAddress(usize),
    /// Map.
    Map(usize),
    /// Address in a data section.
    Data {
        /// Section.
        section: usize,
        /// Byte offset in it.
        offset: u32,
    },
}

/// A function. Offsets of its lines and relocations are from its start.
pub(crate) struct FunctionItem {
    pub(crate) name: String,
    pub(crate) is_entry: bool,
    pub(crate) is_global: bool,
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) references: Vec<(usize, Reference)>,
    /// Its `BTF_KIND_FUNC`.
    pub(crate) type_id: TypeId,
    pub(crate) lines: Vec<LineInfo>,
    pub(crate) relocations: Vec<CoreRelocation>,
}

/// A map.
pub(crate) struct MapItem {
    pub(crate) name: String,
    /// Its `BTF_KIND_VAR`.
    pub(crate) type_id: TypeId,
    /// Bytes of its definition.
    pub(crate) size: u32,
}

/// A data section.
pub(crate) struct DataItem {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) size: u64,
    pub(crate) align: u64,
    pub(crate) is_zero: bool,
    pub(crate) is_read_only: bool,
}

/// Writes the object.
pub(crate) fn write(mut contents: Contents) -> Result<Vec<u8>, LinkError> {
    let mut elf = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let license = elf.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    elf.append_section_data(license, b"GPL\0", 1);
    elf.add_symbol(symbol("LICENSE", 0, 4, SymbolKind::Data, SymbolScope::Dynamic, license));

    let maps = write_maps(&mut elf, &mut contents);
    let data: Vec<_> = contents.data.iter().map(|item| write_data(&mut elf, item)).collect();

    // the entry's section first, as clang does
    let program = elf.add_section(
        Vec::new(),
        contents.program_section.clone().into_bytes(),
        SectionKind::Text,
    );
    let text = contents
        .functions
        .iter()
        .any(|function| !function.is_entry)
        .then(|| elf.section_id(StandardSection::Text));
    let mut placed: Vec<(SectionId, u64, SymbolId)> = Vec::with_capacity(contents.functions.len());
    for function in &contents.functions {
        let section = text.filter(|_| !function.is_entry).unwrap_or(program);
        let scope = if function.is_global {
            SymbolScope::Dynamic
        } else {
            SymbolScope::Compilation
        };
        let bytes: Vec<u8> = function
            .instructions
            .iter()
            .flat_map(|instruction| instruction.encode())
            .collect();
        let start = elf.append_section_data(section, &bytes, SLOT as u64);
        let id = elf.add_symbol(symbol(
            &function.name,
            start,
            bytes.len() as u64,
            SymbolKind::Text,
            scope,
            section,
        ));
        placed.push((section, start, id));
    }

    let failed = |error: object::write::Error| LinkError::Write {
        what: error.to_string(),
    };
    let mut ext = BtfExt::default();
    for (function, &(section, start, _)) in contents.functions.iter().zip(&placed) {
        for &(slot, reference) in &function.references {
            let at = start + (slot * SLOT) as u64;
            let (symbol, kind) = match reference {
                Reference::Call(callee) => (placed[callee].2, R_BPF_64_32),
                Reference::FunctionAddress(callee) => (placed[callee].2, R_BPF_64_64),
                Reference::Map(map) => (maps[map], R_BPF_64_64),
                Reference::Data {
                    section: data_section,
                    offset,
                } => {
                    // relocations have no addend of their own: it stands in the instruction
                    elf.section_mut(section).data_mut()[at as usize + 4..at as usize + 8]
                        .copy_from_slice(&offset.to_le_bytes());
                    (elf.section_symbol(data[data_section]), R_BPF_64_64)
                }
            };
            let flags = RelocationFlags::Elf {
                r_type: object::elf::RelocationType(kind),
            };
            elf.add_relocation(
                section,
                Relocation {
                    offset: at,
                    symbol,
                    addend: 0,
                    flags,
                },
            )
            .map_err(failed)?;
        }
        let name = contents.btf.string(if section == program {
            &contents.program_section
        } else {
            ".text"
        });
        let info = ext.section(name);
        let start = start as u32;
        info.functions.push(FuncInfo {
            offset: start,
            type_id: function.type_id,
        });
        info.lines.extend(function.lines.iter().map(|line| LineInfo {
            offset: start + line.offset,
            ..*line
        }));
        let moved = |relocation: &CoreRelocation| CoreRelocation {
            offset: start + relocation.offset,
            ..*relocation
        };
        info.relocations.extend(function.relocations.iter().map(moved));
    }

    for (name, bytes) in [(".BTF", contents.btf.finish()), (".BTF.ext", ext.finish())] {
        let section = elf.add_section(Vec::new(), name.as_bytes().to_vec(), SectionKind::Other);
        elf.append_section_data(section, &bytes, 8);
    }
    elf.write().map_err(failed)
}

fn symbol(name: &str, value: u64, size: u64, kind: SymbolKind, scope: SymbolScope, section: SectionId) -> Symbol {
    Symbol {
        name: name.as_bytes().to_vec(),
        value,
        size,
        kind,
        scope,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    }
}

/// Writes `.maps` and its section type; returns the maps' symbols.
fn write_maps(elf: &mut Object<'_>, contents: &mut Contents) -> Vec<SymbolId> {
    if contents.maps.is_empty() {
        return Vec::new();
    }
    let section = elf.add_section(Vec::new(), b".maps".to_vec(), SectionKind::Data);
    let mut symbols = Vec::with_capacity(contents.maps.len());
    let mut variables = Vec::with_capacity(contents.maps.len());
    let mut end = 0;
    for map in &contents.maps {
        let start = elf.append_section_data(section, &vec![0; map.size as usize], 8);
        symbols.push(elf.add_symbol(symbol(
            &map.name,
            start,
            u64::from(map.size),
            SymbolKind::Data,
            SymbolScope::Dynamic,
            section,
        )));
        variables.push((map.type_id, start as u32, map.size));
        end = start as u32 + map.size;
    }
    contents.btf.datasec(".maps", end, &variables);
    symbols
}

fn write_data(elf: &mut Object<'_>, item: &DataItem) -> SectionId {
    let kind = match (item.is_zero, item.is_read_only) {
        (true, _) => SectionKind::UninitializedData,
        (_, true) => SectionKind::ReadOnlyData,
        _ => SectionKind::Data,
    };
    let section = elf.add_section(Vec::new(), item.name.clone().into_bytes(), kind);
    if item.is_zero {
        elf.append_section_bss(section, item.size, item.align);
    } else {
        elf.append_section_data(section, &item.bytes, item.align);
    }
    section
}
