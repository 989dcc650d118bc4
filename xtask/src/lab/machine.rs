//! One guest: virtiofsd and QEMU, the command channel, and the time-out.

use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::channel::{self, FromGuest};
use super::{Kernel, Lab, setup};
use crate::process::{self, KillOnDrop};

/// Kernel command line of every guest. No mitigations and no address randomisation, so that instruction counts repeat.
const COMMAND_LINE: &str = "console=ttyS0 panic=-1 quiet mitigations=off nokaslr tsc=reliable no_timer_check nowatchdog audit=0 \
                            cryptomgr.notests random.trust_cpu=on";

/// How long QEMU and virtiofsd may take to come up.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// How a guest is made.
#[derive(Clone, clap::Args)]
pub(crate) struct Options {
    /// Processors of the guest (always one with --icount)
    #[arg(long, default_value_t = 2)]
    pub(crate) cpus: u32,
    /// Memory of the guest in MB
    #[arg(long, default_value_t = 1024)]
    pub(crate) memory: u32,
    /// Seconds after which the guest is ended (status 124)
    #[arg(long, default_value = "300", value_parser = seconds)]
    pub(crate) timeout: Duration,
    /// Directory of the host that the guest may write to; may be repeated
    #[arg(long, value_name = "DIR")]
    pub(crate) share: Vec<PathBuf>,
    /// Let one guest instruction last one nanosecond: clocks count instructions
    #[arg(long)]
    pub(crate) icount: bool,
    /// Active security modules; empty for the kernel's own default (without `bpf` on 5.10)
    #[arg(long, default_value = "landlock,lockdown,yama,integrity,bpf", value_name = "LIST")]
    pub(crate) lsm: String,
    /// Show the guest's console
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cpus: 2,
            memory: 1024,
            timeout: Duration::from_mins(5),
            share: Vec::new(),
            icount: false,
            lsm: "landlock,lockdown,yama,integrity,bpf".to_owned(),
            verbose: false,
        }
    }
}

/// How a command in a guest ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// With this status; 128 + the signal if one killed it.
    Exited(u8),
    /// It did not: the guest was ended.
    TimedOut,
}

/// Takes what a command in a guest prints, as it comes.
pub(crate) trait Sink {
    /// Bytes of standard output.
    fn output(&mut self, bytes: &[u8]);
    /// Bytes of standard error.
    fn error_output(&mut self, bytes: &[u8]);
}

/// Passes everything on to our own streams.
pub(crate) struct Streams;

impl Sink for Streams {
    fn output(&mut self, bytes: &[u8]) {
        let mut stream = std::io::stdout().lock();
        // a closed stdout ends us by the next print; nothing to add here
        let _closed = stream.write_all(bytes).and_then(|()| stream.flush());
    }

    fn error_output(&mut self, bytes: &[u8]) {
        let _closed = std::io::stderr().write_all(bytes);
    }
}

/// A guest to be.
pub(crate) struct Machine {
    /// Kernel it runs.
    pub(crate) kernel: Kernel,
    /// The rest of its make-up.
    pub(crate) options: Options,
    /// Environment of the command besides the few variables every command gets.
    pub(crate) environment: Vec<(String, String)>,
}

/// Removes the directory of a guest when it is gone.
struct RunDirectory(PathBuf);

