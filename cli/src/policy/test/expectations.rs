//! The file beside a policy: calls, and what is expected of each.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// All that is expected of a policy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expectations {
    /// File with the policies, beside this one.
    pub(super) policy: Option<String>,
    /// The process that makes the calls of cases that do not say it themselves.
    #[serde(default)]
    pub(super) process: ProcessSpec,
    pub(super) cases: Vec<Case>,
}

/// A call and what is expected of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    /// What is called, as the policy names it.
    pub(super) hook: String,
    /// Values by the index that the policy gives to the argument, or by its label; of several arguments with one index, the first is
    /// meant.
    #[serde(default)]
    pub(super) args: BTreeMap<ArgumentName, ValueSpec>,
    /// Likewise of entries of `data`, by position or label.
    #[serde(default)]
    pub(super) data: BTreeMap<ArgumentName, ValueSpec>,
    /// What the call returns.
    #[serde(rename = "return")]
    pub(super) returned: Option<ValueSpec>,
    #[serde(default)]
    pub(super) process: ProcessSpec,
    pub(super) expect: Outcome,
}

/// How a case says which argument it means.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ArgumentName {
    Index(u32),
    Label(String),
}

impl fmt::Display for ArgumentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "index {index}"),
            Self::Label(label) => write!(f, "label `{label}`"),
        }
    }
}

/// The process that makes a call; what is left out is that of a process of the host without privileges.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ProcessSpec {
    /// Path of the executable.
    pub(super) binary: Option<String>,
    pub(super) pid: Option<u32>,
    /// In its own pid namespace.
    pub(super) namespace_pid: Option<u32>,
    /// Pids of its ancestors, nearest first.
    pub(super) ancestors: Option<Vec<u32>>,
    /// Inode numbers of namespaces that are not the host's, by the names that `matchNamespaces` takes.
    #[serde(default)]
    pub(super) namespaces: BTreeMap<String, u32>,
    /// Capabilities that it has: names by set.
    #[serde(default)]
    pub(super) capabilities: BTreeMap<String, Vec<String>>,
    /// What was different when it was executed, for filters on changes.
    #[serde(default)]
    pub(super) at_exec: AtExecSpec,
}

/// Namespaces and capabilities that a process had, as in [`ProcessSpec`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct AtExecSpec {
    #[serde(default)]
    pub(super) namespaces: BTreeMap<String, u32>,
    #[serde(default)]
    pub(super) capabilities: BTreeMap<String, Vec<String>>,
}

/// A value of a call. Which fields it may have depends on the type of the argument.
#[derive(Clone, Debug)]
pub(super) enum ValueSpec {
    Number(i64),
    Large(u64),
    Text(String),
    Fields(Fields),
    /// `null`: there is nothing to read.
    Absent,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Fields {
    /// User memory that cannot be read.
    #[serde(default)]
    pub(super) unreadable: bool,
    pub(super) path: Option<String>,
    /// Type of a file, as `FileType` names it.
    #[serde(rename = "type")]
    pub(super) file_type: Option<String>,
    /// Source address, or the address of a `sockaddr`.
    pub(super) saddr: Option<String>,
    pub(super) sport: Option<u16>,
    pub(super) daddr: Option<String>,
    pub(super) dport: Option<u16>,
    pub(super) family: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) state: Option<String>,
}

/// What a call leads to: of all hooks of the file's policies together.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Outcome {
    /// It depends on user memory that cannot be read.
    pub(super) undecided: bool,
    pub(super) post: bool,
    /// Signals sent to the process, in order.
    pub(super) signals: Vec<u32>,
    /// Negative errno in place of what the call would return.
    pub(super) override_error: Option<i32>,
    /// An enforcer is told something.
    pub(super) notify: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutcomeFields {
    #[serde(default = "yes")]
    post: bool,
    #[serde(default)]
    signals: Vec<u32>,
    #[serde(rename = "override")]
    override_error: Option<i32>,
    #[serde(default)]
    notify: bool,
    #[serde(default)]
    undecided: bool,
}

fn yes() -> bool {
    true
}

// Visitors, because what serde makes of untagged enums says of a mistake only that nothing fits.

impl<'de> Deserialize<'de> for ValueSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfValue;

        impl<'de> Visitor<'de> for OfValue {
            type Value = ValueSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a text, null, or the fields of a file or a socket")
            }

            fn visit_i64<E>(self, number: i64) -> Result<ValueSpec, E> {
                Ok(ValueSpec::Number(number))
            }

            fn visit_u64<E>(self, number: u64) -> Result<ValueSpec, E> {
                Ok(i64::try_from(number).map_or(ValueSpec::Large(number), ValueSpec::Number))
            }

            fn visit_str<E>(self, text: &str) -> Result<ValueSpec, E> {
                Ok(ValueSpec::Text(text.to_owned()))
            }

            fn visit_unit<E>(self) -> Result<ValueSpec, E> {
                Ok(ValueSpec::Absent)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ValueSpec, A::Error> {
                Fields::deserialize(MapAccessDeserializer::new(map)).map(ValueSpec::Fields)
            }
        }

        deserializer.deserialize_any(OfValue)
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfOutcome;

        impl<'de> Visitor<'de> for OfOutcome {
            type Value = Outcome;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "`nothing`, `post`, `undecided`, or what is done, such as `{signals: [9]}` or `{override: -1}`",
                )
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Outcome, E> {
                let nothing = Outcome::default();
                match word {
                    "nothing" => Ok(nothing),
                    "post" => Ok(Outcome { post: true, ..nothing }),
                    "undecided" => Ok(Outcome {
                        undecided: true,
                        ..nothing
                    }),
                    other => Err(E::invalid_value(Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Outcome, A::Error> {
                let fields = OutcomeFields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Outcome {
                    undecided: fields.undecided,
                    post: fields.post,
                    signals: fields.signals,
                    override_error: fields.override_error,
                    notify: fields.notify,
                })
            }
        }

        deserializer.deserialize_any(OfOutcome)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.undecided {
            parts.push("undecided".to_owned());
        }
        if self.post {
            parts.push("post".to_owned());
        }
        parts.extend(self.signals.iter().map(|signal| format!("signal {signal}")));
        parts.extend(self.override_error.map(|error| format!("override {error}")));
        if self.notify {
            parts.push("notify".to_owned());
        }
        if parts.is_empty() {
            parts.push("nothing".to_owned());
        }
        f.write_str(&parts.join(", "))
    }
}
