//! Static probes (USDT): the notes that `<sys/sdt.h>` leaves in a binary.
//!
//! ```text
//!   note "stapsdt", type 3:   address of the probe       8 bytes
//!                             address of .stapsdt.base   8 bytes, when it was linked
//!                             address of the semaphore   8 bytes, 0: none
//!                             provider NUL name NUL arguments NUL
//! ```
//! Arguments are written as the assembler writes them, with their size before: `-4@%edi 8@-16(%rbp) 4@$7`. Source:
//! <https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation>.

use object::Endianness;

use super::Binary;

/// Type of a note of a static probe (`_SDT_NOTE_TYPE`).
const NOTE_TYPE: u32 = 3;

/// One place at which a static probe stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StaticProbe {
    /// Provider.
    pub provider: String,
    /// Name.
    pub name: String,
    /// Offset in the file.
    pub offset: u64,
    /// Offset in the file of the counter of those who watch; 0: there is none.
    pub semaphore: u64,
    /// How each argument is found; the text as it stands where it is not understood.
    pub arguments: Vec<Result<ProbeArgument, String>>,
}

/// Where an argument of a static probe is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ProbeArgument {
    /// Bytes: 1, 2, 4 or 8.
    pub size: u32,
    /// Whether it is sign-extended.
    pub signed: bool,
    /// Where.
    pub place: ArgumentPlace,
}

/// See [`ProbeArgument::place`]. Registers are named as members of `struct pt_regs`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ArgumentPlace {
    /// A number.
    Constant(i64),
    /// In a register, from this bit on.
    Register {
        /// Which.
        register: &'static str,
        /// 8 for `%ah` and its like.
        shift: u32,
    },
    /// In memory of the process.
    Memory {
        /// Register with an address.
        base: &'static str,
        /// Bytes beyond it.
        displacement: i64,
        /// Register whose multiple is added.
        index: Option<(&'static str, u32)>,
    },
}

/// A note of an ELF file.
pub(super) struct Note<'d> {
    pub(super) name: &'d [u8],
    pub(super) kind: u32,
    pub(super) description: &'d [u8],
}

/// The notes of a section, up to the first that is damaged.
pub(super) fn notes(mut bytes: &[u8], endian: Endianness) -> impl Iterator<Item = Note<'_>> {
    std::iter::from_fn(move || {
        let word = |at: usize| {
            let word = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(match endian {
                Endianness::Little => u32::from_le_bytes(word),
                Endianness::Big => u32::from_be_bytes(word),
            })
        };
        let (name_size, size, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
        let description_at = 12usize.checked_add(name_size)?.checked_next_multiple_of(4)?;
        let end = description_at.checked_add(size)?;
        let note = Note {
            name: bytes.get(12..12 + name_size)?.strip_suffix(b"\0").unwrap_or_default(),
            kind,
            description: bytes.get(description_at..end)?,
        };
        bytes = bytes.get(end.next_multiple_of(4)..).unwrap_or_default();
        Some(note)
    })
}

/// The probes of a section `.note.stapsdt`. `base` is where `.stapsdt.base` is now: prelinking moves it with everything else.
pub(super) fn read(bytes: &[u8], endian: Endianness, base: Option<u64>, binary: &Binary) -> Vec<StaticProbe> {
    notes(bytes, endian)
        .filter(|note| note.name == b"stapsdt" && note.kind == NOTE_TYPE)
        .filter_map(|note| {
            let address = |at: usize| {
                let word = note.description.get(at..at + 8)?.try_into().ok()?;
                Some(match endian {
                    Endianness::Little => u64::from_le_bytes(word),
                    Endianness::Big => u64::from_be_bytes(word),
                })
            };
            let moved = base.map_or(0, |base| base.wrapping_sub(address(8).unwrap_or(base)));
            let semaphore = address(16)?;
            let mut texts = note.description.get(24..)?.split(|byte| *byte == 0);
            let mut text = || Some(std::str::from_utf8(texts.next()?).ok()?.to_owned());
            Some(StaticProbe {
                provider: text()?,
                name: text()?,
                offset: binary.offset_of(address(0)?.wrapping_add(moved))?,
                semaphore: match semaphore {
                    0 => 0,
                    semaphore => binary.offset_of(semaphore.wrapping_add(moved))?,
                },
                arguments: split(&text()?).into_iter().map(parse).collect(),
            })
        })
        .collect()
}

/// Arguments are separated by blanks, which may also stand within parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut arguments = Vec::new();
    let (mut start, mut depth) = (0, 0usize);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 => {
                arguments.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    arguments.push(&text[start..]);
    arguments.retain(|argument| !argument.is_empty());
    arguments
}

