//! Functions of one ELF file that is mapped by a process.

use std::fs::File;
use std::path::Path;

use object::read::{Object as _, ObjectSegment as _, ObjectSymbol as _, ReadCache};
use object::{SymbolKind, SymbolSection};
use procfs::process::MemoryMap;

/// A file with more functions than this has none: it would take too much of the agent's memory.
const MOST_FUNCTIONS: usize = 1 << 20;

/// Which file it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ModuleId {
    device: (i32, i32),
    inode: u64,
}

impl ModuleId {
    pub(super) fn of(map: &MemoryMap) -> Self {
        Self {
            device: map.dev,
            inode: map.inode,
        }
    }
}

/// Functions by offset in the file.
#[derive(Debug, Default)]
pub(super) struct ModuleSymbols {
    /// In rising order.
    functions: Vec<Function>,
    names: String,
}

#[derive(Debug)]
struct Function {
    start: u64,
    /// 0: up to the next one.
    len: u64,
    name: (u32, u32),
}

impl ModuleSymbols {
    /// Reads a file; one that is not ELF, or damaged, has no functions.
    pub(super) fn read(path: &Path) -> Self {
        let symbols = File::open(path).ok().and_then(|file| {
            let cache = ReadCache::new(file);
            let file = object::File::parse(&cache).ok()?;
            Some(Self::of(&file))
        });
        symbols.unwrap_or_default()
    }

    fn of<'a>(file: &object::File<'a, &'a ReadCache<File>>) -> Self {
        // where the bytes of an address are in the file
        let segments: Vec<(u64, u64, u64)> = file
            .segments()
            .map(|segment| {
                let (offset, len) = segment.file_range();
                (segment.address(), len, offset)
            })
            .collect();
        let offset_of = |address: u64| {
            let of_segment = |&(start, len, offset): &(u64, u64, u64)| {
                let within = address.checked_sub(start)?;
                (within < len).then(|| offset.checked_add(within)).flatten()
            };
            segments.iter().find_map(of_segment)
        };
        let mut found: Vec<(u64, u64, &str)> = Vec::new();
        for symbol in file.symbols().chain(file.dynamic_symbols()) {
            let is_function = symbol.kind() == SymbolKind::Text && symbol.section() != SymbolSection::Undefined;
            let (true, Some(start), Ok(name)) = (is_function, offset_of(symbol.address()), symbol.name()) else {
                continue;
            };
            if name.is_empty() {
                continue;
            }
            if found.len() == MOST_FUNCTIONS {
                return Self::default();
            }
            found.push((start, symbol.size(), name));
        }
        // of several names the one that covers most, of the full table before that of dynamic symbols
        found.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        found.dedup_by_key(|&mut (start, ..)| start);
        let mut symbols = Self::default();
        for (start, len, name) in found {
            let from = symbols.names.len();
            let (Ok(from), Ok(to)) = (u32::try_from(from), u32::try_from(from + name.len())) else {
                break;
            };
            symbols.names.push_str(name);
            symbols.functions.push(Function {
                start,
                len,
                name: (from, to),
            });
        }
        symbols.functions.shrink_to_fit();
        symbols.names.shrink_to_fit();
        symbols
    }

    /// The function around an offset in the file.
    pub(super) fn find(&self, offset: u64) -> Option<&str> {
        let index = self
            .functions
            .partition_point(|function| function.start <= offset)
            .checked_sub(1)?;
        let function = self.functions.get(index)?;
        let is_inside = function.len == 0 || offset - function.start < function.len;
        let (from, to) = function.name;
        is_inside.then(|| self.names.get(from as usize..to as usize)).flatten()
    }
}
