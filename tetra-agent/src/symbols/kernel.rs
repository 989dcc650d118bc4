//! Functions of the kernel, as `/proc/kallsyms` lists them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Modules are loaded seldom: how often the list of them is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Functions of the kernel by address. Some 8 MB once they are read, which happens at the first stack trace.
#[derive(Debug)]
pub(super) struct KernelSymbols {
    kallsyms: PathBuf,
    modules: PathBuf,
    /// What `/proc/modules` said when the functions were read, and when it was looked at last.
    seen: Option<(Vec<u8>, Instant)>,
    /// Addresses in rising order, and where in `names` the name begins.
    functions: Vec<(u64, u32)>,
    /// Each ends where the next begins.
    names: String,
}

impl KernelSymbols {
    pub(super) fn new(procfs: &Path) -> Self {
        Self {
            kallsyms: procfs.join("kallsyms"),
            modules: procfs.join("modules"),
            seen: None,
            functions: Vec::new(),
            names: String::new(),
        }
    }

    /// Reads the functions if that was not done yet, or modules have come or gone.
    pub(super) fn refresh(&mut self) {
        let now = Instant::now();
        if self.seen.as_ref().is_some_and(|(_, at)| now - *at < INTERVAL) {
            return;
        }
        // a kernel without modules has no such file
        let modules = std::fs::read(&self.modules).unwrap_or_default();
        // counts of references change all the time; what is loaded where does not
        let modules = addresses(&modules);
        if self.seen.as_ref().is_none_or(|(before, _)| *before != modules) {
            match std::fs::read_to_string(&self.kallsyms) {
                Ok(text) => self.take(&text),
                Err(error) => {
                    tracing::warn!(%error, path = %self.kallsyms.display(), "the kernel's functions cannot be named");
                }
            }
        }
        self.seen = Some((modules, now));
    }

    pub(super) fn take(&mut self, kallsyms: &str) {
        self.functions.clear();
        self.names.clear();
        let mut found: Vec<(u64, &str)> = kallsyms.lines().filter_map(function).collect();
        // aliases: the first one listed
        found.sort_by_key(|&(address, _)| address);
        found.dedup_by_key(|&mut (address, _)| address);
        for (address, name) in found {
            let Ok(start) = u32::try_from(self.names.len()) else {
                break;
            };
            self.functions.push((address, start));
            self.names.push_str(name);
        }
        self.functions.shrink_to_fit();
        self.names.shrink_to_fit();
    }

    /// The function around an address, and how far into it.
    pub(super) fn find(&self, address: u64) -> Option<(&str, u64)> {
        let index = self
            .functions
            .partition_point(|&(start, _)| start <= address)
            .checked_sub(1)?;
        let &(start, name) = self.functions.get(index)?;
        let end = self
            .functions
            .get(index + 1)
            .map_or(self.names.len(), |&(_, next)| next as usize);
        Some((self.names.get(name as usize..end)?, address - start))
    }
}

/// `ffffffff81000000 T name [module]`: functions only, and none of the BPF programs, which come and go. The kernel shows zeros to
/// those who may not know.
fn function(line: &str) -> Option<(u64, &str)> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16)
        .ok()
        .filter(|&address| address != 0)?;
    let kind = words.next()?;
    let name = words.next()?;
    let is_function = matches!(kind, "t" | "T" | "w" | "W");
    (is_function && words.next() != Some("[bpf]")).then_some((address, name))
}

/// Name and address of each module of `/proc/modules`: its first and last columns.
fn addresses(modules: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for line in modules.split(|&byte| byte == b'\n') {
        let mut words = line.split(|&byte| byte == b' ');
        all.extend_from_slice(words.next().unwrap_or_default());
        all.push(b' ');
        all.extend_from_slice(words.find(|word| word.starts_with(b"0x")).unwrap_or_default());
        all.push(b'\n');
    }
    all
}