/// One argument; the text itself if it is not understood.
fn parse(text: &str) -> Result<ProbeArgument, String> {
    read_argument(text).ok_or_else(|| text.to_owned())
}

fn read_argument(text: &str) -> Option<ProbeArgument> {
    let (size, place) = text.split_once('@')?;
    let size: i32 = size.parse().ok()?;
    if !matches!(size.abs(), 1 | 2 | 4 | 8) {
        return None;
    }
    let place = if let Some(number) = place.strip_prefix('$') {
        ArgumentPlace::Constant(i64::try_from(tracingpolicy_crd::value::integer(number)?).ok()?)
    } else if let Some((displacement, rest)) = place.split_once('(') {
        let mut parts = rest.strip_suffix(')')?.split(',').map(str::trim);
        let (base, 0) = register(parts.next()?)? else {
            return None;
        };
        let index = match parts.next() {
            Some(index) => {
                let (index, 0) = register(index)? else { return None };
                Some((index, parts.next().map_or(Some(1), |scale| scale.parse().ok())?))
            }
            None => None,
        };
        if !matches!(index, None | Some((_, 1 | 2 | 4 | 8))) || parts.next().is_some() {
            return None;
        }
        ArgumentPlace::Memory {
            base,
            displacement: match displacement.trim() {
                "" => 0,
                number => i64::try_from(tracingpolicy_crd::value::integer(number)?).ok()?,
            },
            index,
        }
    } else {
        let (register, shift) = register(place)?;
        ArgumentPlace::Register { register, shift }
    };
    Some(ProbeArgument {
        size: size.unsigned_abs(),
        signed: size < 0,
        place,
    })
}

/// The member of `struct pt_regs` that holds a register of x86-64, and the bit at which it begins there.
pub fn register(name: &str) -> Option<(&'static str, u32)> {
    let name = name.strip_prefix('%')?;
    let member = match name {
        "rax" | "eax" | "ax" | "al" => "ax",
        "rbx" | "ebx" | "bx" | "bl" => "bx",
        "rcx" | "ecx" | "cx" | "cl" => "cx",
        "rdx" | "edx" | "dx" | "dl" => "dx",
        "ah" => return Some(("ax", 8)),
        "bh" => return Some(("bx", 8)),
        "ch" => return Some(("cx", 8)),
        "dh" => return Some(("dx", 8)),
        "rsi" | "esi" | "si" | "sil" => "si",
        "rdi" | "edi" | "di" | "dil" => "di",
        "rbp" | "ebp" | "bp" | "bpl" => "bp",
        "rsp" | "esp" | "sp" | "spl" => "sp",
        "rip" => "ip",
        _ => {
            let numbered = name.trim_end_matches(['d', 'w', 'b']);
            ["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"]
                .into_iter()
                .find(|register| *register == numbered && name.len() - numbered.len() <= 1)?
        }
    };
    Some((member, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_as_the_assembler_writes_them() {
        let memory = |base, displacement, index| ArgumentPlace::Memory {
            base,
            displacement,
            index,
        };
        let register = |register, shift| ArgumentPlace::Register { register, shift };
        for (text, size, signed, place) in [
            ("-4@$-7", 4, true, ArgumentPlace::Constant(-7)),
            ("8@%rdi", 8, false, register("di", 0)),
            ("-4@%eax", 4, true, register("ax", 0)),
            ("1@%ah", 1, false, register("ax", 8)),
            ("-2@%r10w", 2, true, register("r10", 0)),
            ("8@-16(%rbp)", 8, false, memory("bp", -16, None)),
            ("4@(%rax)", 4, false, memory("ax", 0, None)),
            ("-8@8(%rsp,%r8,4)", 8, true, memory("sp", 8, Some(("r8", 4)))),
            ("8@(%rax,%rbx)", 8, false, memory("ax", 0, Some(("bx", 1)))),
        ] {
            assert_eq!(parse(text), Ok(ProbeArgument { size, signed, place }), "{text}");
        }
        for bad in [
            "4f@%xmm0",
            "8@symbol(%rip)",
            "3@%rax",
            "8@%nothing",
            "@",
            "8@(%rax,%rbx,3)",
            "8@(%ah)",
        ] {
            assert_eq!(parse(bad), Err(bad.to_owned()), "{bad}");
        }
        assert_eq!(split("4@(%rax, %rbx) 8@$1"), ["4@(%rax, %rbx)", "8@$1"]);
    }
}
