//! What a static linker would do to an object's BTF, and the kernel insists on: sections of variables get their size, variables
//! their offset, and hidden functions become static (on 5.10 the verifier refuses global functions with pointer arguments).

use super::ObjectFile;

const KIND_FUNC: u32 = 12;
const KIND_DATASEC: u32 = 15;
const LINKAGE_STATIC: u32 = 0;
const HEADER_LEN_AT: usize = 4;

/// The patched section.
pub(super) fn patch(object: &ObjectFile) -> Vec<u8> {
    let mut bytes = object.btf_bytes.clone();
    let header = read(&bytes, HEADER_LEN_AT) as usize;
    let start = header + read(&bytes, 8) as usize;
    let end = start + read(&bytes, 12) as usize;
    let mut at = start;
    while at + 12 <= end {
        let info = read(&bytes, at + 4);
        let kind = (info >> 24) & 0x1f;
        let count = (info & 0xffff) as usize;
        let name = object.btf.string(read(&bytes, at));
        match kind {
            KIND_FUNC if is_static(object, name) => write(&mut bytes, at + 4, (info & !0xffff) | LINKAGE_STATIC),
            KIND_DATASEC => patch_section(object, &mut bytes, at, count),
            _ => {}
        }
        at += 12 + extra_len(kind, count);
    }
    bytes
}

fn patch_section(object: &ObjectFile, bytes: &mut [u8], at: usize, count: usize) {
    let name = object.btf.string(read(bytes, at)).to_owned();
    let Some((&index, section)) = object.sections.iter().find(|(_, section)| section.name == name) else {
        return;
    };
    write(bytes, at + 8, section.data.len() as u32);
    let mut variables: Vec<[u32; 3]> = (0..count)
        .map(|variable| {
            let record = at + 12 + variable * 12;
            let [id, mut offset, size] = [read(bytes, record), read(bytes, record + 4), read(bytes, record + 8)];
            let variable_name = object.btf.name(policy_compiler::btf::TypeId(id));
            if let Some(symbol) = object
                .symbols
                .values()
                .find(|symbol| symbol.section == Some(index) && symbol.name == variable_name)
            {
                offset = symbol.address as u32;
            }
            [id, offset, size]
        })
        .collect();
    // The kernel wants them ascending.
    variables.sort_by_key(|variable| variable[1]);
    for (position, words) in variables.into_iter().enumerate() {
        for (word, value) in words.into_iter().enumerate() {
            write(bytes, at + 12 + position * 12 + word * 4, value);
        }
    }
}

fn is_static(object: &ObjectFile, function: &str) -> bool {
    object
        .symbols
        .values()
        .any(|symbol| symbol.is_function && symbol.is_static && symbol.name == function)
}

/// Bytes after the common three words. The section was parsed before, so other kinds do not occur.
fn extra_len(kind: u32, count: usize) -> usize {
    match kind {
        1 | 14 | 17 => 4,
        3 => 12,
        4 | 5 | 15 | 19 => 12 * count,
        6 | 13 => 8 * count,
        _ => 0,
    }
}

fn read(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn write(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
