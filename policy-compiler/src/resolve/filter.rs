//! Selectors and their filters (§5 to §7).

use tracingpolicy_crd::{
    ArgOperator, ArgSelector, ArgSpec, BinaryOperator, BinarySelector, CapabilitySelector, CapabilityType, FieldPath,
    NamespaceChangesSelector, NamespaceSelector, PidSelector, Selector as SelectorSpec, SetOperator,
};

use super::argument::integer_width;
use super::{Resolver, address, integer, names};
use crate::codes;
use crate::hir::{
    Argument, CapabilitySet, Filter, IntegerTest, Namespace, Operand, Predicate, Selector, SockSide, SockTest, Target,
    TextComparison, TextTest,
};
use crate::output::ArgumentType;
use crate::pattern;

/// First port that needs no privilege.
const UNPRIVILEGED_PORT: u16 = 1024;

impl Resolver<'_> {
    /// One selector.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a part of the hook the selector belongs to"
    )]
    pub(super) fn selector(
        &mut self,
        index: u32,
        spec: &SelectorSpec,
        path: &FieldPath,
        target: &Target,
        specs: &[&ArgSpec],
        arguments: &[Argument],
        returned: Option<&Argument>,
    ) -> Selector {
        let policy = self.policy;
        let mut selector = Selector {
            index,
            filters: Vec::new(),
            return_filters: Vec::new(),
            actions: self.actions(&[], path, target, arguments, false),
            return_actions: self.actions(&[], path, target, arguments, true),
            line: self.line(path),
        };
        let (filters, return_filters) = (&mut selector.filters, &mut selector.return_filters);
        for (spec, path) in policy.spec.parts(spec, path) {
            self.refuse_outside_of_selector(spec, &path);
            for (i, pid) in spec.match_pids.iter().enumerate() {
                self.pid(pid, &path.key("matchPIDs").index(i), filters);
            }
            for (i, binary) in spec.match_binaries.iter().enumerate() {
                self.binary(binary, &path.key("matchBinaries").index(i), filters);
            }
            for (i, namespace) in spec.match_namespaces.iter().enumerate() {
                self.namespace(namespace, &path.key("matchNamespaces").index(i), filters);
            }
            for (i, capability) in spec.match_capabilities.iter().enumerate() {
                self.capability(capability, &path.key("matchCapabilities").index(i), false, filters);
            }
            for (i, changes) in spec.match_namespace_changes.iter().enumerate() {
                self.namespace_changes(changes, &path.key("matchNamespaceChanges").index(i), filters);
            }
            for (i, capability) in spec.match_capability_changes.iter().enumerate() {
                self.capability(capability, &path.key("matchCapabilityChanges").index(i), true, filters);
            }
            for (i, filter) in spec.match_args.iter().enumerate() {
                let path = path.key("matchArgs").index(i);
                if filter.operator == ArgOperator::CelExpr {
                    let predicate = self.expression(filter, arguments, &path);
                    let line = self.line(&path);
                    filters.extend(predicate.map(|predicate| Filter { predicate, line }));
                    continue;
                }
                if let Some(operand) = self.filtered_argument(filter, &path, target, specs, arguments) {
                    self.argument_filter(filter, &operand, &path, filters);
                }
            }
            for (i, filter) in spec.match_data.iter().enumerate() {
                let path = path.key("matchData").index(i);
                let mut data = arguments.iter().filter(|argument| argument.is_data);
                // an index that is out of range was reported by whoever checked the policy
                if let Some(operand) = data.nth(filter.index as usize).map(|argument| argument.operand.clone()) {
                    self.argument_filter(filter, &operand, &path, filters);
                }
            }
            for (i, filter) in spec.match_return_args.iter().enumerate() {
                let path = path.key("matchReturnArgs").index(i);
                match returned {
                    Some(returned) if returned.operand.is_sock() => self.error(
                        codes::NOT_COMPILED,
                        &path,
                        "filters on a socket that is returned are not compiled",
                        "leave it out, or filter where the socket is an argument",
                    ),
                    Some(returned) => self.argument_filter(filter, &returned.operand, &path, return_filters),
                    None => self.error(
                        codes::RETURN_FILTER_WITHOUT_RETURN,
                        &path,
                        "a filter on the return value of a hook that does not wait for it",
                        "add `return: true` and `returnArg` to the hook",
                    ),
                }
            }
            if !spec.match_actions.is_empty() {
                selector.actions =
                    self.actions(&spec.match_actions, &path.key("matchActions"), target, arguments, false);
            }
            if !spec.match_return_actions.is_empty() {
                let path = path.key("matchReturnActions");
                if returned.is_none() {
                    self.error(
                        codes::RETURN_FILTER_WITHOUT_RETURN,
                        &path,
                        "actions at the return of a hook that does not wait for it",
                        "add `return: true` and `returnArg` to the hook",
                    );
                }
                selector.return_actions = self.actions(&spec.match_return_actions, &path, target, arguments, true);
            }
        }
        selector
    }

    fn refuse_outside_of_selector(&mut self, spec: &SelectorSpec, path: &FieldPath) {
        for (present, key) in [
            (!spec.match_parent_binaries.is_empty(), "matchParentBinaries"),
            (!spec.match_workloads.is_empty(), "matchWorkloads"),
        ] {
            if present {
                self.error(
                    codes::NOT_COMPILED,
                    &path.key(key),
                    format!("`{key}` is not compiled"),
                    "compiled are matchPIDs, matchBinaries, matchNamespaces, matchCapabilities, matchNamespaceChanges, matchCapabilityChanges, matchArgs, matchData and matchReturnArgs",
                );
            }
        }
    }

    fn pid(&mut self, spec: &PidSelector, path: &FieldPath, filters: &mut Vec<Filter>) {
        let mut values = spec.values.clone();
        values.sort_unstable();
        values.dedup();
        filters.push(Filter {
            predicate: Predicate::Pid {
                values,
                is_namespace_pid: spec.is_namespace_pid,
                follow_forks: spec.follow_forks,
                negated: spec.operator == SetOperator::NotIn,
            },
            line: self.line(path),
        });
    }

    fn binary(&mut self, spec: &BinarySelector, path: &FieldPath, filters: &mut Vec<Filter>) {
        if spec.follow_children {
            self.error(
                codes::NOT_COMPILED,
                &path.key("followChildren"),
                "`followChildren` is not compiled",
                "name the binaries of the children, too",
            );
        }
        if spec.values.is_empty() {
            return; // §6.4: no values, no filter
        }
        let comparison = match spec.operator {
            BinaryOperator::In | BinaryOperator::NotIn => TextComparison::Equal,
            BinaryOperator::Prefix | BinaryOperator::NotPrefix => TextComparison::Prefix,
            BinaryOperator::Postfix | BinaryOperator::NotPostfix => TextComparison::Postfix,
            BinaryOperator::Glob | BinaryOperator::NotGlob => TextComparison::Glob,
            BinaryOperator::Regex | BinaryOperator::NotRegex => TextComparison::Regex,
        };
        if let Some(test) = self.text_test(comparison, &spec.values, path, false) {
            let negated = spec.operator.is_negative();
            filters.push(Filter {
                predicate: Predicate::Binary { test, negated },
                line: self.line(path),
            });
        }
    }

    fn namespace_changes(&mut self, spec: &NamespaceChangesSelector, path: &FieldPath, filters: &mut Vec<Filter>) {
        let mut listed = Vec::new();
        for (i, value) in spec.values.iter().enumerate() {
            let name = tracingpolicy_crd::Namespace::NAMES
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(value));
            match name {
                Some((_, known)) => listed.push(namespace(*known)),
                // whoever checked the policy has said so
                None => self.bad_value(
                    value,
                    "a namespace",
                    &path.key("values").index(i),
                    "write Uts, Ipc, Mnt, Pid, PidForChildren, Net, Time, TimeForChildren, Cgroup or User",
                ),
            }
        }
        let is_in = spec.operator == SetOperator::In;
        let namespaces = Namespace::ALL
            .into_iter()
            .filter(|n| listed.contains(n) == is_in)
            .collect();
        filters.push(Filter {
            predicate: Predicate::NamespaceChange { namespaces },
            line: self.line(path),
        });
    }

    fn namespace(&mut self, spec: &NamespaceSelector, path: &FieldPath, filters: &mut Vec<Filter>) {
        let namespace = namespace(spec.namespace);
        let mut values = Vec::new();
        for (i, value) in spec.values.iter().enumerate() {
            let path = path.key("values").index(i);
            if value == "host_ns" {
                if let Some(inode) = self.facts.host_namespaces.get(spec.namespace.as_str()) {
                    values.push(*inode);
                } else {
                    self.error(
                        codes::HOST_NAMESPACE_UNKNOWN,
                        &path,
                        format!("the host's {} namespace is not known", spec.namespace),
                        "give its inode number, as `readlink /proc/1/ns/*` shows it",
                    );
                }
            } else if let Some(inode) = integer::value(value, 32, false) {
                values.push(inode as u32);
            } else {
                self.bad_value(
                    value,
                    "the inode number of a namespace",
                    &path,
                    "write a number, or `host_ns`",
                );
            }
        }
        values.sort_unstable();
        values.dedup();
        let negated = spec.operator == SetOperator::NotIn;
        filters.push(Filter {
            predicate: Predicate::Namespace {
                namespace,
                values,
                negated,
            },
            line: self.line(path),
        });
    }

    fn capability(&mut self, spec: &CapabilitySelector, path: &FieldPath, is_change: bool, filters: &mut Vec<Filter>) {
        let mut mask = 0;
        for (i, value) in spec.values.iter().enumerate() {
            if let Some(bit) = tracingpolicy_crd::value::capability(value) {
                mask |= 1u64 << bit;
            } else {
                let path = path.key("values").index(i);
                self.bad_value(
                    value,
                    "a capability",
                    &path,
                    "write its name, for example `CAP_SYS_ADMIN`",
                );
            }
        }
        let set = match spec.capability_type {
            CapabilityType::Effective => CapabilitySet::Effective,
            CapabilityType::Inheritable => CapabilitySet::Inheritable,
            CapabilityType::Permitted => CapabilitySet::Permitted,
        };
        let mut outside_user_namespace = None;
        if spec.is_namespace_capability {
            outside_user_namespace = self.facts.host_namespaces.get("User").copied();
            if outside_user_namespace.is_none() {
                self.error(
                    codes::HOST_NAMESPACE_UNKNOWN,
                    &path.key("isNamespaceCapability"),
                    "the host's user namespace is not known",
                    "leave `isNamespaceCapability` out",
                );
            }
        }
        let negated = spec.operator == SetOperator::NotIn;
        let predicate = if is_change {
            Predicate::CapabilityChange {
                set,
                mask,
                negated,
                outside_user_namespace,
            }
        } else {
            Predicate::Capability {
                set,
                mask,
                negated,
                outside_user_namespace,
            }
        };
        filters.push(Filter {
            predicate,
            line: self.line(path),
        });
    }

    /// The argument that a filter means: by position in `args` if that is given, else by the index of the parameter.
    fn filtered_argument(
        &mut self,
        filter: &ArgSelector,
        path: &FieldPath,
        target: &Target,
        specs: &[&ArgSpec],
        arguments: &[Argument],
    ) -> Option<Operand> {
        let arguments: Vec<&Argument> = arguments.iter().filter(|argument| !argument.is_data).collect();
        if specs.len() != arguments.len() {
            return None; // an argument failed already
        }
        let (position, key) = if let Some(position) = filter.args.first() {
            (Some(*position as usize), "args")
        } else {
            // classic tracepoints: a field's index, or else the position in `args`, as policies in use have it
            let by_index = specs.iter().position(|s| s.index == filter.index);
            let is_tracepoint = matches!(target, Target::Tracepoint(..) | Target::RawTracepoint(..));
            (
                by_index.or_else(|| is_tracepoint.then_some(filter.index as usize)),
                "index",
            )
        };
        if let Some(argument) = position.and_then(|p| arguments.get(p)) {
            return Some(argument.operand.clone());
        }
        let known: Vec<String> = specs.iter().map(|s| s.index.to_string()).collect();
        let help = if known.is_empty() {
            "the hook has no `args`: add the argument there with its type".to_owned()
        } else {
            format!("`args` of the hook has the indexes {}", known.join(", "))
        };
        self.error(
            codes::NO_SUCH_ARGUMENT,
            &path.key(key),
            "the filter is on an argument that the hook does not read",
            help,
        );
        None
    }

    fn argument_filter(
        &mut self,
        filter: &ArgSelector,
        operand: &Operand,
        path: &FieldPath,
        filters: &mut Vec<Filter>,
    ) {
        let predicate = if let Some((bits, signed)) = integer_width(operand.argument_type) {
            self.integer(filter, operand, bits, signed, path)
        } else if operand.is_text() {
            self.text(filter, operand, path)
        } else if operand.is_socket() {
            self.socket(filter, operand, path)
        } else {
            self.not_applicable(filter, operand, path, "this type cannot be filtered");
            None
        };
        if let Some(predicate) = predicate {
            filters.push(Filter {
                predicate,
                line: self.line(path),
            });
        }
    }

    fn integer(
        &mut self,
        filter: &ArgSelector,
        operand: &Operand,
        bits: u32,
        signed: bool,
        path: &FieldPath,
    ) -> Option<Predicate> {
        use ArgOperator as Op;
        let is_range = matches!(filter.operator, Op::InRange | Op::NotInRange);
        let negated = matches!(filter.operator, Op::NotEqual | Op::NotInRange | Op::NotInMap);
        if !matches!(
            filter.operator,
            Op::Equal
                | Op::NotEqual
                | Op::GreaterThan
                | Op::GT
                | Op::LessThan
                | Op::LT
                | Op::Mask
                | Op::InRange
                | Op::NotInRange
                | Op::InMap
                | Op::NotInMap
        ) {
            let help = "integers take Equal, NotEqual, GT, LT, Mask, InRange, NotInRange, InMap and NotInMap";
            self.not_applicable(filter, operand, path, help);
            return None;
        }
        let accepts_ranges = is_range || matches!(filter.operator, Op::InMap | Op::NotInMap);
        let mut values = Vec::new();
        let mut ranges = Vec::new();
        let mut failed = false;
        for (i, text) in filter.values.iter().enumerate() {
            if let (Some(list), ArgumentType::Syscall64) = (text.strip_prefix("list:"), operand.argument_type) {
                match self.syscall_numbers(list, &path.key("values").index(i)) {
                    Some(numbers) => values.extend(numbers),
                    None => failed = true,
                }
                continue;
            }
            if let Some(named) = capabilities(operand.argument_type, text) {
                values.push(named);
                continue;
            }
            let parsed = integer::range(text, bits, signed)
                .filter(|_| accepts_ranges)
                .map(|r| ranges.push(r));
            let parsed = parsed.or_else(|| {
                let value = integer::value(text, bits, signed).filter(|_| !is_range)?;
                values.push(value);
                Some(())
            });
            if parsed.is_none() {
                failed = true;
                let path = path.key("values").index(i);
                let (what, help) = if text.starts_with("list:") {
                    ("a number", "lists as values are not compiled: write the numbers")
                } else if is_range {
                    ("a range of this type", "write `low:high`, bounds included")
                } else {
                    (
                        "a number of this type",
                        "write a number: decimal, or hexadecimal with `0x`",
                    )
                };
                self.bad_value(text, what, &path, help);
            }
        }
        if failed {
            return None;
        }
        if filter.values.is_empty() {
            self.no_values(path);
            return None;
        }
        values.sort_unstable();
        values.dedup();
        let compare = |a: &u64, b: &u64| {
            if signed {
                (*a as i64).cmp(&(*b as i64))
            } else {
                a.cmp(b)
            }
        };
        let test = match filter.operator {
            Op::GreaterThan | Op::GT => IntegerTest::Above(values.into_iter().min_by(compare)?),
            Op::LessThan | Op::LT => IntegerTest::Below(values.into_iter().max_by(compare)?),
            Op::Mask => IntegerTest::Mask(values.into_iter().fold(0, |mask, v| mask | v)),
            _ if ranges.is_empty() => IntegerTest::Equal(values),
            _ => {
                ranges.extend(values.into_iter().map(|v| (v, v)));
                ranges.sort_unstable_by(|a, b| compare(&a.0, &b.0));
                IntegerTest::Within(ranges)
            }
        };
        Some(Predicate::Integer {
            operand: operand.clone(),
            test,
            negated,
        })
    }

    fn text(&mut self, filter: &ArgSelector, operand: &Operand, path: &FieldPath) -> Option<Predicate> {
        use ArgOperator as Op;
        let (comparison, negated) = match filter.operator {
            Op::Equal => (TextComparison::Equal, false),
            Op::NotEqual => (TextComparison::Equal, true),
            Op::Prefix => (TextComparison::Prefix, false),
            Op::NotPrefix => (TextComparison::Prefix, true),
            Op::Postfix => (TextComparison::Postfix, false),
            Op::NotPostfix => (TextComparison::Postfix, true),
            Op::SubString => (TextComparison::SubString, false),
            Op::SubStringIgnCase => (TextComparison::SubStringIgnCase, false),
            Op::Glob => (TextComparison::Glob, false),
            Op::NotGlob => (TextComparison::Glob, true),
            Op::Regex => (TextComparison::Regex, false),
            Op::NotRegex => (TextComparison::Regex, true),
            Op::FileType | Op::NotFileType if has_file_type(operand) => return self.file_type(filter, operand, path),
            _ => {
                let help = if has_file_type(operand) {
                    "files and paths take Equal, Prefix, Postfix, Glob, Regex and FileType, with Not before any, SubString and SubStringIgnCase"
                } else {
                    "this type takes Equal, Prefix, Postfix, Glob and Regex, with Not before any, SubString and SubStringIgnCase"
                };
                self.not_applicable(filter, operand, path, help);
                return None;
            }
        };
        if filter.values.is_empty() {
            self.no_values(path);
            return None;
        }
        // a NUL ends the strings of C, so trailing ones in a policy are a way of writing it (§7)
        let trim = operand.argument_type == ArgumentType::String;
        let test = self.text_test(comparison, &filter.values, path, trim)?;
        Some(Predicate::Text {
            operand: operand.clone(),
            test,
            negated,
        })
    }

    fn file_type(&mut self, filter: &ArgSelector, operand: &Operand, path: &FieldPath) -> Option<Predicate> {
        if filter.values.is_empty() {
            self.no_values(path);
            return None;
        }
        let help = "write one of reg, dir, lnk, chr, blk, fifo and sock";
        let types = self.each(filter, path, names::file_type, "a type of files", help)?;
        Some(Predicate::FileType {
            operand: operand.clone(),
            types,
            negated: filter.operator == ArgOperator::NotFileType,
        })
    }

    fn text_test(
        &mut self,
        comparison: TextComparison,
        values: &[String],
        path: &FieldPath,
        trim: bool,
    ) -> Option<TextTest> {
        let mut bytes = Vec::with_capacity(values.len());
        let mut failed = false;
        for (i, value) in values.iter().enumerate() {
            let value = if trim { value.trim_end_matches('\0') } else { value };
            let path = path.key("values").index(i);
            if !comparison.is_anchored()
                && let Err(reason) = pattern::check(comparison, value.as_bytes())
            {
                failed = true;
                let (kind, help) = pattern_words(comparison);
                self.error(
                    codes::BAD_PATTERN,
                    &path,
                    format!("`{value}` is no {kind}: {reason}"),
                    help,
                );
            }
            let is_pattern = matches!(comparison, TextComparison::Glob | TextComparison::Regex);
            if value.len() > ebpf::record::TEXT_MAX && !is_pattern {
                failed = true;
                let message = format!(
                    "the value has {} bytes, strings of the kernel have at most 4096",
                    value.len()
                );
                self.error(
                    codes::BAD_VALUE,
                    &path,
                    message,
                    "shorten it: nothing can ever match it",
                );
            }
            bytes.push(value.as_bytes().to_vec());
        }
        bytes.sort_unstable();
        bytes.dedup();
        (!failed).then_some(TextTest {
            comparison,
            values: bytes,
        })
    }

    fn socket(&mut self, filter: &ArgSelector, operand: &Operand, path: &FieldPath) -> Option<Predicate> {
        use ArgOperator as Op;
        let has_ends = operand.is_sock();
        let has_state = operand.argument_type == ArgumentType::Sock;
        let (side, negated) = match filter.operator {
            Op::SAddr | Op::SPort | Op::SPortPriv => (SockSide::Source, false),
            Op::NotSAddr | Op::NotSPort | Op::NotSPortPriv => (SockSide::Source, true),
            Op::DAddr | Op::DPort | Op::DPortPriv if has_ends => (SockSide::Destination, false),
            Op::NotDAddr | Op::NotDPort | Op::NotDPortPriv if has_ends => (SockSide::Destination, true),
            Op::Family => (SockSide::Source, false),
            Op::Protocol if has_ends => (SockSide::Source, false),
            Op::State if has_state => (SockSide::Source, false),
            _ => {
                let help = if has_state {
                    "a sock takes SAddr, DAddr, SPort, DPort, SPortPriv, DPortPriv, their negations, Protocol, Family and State"
                } else if has_ends {
                    "an skb takes SAddr, DAddr, SPort, DPort, SPortPriv, DPortPriv, their negations, Protocol and Family"
                } else {
                    "a sockaddr takes SAddr, SPort, SPortPriv, their negations, and Family"
                };
                self.not_applicable(filter, operand, path, help);
                return None;
            }
        };
        let privileged = matches!(
            filter.operator,
            Op::SPortPriv | Op::NotSPortPriv | Op::DPortPriv | Op::NotDPortPriv
        );
        if filter.values.is_empty() && !privileged {
            self.no_values(path);
            return None;
        }
        let test = match filter.operator {
            _ if privileged => Some(SockTest::Port(side, vec![(0, UNPRIVILEGED_PORT - 1)])),
            Op::SAddr | Op::NotSAddr | Op::DAddr | Op::NotDAddr => self
                .each(
                    filter,
                    path,
                    address::network,
                    "an IP address or network",
                    "write an address, or a network such as `10.0.0.0/8`",
                )
                .map(|networks| SockTest::Address(side, networks)),
            Op::SPort | Op::NotSPort | Op::DPort | Op::NotDPort => self
                .each(
                    filter,
                    path,
                    tracingpolicy_crd::value::ports,
                    "a port",
                    "write a port, or a range such as `1000:2000`",
                )
                .map(|ports| SockTest::Port(side, ports)),
            Op::Protocol => self
                .each(
                    filter,
                    path,
                    names::protocol,
                    "an IP protocol",
                    "write a number or a name such as `IPPROTO_TCP`",
                )
                .map(SockTest::Protocol),
            Op::Family => self
                .each(
                    filter,
                    path,
                    names::family,
                    "an address family",
                    "write a number or a name such as `AF_INET`",
                )
                .map(SockTest::Family),
            _ => self
                .each(
                    filter,
                    path,
                    names::state,
                    "a TCP state",
                    "write a number or a name such as `TCP_LISTEN`",
                )
                .map(SockTest::State),
        }?;
        Some(Predicate::Sock {
            operand: operand.clone(),
            test,
            negated,
        })
    }

    /// Parses every value of a filter; `None` if one is wrong.
    fn each<T: Ord>(
        &mut self,
        filter: &ArgSelector,
        path: &FieldPath,
        parse: impl Fn(&str) -> Option<T>,
        what: &str,
        help: &str,
    ) -> Option<Vec<T>> {
        let mut parsed = Vec::with_capacity(filter.values.len());
        let mut failed = false;
        for (i, text) in filter.values.iter().enumerate() {
            if let Some(value) = parse(text) {
                parsed.push(value);
            } else {
                failed = true;
                self.bad_value(text, what, &path.key("values").index(i), help);
            }
        }
        parsed.sort_unstable();
        parsed.dedup();
        (!failed).then_some(parsed)
    }

    fn bad_value(&mut self, value: &str, what: &str, path: &FieldPath, help: &str) {
        self.error(codes::BAD_VALUE, path, format!("`{value}` is not {what}"), help);
    }

    fn no_values(&mut self, path: &FieldPath) {
        self.error(codes::BAD_VALUE, path, "the filter has no values", "add `values`");
    }

    fn not_applicable(&mut self, filter: &ArgSelector, operand: &Operand, path: &FieldPath, help: &str) {
        let message = format!(
            "the operator `{}` does not apply to `{}`",
            filter.operator,
            type_name(operand.argument_type)
        );
        self.error(codes::OPERATOR_NOT_APPLICABLE, &path.key("operator"), message, help);
    }
}

