//! The `.BTF.ext` section: what BTF says about instructions.
//!
//! ```text
//!  header (32 bytes)                              each of the three parts
//!  magic version flags hdr_len                    ┌──────────────┐
//!  func_info_off  func_info_len                   │ record size  │
//!  line_info_off  line_info_len                   ├──────────────┼─────────────┬───────────┐
//!  core_relo_off  core_relo_len                   │ section name │ record count│ records … │ for each section
//!                                                 └──────────────┴─────────────┴───────────┘
//! ```
//!
//! Offsets of instructions are in bytes from the start of their section, ascending.

use super::{BtfError, MAGIC, TypeId, word};

const HEADER_LEN: u32 = 32;
/// Bits of a line-info record that hold the column.
const COLUMN_BITS: u32 = 10;

/// A function starts here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FuncInfo {
    /// Byte offset in the section.
    pub offset: u32,
    /// Its `BTF_KIND_FUNC`.
    pub type_id: TypeId,
}

/// From here on instructions come from this source line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LineInfo {
    /// Byte offset in the section.
    pub offset: u32,
    /// File name (string offset).
    pub file: u32,
    /// Text of the line (string offset).
    pub text: u32,
    /// 1-based, at most 2²² − 1.
    pub line: u32,
    /// 1-based, at most 1023.
    pub column: u32,
}

/// This instruction's immediate or offset depends on the kernel's types (CO-RE).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoreRelocation {
    /// Byte offset in the section.
    pub offset: u32,
    /// Type that is accessed.
    pub type_id: TypeId,
    /// Access string such as `0:1:2` (string offset).
    pub access: u32,
    /// `enum bpf_core_relo_kind`
    pub kind: u32,
}

/// What is known of one section's instructions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SectionInfo {
    /// Name of the section (string offset).
    pub name: u32,
    /// Functions.
    pub functions: Vec<FuncInfo>,
    /// Source lines.
    pub lines: Vec<LineInfo>,
    /// CO-RE relocations.
    pub relocations: Vec<CoreRelocation>,
}

/// Content of `.BTF.ext`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BtfExt {
    /// By section, in order of first mention.
    pub sections: Vec<SectionInfo>,
}

impl BtfExt {
    /// Reads the section.
    ///
    /// # Errors
    ///
    /// As [`super::Btf::parse`].
    pub fn parse(data: &[u8]) -> Result<Self, BtfError> {
        let at = |offset| {
            word(data, offset).ok_or(BtfError::Truncated {
                need: offset + 4,
                have: data.len(),
            })
        };
        let first = at(0)?;
        if first as u16 != MAGIC {
            return Err(BtfError::BadMagic(first as u16));
        }
        let header = at(4)? as usize;
        let mut ext = Self::default();
        for part in 0..3 {
            // the third part was added later: shorter headers do not have it
            if header < 8 + (part + 1) * 8 {
                break;
            }
            let start = header + at(8 + part * 8)? as usize;
            let len = at(12 + part * 8)? as usize;
            if len == 0 {
                continue;
            }
            let end = start + len;
            let record_size = at(start)? as usize;
            let mut cursor = start + 4;
            while cursor < end {
                let name = at(cursor)?;
                let count = at(cursor + 4)?;
                cursor += 8;
                for _ in 0..count {
                    let words = [
                        at(cursor)?,
                        at(cursor + 4)?,
                        at(cursor + 8).unwrap_or(0),
                        at(cursor + 12).unwrap_or(0),
                    ];
                    ext.push(name, part, words);
                    cursor += record_size.max(8);
                }
            }
        }
        Ok(ext)
    }

    fn push(&mut self, name: u32, part: usize, [offset, second, third, fourth]: [u32; 4]) {
        let section = self.section(name);
        match part {
            0 => section.functions.push(FuncInfo {
                offset,
                type_id: TypeId(second),
            }),
            1 => section.lines.push(LineInfo {
                offset,
                file: second,
                text: third,
                line: fourth >> COLUMN_BITS,
                column: fourth & ((1 << COLUMN_BITS) - 1),
            }),
            _ => section.relocations.push(CoreRelocation {
                offset,
                type_id: TypeId(second),
                access: third,
                kind: fourth,
            }),
        }
    }

    /// The entry of a section, added if it is new.
    pub fn section(&mut self, name: u32) -> &mut SectionInfo {
        let index = self
            .sections
            .iter()
            .position(|section| section.name == name)
            .unwrap_or_else(|| {
                self.sections.push(SectionInfo {
                    name,
                    ..SectionInfo::default()
                });
                self.sections.len() - 1
            });
        &mut self.sections[index]
    }

    /// The content of the section.
    pub fn finish(&self) -> Vec<u8> {
        let functions = self.part(8, |section| {
            section.functions.iter().map(|f| vec![f.offset, f.type_id.0]).collect()
        });
        let lines = self.part(16, |section| {
            let pack = |l: &LineInfo| (l.line.min((1 << 22) - 1) << COLUMN_BITS) | l.column.min((1 << COLUMN_BITS) - 1);
            section
                .lines
                .iter()
                .map(|l| vec![l.offset, l.file, l.text, pack(l)])
                .collect()
        });
        let relocations = self.part(16, |section| {
            section
                .relocations
                .iter()
                .map(|r| vec![r.offset, r.type_id.0, r.access, r.kind])
                .collect()
        });
        let mut words = vec![u32::from(MAGIC) | (1 << 16), HEADER_LEN];
        let mut offset = 0;
        for part in [&functions, &lines, &relocations] {
            let len = part.len() as u32 * 4;
            words.extend([offset, len]);
            offset += len;
        }
        words
            .into_iter()
            .chain(functions)
            .chain(lines)
            .chain(relocations)
            .flat_map(u32::to_le_bytes)
            .collect()
    }

    /// One part: empty if no section has a record.
    fn part(&self, record_size: u32, records: impl Fn(&SectionInfo) -> Vec<Vec<u32>>) -> Vec<u32> {
        let mut words = Vec::new();
        for section in &self.sections {
            let records = records(section);
            if records.is_empty() {
                continue;
            }
            if words.is_empty() {
                words.push(record_size);
            }
            words.extend([section.name, records.len() as u32]);
            words.extend(records.into_iter().flatten());
        }
        words
    }
}
