//! The runtime library, called through `c/tests/library.bpf.c`, which listens to `getpriority` with impossible arguments.
#![expect(unsafe_code, reason = "system calls that std does not have")]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ebpf::record::{
    ARG_FAULT, ARG_OK, ARG_TRUNCATED, ArgumentPath, ArgumentSock, ArgumentSockaddr, PATH_DELETED, PATH_UNRESOLVED,
    PolicyCounter, RECORD_FLAG_UNDECIDED, RECORD_FLAG_UNKNOWN_PROCESS, Record, RecordPolicy,
};
use zerocopy::FromBytes;

use crate::harness::{self, Loaded, is_legacy, kernel_allows_bpf, object};

#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(u32)]
enum Operation {
    WalkFd,
    WalkFile,
    WalkPath,
    WalkDentry,
    WalkExe,
    WalkExeTrusted,
    WalkPwdTrusted,
    WalkDentryTrusted,
    ReadUser,
    ReadKernel,
    ReadSock,
    ReadSockaddr,
    Lineage,
    LineageNamespace,
    RateLimit,
    Pending,
    Lane,
    Overflow,
    Nesting,
}

fn load_library() -> Loaded {
    let mut library = harness::load(object!("library"), 1 << 22);
    library.attach_tracepoint("library", "sys_enter");
    library
}

fn call(operation: Operation, who: u32, address: *const u8) {
    // SAFETY: getpriority reads no memory; it fails with EINVAL on a `which` it does not know.
    unsafe { libc::syscall(libc::SYS_getpriority, 0x7e7a_0000 | operation as u32, who, address) };
}

/// A record without its borrow.
struct Answer {
    fixed: RecordPolicy,
    arguments: Vec<(u32, Vec<u8>)>,
}

impl Answer {
    fn integer(&self, index: usize) -> i64 {
        i64::read_from_bytes(&self.arguments[index].1).unwrap()
    }

    fn path(&self, index: usize) -> (String, ArgumentPath) {
        let (fixed, text) = ArgumentPath::read_from_prefix(&self.arguments[index].1).unwrap();
        (String::from_utf8(text.to_vec()).unwrap(), fixed)
    }
}

fn next_answer(library: &mut Loaded) -> Answer {
    let mut answer = None;
    library.read_until(|record| {
        let Record::Policy(record) = record else {
            panic!("the library sends policy records only")
        };
        answer = Some(Answer {
            fixed: record.fixed,
            arguments: record
                .arguments()
                .map(|argument| (argument.status, argument.payload.to_vec()))
                .collect(),
        });
        true
    });
    let answer = answer.unwrap();
    assert_eq!(answer.arguments.len(), answer.fixed.argument_count as usize);
    answer
}

fn ask(library: &mut Loaded, operation: Operation, who: u32, address: *const u8) -> Answer {
    call(operation, who, address);
    let answer = next_answer(library);
    assert_eq!(answer.fixed.call_id, operation as u64);
    answer
}

fn path_of(library: &mut Loaded, operation: Operation, file: &impl AsRawFd) -> (String, ArgumentPath) {
    let answer = ask(library, operation, file.as_raw_fd() as u32, std::ptr::null());
    let (text, path) = answer.path(1);
    assert_eq!(answer.integer(0), text.len() as i64);
    assert_eq!(answer.arguments[1].0, ARG_OK);
    (text, path)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn records_say_who_and_what() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut library = load_library();
    let answer = ask(&mut library, Operation::WalkExe, 0, std::ptr::null());
    assert_eq!(answer.fixed.header.tgid, std::process::id());
    // SAFETY: gettid has no preconditions.
    assert_eq!(answer.fixed.header.tid as i32, unsafe { libc::gettid() });
    assert_eq!(
        answer.fixed.header.flags,
        RECORD_FLAG_UNDECIDED | RECORD_FLAG_UNKNOWN_PROCESS
    );
    assert_eq!(
        (
            answer.fixed.object_tag,
            answer.fixed.template_index,
            answer.fixed.action
        ),
        (0xabcd, 5, 3)
    );
    assert_eq!(answer.fixed.header.start_ktime, 0);
    assert_ne!(answer.fixed.cgroup_id, 0);
    assert_eq!(library.policy_counter(1, PolicyCounter::PostSent), 1);
}

