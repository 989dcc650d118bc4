//! The runtime library from every kind of hook, in trusted and in address form (`c/tests/hooks.bpf.c`). Needs kprobes,
//! trampolines and BPF LSM: the lab has them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use aya::programs::{FEntry, FExit, KProbe, Lsm, ProgramError};
use ebpf::record::{ARG_OK, ArgumentPath, ArgumentSock, ArgumentSockaddr, Record};
use zerocopy::FromBytes;

use crate::harness::{self, Loaded, kernel_allows_bpf, object};

const LSM: [(&str, &str); 6] = [
    ("lsm_file", "file_open"),
    ("lsm_binprm", "bprm_check_security"),
    ("lsm_path", "inode_getattr"),
    ("lsm_dentry", "inode_unlink"),
    ("lsm_maybe_null", "mmap_file"),
    ("lsm_outline", "file_permission"),
];
const FENTRY: [(&str, &str); 7] = [
    ("fentry_file", "security_file_open"),
    ("fentry_binprm", "security_bprm_check"),
    ("fentry_path", "security_inode_getattr"),
    ("fentry_dentry", "security_inode_unlink"),
    ("fentry_all", "security_file_permission"),
    ("fentry_sock", "tcp_connect"),
    ("fentry_outline", "security_inode_getattr"),
];
const KPROBES: [(&str, &str); 7] = [
    ("kprobe_file", "security_file_open"),
    ("kprobe_binprm", "security_bprm_check"),
    ("kprobe_path", "security_inode_getattr"),
    ("kprobe_dentry", "security_inode_unlink"),
    ("kprobe_fd", "__x64_sys_fchdir"),
    ("kprobe_connect", "security_socket_connect"),
    ("kprobe_sock", "tcp_connect"),
];

/// Unwraps, printing the last lines of a verifier log.
fn loaded(name: &str, result: Result<(), ProgramError>) {
    if let Err(ProgramError::LoadError { io_error, verifier_log }) = &result {
        let log = verifier_log.to_string();
        let tail: Vec<&str> = log.lines().rev().take(40).collect();
        panic!(
            "{name}: {io_error}\n{}",
            tail.into_iter().rev().collect::<Vec<_>>().join("\n")
        );
    }
    result.unwrap();
}

fn load_all() -> Option<Loaded> {
    let mut hooks = harness::load(object!("hooks"), 1 << 22);
    let btf = &hooks.btf;
    let probe: &mut KProbe = hooks.bpf.program_mut("kprobe_file").unwrap().try_into().unwrap();
    loaded("kprobe_file", probe.load());
    if let Err(error) = probe.attach("security_file_open", 0) {
        harness::skip(&format!("no kprobes here: {error:#}"));
        return None;
    }
    for (name, hook) in LSM {
        let program: &mut Lsm = hooks.bpf.program_mut(name).unwrap().try_into().unwrap();
        loaded(name, program.load(hook, btf));
        program.attach().unwrap();
    }
    for (name, function) in FENTRY {
        let program: &mut FEntry = hooks.bpf.program_mut(name).unwrap().try_into().unwrap();
        loaded(name, program.load(function, btf));
        program.attach().unwrap();
    }
    let program: &mut FExit = hooks.bpf.program_mut("fexit_file").unwrap().try_into().unwrap();
    loaded("fexit_file", program.load("security_file_open", btf));
    program.attach().unwrap();
    for (name, function) in &KPROBES[1..] {
        let program: &mut KProbe = hooks.bpf.program_mut(name).unwrap().try_into().unwrap();
        loaded(name, program.load());
        program.attach(function, 0).unwrap();
    }
    Some(hooks)
}

type Payloads = Vec<(u32, Vec<u8>)>;

/// What each program sent, oldest first.
fn collect(hooks: &mut Loaded) -> BTreeMap<u64, Vec<Payloads>> {
    let mut found: BTreeMap<u64, Vec<Payloads>> = BTreeMap::new();
    hooks.drain(|record| {
        let Record::Policy(record) = record else {
            panic!("policy records only")
        };
        let arguments = record
            .arguments()
            .map(|argument| (argument.status, argument.payload.to_vec()))
            .collect();
        found.entry(record.fixed.call_id).or_default().push(arguments);
    });
    found
}