/// Whether the mode of an operand's inode is read with its path, and is that of the file meant: that of a descriptor is not
/// offered by the language (§4.2), that of an executable tells nothing.
fn has_file_type(operand: &Operand) -> bool {
    matches!(operand.argument_type, ArgumentType::File | ArgumentType::Path)
}

fn namespace(written: tracingpolicy_crd::Namespace) -> Namespace {
    match written {
        tracingpolicy_crd::Namespace::Uts => Namespace::Uts,
        tracingpolicy_crd::Namespace::Ipc => Namespace::Ipc,
        tracingpolicy_crd::Namespace::Mnt => Namespace::Mnt,
        tracingpolicy_crd::Namespace::Pid => Namespace::Pid,
        tracingpolicy_crd::Namespace::PidForChildren => Namespace::PidForChildren,
        tracingpolicy_crd::Namespace::Net => Namespace::Net,
        tracingpolicy_crd::Namespace::Time => Namespace::Time,
        tracingpolicy_crd::Namespace::TimeForChildren => Namespace::TimeForChildren,
        tracingpolicy_crd::Namespace::Cgroup => Namespace::Cgroup,
        tracingpolicy_crd::Namespace::User => Namespace::User,
    }
}

/// A type as policies write it.
pub(crate) fn type_name(argument_type: ArgumentType) -> &'static str {
    match argument_type {
        ArgumentType::Int8 => "int8",
        ArgumentType::Int16 => "int16",
        ArgumentType::Int32 => "int32",
        ArgumentType::Int64 => "int64",
        ArgumentType::Uint8 => "uint8",
        ArgumentType::Uint16 => "uint16",
        ArgumentType::Uint32 => "uint32",
        ArgumentType::Uint64 => "uint64",
        ArgumentType::SizeT => "size_t",
        ArgumentType::Syscall64 => "syscall64",
        ArgumentType::String => "string",
        ArgumentType::Fd => "fd",
        ArgumentType::File => "file",
        ArgumentType::Path => "path",
        ArgumentType::Dentry => "dentry",
        ArgumentType::LinuxBinprm => "linux_binprm",
        ArgumentType::Sock => "sock",
        ArgumentType::Sockaddr => "sockaddr",
        ArgumentType::Nop => "nop",
        ArgumentType::Skb => "skb",
        ArgumentType::UserNamespace => "user_namespace",
        ArgumentType::Cred => "cred",
        ArgumentType::BpfAttr => "bpf_attr",
        ArgumentType::BpfProg => "bpf_prog",
        ArgumentType::BpfMap => "bpf_map",
        ArgumentType::PerfEvent => "perf_event",
        ArgumentType::Module => "module",
        ArgumentType::LoadInfo => "load_info",
        ArgumentType::Capability => "capability",
        ArgumentType::KernelCapT => "kernel_cap_t",
        ArgumentType::CapInheritable => "cap_inheritable",
        ArgumentType::CapPermitted => "cap_permitted",
        ArgumentType::CapEffective => "cap_effective",
        ArgumentType::CharBuf => "char_buf",
        ArgumentType::CharIovec => "char_iovec",
        ArgumentType::IovIter => "iov_iter",
    }
}

/// Names of capabilities as the number that a type makes of them: a set, or one capability.
fn capabilities(argument_type: ArgumentType, text: &str) -> Option<u64> {
    use ArgumentType::{CapEffective, CapInheritable, CapPermitted, Capability, KernelCapT};
    match argument_type {
        Capability => tracingpolicy_crd::value::capability(text).map(u64::from),
        KernelCapT | CapInheritable | CapPermitted | CapEffective => tracingpolicy_crd::value::capability_set(text),
        _ => None,
    }
}

/// What values of an operator are called, and how they are written.
fn pattern_words(comparison: TextComparison) -> (&'static str, &'static str) {
    match comparison {
        TextComparison::Glob => (
            "glob",
            "`*` is any bytes but `/`, `**` between slashes any directories, `?` one byte, `[a-z]` one of a set, `{a,b}` alternatives; `\\` takes the next byte as it is",
        ),
        TextComparison::Regex => (
            "regular expression",
            "the syntax is that of Go and Rust: no back-references, no look-around; repeat less, or write several values, where it is too large",
        ),
        _ => ("string to look for", "shorten it"),
    }
}