#[test]
fn paths_are_those_of_procfs() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut library = load_library();
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().canonicalize().unwrap();
    let deep = directory.join("a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t");
    std::fs::create_dir_all(&deep).unwrap();
    let long = directory.join("x".repeat(255)).join("y".repeat(255));
    std::fs::create_dir_all(&long).unwrap();
    let file = directory.join("file");
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    for path in [
        &file,
        &deep,
        &long,
        &directory,
        Path::new("/proc/sys/kernel/osrelease"),
        Path::new("/usr/bin"),
        Path::new("/dev/null"),
    ] {
        let opened = File::open(path).unwrap();
        let path = path.canonicalize().unwrap();
        for operation in [Operation::WalkFd, Operation::WalkFile, Operation::WalkPath] {
            let (walked, argument) = path_of(&mut library, operation, &opened);
            assert_eq!(walked, text(&path), "{operation:?}");
            assert_eq!(argument.flags, 0);
            assert_eq!(argument.mode as u32, opened.metadata().unwrap().permissions().mode());
        }
    }
    let (walked, argument) = path_of(&mut library, Operation::WalkFd, &File::open("/").unwrap());
    assert_eq!((walked.as_str(), argument.flags), ("", 0));
    // a dentry knows no mounts
    let (walked, _) = path_of(
        &mut library,
        Operation::WalkDentry,
        &File::open("/proc/sys/kernel/osrelease").unwrap(),
    );
    assert_eq!(walked, "/sys/kernel/osrelease");
    let me = std::env::current_exe().unwrap().canonicalize().unwrap();
    let operations = [Operation::WalkExe, Operation::WalkExeTrusted];
    for operation in &operations[..if is_legacy() { 1 } else { 2 }] {
        let (walked, argument) = ask(&mut library, *operation, 0, std::ptr::null()).path(1);
        assert_eq!((walked.as_str(), argument.flags), (text(&me), 0));
    }
}

#[test]
fn what_has_no_path_says_so() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut library = load_library();
    let answer = ask(&mut library, Operation::WalkFd, 999_999, std::ptr::null());
    assert_eq!((answer.integer(0), answer.arguments[1].0), (-1, ARG_FAULT));
    let answer = ask(&mut library, Operation::WalkFd, u32::MAX, std::ptr::null());
    assert_eq!((answer.integer(0), answer.arguments[1].0), (-1, ARG_FAULT));
    // pipes and sockets have no path: the text of the root of their file system
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(path_of(&mut library, Operation::WalkFd, &socket).0, "");
}

#[test]
fn a_deleted_file_is_marked() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut library = load_library();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap().join("gone");
    let file = File::create(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    for operation in [Operation::WalkFd, Operation::WalkFile, Operation::WalkPath] {
        let (walked, argument) = path_of(&mut library, operation, &file);
        assert_eq!(walked, format!("{} (deleted)", text(&path)));
        assert_eq!(argument.flags, PATH_DELETED);
    }
}

/// Opens or makes directories one by one, which goes deeper than `PATH_MAX` allows at once.
fn descend(from: &Path, names: impl Iterator<Item = String>) -> OwnedFd {
    let mut at = OwnedFd::from(File::open(from).unwrap());
    for name in names {
        let name = CString::new(name).unwrap();
        // SAFETY: descriptor and string are valid; openat's result is checked and owned by nobody else.
        at = unsafe {
            assert_eq!(libc::mkdirat(at.as_raw_fd(), name.as_ptr(), 0o700), 0);
            let fd = libc::openat(at.as_raw_fd(), name.as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY);
            assert!(fd >= 0);
            OwnedFd::from_raw_fd(fd)
        };
    }
    at
}

#[test]
fn a_path_of_two_thousand_components_is_whole_and_a_longer_one_is_a_marked_suffix() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut library = load_library();
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let base = directory.path().canonicalize().unwrap();
    let room = 4096 - text(&base).len();
    let components = room / 2;
    let end = descend(&base, (0..components).map(|i| (i % 10).to_string()));
    let mut expected = text(&base).to_owned();
    for i in 0..components {
        expected.push('/');
        expected.push(char::from_digit(i as u32 % 10, 10).unwrap());
    }
    let (walked, argument) = path_of(&mut library, Operation::WalkFd, &end);
    assert_eq!(argument.flags, 0, "{} components", components + 2);
    assert_eq!(walked, expected);

    let beyond = descend(
        Path::new(&format!("/proc/self/fd/{}", end.as_raw_fd())),
        ["name-too-long".to_owned()].into_iter(),
    );
    for operation in [Operation::WalkFd, Operation::WalkDentry] {
        let (walked, argument) = path_of(&mut library, operation, &beyond);
        assert_eq!(argument.flags, PATH_UNRESOLVED, "{operation:?}");
        assert_eq!(walked.len(), 4096);
        assert!((expected.clone() + "/name-too-long").ends_with(&walked));
    }
}

