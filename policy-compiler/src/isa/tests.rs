//! Each code once, and `llvm-objdump` as a second opinion.
#![allow(clippy::print_stderr, reason = "a test says why it skips")]

use std::io::Write as _;
use std::process::Command;

use super::*;

/// Instruction, code, text. `llvm-objdump` 14 knows all but those marked.
fn table() -> Vec<(Instruction, u8, &'static str, bool)> {
    use AluOperation as A;
    use JumpOperation as J;
    use Width::{W32, W64};
    let (r1, r2) = (Reg::R1, Reg::R2);
    let alu = Instruction::alu;
    let alu_imm = Instruction::alu_imm;
    let jump = Instruction::jump;
    let jump_imm = Instruction::jump_imm;
    vec![
        (alu(A::Add, W64, r1, r2), 0x0f, "r1 += r2", true),
        (alu(A::Sub, W64, r1, r2), 0x1f, "r1 -= r2", true),
        (alu(A::Mul, W64, r1, r2), 0x2f, "r1 *= r2", true),
        (alu(A::Div, W64, r1, r2), 0x3f, "r1 /= r2", true),
        (alu(A::Or, W64, r1, r2), 0x4f, "r1 |= r2", true),
        (alu(A::And, W64, r1, r2), 0x5f, "r1 &= r2", true),
        (alu(A::Lsh, W64, r1, r2), 0x6f, "r1 <<= r2", true),
        (alu(A::Rsh, W64, r1, r2), 0x7f, "r1 >>= r2", true),
        (alu(A::Xor, W64, r1, r2), 0xaf, "r1 ^= r2", true),
        (alu(A::Mov, W64, r1, r2), 0xbf, "r1 = r2", true),
        (alu(A::Arsh, W64, r1, r2), 0xcf, "r1 s>>= r2", true),
        (alu(A::Add, W32, r1, r2), 0x0c, "w1 += w2", true),
        (alu(A::Mov, W32, r1, r2), 0xbc, "w1 = w2", true),
        (alu(A::Arsh, W32, r1, r2), 0xcc, "w1 s>>= w2", true),
        (alu_imm(A::Add, W64, r1, -5), 0x07, "r1 += -5", true),
        (alu_imm(A::Mov, W64, r1, 5), 0xb7, "r1 = 5", true),
        (alu_imm(A::Lsh, W64, r1, 32), 0x67, "r1 <<= 32", true),
        (alu_imm(A::Sub, W32, r1, 5), 0x14, "w1 -= 5", true),
        (alu_imm(A::And, W32, r1, 5), 0x54, "w1 &= 5", true),
        (alu_imm(A::Mod, W64, r1, 5), 0x97, "r1 %= 5", false),
        (Instruction::to_big_endian(16, r1), 0xdc, "r1 = be16 r1", true),
        (Instruction::to_big_endian(64, r1), 0xdc, "r1 = be64 r1", true),
        (Instruction::load(1, r1, r2, 3), 0x71, "r1 = *(u8 *)(r2 + 3)", true),
        (Instruction::load(2, r1, r2, 2), 0x69, "r1 = *(u16 *)(r2 + 2)", true),
        (Instruction::load(4, r1, r2, 0), 0x61, "r1 = *(u32 *)(r2 + 0)", true),
        (
            Instruction::load(8, r1, Reg::FP, -8),
            0x79,
            "r1 = *(u64 *)(r10 - 8)",
            true,
        ),
        (Instruction::store(1, r1, 3, r2), 0x73, "*(u8 *)(r1 + 3) = r2", true),
        (Instruction::store(2, r1, 2, r2), 0x6b, "*(u16 *)(r1 + 2) = r2", true),
        (Instruction::store(4, r1, 0, r2), 0x63, "*(u32 *)(r1 + 0) = r2", true),
        (
            Instruction::store(8, Reg::FP, -8, r2),
            0x7b,
            "*(u64 *)(r10 - 8) = r2",
            true,
        ),
        (
            Instruction::store_imm(8, Reg::FP, -8, -1),
            0x7a,
            "*(u64 *)(r10 - 8) = -1",
            false,
        ),
        (Instruction::store_imm(4, r1, 4, 7), 0x62, "*(u32 *)(r1 + 4) = 7", false),
        (jump(J::Eq, W64, r1, r2, 1), 0x1d, "if r1 == r2 goto +1", true),
        (jump(J::Gt, W64, r1, r2, -2), 0x2d, "if r1 > r2 goto -2", true),
        (jump(J::Ge, W64, r1, r2, 1), 0x3d, "if r1 >= r2 goto +1", true),
        (jump(J::Set, W64, r1, r2, 1), 0x4d, "if r1 & r2 goto +1", false),
        (jump(J::Ne, W64, r1, r2, 1), 0x5d, "if r1 != r2 goto +1", true),
        (jump(J::Sgt, W64, r1, r2, 1), 0x6d, "if r1 s> r2 goto +1", true),
        (jump(J::Sge, W64, r1, r2, 1), 0x7d, "if r1 s>= r2 goto +1", true),
        (jump(J::Lt, W64, r1, r2, 1), 0xad, "if r1 < r2 goto +1", true),
        (jump(J::Le, W64, r1, r2, 1), 0xbd, "if r1 <= r2 goto +1", true),
        (jump(J::Slt, W64, r1, r2, 1), 0xcd, "if r1 s< r2 goto +1", true),
        (jump(J::Sle, W64, r1, r2, 1), 0xdd, "if r1 s<= r2 goto +1", true),
        (jump_imm(J::Eq, W64, r1, 0, 1), 0x15, "if r1 == 0 goto +1", true),
        (jump_imm(J::Ne, W32, r1, -1, 1), 0x56, "if w1 != -1 goto +1", true),
        (jump(J::Lt, W32, r1, r2, 1), 0xae, "if w1 < w2 goto +1", true),
        (Instruction::goto(-3), 0x05, "goto -3", true),
        (Instruction::goto_long(70_000), 0x06, "gotol +70000", false),
        (Instruction::call_helper(113), 0x85, "call 113", true),
        (Instruction::exit(), 0x95, "exit", true),
    ]
}

