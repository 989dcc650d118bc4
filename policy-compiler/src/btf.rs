//! Reader for BTF, the kernel's type information.
//!
//! A kernel's BTF has some 150,000 types in 5 MB, of which a compilation looks at a few dozen. So parsing only checks the
//! extent of each record, notes where it starts and enters its name into a hash table; types are decoded when asked for and
//! own nothing. What a record refers to (names, other types) is checked when it is followed: a reference that leads nowhere
//! reads as the empty name or as [`Kind::Void`], and no chain of references is followed more than [`MAX_DEPTH`] deep, so any
//! bytes that [`Btf::parse`] accepts can be queried without panic or endless loop.
//!
//! Writing is in [`mod@write`], copying types from one BTF into another in [`copy`].
//!
//! ```text
//!  header (24 bytes)                          type record
//!  ┌───────┬─────────┬───────┬─────────┐      ┌──────────┬──────────────────────────────┬───────────┬───────────┐
//!  │ magic │ version │ flags │ hdr_len │      │ name_off │ kind_flag:1 0 kind:5 0 vlen:16│ size/type │ by kind … │
//!  │ eb9f  │ 1       │       │         │      └──────────┴──────────────────────────────┴───────────┴───────────┘
//!  ├───────┴──┬──────┴───┬───┴─────┬───┴─────┐
//!  │ type_off │ type_len │ str_off │ str_len │
//!  └──────────┴──────────┴─────────┴─────────┘
//! ```
//!
//! Source: `Documentation/bpf/btf.rst`.

use std::fmt;
use std::sync::Arc;

pub mod copy;
mod declaration;
pub mod ext;
mod types;
pub mod write;

#[cfg(test)]
mod tests;

pub use types::{EnumValue, Function, Kind, Member, Param, Prototype, Variable};

/// How many references are followed in a row (typedef chains, nested anonymous structs) before giving up.
pub const MAX_DEPTH: usize = 64;

const MAGIC: u16 = 0xeb9f;
const HEADER_LEN: usize = 24;

/// Number of a type in its [`Btf`]; 0 is `void`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TypeId(pub u32);

impl TypeId {
    /// `void`
    pub const VOID: Self = Self(0);
}

