//! User binaries, as hooks on them need to know them: where functions and static probes stand in the file.
//!
//! Read from the bytes of an ELF file; who opens it, and when it is read again, is not decided here. The kernel places user probes
//! at offsets of a file, so everything here is one: addresses are those of the file's own program headers, whether or not it is
//! loaded elsewhere (PIE, shared libraries).

use std::collections::{BTreeMap, BTreeSet};

use object::elf;
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, Sym as _};
use object::{Endianness, ReadRef};

use crate::facts::Arch;

pub mod static_probe;

pub use static_probe::{ArgumentPlace, ProbeArgument, StaticProbe};

/// Which file it is: two with equal identities have equal contents, as far as a file system tells.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct FileIdentity {
    /// `st_dev`
    pub device: u64,
    /// `st_ino`
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// `st_mtim` in nanoseconds.
    pub modified_ns: i64,
}

/// What is known of one binary.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Binary {
    /// The file that was read.
    pub identity: FileIdentity,
    /// Instruction set; `None` if it is none that hooks are compiled for.
    pub arch: Option<Arch>,
    /// Functions by name, of the symbol table and the dynamic one.
    pub functions: BTreeMap<String, Function>,
    /// Names that the binary takes from elsewhere.
    pub imports: BTreeSet<String>,
    /// What is loaded of the file.
    pub segments: Vec<Segment>,
    /// Static probes (USDT), in the order of their notes.
    pub probes: Vec<StaticProbe>,
    /// Digests in the policy language's form (`sha256:…`): of those asked for, and the build id.
    pub digests: BTreeSet<String>,
    /// Compiled by Go, whose stacks move: the kernel may not replace return addresses on them.
    pub is_go: bool,
}

/// A function of a binary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Function {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes, 0 if not known.
    pub size: u64,
    /// The symbol names a function that chooses another one at load time (`STT_GNU_IFUNC`), which has no name of its own.
    pub is_indirect: bool,
}

/// A part of the file that is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Where it begins in the file.
    pub offset: u64,
    /// Address that the file gives it.
    pub address: u64,
    /// Bytes in the file.
    pub size: u64,
    /// Whether it holds instructions.
    pub is_executable: bool,
}

/// Why bytes are no binary that can be hooked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    /// Not an ELF file of 64 bits.
    #[error("it is no 64-bit ELF file")]
    NotElf64,
    /// A table points outside of the file.
    #[error("its {0} is damaged")]
    Damaged(&'static str),
}