#[test]
fn each_code_has_its_encoding_and_text() {
    for (instruction, code, text, _) in table() {
        assert_eq!(instruction.code, code, "{text}");
        assert_eq!(instruction.text(None), text);
        assert_eq!(Instruction::decode(instruction.encode()), instruction);
    }
    let [low, high] = Instruction::load_imm64(Reg::R3, 0, 0x1234_5678_9abc_def0);
    assert_eq!(low.code, 0x18);
    assert!(low.is_wide() && !high.is_wide());
    assert_eq!(low.text(Some(high)), "r3 = 1311768467463790320 ll");
}

#[test]
fn any_bytes_decode_and_encode_to_the_same() {
    for code in 0..=255u8 {
        for rest in [[0u8; 7], [0xff; 7], [0x21, 0x43, 0x65, 0x87, 0xa9, 0xcb, 0xed]] {
            let mut bytes = [0; SLOT];
            bytes[0] = code;
            bytes[1..].copy_from_slice(&rest);
            let instruction = Instruction::decode(bytes);
            assert_eq!(instruction.encode(), bytes);
            assert!(!instruction.text(None).is_empty());
        }
    }
}

#[test]
fn inversion_is_its_own_inverse() {
    for operation in JumpOperation::ALL {
        if let Some(inverted) = operation.inverted() {
            assert_ne!(inverted, *operation);
            assert_eq!(inverted.inverted(), Some(*operation));
        }
    }
}

/// What `llvm-objdump` reads from these instructions; `None` if it is not installed.
fn objdump(instructions: &[Instruction], attributes: &str) -> Option<Vec<String>> {
    use object::write::{Object, StandardSection};
    let mut elf = Object::new(
        object::BinaryFormat::Elf,
        object::Architecture::Bpf,
        object::Endianness::Little,
    );
    let text = elf.section_id(StandardSection::Text);
    let bytes: Vec<u8> = instructions
        .iter()
        .flat_map(|instruction| instruction.encode())
        .collect();
    elf.append_section_data(text, &bytes, 8);
    let mut file = tempfile::NamedTempFile::new().ok()?;
    file.write_all(&elf.write().ok()?).ok()?;
    let output = Command::new("llvm-objdump")
        .args(["-d", attributes, "--no-show-raw-insn"])
        .arg(file.path())
        .output()
        .ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let texts = lines
        .lines()
        .filter(|line| line.starts_with(' '))
        .filter_map(|line| line.split_once(":\t"))
        .map(|(_, text)| {
            // the target of a jump is added in angle brackets
            let text = text.trim();
            text.strip_suffix('>')
                .and_then(|text| text.rsplit_once(" <"))
                .map_or(text, |(text, _)| text)
                .to_owned()
        });
    Some(texts.collect())
}

#[test]
fn objdump_reads_the_same() {
    // with 32-bit arithmetic switched on, objdump also writes the values of narrow loads as `w`
    let is_narrow = |text: &str| text.contains(['w']);
    for (narrow, attributes) in [(false, "--mattr=-alu32"), (true, "--mattr=+alu32")] {
        let known: Vec<_> = table()
            .into_iter()
            .filter(|(_, _, text, known)| *known && is_narrow(text) == narrow)
            .collect();
        let instructions: Vec<_> = known.iter().map(|(instruction, ..)| *instruction).collect();
        let Some(texts) = objdump(&instructions, attributes) else {
            eprintln!("skipped: llvm-objdump is not installed");
            return;
        };
        let expected: Vec<_> = known.iter().map(|(.., text, _)| (*text).to_owned()).collect();
        assert_eq!(texts, expected);
    }
}
