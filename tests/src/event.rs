//! Exported events, as JSON.

use serde_json::Value;

/// One line of the export.
#[derive(Clone, PartialEq, Debug)]
pub struct Event(pub Value);

/// Keys of an exported line that are not the event.
const ENVELOPE: [&str; 5] = ["time", "node_name", "cluster_name", "node_labels", "aggregation_info"];

impl Event {
    /// Reads a line of the export.
    ///
    /// # Panics
    /// If it is not an event.
    pub fn parse(line: &str) -> Self {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("export line: {error}\n{line}"));
        let event = Self(value);
        assert!(!event.kind().is_empty(), "a line of the export holds no event:\n{line}");
        event
    }

    /// `process_exec`, `process_kprobe`, …
    pub fn kind(&self) -> &str {
        let object = self.0.as_object();
        object
            .and_then(|object| object.keys().find(|key| !ENVELOPE.contains(&key.as_str())))
            .map_or("", |key| key)
    }

    /// The value at a JSON pointer below the event itself (`/process/binary`), or null.
    pub fn at(&self, pointer: &str) -> &Value {
        self.0
            .pointer(&format!("/{}{pointer}", self.kind()))
            .unwrap_or(&Value::Null)
    }

    /// [`Self::at`] as text; empty if it is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.at(pointer).as_str().unwrap_or_default()
    }

    /// Path of the process's binary.
    pub fn binary(&self) -> &str {
        self.text("/process/binary")
    }

    /// Process id; 0 if there is none.
    pub fn pid(&self) -> u32 {
        self.at("/process/pid").as_u64().map_or(0, |pid| pid as u32)
    }

    /// Whether it comes from a hook of the policy `name`.
    pub fn is_of_policy(&self, name: &str) -> bool {
        self.text("/policy_name") == name
    }
}