impl Binary {
    /// Reads a binary. The identity and the digests are the caller's to fill in; the build id is read here.
    ///
    /// # Errors
    /// [`ParseError`]; never panics, whatever the bytes are.
    pub fn parse<'d, R: ReadRef<'d>>(data: R) -> Result<Self, ParseError> {
        let header = elf::FileHeader64::<Endianness>::parse(data).map_err(|_| ParseError::NotElf64)?;
        let endian = header.endian().map_err(|_| ParseError::NotElf64)?;
        let segments = header
            .program_headers(endian, data)
            .map_err(|_| ParseError::Damaged("program header table"))?
            .iter()
            .filter(|segment| segment.p_type(endian) == elf::PT_LOAD)
            .map(|segment| Segment {
                offset: segment.p_offset(endian),
                address: segment.p_vaddr(endian),
                size: segment.p_filesz(endian),
                is_executable: (segment.p_flags(endian) & elf::PF_X).0 != 0,
            })
            .collect();
        let mut binary = Self {
            arch: match header.e_machine(endian) {
                elf::EM_X86_64 => Some(Arch::X86_64),
                elf::EM_AARCH64 => Some(Arch::Aarch64),
                _ => None,
            },
            segments,
            ..Self::default()
        };
        let sections = header
            .sections(endian, data)
            .map_err(|_| ParseError::Damaged("section header table"))?;
        let versions = sections.versions(endian, data).ok().flatten();
        for table in [elf::SHT_DYNSYM, elf::SHT_SYMTAB] {
            let symbols = sections
                .symbols(endian, data, table)
                .map_err(|_| ParseError::Damaged("symbol table"))?;
            for (index, symbol) in symbols.enumerate() {
                let Ok(name) = symbol.name(endian, symbols.strings()) else {
                    continue;
                };
                let Ok(name) = std::str::from_utf8(name) else { continue };
                // an old version of a function (`f@VERSION`) does not hide the one that is linked today
                let is_old = table == elf::SHT_DYNSYM
                    && versions
                        .as_ref()
                        .is_some_and(|versions| versions.version_index(endian, index).0 & elf::VERSYM_HIDDEN.0 != 0);
                binary.add_symbol(name, symbol, endian, is_old);
            }
        }
        for (_, section) in sections.enumerate() {
            match sections.section_name(endian, section).unwrap_or_default() {
                b".go.buildinfo" | b".note.go.buildid" | b".gopclntab" => binary.is_go = true,
                b".note.gnu.build-id" => {
                    let notes = section.data(endian, data).unwrap_or_default();
                    if let Some(id) =
                        static_probe::notes(notes, endian).find(|note| note.name == b"GNU" && note.kind == 3)
                    {
                        let digits = hexadecimal(id.description);
                        binary.digests.insert(format!("build-id:{digits}"));
                    }
                }
                _ => {}
            }
        }
        let section = |wanted: &[u8]| {
            sections
                .iter()
                .find(|section| sections.section_name(endian, section) == Ok(wanted))
        };
        if let Some(notes) = section(b".note.stapsdt") {
            let notes = notes
                .data(endian, data)
                .map_err(|_| ParseError::Damaged("section `.note.stapsdt`"))?;
            let base = section(b".stapsdt.base").map(|base| base.sh_addr(endian));
            binary.probes = static_probe::read(notes, endian, base, &binary);
        }
        Ok(binary)
    }

    /// The offset in the file of an address of its own; `None` if nothing of the file is loaded there.
    pub fn offset_of(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let within = address.checked_sub(segment.address)?;
            (within < segment.size).then(|| segment.offset.checked_add(within))?
        })
    }

    /// Whether there are instructions at an offset in the file.
    pub fn is_executable(&self, offset: u64) -> bool {
        self.segments.iter().any(|segment| {
            segment.is_executable
                && offset
                    .checked_sub(segment.offset)
                    .is_some_and(|within| within < segment.size)
        })
    }

    fn add_symbol(&mut self, name: &str, symbol: &elf::Sym64<Endianness>, endian: Endianness, is_old: bool) {
        if name.is_empty() {
            return;
        }
        // the static table spells versions in the name: `f@VERSION`, and `f@@VERSION` for the one that is linked today
        let (bare, is_old) = match name.split_once('@') {
            Some((bare, version)) => (bare, is_old || !version.starts_with('@')),
            None => (name, is_old),
        };
        let kind = symbol.st_type();
        if symbol.st_shndx(endian) == elf::SHN_UNDEF {
            if matches!(kind, elf::STT_FUNC | elf::STT_GNU_IFUNC | elf::STT_NOTYPE) {
                self.imports.insert(bare.to_owned());
            }
            return;
        }
        let is_function = matches!(kind, elf::STT_FUNC | elf::STT_GNU_IFUNC | elf::STT_NOTYPE);
        let Some(offset) = self.offset_of(symbol.st_value(endian)).filter(|_| is_function) else {
            return;
        };
        if !self.is_executable(offset) {
            return;
        }
        let function = Function {
            offset,
            size: symbol.st_size(endian),
            is_indirect: kind == elf::STT_GNU_IFUNC,
        };
        if is_old {
            self.functions.entry(bare.to_owned()).or_insert(function);
        } else {
            self.functions.insert(bare.to_owned(), function);
        }
        if bare != name {
            self.functions.insert(name.to_owned(), function);
        }
    }
}

/// Bytes as digests are written.
pub fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

#[cfg(test)]
mod tests;