/// Why bytes are not BTF.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BtfError {
    /// Shorter than the header, or than the header says.
    #[error("BTF is cut short: {need} bytes needed, {have} there")]
    Truncated {
        /// Bytes that the header asks for.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// The first two bytes are wrong; big-endian BTF counts as wrong, too.
    #[error("not little-endian BTF: magic {0:#06x}")]
    BadMagic(u16),
    /// A version other than 1.
    #[error("BTF version {0} is not known")]
    BadVersion(u8),
    /// A type record of a kind that this reader does not know, and so cannot step over.
    #[error("type {id} has unknown kind {kind}")]
    UnknownKind {
        /// Number of the type.
        id: u32,
        /// Its kind.
        kind: u32,
    },
    /// A record reaches beyond the type section.
    #[error("type {0} reaches beyond the type section")]
    BadRecord(u32),
    /// The string section does not start and end with NUL.
    #[error("the string section does not start and end with NUL")]
    BadStrings,
    /// No such section in an object file.
    #[error("the object has no section `{0}`")]
    NoSection(&'static str),
}

/// The types of a kernel, a module or an object file.
pub struct Btf {
    data: Arc<[u8]>,
    /// Offset of the string section in `data`.
    strings_at: usize,
    strings_len: usize,
    /// Offset in `data` of each record, by id less `first_id`.
    offsets: Vec<u32>,
    names: NameTable,
    /// For split BTF (modules): the types that come before.
    base: Option<Arc<Btf>>,
    first_id: u32,
    first_string: u32,
}

/// Hash table from names to ids: `heads[hash]` starts a chain through `next`, in ascending order of ids. Entries are ids less
/// `first_id` plus 1, so that 0 ends a chain.
struct NameTable {
    heads: Vec<u32>,
    next: Vec<u32>,
}

impl fmt::Debug for Btf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Btf")
            .field("types", &self.len())
            .field("bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

impl Btf {
    /// Reads BTF that stands alone: that of `vmlinux` or of an object file's `.BTF` section.
    ///
    /// # Errors
    ///
    /// What makes it impossible to step through the records; see [`BtfError`].
    pub fn parse(data: impl Into<Arc<[u8]>>) -> Result<Self, BtfError> {
        Self::parse_after(data.into(), None)
    }

    /// Reads the BTF of a kernel module, whose ids and strings continue those of `vmlinux`.
    ///
    /// # Errors
    ///
    /// As [`Btf::parse`].
    pub fn parse_split(data: impl Into<Arc<[u8]>>, base: Arc<Self>) -> Result<Self, BtfError> {
        Self::parse_after(data.into(), Some(base))
    }

    fn parse_after(data: Arc<[u8]>, base: Option<Arc<Self>>) -> Result<Self, BtfError> {
        let short = |need| BtfError::Truncated { need, have: data.len() };
        if data.len() < HEADER_LEN {
            return Err(short(HEADER_LEN));
        }
        let magic = u16::from_le_bytes([data[0], data[1]]);
        if magic != MAGIC {
            return Err(BtfError::BadMagic(magic));
        }
        if data[2] != 1 {
            return Err(BtfError::BadVersion(data[2]));
        }
        let field = |at| word(&data, at).unwrap_or(0) as usize;
        let header = field(4);
        let section = |at: usize, len: usize| -> Result<(usize, usize), BtfError> {
            let start = header.checked_add(at).ok_or(short(usize::MAX))?;
            let end = start.checked_add(len).ok_or(short(usize::MAX))?;
            if end > data.len() || end > u32::MAX as usize {
                Err(short(end))
            } else {
                Ok((start, end))
            }
        };
        let (types_start, types_end) = section(field(8), field(12))?;
        let (strings_at, strings_end) = section(field(16), field(20))?;
        let strings = &data[strings_at..strings_end];
        // split BTF may have no strings of its own, and its first string is not the empty one
        let stands_alone = base.is_none();
        if (stands_alone && strings.first() != Some(&0)) || strings.last().is_some_and(|last| *last != 0) {
            return Err(BtfError::BadStrings);
        }
        let (first_id, first_string) = base.as_ref().map_or((1, 0), |b| (b.end_id(), b.end_string()));

        // a record has at least 12 bytes, most have 24 or more
        let mut offsets = Vec::with_capacity((types_end - types_start) / 24);
        let mut at = types_start;
        while at < types_end {
            let id = first_id + offsets.len() as u32;
            let info = word(&data[..types_end], at + 4).ok_or(BtfError::BadRecord(id))?;
            let extra = types::extra_len(info).ok_or(BtfError::UnknownKind {
                id,
                kind: types::kind_of(info),
            })?;
            let end = at + 12 + extra;
            if end > types_end {
                return Err(BtfError::BadRecord(id));
            }
            offsets.push(at as u32);
            at = end;
        }

        let mut btf = Self {
            strings_at,
            strings_len: strings_end - strings_at,
            data,
            offsets,
            names: NameTable {
                heads: Vec::new(),
                next: Vec::new(),
            },
            base,
            first_id,
            first_string,
        };
        btf.names = NameTable::build(&btf);
        Ok(btf)
    }

    /// The `.BTF` section of an ELF object.
    ///
    /// # Errors
    ///
    /// [`BtfError::NoSection`] if it is no ELF object or has no such section, else as [`Btf::parse`].
    pub fn parse_object(elf: &[u8]) -> Result<Self, BtfError> {
        use object::{Object as _, ObjectSection as _};
        let missing = || BtfError::NoSection(".BTF");
        let file = object::File::parse(elf).map_err(|_| missing())?;
        let section = file.section_by_name(".BTF").ok_or_else(missing)?;
        Self::parse(section.data().map_err(|_| missing())?)
    }

    /// Number of types, `void` and those of the base included.
    pub fn len(&self) -> usize {
        self.end_id() as usize
    }

    /// Whether there is nothing but `void`.
    pub fn is_empty(&self) -> bool {
        self.len() <= 1
    }

    /// All ids but `void`, those of the base included, ascending.
    pub fn ids(&self) -> impl Iterator<Item = TypeId> + use<> {
        (1..self.end_id()).map(TypeId)
    }

    fn end_id(&self) -> u32 {
        self.first_id + self.offsets.len() as u32
    }

    fn end_string(&self) -> u32 {
        self.first_string + self.strings_len as u32
    }

    /// The string at an offset; empty if there is none or it is not UTF-8.
    pub fn string(&self, offset: u32) -> &str {
        std::str::from_utf8(self.string_bytes(offset)).unwrap_or("")
    }

    fn string_bytes(&self, offset: u32) -> &[u8] {
        if offset < self.first_string {
            return self.base.as_ref().map_or(&[], |base| base.string_bytes(offset));
        }
        let start = (offset - self.first_string) as usize;
        if start >= self.strings_len {
            return &[];
        }
        let rest = &self.data[self.strings_at + start..self.strings_at + self.strings_len];
        // the section ends with NUL: checked by `parse`
        &rest[..rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len())]
    }

    /// The bytes of a type's record and all that follow it; `None` for `void` and ids that do not exist.
    pub(crate) fn record(&self, id: TypeId) -> Option<Record<'_>> {
        if id.0 < self.first_id {
            return self.base.as_ref().and_then(|base| base.record(id));
        }
        let at = *self.offsets.get((id.0 - self.first_id) as usize)? as usize;
        let info = word(&self.data, at + 4)?;
        let len = 12 + types::extra_len(info)?;
        Some(Record {
            bytes: &self.data[at..at + len],
        })
    }

    /// Ids of all types with this name, ascending, whatever their kind.
    pub fn ids_by_name<'a>(&'a self, name: &'a str) -> impl Iterator<Item = TypeId> + 'a {
        let own = self
            .names
            .chain(name)
            .filter(move |entry| self.name_bytes_of(*entry) == name.as_bytes());
        let base: Box<dyn Iterator<Item = TypeId> + 'a> = match &self.base {
            Some(base) => Box::new(base.ids_by_name(name)),
            None => Box::new(std::iter::empty()),
        };
        base.chain(own.map(|entry| TypeId(self.first_id + entry)))
    }

    fn name_bytes_of(&self, entry: u32) -> &[u8] {
        let at = self.offsets[entry as usize] as usize;
        self.string_bytes(word(&self.data, at).unwrap_or(0))
    }
}

