//! Hooks on user binaries: functions (§3.4) and static probes (§3.5), found in the file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracingpolicy_crd::parse::suggest;
use tracingpolicy_crd::{ArgSpec, FieldPath, Policy, UprobeSpec, UsdtSpec, value};

use super::Resolver;
use super::hook::Common;
use crate::binary::{Binary, Function};
use crate::codes;
use crate::hir::{Hook, Target, UserName, UserTarget};
use crate::output::{HookKind, UserPlace};

/// The greatest offset of a reference counter: the kernel takes 32 bits of them (`PERF_UPROBE_REF_CTR_OFFSET_BITS`).
const MAX_REF_CTR_OFFSET: u64 = u32::MAX as u64;

/// The binaries that the kernel facts should be collected for, by path, with the digests that are wanted of each in the form
/// `sha256:…`.
pub fn binaries_needed<'p>(policies: impl IntoIterator<Item = &'p Policy>) -> BTreeMap<String, BTreeSet<String>> {
    let mut needed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for policy in policies {
        for hook in &policy.spec.uprobes {
            let digests = hook.binary_digests.iter().map(|digest| digest.to_ascii_lowercase());
            needed.entry(hook.path.clone()).or_default().extend(digests);
        }
        for hook in &policy.spec.usdts {
            needed.entry(hook.path.clone()).or_default();
        }
    }
    needed
}

/// A place in a binary before it is checked.
struct Found {
    name: UserName,
    offset: u64,
    ref_ctr_offset: u64,
    /// Where the policy says it.
    path: FieldPath,
}