#[test]
fn paths_cross_mounts_and_end_at_the_root_of_the_process() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut library = load_library();
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().canonicalize().unwrap();
    // a mount namespace and file system context of this thread's own
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let c = |path: &Path| CString::new(text(path)).unwrap();
            let mount = |source: &CStr, target: &Path, kind: Option<&CStr>, flags| {
                // SAFETY: all strings are valid C strings and outlive the call.
                let error = unsafe {
                    libc::mount(
                        source.as_ptr(),
                        c(target).as_ptr(),
                        kind.map_or(std::ptr::null(), CStr::as_ptr),
                        flags,
                        std::ptr::null(),
                    )
                };
                assert_eq!(
                    error,
                    0,
                    "mount on {}: {}",
                    target.display(),
                    std::io::Error::last_os_error()
                );
            };
            // SAFETY: no memory is involved; only this thread is concerned.
            if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
                harness::skip("no mount namespaces");
                return;
            }
            mount(c"none", Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE);
            let (outer, bound) = (base.join("outer"), base.join("bound"));
            std::fs::create_dir_all(&outer).unwrap();
            std::fs::create_dir_all(&bound).unwrap();
            mount(c"none", &outer, Some(c"tmpfs"), 0);
            let inner = outer.join("one/inner");
            std::fs::create_dir_all(&inner).unwrap();
            mount(c"none", &inner, Some(c"tmpfs"), 0);
            std::fs::create_dir_all(inner.join("two")).unwrap();
            std::fs::write(inner.join("two/file"), "").unwrap();
            mount(&c(&inner.join("two")), &bound, None, libc::MS_BIND);

            for path in [
                inner.join("two/file"),
                inner.clone(),
                outer.clone(),
                bound.join("file"),
                bound.clone(),
            ] {
                let opened = File::open(&path).unwrap();
                for operation in [Operation::WalkFd, Operation::WalkFile, Operation::WalkPath] {
                    assert_eq!(path_of(&mut library, operation, &opened).0, text(&path));
                }
            }
            assert_eq!(
                path_of(
                    &mut library,
                    Operation::WalkDentry,
                    &File::open(bound.join("file")).unwrap()
                )
                .0,
                "/two/file"
            );

            let outside = File::open(base.join("outer/one")).unwrap();
            let file = File::open(inner.join("two/file")).unwrap();
            std::env::set_current_dir(&inner).unwrap();
            if !is_legacy() {
                assert_eq!(
                    ask(&mut library, Operation::WalkPwdTrusted, 0, std::ptr::null())
                        .path(1)
                        .0,
                    text(&inner)
                );
                std::env::set_current_dir(inner.join("two")).unwrap();
                assert_eq!(
                    ask(&mut library, Operation::WalkPwdTrusted, 0, std::ptr::null())
                        .path(1)
                        .0,
                    text(&inner.join("two"))
                );
                assert_eq!(
                    ask(&mut library, Operation::WalkDentryTrusted, 0, std::ptr::null())
                        .path(1)
                        .0,
                    "/two"
                );
            }
            // SAFETY: the string is valid; only this thread is concerned.
            assert_eq!(unsafe { libc::chroot(c(&inner).as_ptr()) }, 0);
            assert_eq!(path_of(&mut library, Operation::WalkFd, &file).0, "/two/file");
            assert_eq!(
                path_of(&mut library, Operation::WalkFd, &File::open("/").unwrap()).0,
                ""
            );
            // outside of its root: told from the root of the mount tree
            assert_eq!(
                path_of(&mut library, Operation::WalkFd, &outside).0,
                text(&base.join("outer/one"))
            );
        });
    });
}

