//! Any bytes may come out of a ring: views never panic, and what they show lies within the record.
#![allow(clippy::unwrap_used, reason = "tests")]

use ebpf::record::{RECORD_EXEC, RECORD_POLICY, Record, RecordArgument, RecordExec, RecordHeader, RecordPolicy};
use proptest::prelude::*;
use zerocopy::IntoBytes;

fn look_at(bytes: &[u8]) {
    match Record::parse(bytes) {
        Some(Record::Exec(exec)) => {
            let shown = exec.filename.len() + exec.args.len() + exec.cwd.len() + exec.cgroup_name.len();
            assert!(size_of::<RecordExec>() + shown <= bytes.len());
        }
        Some(Record::Policy(policy)) => {
            let shown: usize = policy
                .arguments()
                .map(|argument| size_of::<RecordArgument>() + argument.payload.len())
                .sum();
            assert!(size_of::<RecordPolicy>() + shown <= bytes.len());
        }
        Some(Record::Data(data)) => assert!(data.bytes.len() <= bytes.len()),
        Some(record) => assert!(record.header().size as usize <= bytes.len()),
        None => {}
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        look_at(&bytes);
    }

    #[test]
    fn any_body_behind_a_plausible_header(kind in 0_u16..8, size in 0_u32..700, body in prop::collection::vec(0_u8..40, 0..600)) {
        let mut bytes = RecordHeader { size, kind, ..RecordHeader::default() }.as_bytes().to_vec();
        bytes.extend_from_slice(&body);
        look_at(&bytes);
    }

    #[test]
    fn an_exec_is_read_back(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 4..=4), cut in 0_usize..400) {
        let mut fixed = RecordExec {
            filename_len: parts[0].len() as u32,
            args_len: parts[1].len() as u32,
            cwd_len: parts[2].len() as u32,
            cgroup_name_len: parts[3].len() as u32,
            ..RecordExec::default()
        };
        let size = (size_of::<RecordExec>() + parts.concat().len()).next_multiple_of(8);
        fixed.header = RecordHeader { size: size as u32, kind: RECORD_EXEC, ..RecordHeader::default() };
        let mut bytes = fixed.as_bytes().to_vec();
        bytes.extend(parts.concat());
        bytes.resize(size, 0);
        let Some(Record::Exec(exec)) = Record::parse(&bytes) else { panic!("no exec") };
        prop_assert_eq!([exec.filename, exec.args, exec.cwd, exec.cgroup_name], [&parts[0][..], &parts[1], &parts[2], &parts[3]]);
        if cut < bytes.len() {
            prop_assert!(Record::parse(&bytes[..cut]).is_none());
        }
    }

    #[test]
    fn arguments_are_read_back(payloads in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..50)), 0..10)) {
        let mut body = Vec::new();
        for (status, payload) in &payloads {
            body.extend_from_slice(RecordArgument { status: *status, len: payload.len() as u32 }.as_bytes());
            body.extend_from_slice(payload);
            body.resize(body.len().next_multiple_of(8), 0);
        }
        let size = (size_of::<RecordPolicy>() + body.len()) as u32;
        let header = RecordHeader { size, kind: RECORD_POLICY, ..RecordHeader::default() };
        let fixed = RecordPolicy { header, argument_count: payloads.len() as u32, ..RecordPolicy::default() };
        let bytes = [fixed.as_bytes(), &body].concat();
        let Some(Record::Policy(policy)) = Record::parse(&bytes) else { panic!("no policy record") };
        let read: Vec<_> = policy.arguments().map(|argument| (argument.status, argument.payload.to_vec())).collect();
        prop_assert_eq!(read, payloads);
    }
}