fn paths(found: &BTreeMap<u64, Vec<Payloads>>, program: u64) -> Vec<String> {
    found
        .get(&program)
        .into_iter()
        .flatten()
        .map(|arguments| path(&arguments[1]))
        .collect()
}

fn path((status, payload): &(u32, Vec<u8>)) -> String {
    if *status != ARG_OK {
        return format!("status {status}");
    }
    let (_, text) = ArgumentPath::read_from_prefix(payload).unwrap();
    String::from_utf8(text.to_vec()).unwrap()
}

/// The two ends of a text, as `runtime/outline.h` defines them.
fn ends(text: &str) -> (u64, u64) {
    let mut head = [0; 8];
    let first = text.len().min(8);
    head[..first].copy_from_slice(&text.as_bytes()[..first]);
    let component = text.rfind('/').map_or("", |at| &text[at..]).as_bytes();
    let last = component.len().min(8);
    let mut tail = [0; 8];
    tail[8 - last..].copy_from_slice(&component[component.len() - last..]);
    (u64::from_le_bytes(head), u64::from_le_bytes(tail))
}

/// Compares each outline that is there with its path; gives the paths that had one and those that had none.
fn check_outlines(found: &BTreeMap<u64, Vec<Payloads>>, program: u64) -> (Vec<String>, Vec<String>) {
    let (mut told, mut untold) = (Vec::new(), Vec::new());
    for arguments in found.get(&program).into_iter().flatten() {
        let number = |i: usize| u64::from_le_bytes(arguments[i].1.as_slice().try_into().unwrap());
        let text = path(&arguments[3]);
        if number(0) == 0 {
            untold.push(text);
            continue;
        }
        assert_eq!((number(1), number(2)), ends(&text), "program {program}: {text}");
        told.push(text);
    }
    (told, untold)
}

#[test]
fn outlines_are_the_ends_of_their_paths_or_missing() {
    if !kernel_allows_bpf() {
        return;
    }
    let Some(mut hooks) = load_all() else { return };
    hooks.set_watched(std::process::id());
    collect(&mut hooks);
    let directory = tempfile::Builder::new().prefix("o").tempdir().unwrap();
    let base = directory.path().canonicalize().unwrap();
    let mut below = base.clone();
    let mut files = Vec::new();
    for length in (1..=17).chain([22, 23, 24, 25, 30, 31, 32, 33, 255]) {
        files.push(base.join("n".repeat(length)));
        files.push(base.join(format!(
            "{}.c",
            "0123456789abcdef".repeat(20).split_at(length.min(250)).0
        )));
    }
    for name in ["a", "bc", "defghijk", "lm", "n", "opq", "r", "s", "t"] {
        below.push(name);
        std::fs::create_dir(&below).unwrap();
        files.push(below.join("file"));
    }
    // short components from the root on, and mounts below it
    let short = Path::new("/tetra-o");
    std::fs::create_dir_all(short.join("a/b/c")).unwrap();
    files.extend(["f", "a/f", "a/b/f", "a/b/c/f"].map(|name| short.join(name)));
    files.push("/o".into());
    files.extend(["/run/o", "/tmp/o", "/dev/shm/o", "/run/oooooooooooo"].map(PathBuf::from));
    for file in &files {
        if std::fs::write(file, "x").is_ok() {
            assert_eq!(std::fs::read(file).unwrap(), b"x");
            let _ = std::fs::metadata(file).unwrap();
        }
    }
    for file in [
        "/proc/sys/kernel/osrelease",
        "/proc/self/stat",
        "/sys/kernel/mm/transparent_hugepage/enabled",
    ] {
        drop(std::fs::read(file));
    }
    // what has no place in a file system, or none any more
    let mut opened = File::options().read(true).write(true).open(&files[0]).unwrap();
    std::fs::remove_file(&files[0]).unwrap();
    opened.write_all(b"y").unwrap();
    let (mut from, mut to) = std::io::pipe().unwrap();
    to.write_all(b"z").unwrap();
    from.read_exact(&mut [0]).unwrap();
    for file in &files[1..] {
        drop(std::fs::remove_file(file));
    }
    std::fs::remove_dir_all(short).unwrap();

    let found = collect(&mut hooks);
    for program in [20, 21] {
        let (told, untold) = check_outlines(&found, program);
        let usual = base.join("nnnnn").to_str().unwrap().to_owned();
        assert!(told.contains(&usual), "program {program}: {told:?}, none: {untold:?}");
        assert!(told.iter().any(|path| path == "/o"), "program {program}: {told:?}");
        if program == 20 {
            assert!(told.iter().any(String::is_empty), "a pipe: {told:?}");
            assert!(untold.iter().any(|path| path.ends_with(" (deleted)")), "{untold:?}");
        }
    }
}