#[test]
fn user_strings_of_any_length_are_read() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut library = load_library();
    for len in [0, 1, 7, 8, 255, 4094, 4095, 4096, 4097, 10_000] {
        let string = CString::new("s".repeat(len)).unwrap();
        let answer = ask(&mut library, Operation::ReadUser, 0, string.as_ptr().cast());
        let expected = len.min(4096);
        assert_eq!(answer.integer(0), expected as i64);
        assert_eq!(answer.arguments[1].1, string.as_bytes()[..expected], "{len}");
        assert_eq!(answer.arguments[1].0, if len > 4096 { ARG_TRUNCATED } else { ARG_OK });
    }
    for address in [0_usize, 16, 0xffff_8000_0000_0000] {
        let answer = ask(
            &mut library,
            Operation::ReadUser,
            0,
            std::ptr::without_provenance(address),
        );
        assert_eq!(
            (answer.integer(0), answer.arguments[1].0, answer.arguments[1].1.len()),
            (-1, ARG_FAULT, 0)
        );
    }
    let file = File::open("/proc/sys/kernel/osrelease").unwrap();
    let answer = ask(
        &mut library,
        Operation::ReadKernel,
        file.as_raw_fd() as u32,
        std::ptr::null(),
    );
    assert_eq!(answer.arguments[1].1, b"osrelease");
}

fn sock_of(library: &mut Loaded, socket: &impl AsRawFd) -> ArgumentSock {
    let answer = ask(
        library,
        Operation::ReadSock,
        socket.as_raw_fd() as u32,
        std::ptr::null(),
    );
    assert_eq!(answer.integer(0), 0);
    ArgumentSock::read_from_bytes(&answer.arguments[1].1).unwrap()
}

