//! Relocatable objects: what clang and our compiler write, up to instructions that the kernel takes.
//!
//! An object has programs in named sections, functions that they call in `.text`, maps described by BTF in `.maps`, and
//! optionally data sections. [`ObjectFile::assemble`] collects one program with all functions it reaches, resolves calls, maps
//! and CO-RE relocations, and carries function and line info along. Nothing here makes a system call.
//!
//! The relocations that occur are `R_BPF_64_64` (maps, data, addresses of callback functions), `R_BPF_64_32` (calls), and the
//! CO-RE relocations of `.BTF.ext`. Anything else is refused.

mod assemble;
mod btf_patch;
mod core;
mod maps;

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags, RelocationTarget, SectionKind, SymbolKind,
};
use policy_compiler::btf::ext::BtfExt;
use policy_compiler::btf::{Btf, BtfError};

use crate::sys::{FuncInfo, Instruction, LineInfo, MapShape};

pub use self::core::CoreError;

/// Most bytes of zeroed variables that an object may ask for.
const MAX_DATA_BYTES: u64 = 1 << 20;

/// Why an object cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// Not an ELF object, or a damaged one.
    #[error("not a readable ELF object: {0}")]
    Elf(String),
    /// Its BTF is missing or damaged.
    #[error("its BTF cannot be used: {0}")]
    Btf(#[from] BtfError),
    /// No function of this name.
    #[error("no function `{0}`")]
    NoFunction(String),
    /// A function that is not a whole number of instructions inside its section.
    #[error("function `{0}` does not lie inside its section")]
    BadFunction(String),
    /// A relocation or call that leads nowhere.
    #[error("relocation at {section}+{offset:#x} cannot be resolved: {reason}")]
    BadRelocation {
        /// Section it stands in.
        section: String,
        /// Byte offset.
        offset: u64,
        /// Why.
        reason: String,
    },
    /// A CO-RE relocation that the running kernel's types do not answer.
    #[error("CO-RE relocation at {section}+{offset:#x}: {error}")]
    Core {
        /// Section it stands in.
        section: String,
        /// Byte offset.
        offset: u32,
        /// Why.
        error: CoreError,
    },
    /// A map definition that cannot be read.
    #[error("map `{name}`: {reason}")]
    BadMap {
        /// Name of the map.
        name: String,
        /// Why.
        reason: String,
    },
    /// The caller gave no descriptor for a map.
    #[error("map `{0}` is not there")]
    NoMap(String),
}

/// A map that an object asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapDefinition {
    /// Full name.
    pub name: String,
    /// What it is made of.
    pub shape: MapShape,
    /// For an array of maps: what its elements are made of.
    pub inner: Option<MapShape>,
    /// For a data section: its content.
    pub data: Option<Arc<[u8]>>,
}

/// A program ready to be loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assembled {
    /// All functions, the entry function first.
    pub instructions: Vec<Instruction>,
    /// One entry for each function; empty without BTF.
    pub func_info: Vec<FuncInfo>,
    /// Source lines.
    pub line_info: Vec<LineInfo>,
}

struct Section {
    name: String,
    data: Vec<u8>,
    is_code: bool,
    /// By byte offset.
    relocations: BTreeMap<u64, Relocation>,
}

#[derive(Clone, Copy)]
struct Relocation {
    symbol: usize,
    kind: u32,
}

struct Symbol {
    name: String,
    section: Option<usize>,
    address: u64,
    size: u64,
    is_function: bool,
    /// Not visible outside of the object after linking.
    is_static: bool,
}

/// A parsed object.
pub struct ObjectFile {
    sections: BTreeMap<usize, Section>,
    symbols: BTreeMap<usize, Symbol>,
    btf: Btf,
    btf_bytes: Vec<u8>,
    ext: BtfExt,
    maps: Vec<MapDefinition>,
}

