//! The base process sensor.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use ebpf::SENSOR;
use ebpf::record::{
    EXEC_DATA_ARGS, EXEC_DELETED, EXEC_FILE_CAPS, EXEC_FILELESS, EXEC_ROOT_CWD, EXEC_SETGID, EXEC_SETUID,
    PROCESS_CLONED, PROCESS_EXECED, Record, RecordClone, RecordExec, RecordExit, SensorCounter,
};

use crate::harness::{self, Loaded, kernel_allows_bpf};

fn load_sensor(ring_bytes: u32) -> Loaded {
    let mut sensor = harness::load(SENSOR, ring_bytes);
    sensor.attach_tracepoint("sensor_exec", "sched_process_exec");
    sensor.attach_tracepoint("sensor_fork", "sched_process_fork");
    sensor.attach_tracepoint("sensor_exit", "sched_process_exit");
    sensor
}

/// What a process left behind.
#[derive(Default, Debug)]
struct Life {
    clone: Option<RecordClone>,
    execs: Vec<Exec>,
    exits: Vec<RecordExit>,
    data: Vec<u8>,
    data_ktime: u64,
}

#[derive(Debug)]
struct Exec {
    fixed: RecordExec,
    filename: String,
    args: Vec<u8>,
    cwd: Vec<u8>,
    cgroup: String,
}

impl Life {
    fn add(&mut self, record: &Record<'_>) {
        match *record {
            Record::Exec(record) => self.execs.push(Exec {
                fixed: record.fixed,
                filename: String::from_utf8_lossy(record.filename).into_owned(),
                args: record.args.to_vec(),
                cwd: record.cwd.to_vec(),
                cgroup: String::from_utf8_lossy(record.cgroup_name).into_owned(),
            }),
            Record::Clone(record) => self.clone = Some(record),
            Record::Exit(record) => self.exits.push(record),
            Record::Data(record) => {
                assert_eq!(record.fixed.offset as usize, self.data.len(), "chunks come in order");
                self.data.extend_from_slice(record.bytes);
                self.data_ktime = record.fixed.header.ktime;
            }
            Record::Policy(_) | Record::Buffer(_) => panic!("the sensor sends no policy records"),
        }
    }
}

/// Runs a command to its end and gives back all records of its process.
fn life_of(sensor: &mut Loaded, command: &mut Command) -> Life {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let mut life = Life::default();
    sensor.read_until(|record| {
        if record.header().tgid == pid {
            life.add(&record);
        }
        !life.exits.is_empty()
    });
    life
}

#[test]
fn a_process_is_reported_from_fork_to_exit() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut sensor = load_sensor(1 << 22);
    let directory = tempfile::tempdir().unwrap();
    let cwd = directory.path().canonicalize().unwrap();
    let life = life_of(
        &mut sensor,
        Command::new("/bin/sh")
            .args(["-c", "exit 7", "", "b c"])
            .current_dir(&cwd),
    );

    let me = std::process::id();
    let clone = life.clone.unwrap();
    assert_eq!(clone.parent_tgid, me);
    assert_eq!(clone.process_flags & (PROCESS_CLONED | PROCESS_EXECED), PROCESS_CLONED);
    let [exec] = &life.execs[..] else {
        panic!("one exec, not {:?}", life.execs)
    };
    assert_eq!(exec.filename, "/bin/sh");
    assert_eq!(exec.args, b"-c\0exit 7\0\0b c\0");
    assert_eq!(exec.fixed.args_total as usize, exec.args.len());
    assert_eq!(exec.cwd, cwd.as_os_str().as_encoded_bytes());
    assert_eq!(exec.fixed.parent_tgid, me);
    assert_eq!(exec.fixed.old_start_ktime, clone.header.start_ktime);
    assert_eq!(exec.fixed.header.start_ktime, exec.fixed.header.ktime);
    assert_eq!(
        exec.fixed.process_flags & (PROCESS_CLONED | PROCESS_EXECED),
        PROCESS_CLONED | PROCESS_EXECED
    );
    assert_eq!(
        exec.fixed.exec_flags & (EXEC_FILELESS | EXEC_DELETED | EXEC_SETUID | EXEC_DATA_ARGS | EXEC_ROOT_CWD),
        0
    );
    assert_eq!(exec.fixed.nlink, 1);
    let metadata = std::fs::metadata("/bin/sh").unwrap();
    assert_eq!(exec.fixed.inode, std::os::unix::fs::MetadataExt::ino(&metadata));
    assert!(clone.header.ktime < exec.fixed.header.ktime);
    let exit = life.exits[0];
    assert_eq!(exit.exit_code, 7 << 8);
    assert_eq!(exit.header.start_ktime, exec.fixed.header.start_ktime);
    assert!(exec.fixed.header.ktime < exit.header.ktime);
}