impl NameTable {
    fn build(btf: &Btf) -> Self {
        let count = btf.offsets.len();
        let mut heads = vec![0u32; count.next_power_of_two().max(1)];
        let mut next = vec![0u32; count];
        // backwards, so that chains ascend
        for entry in (0..count).rev() {
            let name = btf.name_bytes_of(entry as u32);
            if name.is_empty() {
                continue;
            }
            let head = &mut heads[hash(name) as usize & (btf.offsets.len().next_power_of_two().max(1) - 1)];
            next[entry] = *head;
            *head = entry as u32 + 1;
        }
        Self { heads, next }
    }

    fn chain(&self, name: &str) -> impl Iterator<Item = u32> + '_ {
        let mut entry = self.heads[hash(name.as_bytes()) as usize & (self.heads.len() - 1)];
        std::iter::from_fn(move || {
            let current = entry.checked_sub(1)?;
            entry = self.next[current as usize];
            Some(current)
        })
    }
}

/// FNV-1a: names are short, and nobody can attack us with the names of a kernel's types.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// One type record.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) bytes: &'a [u8],
}

impl Record<'_> {
    /// The `index`-th 32-bit word; 0 if the record is shorter, which its kind rules out.
    pub(crate) fn word(self, index: usize) -> u32 {
        word(self.bytes, index * 4).unwrap_or(0)
    }

    pub(crate) fn kind(self) -> u32 {
        types::kind_of(self.word(1))
    }

    pub(crate) fn vlen(self) -> usize {
        types::vlen_of(self.word(1))
    }

    pub(crate) fn kind_flag(self) -> bool {
        self.word(1) >> 31 != 0
    }
}

pub(crate) fn word(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}