impl Drop for RunDirectory {
    fn drop(&mut self) {
        // left-overs are swept by the next run
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

impl Machine {
    /// Boots, runs `command` in the current directory and ends the guest.
    ///
    /// # Errors
    /// If the guest does not come up, or dies before the command has ended; the message holds the end of its console.
    pub(crate) fn run(&self, lab: &Lab, command: &[String], sink: &mut dyn Sink) -> Result<Outcome> {
        let directory = RunDirectory(run_directory()?);
        self.run_in(lab, &directory.0, command, sink).map_err(|error| {
            let mut message = format!("kernel {}", self.kernel.name());
            for log in ["console", "qemu.log", "root.log"] {
                let text = std::fs::read(directory.0.join(log)).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                let lines: Vec<&str> = text.lines().collect();
                if !lines.is_empty() {
                    let part = format!(
                        "\n--- {log}\n{}\n---",
                        lines[lines.len().saturating_sub(40)..].join("\n")
                    );
                    message.push_str(&part);
                }
            }
            error.context(message)
        })
    }

    fn run_in(&self, lab: &Lab, directory: &Path, command: &[String], sink: &mut dyn Sink) -> Result<Outcome> {
        let deadline = Instant::now() + self.options.timeout;
        let shares: Vec<PathBuf> = self
            .options
            .share
            .iter()
            .map(|share| {
                share
                    .canonicalize()
                    .with_context(|| format!("share `{}`", share.display()))
            })
            .collect::<Result<_>>()?;

        let mut filesystems = vec![start_virtiofsd(lab, directory, "root", Path::new("/"), true)?];
        for (index, share) in shares.iter().enumerate() {
            filesystems.push(start_virtiofsd(lab, directory, &format!("share{index}"), share, false)?);
        }
        let listener = UnixListener::bind(directory.join("control.sock"))?;
        listener.set_nonblocking(true)?;
        for filesystem in &mut filesystems {
            await_socket(filesystem)?;
        }
        let log = std::fs::File::create(directory.join("qemu.log"))?;
        let mut qemu = KillOnDrop(
            self.qemu(lab, directory, &shares)?
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .context("starting qemu-system-x86_64")?,
        );
        let mut port = accept(&listener, &mut qemu)?;
        channel::send_command(&mut port, command, &std::env::current_dir()?, &self.environment())?;

        let (sender, frames) = mpsc::channel();
        let mut reading = port.try_clone()?;
        let reader = std::thread::spawn(move || {
            loop {
                let frame = channel::receive(&mut reading);
                let last = !matches!(frame, Ok(Some(FromGuest::Output(_) | FromGuest::ErrorOutput(_))));
                if sender.send(frame).is_err() || last {
                    break;
                }
            }
        });
        let mut console = Console {
            path: directory.join("console"),
            shown: 0,
        };
        let outcome = loop {
            if self.options.verbose {
                console.show(sink);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break Ok(Outcome::TimedOut);
            }
            match frames.recv_timeout(left.min(Duration::from_millis(200))) {
                Ok(Ok(Some(FromGuest::Output(bytes)))) => sink.output(&bytes),
                Ok(Ok(Some(FromGuest::ErrorOutput(bytes)))) => sink.error_output(&bytes),
                Ok(Ok(Some(FromGuest::Status(status)))) => break Ok(Outcome::Exited(status)),
                Ok(Err(error)) => break Err(error.context("command channel")),
                Ok(Ok(None)) | Err(RecvTimeoutError::Disconnected) => {
                    break Err(anyhow::anyhow!(
                        "the guest went away before its command ended (kernel panic?)"
                    ));
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(status) = qemu.0.try_wait()? {
                        break Err(anyhow::anyhow!("QEMU ended: {status}"));
                    }
                }
            }
        };
        drop(qemu);
        // QEMU is gone, so this only makes sure that the reader sees the end of the stream
        let _closed = port.shutdown(Shutdown::Both);
        reader.join().expect("the reader does not panic");
        outcome
    }

    /// Few variables, so that a command sees the same environment whoever starts the guest.
    fn environment(&self) -> Vec<(String, String)> {
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
        let mut environment: Vec<(String, String)> = [
            ("PATH", path.as_str()),
            ("HOME", "/root"),
            ("USER", "root"),
            ("LANG", "C.UTF-8"),
            ("TERM", "dumb"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        environment.push(("TETRA_LAB_KERNEL".to_owned(), self.kernel.name().to_owned()));
        environment.extend(self.environment.iter().cloned());
        environment
    }

    fn qemu(&self, lab: &Lab, directory: &Path, shares: &[PathBuf]) -> Result<std::process::Command> {
        let kernel = lab.kernel_directory(self.kernel);
        let cpus = if self.options.icount { 1 } else { self.options.cpus };
        let mut qemu = process::bound_to_us("qemu-system-x86_64");
        qemu.args([
            "-machine",
            "q35,memory-backend=mem,graphics=off,vmport=off,usb=off,hpet=off",
        ])
        .args([
            "-accel",
            if cpus > 1 {
                "tcg,thread=multi"
            } else {
                "tcg,thread=single"
            },
        ])
        .args(["-cpu", "max,-la57"])
        .args(["-smp", &cpus.to_string()])
        .args(["-m", &self.options.memory.to_string()])
        // virtiofs needs guest memory that another process can map
        .args([
            "-object",
            &format!("memory-backend-memfd,id=mem,size={}M,share=on", self.options.memory),
        ])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(kernel.join("vmlinux"))
        .arg("-initrd")
        .arg(setup::initrd_path(lab, self.kernel)?)
        .args(["-serial", &format!("file:{}", directory.join("console").display())])
        .args(["-device", "virtio-serial-pci"])
        .args([
            "-chardev",
            &format!("socket,id=control,path={}", directory.join("control.sock").display()),
        ])
        .args(["-device", "virtserialport,chardev=control,name=tetra-lab"]);
        if self.options.icount {
            qemu.args(["-icount", "shift=0,sleep=off"]);
        }
        let tags = std::iter::once("root".to_owned()).chain((0..shares.len()).map(|index| format!("share{index}")));
        for tag in tags {
            qemu.args([
                "-chardev",
                &format!(
                    "socket,id={tag},path={}",
                    directory.join(format!("{tag}.sock")).display()
                ),
            ])
            .args([
                "-device",
                &format!("vhost-user-fs-pci,chardev={tag},tag={tag},queue-size=1024"),
            ]);
        }
        let mut line = format!("{COMMAND_LINE} lab.modules={}", kernel.join("lib/modules").display());
        if self.options.icount {
            line.push_str(" nohz=off"); // regular ticks, so that a short run either has one or has none
        }
        if !self.options.lsm.is_empty() {
            let part = format!(" lsm={}", self.options.lsm);
            line.push_str(&part);
        }
        if !shares.is_empty() {
            let list: Vec<String> = shares.iter().map(|share| share.display().to_string()).collect();
            let part = format!(" lab.shares={}", list.join(","));
            line.push_str(&part);
        }
        qemu.arg("-append").arg(line);
        Ok(qemu)
    }
}

/// A new directory for a guest's sockets and logs; not in the lab, whose path may be longer than a socket's may be (107
/// bytes). Directories of processes that are gone are removed.
fn run_directory() -> Result<PathBuf> {
    const PREFIX: &str = "tetra-lab-";
    let all = std::env::temp_dir();
    for entry in std::fs::read_dir(&all)?.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|rest| rest.split('-').next());
        if let Some(pid) = owner.and_then(|pid| pid.parse::<u32>().ok())
            && !Path::new("/proc").join(pid.to_string()).exists()
        {
            // another run may have removed it already
            let _left = std::fs::remove_dir_all(entry.path());
        }
    }
    for number in 0..1000 {
        let directory = all.join(format!("{PREFIX}{}-{number}", std::process::id()));
        match std::fs::create_dir(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => {
                return other
                    .map(|()| directory.clone())
                    .with_context(|| format!("creating `{}`", directory.display()));
            }
        }
    }
    bail!("`{}` is full of `{PREFIX}*`", all.display())
}

/// A running virtiofsd and the socket it will listen on.
struct Filesystem {
    child: KillOnDrop,
    socket: PathBuf,
}

fn start_virtiofsd(lab: &Lab, directory: &Path, tag: &str, shared: &Path, read_only: bool) -> Result<Filesystem> {
    let program = lab.virtiofsd().context("virtiofsd is missing")?;
    let socket = directory.join(format!("{tag}.sock"));
    let log = std::fs::File::create(directory.join(format!("{tag}.log")))?;
    let mut command = process::bound_to_us(program);
    command
        .arg("--socket-path")
        .arg(&socket)
        .arg("--shared-dir")
        .arg(shared)
        // the guest is ours and runs what we run here anyway; a sandbox would need mount namespaces
        .args([
            "--sandbox=none",
            "--log-level",
            "error",
            "--no-announce-submounts",
            "--xattr",
        ])
        .args(["--cache", if read_only { "always" } else { "auto" }]);
    if read_only {
        command.arg("--readonly");
    }
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("starting virtiofsd")?;
    Ok(Filesystem {
        child: KillOnDrop(child),
        socket,
    })
}

/// Calls `ready` until it gives something, for at most [`START_DEADLINE`].
fn await_ready<T>(what: &str, mut ready: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("{what} did not come up in {} s", START_DEADLINE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn await_socket(filesystem: &mut Filesystem) -> Result<()> {
    await_ready("virtiofsd", || {
        if let Some(status) = filesystem.child.0.try_wait()? {
            bail!("virtiofsd ended: {status}");
        }
        Ok(filesystem.socket.exists().then_some(()))
    })
}

fn accept(listener: &UnixListener, qemu: &mut KillOnDrop) -> Result<UnixStream> {
    await_ready("QEMU", || match listener.accept() {
        Ok((stream, _)) => {
            stream.set_nonblocking(false)?;
            Ok(Some(stream))
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => match qemu.0.try_wait()? {
            Some(status) => bail!("QEMU ended: {status}"),
            None => Ok(None),
        },
        Err(error) => Err(error.into()),
    })
}

/// The guest's console, shown as it grows.
struct Console {
    path: PathBuf,
    shown: usize,
}

impl Console {
    fn show(&mut self, sink: &mut dyn Sink) {
        let bytes = std::fs::read(&self.path).unwrap_or_default();
        if bytes.len() > self.shown {
            sink.error_output(&bytes[self.shown..]);
            self.shown = bytes.len();
        }
    }
}