#[test]
fn namespaces_credentials_and_cgroup_are_those_of_procfs() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut sensor = load_sensor(1 << 22);
    let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let mut life = Life::default();
    sensor.read_until(|record| {
        if record.header().tgid == pid {
            life.add(&record);
        }
        !life.execs.is_empty()
    });
    let exec = &life.execs[0];
    let names = [
        "uts",
        "ipc",
        "mnt",
        "pid",
        "pid_for_children",
        "net",
        "time",
        "time_for_children",
        "cgroup",
        "user",
    ];
    for (name, inum) in names.iter().zip(exec.fixed.ns) {
        let link = std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert!(
            link.to_str().unwrap().ends_with(&format!("[{inum}]")),
            "{name}: {inum} is not {}",
            link.display()
        );
    }
    let process = sensor.process(pid).unwrap();
    assert_eq!(process.ns, exec.fixed.ns);
    assert_eq!(process.start_ktime, exec.fixed.header.start_ktime);
    assert_eq!(process.policy_words, [0; 8]);

    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| -> Vec<&str> {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .trim_start_matches(':')
            .split_whitespace()
            .collect()
    };
    let creds = exec.fixed.creds;
    let ids =
        |real: u32, effective: u32, saved: u32, fs: u32| [real, effective, saved, fs].map(|id| id.to_string()).to_vec();
    assert_eq!(field("Uid"), ids(creds.uid, creds.euid, creds.suid, creds.fsuid));
    assert_eq!(field("Gid"), ids(creds.gid, creds.egid, creds.sgid, creds.fsgid));
    assert_eq!(
        u64::from_str_radix(field("CapPrm")[0], 16).unwrap(),
        creds.cap_permitted
    );
    assert_eq!(
        u64::from_str_radix(field("CapEff")[0], 16).unwrap(),
        creds.cap_effective
    );
    assert_eq!(
        u64::from_str_radix(field("CapInh")[0], 16).unwrap(),
        creds.cap_inheritable
    );
    if let Ok(loginuid) = std::fs::read_to_string(format!("/proc/{pid}/loginuid")) {
        assert_eq!(loginuid.trim(), creds.auid.to_string());
    }
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    assert_eq!(path.rsplit('/').next().unwrap(), exec.cgroup.trim_start_matches('/'));
    for mount in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        if std::path::Path::new(mount).join("cgroup.controllers").exists() {
            let metadata = std::fs::metadata(format!("{mount}{path}")).unwrap();
            assert_eq!(std::os::unix::fs::MetadataExt::ino(&metadata), exec.fixed.cgroup_id);
        }
    }
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn long_arguments_come_in_chunks_before_their_exec() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut sensor = load_sensor(1 << 24);
    let arguments: Vec<String> = (0..25)
        .map(|i| i.to_string().repeat(8192 / i.to_string().len()))
        .collect();
    let mut expected = arguments.join("\0").into_bytes();
    expected.push(0);
    assert!(expected.len() > 200_000);
    let life = life_of(&mut sensor, Command::new("/bin/true").args(&arguments));
    let exec = &life.execs[0];
    assert_eq!(exec.fixed.exec_flags & EXEC_DATA_ARGS, EXEC_DATA_ARGS);
    assert_eq!(
        (exec.fixed.args_len, exec.fixed.args_total as usize),
        (0, expected.len())
    );
    assert_eq!(life.data_ktime, exec.fixed.header.ktime);
    assert!(life.data == expected);
    assert_eq!(sensor.sensor_counter(SensorCounter::DataLost), 0);
}

#[test]
fn arguments_around_the_inline_limit_are_whole() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut sensor = load_sensor(1 << 22);
    for (len, argv0) in [
        (12287, "a".to_owned()),
        (12288, "b".to_owned()),
        (5, String::new()),
        (5, "c".repeat(4094)),
        (5, "d".repeat(4095)),
        (5, "e".repeat(4096)),
        (5, "f".repeat(100_000)),
    ] {
        let argument = "x".repeat(len);
        let life = life_of(&mut sensor, Command::new("/bin/true").arg0(&argv0).arg(&argument));
        let exec = &life.execs[0];
        let args = if exec.fixed.exec_flags & EXEC_DATA_ARGS != 0 {
            &life.data
        } else {
            &exec.args
        };
        assert_eq!(
            args.len(),
            len + 1,
            "argv[0] of {} bytes, argument of {len}: {:?}",
            argv0.len(),
            exec.fixed
        );
        assert!(args[..len] == *argument.as_bytes());
    }
}

#[test]
fn the_largest_arguments_the_kernel_takes_are_whole() {
    if !kernel_allows_bpf() {
        return;
    }
    // a quarter of the stack limit, at most 6 MiB, environment and pointers included
    let mut sensor = load_sensor(1 << 24);
    let argument = "y".repeat(131_071);
    let mut command = Command::new("/bin/true");
    command.env_clear().args((0..14).map(|_| &argument));
    let life = life_of(&mut sensor, &mut command);
    assert_eq!(life.data.len(), 14 * 131_072);
    assert_eq!(life.execs[0].fixed.args_total, 14 * 131_072);
}