impl Resolver<'_> {
    /// A hook of `uprobes`: one for each place.
    pub(super) fn uprobe(&mut self, index: usize, spec: &UprobeSpec, path: &FieldPath, hooks: &mut Vec<Hook>) {
        self.refuse_outside_of_uprobe(spec, path);
        let Some(binary) = self.user_binary(&spec.path, &path.key("path")) else {
            return;
        };
        if !self.has_digest(spec, &binary, path) {
            return;
        }
        let mut places = Vec::new();
        for (i, symbol) in spec.symbols.iter().enumerate() {
            let path = path.key("symbols").index(i);
            places.extend(self.symbol(symbol, &spec.path, &binary, &path).map(|offset| Found {
                name: UserName::Symbol(symbol.clone()),
                offset,
                ref_ctr_offset: spec.ref_ctr_offsets.get(i).copied().unwrap_or(0),
                path,
            }));
        }
        for (i, offset) in spec.offsets.iter().enumerate() {
            places.push(Found {
                name: UserName::Offset,
                offset: *offset,
                ref_ctr_offset: spec.ref_ctr_offsets.get(i).copied().unwrap_or(0),
                path: path.key("offsets").index(i),
            });
        }
        for (i, address) in spec.addrs.iter().enumerate() {
            let path = path.key("addrs").index(i);
            let Some(offset) = binary.offset_of(*address) else {
                self.error(
                    codes::SYMBOL_NOT_FOUND,
                    &path,
                    format!("nothing of `{}` is loaded at address {address:#x}", spec.path),
                    "addresses are those of `objdump -d` or `nm`; an offset in the file is written under `offsets`",
                );
                continue;
            };
            places.push(Found {
                name: UserName::Offset,
                offset,
                ref_ctr_offset: 0,
                path,
            });
        }
        if spec.has_return && binary.is_go {
            self.error(
                codes::NOT_ATTACHABLE,
                &path.key("return"),
                format!("`{}` is a Go program: its functions cannot be watched at their return", spec.path),
                "leave out `return: true`: Go moves its stacks, and the return address that the kernel replaces would crash the program",
            );
            return;
        }
        for found in places {
            let Some(target) = self.user_target(&spec.path, &binary, &found) else {
                continue;
            };
            if spec.has_return && !self.may_return(&target, &binary, &found) {
                continue;
            }
            let (mut arguments, returned) = self.function_arguments(
                &target,
                &spec.args,
                spec.return_arg.as_ref().filter(|_| spec.has_return),
                path,
            );
            arguments.extend(self.data(&target, &spec.data, path));
            let common = Common {
                kind: HookKind::Uprobe,
                index,
                message: &spec.message,
                tags: &spec.tags,
                selectors: &spec.selectors,
                path,
                name_path: found.path,
            };
            let specs: Vec<&ArgSpec> = spec.args.iter().collect();
            self.finish(&common, target, &specs, arguments, returned, hooks);
        }
    }

    /// A hook of `usdts`: one for each place at which the probe stands.
    pub(super) fn usdt(&mut self, index: usize, spec: &UsdtSpec, path: &FieldPath, hooks: &mut Vec<Hook>) {
        self.refuse_btf_of_binary(&spec.btf_path, path);
        let Some(binary) = self.user_binary(&spec.path, &path.key("path")) else {
            return;
        };
        let is_meant = |probe: &&crate::binary::StaticProbe| probe.provider == spec.provider && probe.name == spec.name;
        let places: Vec<Found> = binary
            .probes
            .iter()
            .filter(is_meant)
            .map(|probe| Found {
                name: UserName::Probe(spec.provider.clone(), spec.name.clone()),
                offset: probe.offset,
                ref_ctr_offset: probe.semaphore,
                path: path.key("name"),
            })
            .collect();
        if places.is_empty() {
            self.probe_not_found(spec, &binary, path);
            return;
        }
        for found in places {
            let Some(target) = self.user_target(&spec.path, &binary, &found) else {
                continue;
            };
            let arguments = self.arguments(&target, &spec.args, path);
            let common = Common {
                kind: HookKind::Usdt,
                index,
                message: &spec.message,
                tags: &spec.tags,
                selectors: &spec.selectors,
                path,
                name_path: found.path,
            };
            let specs: Vec<&ArgSpec> = spec.args.iter().collect();
            self.finish(&common, target, &specs, arguments, None, hooks);
        }
    }

    fn user_binary(&mut self, name: &str, path: &FieldPath) -> Option<Arc<Binary>> {
        let facts = self.facts;
        let problem = match facts.binaries.get(name) {
            Some(Ok(binary)) if binary.arch == Some(facts.arch) => return Some(binary.clone()),
            Some(Ok(_)) => "it is compiled for another instruction set".to_owned(),
            Some(Err(reason)) => reason.clone(),
            None => "it has not been looked at".to_owned(),
        };
        self.error(
            codes::BINARY_NOT_FOUND,
            path,
            format!("`{name}` cannot be hooked: {problem}"),
            "write the absolute path of a program or shared library as the agent sees it; that of a container is below \
             `/proc/PID/root`",
        );
        None
    }

    /// Whether the binary is one of those that the policy is for; reports if not.
    fn has_digest(&mut self, spec: &UprobeSpec, binary: &Binary, path: &FieldPath) -> bool {
        let wanted = &spec.binary_digests;
        let is_known = |digest: &String| binary.digests.contains(&digest.to_ascii_lowercase());
        if wanted.is_empty() || wanted.iter().any(is_known) {
            return true;
        }
        let path = path.key("binaryDigests");
        let algorithms: BTreeSet<&str> = wanted.iter().filter_map(|w| w.split(':').next()).collect();
        let of_algorithm = |digest: &&String| algorithms.contains(digest.split(':').next().unwrap_or_default());
        let has: Vec<&str> = binary.digests.iter().filter(of_algorithm).map(String::as_str).collect();
        let has = if has.is_empty() {
            "it has no build id".to_owned()
        } else {
            format!("it has {}", suggest::list(has.into_iter()))
        };
        let message = format!("`{}` has none of these digests", spec.path);
        if spec
            .ignore
            .as_ref()
            .is_some_and(|ignore| ignore.digest_verification_failure)
        {
            let message = format!("{message}, the hook is left out");
            self.warning(
                codes::DIGEST_DIFFERS,
                &path,
                message,
                format!("{has}; `ignore.digestVerificationFailure` asks for this"),
            );
        } else {
            self.error(
                codes::DIGEST_DIFFERS,
                &path,
                message,
                format!(
                    "{has}; add that if the file is the one meant, or set `ignore: {{digestVerificationFailure: true}}`"
                ),
            );
        }
        false
    }

    /// The offset of `symbol` or `symbol+offset`.
    fn symbol(&mut self, written: &str, of: &str, binary: &Binary, path: &FieldPath) -> Option<u64> {
        if let Some(function) = binary.functions.get(written) {
            return self.callable(written, *function, path);
        }
        let split = written.rsplit_once('+');
        let with_offset = split.and_then(|(name, offset)| {
            let offset = u64::try_from(value::integer(offset)?).ok()?;
            Some((name, *binary.functions.get(name)?, offset))
        });
        if let Some((name, function, offset)) = with_offset {
            if function.size > 0 && offset >= function.size {
                self.error(
                    codes::SYMBOL_NOT_FOUND,
                    path,
                    format!(
                        "`{name}` has {} bytes, offset {offset} is behind its end",
                        function.size
                    ),
                    "the offset is that of an instruction within the function",
                );
                return None;
            }
            return self.callable(name, function, path)?.checked_add(offset);
        }
        let name = split
            .filter(|(_, offset)| value::integer(offset).is_some())
            .map_or(written, |(name, _)| name);
        let help = if binary.imports.contains(name) {
            "the binary takes it from a shared library: hook the library, whose path `ldd` shows".to_owned()
        } else if binary.functions.is_empty() {
            "the binary is stripped: it names no functions; use `offsets`".to_owned()
        } else {
            let near = suggest::closest(name, binary.functions.keys().map(String::as_str));
            near.map_or_else(
                || format!("`nm -D {of}` and `nm {of}` list the names it has"),
                |near| format!("did you mean `{near}`?"),
            )
        };
        self.error(
            codes::SYMBOL_NOT_FOUND,
            path,
            format!("`{of}` has no function `{name}`"),
            help,
        );
        None
    }

    fn callable(&mut self, name: &str, function: Function, path: &FieldPath) -> Option<u64> {
        if function.is_indirect {
            self.error(
                codes::NOT_ATTACHABLE,
                path,
                format!(
                    "`{name}` is chosen when the library is loaded (IFUNC): the symbol names the function that chooses"
                ),
                "hook the variant that this machine uses by its offset, under `offsets`",
            );
            return None;
        }
        Some(function.offset)
    }

    fn user_target(&mut self, path: &str, binary: &Binary, found: &Found) -> Option<Target> {
        if !binary.is_executable(found.offset) {
            self.error(
                codes::SYMBOL_NOT_FOUND,
                &found.path,
                format!("`{path}` has no instructions at offset {:#x}", found.offset),
                "offsets are those of the file; an address as `objdump -d` shows it is written under `addrs`",
            );
            return None;
        }
        if found.ref_ctr_offset > MAX_REF_CTR_OFFSET {
            self.error(
                codes::BAD_VALUE,
                &found.path,
                format!(
                    "the reference counter at offset {:#x} is beyond what the kernel takes",
                    found.ref_ctr_offset
                ),
                "the offset is that of the counter in the file, below 4 GiB",
            );
            return None;
        }
        Some(Target::User(UserTarget {
            place: UserPlace {
                path: path.to_owned(),
                identity: binary.identity,
                offset: found.offset,
                ref_ctr_offset: found.ref_ctr_offset,
            },
            name: found.name.clone(),
        }))
    }

    /// Whether a function can be watched at its return from a place; reports if not. The kernel takes what the stack pointer shows
    /// there for the return address and replaces it: behind the first instruction that would break the program.
    fn may_return(&mut self, target: &Target, binary: &Binary, found: &Found) -> bool {
        let starts = |function: &Function| function.offset == found.offset;
        let holds = |function: &Function| {
            let within = found.offset.checked_sub(function.offset);
            within.is_some_and(|within| within < function.size)
        };
        let is_start = binary.functions.values().any(starts);
        let is_within = binary.functions.values().any(holds);
        let is_written_so = matches!(&found.name, UserName::Symbol(symbol) if !binary.functions.contains_key(symbol));
        if is_start || !(is_within || is_written_so) {
            return true;
        }
        self.error(
            codes::NOT_ATTACHABLE,
            &found.path,
            format!(
                "{} is not the beginning of a function: its return cannot be watched from there",
                super::target_name(target)
            ),
            "hook the function at its beginning, or leave out `return: true`",
        );
        false
    }

    fn probe_not_found(&mut self, spec: &UsdtSpec, binary: &Binary, path: &FieldPath) {
        let providers: BTreeSet<&str> = binary.probes.iter().map(|probe| probe.provider.as_str()).collect();
        let (path, what, names) = if binary.probes.is_empty() || providers.contains(spec.provider.as_str()) {
            let of_provider = binary.probes.iter().filter(|probe| probe.provider == spec.provider);
            let names: BTreeSet<&str> = of_provider.map(|probe| probe.name.as_str()).collect();
            (path.key("name"), "its probes are", names)
        } else {
            (path.key("provider"), "its providers are", providers)
        };
        let help = if names.is_empty() {
            "it has no static probes at all".to_owned()
        } else {
            format!("{what} {}", suggest::list(names.into_iter()))
        };
        self.error(
            codes::PROBE_NOT_FOUND,
            &path,
            format!("`{}` has no static probe `{}:{}`", spec.path, spec.provider, spec.name),
            help,
        );
    }
}
