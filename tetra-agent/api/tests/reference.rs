//! The descriptors say exactly what the published API says: `reference-api.tsv` lists every field,
//! enum value, reserved range and RPC of it, and nothing else exists.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

const REFERENCE: &str = include_str!("reference-api.tsv");

fn pool() -> DescriptorPool {
    DescriptorPool::decode(tetra_api::FILE_DESCRIPTOR_SET).expect("a descriptor set")
}

/// kind, file, parent, number, name, label or input, type or output, oneof, note
type Row = [String; 9];

fn row(fields: [&str; 9]) -> Row {
    fields.map(str::to_owned)
}

fn reference_rows() -> BTreeSet<Row> {
    REFERENCE
        .lines()
        .skip(1)
        .map(|line| {
            let mut fields = line.split('\t').map(str::to_owned).collect::<Vec<_>>();
            fields.resize(9, String::new());
            Row::try_from(fields).expect("nine columns")
        })
        .collect()
}

fn kind_name(kind: &Kind) -> String {
    match kind {
        Kind::Double => "double".into(),
        Kind::Float => "float".into(),
        Kind::Int32 => "int32".into(),
        Kind::Int64 => "int64".into(),
        Kind::Uint32 => "uint32".into(),
        Kind::Uint64 => "uint64".into(),
        Kind::Bool => "bool".into(),
        Kind::String => "string".into(),
        Kind::Bytes => "bytes".into(),
        Kind::Message(message) => message.full_name().into(),
        Kind::Enum(value) => value.full_name().into(),
        other => panic!("the API has no `{other:?}`"),
    }
}

fn deprecated(options: &prost_reflect::DynamicMessage) -> &'static str {
    let set = options
        .get_field_by_name("deprecated")
        .and_then(|value| value.as_bool())
        .unwrap_or(false);
    if set { "deprecated" } else { "" }
}

fn field_row(file: &str, message: &MessageDescriptor, field: &FieldDescriptor) -> Row {
    let optional = field.field_descriptor_proto().proto3_optional();
    let label = if field.cardinality() == Cardinality::Repeated {
        "repeated"
    } else {
        ""
    };
    let oneof = match field.containing_oneof() {
        _ if optional => "(optional)".to_owned(),
        Some(oneof) => oneof.name().to_owned(),
        None => String::new(),
    };
    let kind = kind_name(&field.kind());
    row([
        "field",
        file,
        message.full_name(),
        &field.number().to_string(),
        field.name(),
        label,
        &kind,
        &oneof,
        deprecated(&field.options()),
    ])
}

fn message_rows(file: &str, message: &MessageDescriptor, rows: &mut BTreeSet<Row>) {
    if message.is_map_entry() {
        let types = format!(
            "{},{}",
            kind_name(&message.map_entry_key_field().kind()),
            kind_name(&message.map_entry_value_field().kind())
        );
        rows.insert(row(["mapentry", file, message.full_name(), "", "", "", &types, "", ""]));
        return;
    }
    for field in message.fields() {
        rows.insert(field_row(file, message, &field));
    }
    for range in message.reserved_ranges() {
        let range = format!("{}-{}", range.start, range.end - 1);
        rows.insert(row(["reserved", file, message.full_name(), &range, "", "", "", "", ""]));
    }
    for child in message.child_messages() {
        message_rows(file, &child, rows);
    }
}

fn enum_rows(file: &str, descriptor: &EnumDescriptor, rows: &mut BTreeSet<Row>) {
    for value in descriptor.values() {
        rows.insert(row([
            "enum",
            file,
            descriptor.full_name(),
            &value.number().to_string(),
            value.name(),
            "",
            "",
            "",
            deprecated(&value.options()),
        ]));
    }
}

fn our_rows() -> BTreeSet<Row> {
    let mut rows = BTreeSet::new();
    for file in pool().files().filter(|file| file.package_name() == "tetragon") {
        let name = file.name();
        file.messages()
            .for_each(|message| message_rows(name, &message, &mut rows));
        file.enums()
            .for_each(|descriptor| enum_rows(name, &descriptor, &mut rows));
        for service in file.services() {
            for method in service.methods() {
                assert!(!method.is_client_streaming(), "{}", method.full_name());
                let stream = if method.is_server_streaming() { "stream " } else { "" };
                rows.insert(row([
                    "rpc",
                    name,
                    service.full_name(),
                    "",
                    method.name(),
                    method.input().full_name(),
                    &format!("{stream}{}", method.output().full_name()),
                    "",
                    deprecated(&method.options()),
                ]));
            }
        }
    }
    rows
}

#[test]
fn every_row_of_the_published_api_exists_and_no_other() {
    let (ours, theirs) = (our_rows(), reference_rows());
    assert!(theirs.len() > 600, "the reference table is read: {} rows", theirs.len());
    let show = |rows: Vec<&Row>| rows.iter().map(|row| row.join("\t")).collect::<Vec<_>>().join("\n");
    let missing = show(theirs.difference(&ours).collect());
    let extra = show(ours.difference(&theirs).collect());
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing:\n{missing}\nextra:\n{extra}"
    );
}

#[test]
fn event_types_carry_the_numbers_of_the_events() {
    let pool = pool();
    let envelope = pool
        .get_message_by_name("tetragon.GetEventsResponse")
        .expect("the envelope");
    let types = pool.get_enum_by_name("tetragon.EventType").expect("the event types");
    let events = envelope
        .oneofs()
        .flat_map(|oneof| oneof.fields().collect::<Vec<_>>())
        .map(|field| (field.number() as i32, field.name().to_uppercase()))
        .collect::<BTreeMap<_, _>>();
    let names = types
        .values()
        .filter(|value| value.number() != 0)
        .map(|value| (value.number(), value.name().to_owned()))
        .collect::<BTreeMap<_, _>>();
    assert_eq!(events, names);
}
