use std::path::Path;
use std::sync::Arc;

use tetra_api::tetragon::StackTraceEntry;

use super::Symbols;
use super::kernel::KernelSymbols;
use crate::policy::StackTraces;

#[test]
fn functions_of_the_kernel_are_found_by_any_address_in_them() {
    let mut symbols = KernelSymbols::new(Path::new("/nonexistent"));
    symbols.take(
        "ffffffff81000000 T first\n\
         ffffffff81000100 t second\n\
         ffffffff81000100 T alias_of_second\n\
         ffffffff81000180 D data\n\
         ffffffffc0000000 t in_module\t[module]\n\
         ffffffffc0100000 t bpf_prog_1234_name\t[bpf]\n",
    );
    assert_eq!(symbols.find(0xffff_ffff_8100_0000), Some(("first", 0)));
    assert_eq!(symbols.find(0xffff_ffff_8100_00ff), Some(("first", 0xff)));
    assert_eq!(symbols.find(0xffff_ffff_8100_0190), Some(("second", 0x90)));
    assert_eq!(symbols.find(0xffff_ffff_c000_0010), Some(("in_module", 0x10)));
    assert_eq!(symbols.find(0xffff_ffff_8000_0000), None);
    // what the kernel shows to those who may not know
    symbols.take("0000000000000000 T first\n");
    assert_eq!(symbols.find(0xffff_ffff_8100_0000), None);
}

#[inline(never)]
extern "C" fn a_function_to_be_found() -> u64 {
    std::hint::black_box(7)
}

#[test]
fn addresses_of_a_process_are_named_by_file_offset_and_function() {
    let address = a_function_to_be_found as extern "C" fn() -> u64 as usize as u64;
    let entry = |address| StackTraceEntry {
        address,
        ..StackTraceEntry::default()
    };
    for exposes in [false, true] {
        let mut symbols = Symbols::new("/proc".into(), exposes);
        let mut stacks = StackTraces {
            kernel: Vec::new(),
            user: vec![entry(address + 1), entry(16)],
        };
        symbols.resolve(&mut stacks, "f", std::process::id());
        let [known, unknown] = stacks.user.as_slice() else {
            panic!("{stacks:?}")
        };
        let me = std::env::current_exe().unwrap();
        assert_eq!(known.module, me.to_string_lossy());
        assert!(known.symbol.contains("a_function_to_be_found"), "{known:?}");
        assert_ne!(known.offset, 0);
        assert_eq!(known.address, if exposes { address + 1 } else { 0 });
        assert_eq!((unknown.module.as_str(), unknown.symbol.as_str()), ("", ""));
        assert_eq!(symbols.modules.len(), 1);
    }
}

#[test]
fn files_are_read_once_and_few_are_kept() {
    let mut symbols = Symbols::new("/proc".into(), false);
    let directory = tempfile::tempdir().unwrap();
    let id = |inode| {
        super::ModuleId::of(&procfs::process::MemoryMap {
            address: (0, 0),
            perms: procfs::process::MMPermissions::NONE,
            offset: 0,
            dev: (0, 0),
            inode,
            pathname: procfs::process::MMapPath::Anonymous,
            extension: procfs::process::MMapExtension::default(),
        })
    };
    let damaged = directory.path().join("damaged");
    std::fs::write(&damaged, b"\x7fELF\x02\x01\x01").unwrap();
    let first = symbols.module(id(1), &damaged);
    assert!(first.find(0).is_none());
    assert!(Arc::ptr_eq(&first, &symbols.module(id(1), &damaged)));
    for inode in 2..200 {
        symbols.module(id(inode), &damaged);
        symbols.module(id(1), &damaged);
    }
    assert_eq!(symbols.modules.len(), super::MODULES);
    // what is used stays
    assert!(Arc::ptr_eq(&first, &symbols.module(id(1), &damaged)));
}