#[test]
fn sockets_are_told() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut library = load_library();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let stream = TcpStream::connect(server).unwrap();
    let client = stream.local_addr().unwrap();
    let mark = 77_u32;
    // SAFETY: the option's address and size are those of a live u32.
    let marked = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MARK,
            (&raw const mark).cast(),
            4,
        )
    } == 0;
    let sock = sock_of(&mut library, &stream);
    assert_eq!((sock.family, sock.r#type, sock.protocol, sock.state), (2, 1, 6, 1));
    assert_eq!((sock.sport, sock.dport), (client.port(), server.port()));
    assert_eq!(
        (&sock.saddr[..4], &sock.daddr[..4]),
        (&[127, 0, 0, 1][..], &[127, 0, 0, 1][..])
    );
    assert_eq!(sock.mark, if marked { mark } else { 0 });
    assert_ne!(sock.cookie, 0);
    let sock = sock_of(&mut library, &listener);
    assert_eq!((sock.state, sock.sport, sock.dport), (10, server.port(), 0));

    if let Ok(socket) = UdpSocket::bind("[::1]:0") {
        let peer = UdpSocket::bind("[::1]:0").unwrap();
        socket.connect(peer.local_addr().unwrap()).unwrap();
        let sock = sock_of(&mut library, &socket);
        assert_eq!((sock.family, sock.r#type, sock.protocol), (10, 2, 17));
        assert_eq!(
            (sock.saddr[15], sock.daddr[15], sock.dport),
            (1, 1, peer.local_addr().unwrap().port())
        );
    }
    let (unix, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let sock = sock_of(&mut library, &unix);
    assert_eq!((sock.family, sock.sport, sock.dport, sock.saddr), (1, 0, 0, [0; 16]));
}

#[test]
fn socket_addresses_are_told() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut library = load_library();
    let mut read = |bytes: &[u8]| {
        let answer = ask(&mut library, Operation::ReadSockaddr, 0, bytes.as_ptr());
        assert_eq!(answer.integer(0), 0);
        ArgumentSockaddr::read_from_bytes(&answer.arguments[1].1).unwrap()
    };
    let v4 = read(&[2, 0, 0x1f, 0x90, 10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((v4.family, v4.port, &v4.addr[..4]), (2, 8080, &[10, 1, 2, 3][..]));
    let mut bytes = [0; 28];
    bytes[..4].copy_from_slice(&[10, 0, 0, 53]);
    bytes[8..24].copy_from_slice(&std::array::from_fn::<u8, 16, _>(|i| i as u8));
    let v6 = read(&bytes);
    assert_eq!(
        (v6.family, v6.port, v6.addr),
        (10, 53, std::array::from_fn(|i| i as u8))
    );
    let unix = read(b"\x01\0/run/socket\0\0\0\0");
    assert_eq!((unix.family, unix.port, unix.addr), (1, 0, [0; 16]));
    let answer = ask(&mut library, Operation::ReadSockaddr, 0, std::ptr::null());
    assert_eq!((answer.integer(0), answer.arguments[1].0), (-1, ARG_FAULT));
}

#[test]
fn lineage_reaches_from_the_process_to_pid_1() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut library = load_library();
    // a process of the initial pid namespace has no pid in one of its own
    let own_namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let is_initial = own_namespace == Path::new("pid:[4026531836]");
    for (pid, expected) in [
        (std::process::id(), 1),
        (std::os::unix::process::parent_id(), 1),
        (1, 1),
        (u32::MAX, 0),
        (0, 0),
    ] {
        assert_eq!(
            ask(&mut library, Operation::Lineage, pid, std::ptr::null()).integer(0),
            expected,
            "{pid}"
        );
        assert_eq!(
            ask(&mut library, Operation::LineageNamespace, pid, std::ptr::null()).integer(0),
            if is_initial { -1 } else { expected },
            "{pid}"
        );
    }
}

#[test]
fn rate_limits_tell_arguments_apart() {
    if !kernel_allows_bpf() {
        return;
    }
    let library = load_library();
    let strings: Vec<CString> = ["a", "b", &"x".repeat(40), &("x".repeat(40) + "y")]
        .map(|s| CString::new(s).unwrap())
        .into();
    let hour_ms = 3_600_000;
    for string in &strings {
        for _ in 0..3 {
            call(Operation::RateLimit, hour_ms, string.as_ptr().cast());
        }
    }
    // all four lengths differ, so the last two are not taken for one
    assert_eq!(library.policy_counter(1, PolicyCounter::PostSent), 4);
    assert_eq!(library.policy_counter(1, PolicyCounter::RateLimited), 8);
    call(Operation::RateLimit, 0, strings[0].as_ptr().cast());
    assert_eq!(library.policy_counter(1, PolicyCounter::PostSent), 5);
    // only the first 40 bytes count
    let (one, other) = (
        CString::new("z".repeat(40) + "1").unwrap(),
        CString::new("z".repeat(40) + "2").unwrap(),
    );
    call(Operation::RateLimit, hour_ms, one.as_ptr().cast());
    call(Operation::RateLimit, hour_ms, other.as_ptr().cast());
    assert_eq!(library.policy_counter(1, PolicyCounter::PostSent), 6);
}

#[test]
fn a_pending_call_is_taken_once() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut library = load_library();
    let answer = ask(&mut library, Operation::Pending, 42, std::ptr::null());
    let values: Vec<i64> = (0..7).map(|i| answer.integer(i)).collect();
    // the slots 1 and 67, modulo 64
    assert_eq!(values, [0, 0, 0, 42, 0, 42, 1 << 1 | 1 << 3]);
}

#[test]
fn scratch_elements_run_out_and_come_back() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut library = load_library();
    for _ in 0..3 {
        let answer = ask(&mut library, Operation::Nesting, 0, std::ptr::null());
        // the test program holds one of three itself
        assert_eq!((answer.integer(0), answer.integer(1)), (0b011, 1));
    }
}

#[test]
fn a_record_that_does_not_fit_is_counted_as_lost() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut library = load_library();
    let string = CString::new("t".repeat(4096)).unwrap();
    let answer = ask(&mut library, Operation::Overflow, 5, string.as_ptr().cast());
    for (status, payload) in &answer.arguments {
        assert_eq!((*status, &payload[..]), (ARG_OK, string.as_bytes()));
    }
    assert_eq!(answer.fixed.argument_count, 5);
    call(Operation::Overflow, 6, string.as_ptr().cast());
    assert_eq!(library.policy_counter(1, PolicyCounter::PostLost), 1);
    let small = CString::new("u".repeat(2500)).unwrap();
    let answer = ask(&mut library, Operation::Overflow, 8, small.as_ptr().cast());
    assert!(answer.arguments.iter().all(|(_, payload)| payload == small.as_bytes()));
    assert_eq!(library.policy_counter(1, PolicyCounter::PostSent), 2);
}

#[test]
fn the_enforcement_lane_has_its_own_ring() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut library = load_library();
    call(Operation::Lane, 9, std::ptr::null());
    let record = library.next_of_lane();
    let Some(Record::Policy(record)) = Record::parse(&record) else {
        panic!("no record in the lane")
    };
    let arguments: Vec<_> = record.arguments().collect();
    assert_eq!(
        (arguments[0].status, arguments[0].payload),
        (ARG_FAULT, &9_u64.to_le_bytes()[..])
    );
}