#[test]
fn every_function_loads_and_works_in_every_kind_of_hook() {
    if !kernel_allows_bpf() {
        return;
    }
    let Some(mut hooks) = load_all() else { return };
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().canonicalize().unwrap();
    let (file, gone) = (base.join("file"), base.join("gone"));
    std::fs::write(&file, "content").unwrap();
    std::fs::write(&gone, "").unwrap();
    let expected = file.to_str().unwrap().to_owned();
    let expected_dentry = |found: &[String]| {
        found
            .iter()
            .any(|path| expected.replace("file", "gone").ends_with(path.as_str()))
    };

    hooks.set_watched(std::process::id());
    collect(&mut hooks);
    let opened = File::open(&file).unwrap();
    std::fs::read(&file).unwrap();
    std::fs::metadata(&file).unwrap();
    std::fs::remove_file(&gone).unwrap();
    let proc = File::open("/proc/sys/kernel/osrelease").unwrap();
    std::env::set_current_dir("/").unwrap();
    let directory_file = File::open(&base).unwrap();
    fchdir(&directory_file);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let _stream = TcpStream::connect(server).unwrap();
    let found = collect(&mut hooks);
    for program in [1, 6, 7, 12] {
        let paths = paths(&found, program);
        assert!(paths.contains(&expected), "program {program}: {paths:?}");
        assert!(
            paths.contains(&"/proc/sys/kernel/osrelease".to_owned()),
            "program {program}: {paths:?}"
        );
    }
    for program in [3, 9, 14] {
        let paths = paths(&found, program);
        assert!(paths.contains(&expected), "program {program}: {paths:?}");
    }
    for program in [4, 10, 15] {
        let paths = paths(&found, program);
        assert!(expected_dentry(&paths), "program {program}: {paths:?}");
    }
    let me = std::env::current_exe().unwrap().canonicalize().unwrap();
    let all = found[&11]
        .iter()
        .find(|arguments| path(&arguments[1]) == expected)
        .expect("file permission");
    assert_eq!(path(&all[2]), me.to_str().unwrap());
    assert_eq!(all[4].1, 1_u64.to_le_bytes());
    assert_eq!(paths(&found, 16), [base.to_str().unwrap()]);
    let address = ArgumentSockaddr::read_from_bytes(&found[&17][0][0].1).unwrap();
    assert_eq!(
        (address.family, address.port, &address.addr[..4]),
        (2, server.port(), &[127, 0, 0, 1][..])
    );
    for program in [18, 19] {
        let sock = ArgumentSock::read_from_bytes(&found[&program][0][0].1).unwrap();
        assert_eq!(
            (sock.family, sock.dport, sock.protocol),
            (2, server.port(), 6),
            "program {program}"
        );
    }
    drop((opened, proc));

    // an exec: the child has to be the watched one
    let mut child = Command::new("/bin/sh");
    child
        .args(["-c", "read go && exec /usr/bin/env true"])
        .stdin(std::process::Stdio::piped());
    let mut child = child.process_group(0).spawn().unwrap();
    hooks.set_watched(child.id());
    collect(&mut hooks);
    Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
    child.wait().unwrap();
    let found = collect(&mut hooks);
    let env = Path::new("/usr/bin/env").canonicalize().unwrap();
    for program in [2, 8, 13, 5] {
        let paths = paths(&found, program);
        assert!(
            paths.contains(&env.to_str().unwrap().to_owned()),
            "program {program}: {paths:?}"
        );
    }
    // anonymous memory is mapped without a file
    assert!(paths(&found, 5).contains(&"status 1".to_owned()));
}

#[expect(unsafe_code, reason = "std changes directories by path only")]
fn fchdir(directory: &File) {
    // SAFETY: the descriptor is open; nothing else is involved.
    assert_eq!(unsafe { libc::fchdir(directory.as_raw_fd()) }, 0);
}
