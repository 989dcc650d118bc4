//! `cel_expression`: expressions in the Common Expression Language (github.com/google/cel-spec) over an event.
//!
//! The variable of an event is named like its field (`process_exec`, `process_kprobe`, …) and has the fields of the message; wrapped
//! numbers are numbers, enumerations are numbers, times are texts as in JSON. A field that is not set is not there: what asks for
//! it does not hold, `has(...)` tells. An expression that names none of an event's variables does not hold for it.
//!
//! Expressions come from clients: their text, their depth and their size are bounded. The crate's other parser overflows the stack
//! on texts of 156 bytes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use cel_interpreter::common::ast::{EntryExpr, Expr, IdedExpr, MapExpr, StructExpr};
use cel_interpreter::parser::PrattParser;
use cel_interpreter::{Context, Env, Value};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MapKey, MessageDescriptor, ReflectMessage as _};

use super::FilterError;
use crate::tetragon::GetEventsResponse;

/// Bytes of an expression.
const MAX_LENGTH: usize = 4096;
/// Nodes of its tree.
const MAX_NODES: usize = 1000;
/// How deep it may be: whoever evaluates it calls itself for each level.
const MAX_DEPTH: usize = 64;
/// How deep macros that go through lists may be within each other: each multiplies the work.
const MAX_LOOPS: usize = 3;

/// Functions that expressions may call, beside operators and macros.
const FUNCTIONS: &[&str] = &[
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "string",
    "int",
    "uint",
    "double",
    "bytes",
    "dyn",
    "type",
    "has",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
    "max",
    "min",
];

static EVENT: LazyLock<Option<MessageDescriptor>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(crate::FILE_DESCRIPTOR_SET).ok()?;
    pool.get_message_by_name("tetragon.GetEventsResponse")
});

/// A compiled expression.
pub(super) struct Expression {
    text: String,
    tree: IdedExpr,
    environment: Arc<Env>,
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// If it is none, is too large, names no event or calls what there is not.
    pub(super) fn new(text: &str) -> Result<Self, FilterError> {
        let refused = |reason: String| FilterError::Expression {
            expression: text.chars().take(80).collect(),
            reason,
        };
        if text.len() > MAX_LENGTH {
            return Err(refused(format!(
                "it has {} bytes, {MAX_LENGTH} are possible",
                text.len()
            )));
        }
        let tree = PrattParser::new()
            .parse(text)
            .map_err(|errors| refused(errors.to_string()))?;
        check_size(&tree).map_err(|reason| refused(reason.to_owned()))?;
        let names: Vec<String> = events().collect();
        let references = tree.references();
        if !names.iter().any(|name| references.has_variable(name)) {
            return Err(refused(format!("it names no event; events are {}", names.join(", "))));
        }
        let is_name = |name: &&str| name.starts_with(|c: char| c.is_ascii_alphabetic());
        let unknown = references
            .functions()
            .into_iter()
            .filter(is_name)
            .find(|name| !FUNCTIONS.contains(name));
        if let Some(unknown) = unknown {
            return Err(refused(format!(
                "there is no function `{unknown}`; functions are {}",
                FUNCTIONS.join(", ")
            )));
        }
        Ok(Self {
            text: text.to_owned(),
            tree,
            environment: Arc::new(Env::stdlib()),
        })
    }

    /// Whether it holds for an event. What cannot be told, because a field is not there, does not.
    pub(super) fn holds(&self, event: &GetEventsResponse) -> bool {
        let Some((name, value)) = variable(event) else {
            return false;
        };
        if !self.tree.references().has_variable(&name) {
            return false;
        }
        let mut context = Context::with_env(Arc::clone(&self.environment));
        context.add_variable_from_value(name, value);
        matches!(Value::resolve(&self.tree, &context), Ok(Value::Bool(true)))
    }
}