#[test]
fn a_working_directory_of_any_depth_is_told() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut sensor = load_sensor(1 << 22);
    let directory = tempfile::tempdir().unwrap();
    for depth in [0, 1, 7, 8, 9, 60] {
        let mut path = directory.path().canonicalize().unwrap();
        path.extend((0..depth).map(|i| format!("{i}{}", "d".repeat(50))));
        std::fs::create_dir_all(&path).unwrap();
        let life = life_of(&mut sensor, Command::new("/bin/true").current_dir(&path));
        assert_eq!(life.execs[0].cwd, path.as_os_str().as_encoded_bytes(), "depth {depth}");
    }
    let life = life_of(&mut sensor, Command::new("/bin/true").current_dir("/"));
    assert_eq!(life.execs[0].fixed.exec_flags & EXEC_ROOT_CWD, EXEC_ROOT_CWD);
    assert!(life.execs[0].cwd.is_empty());
    let life = life_of(&mut sensor, Command::new("/bin/true").current_dir("/proc/sys/kernel"));
    assert_eq!(life.execs[0].cwd, b"/proc/sys/kernel");
}

#[test]
#[expect(unsafe_code, reason = "memfd_create has no safe form in std")]
fn an_image_without_a_file_is_told() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut sensor = load_sensor(1 << 22);
    // SAFETY: the name is a valid C string; the result is checked and owned by nobody else.
    let memfd = unsafe {
        let fd = libc::memfd_create(c"image".as_ptr(), 0);
        assert!(fd >= 0);
        OwnedFd::from_raw_fd(fd)
    };
    let path = format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        std::os::fd::AsRawFd::as_raw_fd(&memfd)
    );
    std::fs::copy("/bin/true", &path).unwrap();
    let life = life_of(&mut sensor, &mut Command::new(&path));
    let exec = &life.execs[0];
    assert_eq!(exec.filename, path);
    assert_eq!(
        (exec.fixed.nlink, exec.fixed.exec_flags & EXEC_FILELESS),
        (0, EXEC_FILELESS)
    );
}

#[test]
fn a_deleted_image_is_told() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut sensor = load_sensor(1 << 22);
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    std::fs::copy("/bin/true", &image).unwrap();
    let file = std::fs::File::open(&image).unwrap();
    std::fs::remove_file(&image).unwrap();
    let path = format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        std::os::fd::AsRawFd::as_raw_fd(&file)
    );
    let life = life_of(&mut sensor, &mut Command::new(&path));
    let fixed = life.execs[0].fixed;
    assert_eq!(
        (fixed.nlink, fixed.exec_flags & (EXEC_FILELESS | EXEC_DELETED)),
        (0, EXEC_FILELESS | EXEC_DELETED)
    );
}

#[test]
#[expect(unsafe_code, reason = "setxattr has no safe form in std")]
fn what_raises_privileges_is_told() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut sensor = load_sensor(1 << 22);
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let image = directory.path().join("image");
    let raised = |sensor: &mut Loaded, mode, uid| {
        std::fs::set_permissions(&image, std::fs::Permissions::from_mode(mode)).unwrap();
        let life = life_of(sensor, Command::new(&image).uid(uid).gid(uid));
        let fixed = life.execs[0].fixed;
        (
            fixed.exec_flags & (EXEC_SETUID | EXEC_SETGID | EXEC_FILE_CAPS),
            fixed.creds.euid,
            fixed.creds.egid,
            fixed.creds.cap_permitted,
        )
    };
    std::fs::copy("/bin/true", &image).unwrap();
    let all = raised(&mut sensor, 0o755, 0).3;
    assert_ne!(all, 0);
    assert_eq!(raised(&mut sensor, 0o755, 65534), (0, 65534, 65534, 0));
    assert_eq!(raised(&mut sensor, 0o4755, 65534), (EXEC_SETUID, 0, 65534, all));
    assert_eq!(raised(&mut sensor, 0o2755, 65534), (EXEC_SETGID, 65534, 0, 0));
    assert_eq!(
        raised(&mut sensor, 0o6755, 65534),
        (EXEC_SETUID | EXEC_SETGID, 0, 0, all)
    );
    assert_eq!(raised(&mut sensor, 0o4755, 0), (0, 0, 0, all));

    // struct vfs_cap_data, revision 2, effective: CAP_NET_RAW
    let capabilities: Vec<u8> = [0x0200_0001_u32, 1 << 13, 0, 0, 0]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect();
    let path = std::ffi::CString::new(image.to_str().unwrap()).unwrap();
    std::fs::set_permissions(&image, std::fs::Permissions::from_mode(0o755)).unwrap();
    // SAFETY: both strings and the value are live for the call.
    let error = unsafe {
        libc::setxattr(
            path.as_ptr(),
            c"security.capability".as_ptr(),
            capabilities.as_ptr().cast(),
            capabilities.len(),
            0,
        )
    };
    if error != 0 {
        harness::skip(&format!(
            "no file capabilities here: {}",
            std::io::Error::last_os_error()
        ));
        return;
    }
    assert_eq!(
        raised(&mut sensor, 0o755, 65534),
        (EXEC_FILE_CAPS, 65534, 65534, 1 << 13)
    );
}

