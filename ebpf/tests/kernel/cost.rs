//! What the sensor and the library cost, in guest instructions: run in the lab under `-icount shift=0`, where the time stamp
//! counter counts instructions of the one CPU. `vmrun --icount -- KERNEL_TEST_BINARY --ignored --nocapture cost::`
#![expect(unsafe_code, reason = "fork, vfork and the time stamp counter")]

use std::ffi::CString;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use ebpf::SENSOR;

use crate::harness::{self, Loaded, is_legacy, kernel_allows_bpf, object};

fn now() -> u64 {
    // SAFETY: every x86-64 CPU has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Least cost of one call, out of many short runs: the others contain timer ticks.
fn least(calls: u64, mut call: impl FnMut()) -> u64 {
    (0..100)
        .map(|_| {
            let start = now();
            for _ in 0..calls {
                call();
            }
            (now() - start) / calls
        })
        .min()
        .unwrap()
}

fn run_alone() {
    let priority = libc::sched_param { sched_priority: 50 };
    // SAFETY: the parameter outlives the call.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) };
}

fn wait(pid: i32) {
    let mut status = 0;
    // SAFETY: the status is a live integer.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
}

fn fork_and_exit() {
    // SAFETY: the child only exits.
    match unsafe { libc::fork() } {
        // SAFETY: ends the child without running anything of the parent's.
        0 => unsafe { libc::_exit(0) },
        pid => wait(pid),
    }
}

/// The smallest program: exit(0).
fn smallest_program() -> Vec<u8> {
    let code = [0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]; // xor edi, edi; mov eax, 60; syscall
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (value, size) in [
        (2_u64, 2),
        (62, 2),
        (1, 4),
        (0x40_0078, 8),
        (64, 8),
        (0, 8),
        (0, 4),
        (64, 2),
        (56, 2),
        (1, 2),
        (0, 2),
        (0, 2),
        (0, 2),
        (1, 4),
        (5, 4),
        (0, 8),
        (0x40_0000, 8),
        (0x40_0000, 8),
        (0x81, 8),
        (0x81, 8),
        (4096, 8),
    ] {
        elf.extend_from_slice(&value.to_le_bytes()[..size]);
    }
    elf.extend_from_slice(&code);
    elf
}

fn cost_of(name: &str, before: u64, after: u64, budget: u64) {
    let added = after.saturating_sub(before);
    eprintln!("{name}: {before} + {added} (budget {budget})");
    assert!(
        added <= budget,
        "{name} costs {added} instructions more, budget {budget}"
    );
}

/// A process of its own, because the cost of a fork grows with the memory of the forking process.
#[test]
#[ignore = "run by `sensor`"]
fn forker() {
    run_alone();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("true");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&smallest_program()).unwrap();
    drop(file);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = CString::new(path.to_str().unwrap()).unwrap();
    let arguments = [path.as_ptr(), c"-a".as_ptr(), c"argument".as_ptr(), std::ptr::null()];
    let environment = [c"HOME=/root".as_ptr(), std::ptr::null()];
    let exec = || {
        // SAFETY: the child only executes, with strings that outlive it, or exits.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: as above.
            unsafe {
                libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
                libc::_exit(1);
            }
        }
        wait(pid);
    };
    std::env::set_current_dir("/usr/share/doc").unwrap();
    // to warm up, without the sensor, with it, without it again
    for _ in 0..4 {
        let costs = (least(2, fork_and_exit), least(2, exec));
        eprintln!("costs {} {}", costs.0, costs.1);
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }
}

#[test]
#[ignore = "counts instructions: needs the lab with --icount"]
fn sensor() {
    if !kernel_allows_bpf() {
        return;
    }
    let mut forker = Command::new(std::env::current_exe().unwrap());
    forker
        .args(["--ignored", "--exact", "--nocapture", "cost::forker"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let mut forker = forker.stdout(Stdio::null()).spawn().unwrap();
    let (mut go, output) = (
        forker.stdin.take().unwrap(),
        BufReader::new(forker.stderr.take().unwrap()),
    );
    let mut costs = output.lines().filter_map(|line| {
        let line = line.unwrap();
        let (fork, exec) = line.strip_prefix("costs ")?.split_once(' ')?;
        Some((fork.parse().unwrap(), exec.parse().unwrap()))
    });
    let mut next = || -> (u64, u64) { costs.next().unwrap() };
    next();
    writeln!(go).unwrap();
    let (fork_before, exec_before) = next();
    let mut sensor = harness::load(SENSOR, 1 << 24);
    sensor.attach_tracepoint("sensor_exec", "sched_process_exec");
    sensor.attach_tracepoint("sensor_fork", "sched_process_fork");
    sensor.attach_tracepoint("sensor_exit", "sched_process_exit");
    sensor.set_wakeup_bytes(1 << 23);
    writeln!(go).unwrap();
    let (fork_after, exec_after) = next();
    drop(sensor);
    writeln!(go).unwrap();
    let (fork_again, exec_again) = next();
    writeln!(go).unwrap();
    forker.wait().unwrap();
    // what differs between the runs without the sensor is noise
    eprintln!("fork {fork_before} and {fork_again}, exec {exec_before} and {exec_again} without the sensor");
    cost_of("fork, exit and wait", fork_before.min(fork_again), fork_after, 5000);
    cost_of(
        "fork, exec, exit and wait",
        exec_before.min(exec_again),
        exec_after,
        12000,
    );
}

#[test]
#[ignore = "counts instructions: needs the lab with --icount"]
fn library() {
    if !kernel_allows_bpf() {
        return;
    }
    run_alone();
    let mut library = harness::load(object!("library"), 1 << 24);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let string = c"/etc/passwd";
    let call = |operation: u32| {
        least(50, || {
            // SAFETY: getpriority reads no memory.
            unsafe {
                libc::syscall(
                    libc::SYS_getpriority,
                    0x7e7a_0000 | operation,
                    stream.as_raw_fd(),
                    string.as_ptr(),
                )
            };
        })
    };
    let unattached = call(19);
    library.attach_tracepoint("library", "sys_enter");
    library.set_wakeup_bytes(1 << 23);
    let nothing = call(19);
    cost_of("tracepoint, scratch and text", unattached, nothing, 1000);
    let measure = |library: &mut Loaded, name: &str, operation, budget| {
        let _ = library;
        cost_of(name, nothing, call(operation), budget);
    };
    for (directory, components, budget) in [
        ("/", 0, 700),
        ("/usr", 1, 700),
        ("/usr/share/doc", 3, 900),
        ("/proc/sys/kernel", 3, 1500),
    ] {
        std::env::set_current_dir(directory).unwrap();
        if !is_legacy() {
            measure(
                &mut library,
                &format!("trusted walk of {components} components, {directory}"),
                20,
                budget,
            );
        }
        measure(
            &mut library,
            &format!("walk of {components} components, {directory}"),
            21,
            3 * budget,
        );
    }
    measure(&mut library, "begin of a record", 22, 1000);
    measure(&mut library, "read of a short string", 23, 300);
    measure(&mut library, "read of a socket", 24, 1200);
    measure(&mut library, "whole record with a string and an integer", 25, 2000);
}
