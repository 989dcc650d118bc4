//! Names for the addresses of stack traces: symbols of the kernel, and file, offset and symbol in a process.
//!
//! Files of processes are read, never mapped: whoever owns a mapped file can truncate it, and the reader dies of SIGBUS.

mod kernel;
mod module;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use procfs::process::{MMapPath, MemoryMap};
use tetra_api::tetragon::StackTraceEntry;

use crate::policy::StackTraces;
use kernel::KernelSymbols;
use module::{ModuleId, ModuleSymbols};

/// Files whose symbols are kept.
const MODULES: usize = 64;

/// Turns addresses into names. Reads `/proc` when it is asked and keeps what it read; nothing is read before the first stack trace.
#[derive(Debug)]
pub struct Symbols {
    procfs: PathBuf,
    exposes_addresses: bool,
    kernel: KernelSymbols,
    /// The one used last stands last.
    modules: VecDeque<(ModuleId, Arc<ModuleSymbols>)>,
}

impl Symbols {
    /// `procfs` is where procfs is mounted; addresses are left in the traces only with `exposes_addresses`, because they help
    /// who attacks the kernel.
    pub fn new(procfs: PathBuf, exposes_addresses: bool) -> Self {
        Self {
            kernel: KernelSymbols::new(&procfs),
            procfs,
            exposes_addresses,
            modules: VecDeque::new(),
        }
    }

    /// Names the addresses of stack traces that were taken at `function` of the kernel, called by process `tgid`.
    pub fn resolve(&mut self, stacks: &mut StackTraces, function: &str, tgid: u32) {
        if !stacks.kernel.is_empty() {
            self.kernel(&mut stacks.kernel, function);
        }
        if !stacks.user.is_empty() {
            self.user(&mut stacks.user, tgid);
        }
        if !self.exposes_addresses {
            let traces = stacks.kernel.iter_mut().chain(&mut stacks.user);
            traces.for_each(|entry| entry.address = 0);
        }
    }

    fn kernel(&mut self, trace: &mut Vec<StackTraceEntry>, function: &str) {
        self.kernel.refresh();
        for entry in trace.iter_mut() {
            if let Some((symbol, offset)) = self.kernel.find(entry.address) {
                symbol.clone_into(&mut entry.symbol);
                entry.offset = offset;
            }
        }
        // a program at a trampoline stands on the stack itself, above the function
        if let Some(first) = trace.iter().position(|entry| entry.symbol == function) {
            trace.drain(..first);
        }
    }

    /// A process that has ended meanwhile has no memory map: its entries stay without names.
    fn user(&mut self, trace: &mut [StackTraceEntry], tgid: u32) {
        let directory = self.procfs.join(tgid.to_string());
        let Ok(maps) = procfs::process::Process::new_with_root(directory.clone()).and_then(|process| process.maps())
        else {
            return;
        };
        for entry in trace {
            let contains = |map: &&MemoryMap| (map.address.0..map.address.1).contains(&entry.address);
            let Some(map) = maps.iter().find(contains) else {
                continue;
            };
            let in_map = entry.address - map.address.0;
            match &map.pathname {
                MMapPath::Path(path) => {
                    entry.offset = in_map + map.offset;
                    entry.module = path.to_string_lossy().into_owned();
                    let file = directory.join(format!("map_files/{:x}-{:x}", map.address.0, map.address.1));
                    let symbols = self.module(ModuleId::of(map), &file);
                    if let Some(name) = symbols.find(entry.offset) {
                        name.clone_into(&mut entry.symbol);
                    }
                }
                MMapPath::Vdso => {
                    entry.offset = in_map;
                    "[vdso]".clone_into(&mut entry.module);
                }
                // code that a program has made itself
                _ => {}
            }
        }
    }

    fn module(&mut self, id: ModuleId, file: &std::path::Path) -> Arc<ModuleSymbols> {
        let known = self.modules.iter().position(|(known, _)| *known == id);
        let symbols = match known.and_then(|position| self.modules.remove(position)) {
            Some((_, symbols)) => symbols,
            None => Arc::new(ModuleSymbols::read(file)),
        };
        if self.modules.len() >= MODULES {
            self.modules.pop_front();
        }
        self.modules.push_back((id, Arc::clone(&symbols)));
        symbols
    }
}

#[cfg(test)]
mod tests;