/// Whether a tree is small enough to be evaluated for every event.
fn check_size(tree: &IdedExpr) -> Result<(), &'static str> {
    let mut open = vec![(tree, 1, 0)];
    let mut nodes = 0;
    while let Some((node, depth, loops)) = open.pop() {
        nodes += 1;
        if nodes > MAX_NODES {
            return Err("it has more than 1000 parts");
        }
        if depth > MAX_DEPTH {
            return Err("its parts are nested more than 64 deep; use parentheses to pair them");
        }
        if loops > MAX_LOOPS {
            return Err("macros such as `all` and `exists` are nested more than 3 deep");
        }
        let is_loop = matches!(node.expr, Expr::Comprehension(_));
        let loops = loops + usize::from(is_loop);
        open.extend(parts(&node.expr).into_iter().map(|part| (part, depth + 1, loops)));
    }
    Ok(())
}

fn parts(expression: &Expr) -> Vec<&IdedExpr> {
    match expression {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(of) => vec![&of.iter_range, &of.accu_init, &of.loop_cond, &of.loop_step, &of.result],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(MapExpr { entries }) | Expr::Struct(StructExpr { entries, .. }) => entries
            .iter()
            .flat_map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
                EntryExpr::StructField(field) => vec![&field.value],
            })
            .collect(),
        Expr::Select(select) => vec![&*select.operand],
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
    }
}

/// Names of the variables.
fn events() -> impl Iterator<Item = String> {
    let oneof = EVENT
        .as_ref()
        .and_then(|event| event.oneofs().find(|oneof| oneof.name() == "event"));
    oneof
        .into_iter()
        .flat_map(|oneof| oneof.fields().map(|field| field.name().to_owned()).collect::<Vec<_>>())
}

/// The variable of an event.
fn variable(event: &GetEventsResponse) -> Option<(String, Value)> {
    let message = DynamicMessage::decode(EVENT.clone()?, event.encode_to_vec().as_slice()).ok()?;
    let (field, value) = message
        .fields()
        .find(|(field, _)| field.containing_oneof().is_some_and(|oneof| oneof.name() == "event"))?;
    Some((field.name().to_owned(), value_of(value)))
}

fn value_of(value: &prost_reflect::Value) -> Value {
    use prost_reflect::Value as Proto;
    match value {
        Proto::Bool(value) => (*value).into(),
        Proto::I32(value) | Proto::EnumNumber(value) => i64::from(*value).into(),
        Proto::I64(value) => (*value).into(),
        Proto::U32(value) => u64::from(*value).into(),
        Proto::U64(value) => (*value).into(),
        Proto::F32(value) => f64::from(*value).into(),
        Proto::F64(value) => (*value).into(),
        Proto::String(value) => value.clone().into(),
        Proto::Bytes(value) => value.to_vec().into(),
        Proto::List(values) => values.iter().map(value_of).collect::<Vec<Value>>().into(),
        Proto::Map(values) => {
            let entries = values.iter().map(|(key, value)| (key_of(key), value_of(value)));
            entries.collect::<HashMap<String, Value>>().into()
        }
        Proto::Message(message) => message_of(message),
    }
}

fn key_of(key: &MapKey) -> String {
    match key {
        MapKey::String(key) => key.clone(),
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
    }
}

fn message_of(message: &DynamicMessage) -> Value {
    let descriptor = message.descriptor();
    if descriptor.full_name() == "google.protobuf.Timestamp" {
        let time = crate::well_known::Timestamp::decode(message.encode_to_vec().as_slice());
        let text = time.ok().and_then(|time| serde_json::to_value(time).ok());
        return text
            .and_then(|text| text.as_str().map(str::to_owned))
            .unwrap_or_default()
            .into();
    }
    let is_wrapper =
        descriptor.full_name().starts_with("google.protobuf.") && descriptor.full_name().ends_with("Value");
    if is_wrapper && let Some(field) = descriptor.get_field_by_name("value") {
        return value_of(&message.get_field(&field));
    }
    // numbers and texts are there whatever they are; messages only if they are set
    let fields = descriptor
        .fields()
        .filter(|field| !field.supports_presence() || message.has_field(field));
    let entries = fields.map(|field| (field.name().to_owned(), value_of(&message.get_field(&field))));
    entries.collect::<HashMap<String, Value>>().into()
}
