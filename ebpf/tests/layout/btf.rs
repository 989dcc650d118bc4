//! As much of a BTF reader as the layout test needs; `policy-compiler` has a full one, which this crate is below of.

use object::{Object as _, ObjectSection as _};

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const ENUM64: u32 = 19;

#[derive(Clone, Debug)]
struct Type {
    name: String,
    kind: u32,
    /// Size or type.
    value: u32,
    /// Members as name, type and bit offset; of enums name and value; of arrays element type and length; of sections the variables.
    members: Vec<(String, u32, u32)>,
}

pub(crate) struct Btf {
    types: Vec<Type>,
}

#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) size: usize,
    pub(crate) fields: Vec<(String, usize)>,
}

pub(crate) fn section_names(object: &[u8]) -> Vec<String> {
    let file = object::File::parse(object).unwrap();
    file.sections()
        .map(|section| section.name().unwrap().to_owned())
        .collect()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

impl Btf {
    pub(crate) fn of_object(object: &[u8]) -> Self {
        let file = object::File::parse(object).unwrap();
        let section = file.section_by_name(".BTF").unwrap();
        let bytes = section.data().unwrap();
        let header_len = word(bytes, 4) as usize;
        let body = &bytes[header_len..];
        let (type_at, type_len) = (word(bytes, 8) as usize, word(bytes, 12) as usize);
        let strings = &body[word(bytes, 16) as usize..];
        let string = |at: u32| {
            let rest = &strings[at as usize..];
            String::from_utf8(rest[..rest.iter().position(|byte| *byte == 0).unwrap()].to_vec()).unwrap()
        };
        let data = &body[type_at..type_at + type_len];
        let mut types = vec![Type {
            name: String::new(),
            kind: 0,
            value: 0,
            members: Vec::new(),
        }];
        let mut at = 0;
        while at < data.len() {
            let (info, value) = (word(data, at + 4), word(data, at + 8));
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let name = string(word(data, at));
            at += 12;
            let entry = match kind {
                STRUCT | UNION | DATASEC | ENUM64 => 12,
                ENUM | FUNC_PROTO => 8,
                _ => 0,
            };
            let mut members = Vec::new();
            match kind {
                STRUCT | UNION => {
                    for member in data[at..].chunks(12).take(count) {
                        members.push((string(word(member, 0)), word(member, 4), word(member, 8) & 0xff_ffff));
                    }
                }
                DATASEC => {
                    for variable in data[at..].chunks(12).take(count) {
                        members.push((String::new(), word(variable, 0), word(variable, 4)));
                    }
                }
                ENUM => {
                    for value in data[at..].chunks(8).take(count) {
                        members.push((string(word(value, 0)), word(value, 4), 0));
                    }
                }
                ARRAY => members.push((String::new(), word(data, at), word(data, at + 8))),
                _ => {}
            }
            at += entry * count
                + match kind {
                    INT | VAR | DECL_TAG => 4,
                    ARRAY => 12,
                    _ => 0,
                };
            types.push(Type {
                name,
                kind,
                value,
                members,
            });
        }
        Self { types }
    }

    fn resolve(&self, mut id: u32) -> &Type {
        loop {
            let found = &self.types[id as usize];
            if !matches!(found.kind, TYPEDEF | VOLATILE | CONST | RESTRICT) {
                return found;
            }
            id = found.value;
        }
    }

    fn size(&self, id: u32) -> u32 {
        let found = self.resolve(id);
        match found.kind {
            PTR => 8,
            ARRAY => self.size(found.members[0].1) * found.members[0].2,
            _ => found.value,
        }
    }

    pub(crate) fn struct_layout(&self, name: &str) -> Option<Layout> {
        let found = self
            .types
            .iter()
            .find(|found| found.kind == STRUCT && found.name == name)?;
        let fields = found
            .members
            .iter()
            .map(|(name, _, bits)| (name.clone(), *bits as usize / 8))
            .collect();
        Some(Layout {
            size: found.value as usize,
            fields,
        })
    }

    /// Type, entries, key size and value size of a BTF-defined map.
    pub(crate) fn map_definition(&self, name: &str) -> Option<[u32; 4]> {
        let variable = self
            .types
            .iter()
            .find(|found| found.kind == VAR && found.name == name)?;
        let mut definition = [0; 4];
        for (field, id, _) in &self.resolve(variable.value).members {
            let pointee = self.resolve(*id).value;
            let number = || self.resolve(pointee).members[0].2;
            match field.as_str() {
                "type" => definition[0] = number(),
                "max_entries" => definition[1] = number(),
                "key_size" => definition[2] = number(),
                "value_size" => definition[3] = number(),
                "key" => definition[2] = self.size(pointee),
                "value" => definition[3] = self.size(pointee),
                _ => {}
            }
        }
        Some(definition)
    }

    /// Names and values of an enum.
    pub(crate) fn enum_values(&self, name: &str) -> Vec<(String, u32)> {
        let found = self
            .types
            .iter()
            .find(|found| found.kind == ENUM && found.name == name)
            .unwrap();
        found
            .members
            .iter()
            .map(|(name, value, _)| (name.clone(), *value))
            .collect()
    }

    pub(crate) fn map_names(&self) -> Vec<String> {
        let maps = self
            .types
            .iter()
            .find(|found| found.kind == DATASEC && found.name == ".maps")
            .unwrap();
        maps.members
            .iter()
            .map(|(_, id, _)| self.types[*id as usize].name.clone())
            .collect()
    }
}