impl ObjectFile {
    /// Reads an object.
    ///
    /// # Errors
    /// [`ObjectError::Elf`], [`ObjectError::Btf`], [`ObjectError::BadMap`].
    pub fn parse(elf: &[u8]) -> Result<Self, ObjectError> {
        let damaged = |error: object::Error| ObjectError::Elf(error.to_string());
        let file = object::File::parse(elf).map_err(damaged)?;
        if file.architecture() != object::Architecture::Bpf {
            return Err(ObjectError::Elf(format!(
                "made for {:?}, not for BPF",
                file.architecture()
            )));
        }

        let mut sections = BTreeMap::new();
        for section in file.sections() {
            let mut relocations = BTreeMap::new();
            for (offset, relocation) in section.relocations() {
                let (RelocationTarget::Symbol(symbol), RelocationFlags::Elf { r_type, .. }) =
                    (relocation.target(), relocation.flags())
                else {
                    continue;
                };
                relocations.insert(
                    offset,
                    Relocation {
                        symbol: symbol.0,
                        kind: r_type.0,
                    },
                );
            }
            let data = match section.kind() {
                // Has a size, but no bytes in the file.
                SectionKind::UninitializedData if section.size() <= MAX_DATA_BYTES => vec![0; section.size() as usize],
                SectionKind::UninitializedData => {
                    return Err(ObjectError::Elf(format!("{} bytes of variables", section.size())));
                }
                _ => section.uncompressed_data().map_err(damaged)?.into_owned(),
            };
            let section_info = Section {
                name: section.name().map_err(damaged)?.to_owned(),
                data,
                is_code: section.kind() == SectionKind::Text,
                relocations,
            };
            sections.insert(section.index().0, section_info);
        }
        let symbols = file
            .symbols()
            .filter_map(|symbol| {
                let info = Symbol {
                    name: symbol.name().ok()?.to_owned(),
                    section: symbol.section_index().map(|index| index.0),
                    address: symbol.address(),
                    size: symbol.size(),
                    is_function: symbol.kind() == SymbolKind::Text,
                    is_static: symbol.is_local() || is_hidden(symbol.flags()),
                };
                Some((symbol.index().0, info))
            })
            .collect();

        let bytes_of = |name: &str| {
            sections
                .values()
                .find(|section: &&Section| section.name == name)
                .map(|section| section.data.clone())
        };
        let btf_bytes = bytes_of(".BTF").ok_or(BtfError::NoSection(".BTF"))?;
        let btf = Btf::parse(btf_bytes.as_slice())?;
        let ext = bytes_of(".BTF.ext")
            .map(|bytes| BtfExt::parse(&bytes))
            .transpose()?
            .unwrap_or_default();

        let mut object = Self {
            sections,
            symbols,
            btf,
            btf_bytes,
            ext,
            maps: Vec::new(),
        };
        object.maps = maps::definitions(&object)?;
        Ok(object)
    }

    /// The maps it refers to by name, its data sections included.
    pub fn maps(&self) -> &[MapDefinition] {
        &self.maps
    }

    /// Its programs, as (section, symbol): the functions that stand in a section of their own.
    pub fn programs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.symbols
            .values()
            .filter(|symbol| symbol.is_function)
            .filter_map(|symbol| {
                let section = self.sections.get(&symbol.section?)?;
                (section.is_code && section.name != ".text" && !symbol.is_static)
                    .then_some((section.name.as_str(), symbol.name.as_str()))
            })
    }

    /// Its BTF as the kernel takes it: sizes and offsets of variables filled in, hidden functions made static.
    pub fn loadable_btf(&self) -> Vec<u8> {
        btf_patch::patch(self)
    }

    /// Collects the program that starts at function `symbol` of section `section`, for the kernel that `kernel` describes.
    /// `map_fd` gives the descriptor of each map by name.
    ///
    /// # Errors
    /// [`ObjectError`], of any kind.
    pub fn assemble<'fd>(
        &self,
        section: &str,
        symbol: &str,
        kernel: &Btf,
        map_fd: &dyn Fn(&str) -> Option<BorrowedFd<'fd>>,
    ) -> Result<Assembled, ObjectError> {
        assemble::assemble(self, section, symbol, kernel, map_fd)
    }
}

/// `STV_HIDDEN` or `STV_INTERNAL`: a library function, which the linker would make static.
fn is_hidden(flags: object::SymbolFlags<object::SectionIndex, object::SymbolIndex>) -> bool {
    let object::SymbolFlags::Elf { st_other, .. } = flags else {
        return false;
    };
    matches!(st_other.0 & 3, 1 | 2)
}

#[cfg(test)]
mod tests;