#[test]
fn exit_codes_and_signals_are_those_of_wait() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut sensor = load_sensor(1 << 22);
    for (script, code) in [
        ("exit 0", 0),
        ("exit 255", 255 << 8),
        ("kill -9 $$", 9),
        ("kill -15 $$", 15),
    ] {
        let life = life_of(&mut sensor, Command::new("/bin/sh").args(["-c", script]));
        assert_eq!(life.exits[0].exit_code, code, "{script}");
    }
}

#[test]
fn a_process_of_many_threads_exits_once() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut sensor = load_sensor(1 << 22);
    let me = std::env::current_exe().unwrap();
    for _ in 0..20 {
        let life = life_of(
            &mut sensor,
            Command::new(&me).args(["--ignored", "--exact", "sensor::child_with_threads"]),
        );
        assert_eq!((life.execs.len(), life.exits.len()), (1, 1));
        assert_eq!(life.exits[0].exit_code, 3 << 8);
        let pid = life.exits[0].header.tgid;
        // whatever else the process had to say must have come before this
        let marker = life_of(&mut sensor, &mut Command::new("/bin/true"));
        assert_eq!(marker.exits.len(), 1);
        assert!(sensor.process(pid).is_none());
    }
}

#[expect(unsafe_code, reason = "std::process::exit lets one thread in only")]
fn exit_process() {
    // SAFETY: ends the process; its threads hold nothing that outlives it.
    unsafe { libc::_exit(3) };
}

#[test]
#[ignore = "run by a_process_of_many_threads_exits_once"]
fn child_with_threads() {
    let barrier = std::sync::Barrier::new(9);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                exit_process();
            });
        }
        barrier.wait();
    });
}

#[test]
fn a_thousand_processes_are_counted_exactly() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut sensor = load_sensor(1 << 24);
    let mut lives: BTreeMap<u32, Life> = BTreeMap::new();
    let mut started = BTreeSet::new();
    for _ in 0..1000 {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        started.insert((child.id(), started.len()));
        child.wait().unwrap();
    }
    let last = started.iter().max_by_key(|(_, order)| *order).unwrap().0;
    let me = std::process::id();
    let mut mine = BTreeSet::new();
    let (mut clones, mut execs, mut exits) = (0, 0, 0);
    sensor.read_until(|record| {
        let header = *record.header();
        match record {
            Record::Clone(clone) if clone.parent_tgid == me => {
                mine.insert(header.tgid);
                clones += 1;
            }
            Record::Exec(_) if mine.contains(&header.tgid) => execs += 1,
            Record::Exit(_) if mine.contains(&header.tgid) => {
                exits += 1;
                lives.remove(&header.tgid);
                return header.tgid == last && exits >= 1000;
            }
            _ => {}
        }
        false
    });
    assert_eq!((clones, execs, exits), (1000, 1000, 1000));
    for counter in [
        SensorCounter::CloneLost,
        SensorCounter::ExecLost,
        SensorCounter::ExitLost,
        SensorCounter::ProcessTableFull,
    ] {
        assert_eq!(sensor.sensor_counter(counter), 0, "{counter:?}");
    }
}

#[test]
fn what_a_full_ring_loses_is_counted() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut sensor = load_sensor(4096);
    for _ in 0..100 {
        Command::new("/bin/true").status().unwrap();
    }
    let sum = |sent, lost| sensor.sensor_counter(sent) + sensor.sensor_counter(lost);
    assert!(sensor.sensor_counter(SensorCounter::ExecLost) >= 80);
    assert!(sum(SensorCounter::ExecSent, SensorCounter::ExecLost) >= 100);
    assert!(sum(SensorCounter::CloneSent, SensorCounter::CloneLost) >= 100);
    assert!(sum(SensorCounter::ExitSent, SensorCounter::ExitLost) >= 100);
    let mut read = 0;
    let sent = sensor.sensor_counter(SensorCounter::ExecSent)
        + sensor.sensor_counter(SensorCounter::CloneSent)
        + sensor.sensor_counter(SensorCounter::ExitSent);
    sensor.read_until(|_| {
        read += 1;
        read == sent
    });
}
