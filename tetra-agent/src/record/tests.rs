use proptest::prelude::*;
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::*;

fn check_short(record: &[u8]) {
    for len in 0..record.len() {
        assert!(decode(&record[..len]).is_err(), "{len} of {} bytes", record.len());
    }
    assert!(decode(record).is_ok());
}

fn exec_bytes() -> Vec<u8> {
    let mut fixed = wire::RecordExec::new_zeroed();
    fixed.header.kind = wire::RECORD_EXEC;
    fixed.header.tgid = 7;
    fixed.header.ktime = 99;
    fixed.filename_len = 6;
    fixed.args_len = 4;
    fixed.cwd_len = 2;
    fixed.cgroup_name_len = 3;
    fixed.header.size = (size_of::<wire::RecordExec>() + 15) as u32;
    [fixed.as_bytes(), b"/bin/xa\0b\0/scg1"].concat()
}

#[test]
fn exec_parts_are_separated() {
    let bytes = exec_bytes();
    let Ok(Record::Exec(exec)) = decode(&bytes) else {
        unreachable!()
    };
    assert_eq!(
        (exec.filename, exec.args, exec.cwd, exec.cgroup_name),
        (&b"/bin/x"[..], &b"a\0b\0"[..], &b"/s"[..], &b"cg1"[..])
    );
    assert_eq!((exec.tgid, exec.start), (7, KernelTime(99)));
    check_short(&bytes);
}

#[test]
fn lengths_that_lie_are_refused() {
    let mut bytes = exec_bytes();
    let at = std::mem::offset_of!(wire::RecordExec, filename_len);
    bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        decode(&bytes).unwrap_err(),
        RecordError::Short {
            kind: 1,
            len: bytes.len()
        }
    );
}

#[test]
fn unknown_kinds_are_named() {
    let mut header = RecordHeader::new_zeroed();
    header.kind = 77;
    header.size = size_of::<RecordHeader>() as u32;
    assert_eq!(decode(header.as_bytes()).unwrap_err(), RecordError::Kind(77));
}

proptest! {
    #[test]
    fn any_bytes_decode_without_panic(kind in 0u16..8, mut bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if bytes.len() >= 6 {
            let len = bytes.len() as u32;
            bytes[..4].copy_from_slice(&len.to_le_bytes());
            bytes[4..6].copy_from_slice(&kind.to_le_bytes());
        }
        if let Ok(Record::Policy(policy)) = decode(&bytes) {
            prop_assert!(policy.arguments.clone().count() <= policy.argument_count as usize);
        }
    }
}
