//! Map definitions: structs of `.maps` whose members encode numbers as array sizes, and data sections.
//!
//! ```c
//! struct { int (*type)[1]; int (*max_entries)[64]; __u32 *key; struct value *value; } name SEC(".maps");
//! ```

use std::sync::Arc;

use policy_compiler::btf::{Btf, Kind, TypeId};

use super::{MapDefinition, ObjectError, ObjectFile};
use crate::sys::{MapShape, MapType};

/// `BPF_F_RDONLY_PROG`
const READ_ONLY_FOR_PROGRAMS: u32 = 1 << 7;

/// All maps of an object.
pub(super) fn definitions(object: &ObjectFile) -> Result<Vec<MapDefinition>, ObjectError> {
    let mut maps = Vec::new();
    if let Some(section) = object.btf.datasec(".maps") {
        for variable in object.btf.variables(section) {
            maps.push(definition(&object.btf, variable.name, variable.type_id)?);
        }
    }
    for section in object.sections.values() {
        if !is_data(&section.name) || section.data.is_empty() {
            continue;
        }
        let is_constant = section.name.starts_with(".rodata");
        let shape = MapShape {
            map_type: MapType::Array,
            key_size: 4,
            value_size: section.data.len() as u32,
            max_entries: 1,
            flags: if is_constant { READ_ONLY_FOR_PROGRAMS } else { 0 },
        };
        maps.push(MapDefinition {
            name: section.name.clone(),
            shape,
            inner: None,
            data: Some(Arc::from(section.data.as_slice())),
        });
    }
    Ok(maps)
}

/// Whether a section holds variables.
pub(super) fn is_data(name: &str) -> bool {
    [".rodata", ".data", ".bss"].into_iter().any(|prefix| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

fn definition(btf: &Btf, name: &str, type_id: TypeId) -> Result<MapDefinition, ObjectError> {
    let mut map = shape(btf, name, type_id)?;
    if map.shape.map_type == MapType::ArrayOfMaps && map.inner.is_none() {
        return Err(bad(name, "an array of maps needs `values`"));
    }
    name.clone_into(&mut map.name);
    Ok(map)
}

fn shape(btf: &Btf, name: &str, type_id: TypeId) -> Result<MapDefinition, ObjectError> {
    let mut map_type = None;
    let mut shape = MapShape {
        map_type: MapType::Array,
        key_size: 0,
        value_size: 0,
        max_entries: 0,
        flags: 0,
    };
    let mut inner = None;
    for member in btf.members(type_id) {
        let number =
            || number(btf, member.type_id).ok_or_else(|| bad(name, format!("`{}` is not a number", member.name)));
        let pointee_size = || {
            pointee(btf, member.type_id)
                .and_then(|id| btf.size(id))
                .ok_or_else(|| bad(name, format!("`{}` has no size", member.name)))
        };
        match member.name {
            "type" => {
                let number = number()?;
                map_type = Some(
                    MapType::from_number(number)
                        .ok_or_else(|| bad(name, format!("map type {number} is not supported")))?,
                );
            }
            "max_entries" => shape.max_entries = number()?,
            "map_flags" => shape.flags = number()?,
            "key_size" => shape.key_size = number()?,
            "value_size" => shape.value_size = number()?,
            "key" => shape.key_size = pointee_size()?,
            "value" => shape.value_size = pointee_size()?,
            "values" => {
                let Kind::Array { element, .. } = btf.kind(btf.resolve(member.type_id)) else {
                    return Err(bad(name, "`values` is not an array"));
                };
                let target = pointee(btf, element).ok_or_else(|| bad(name, "`values` is not an array of pointers"))?;
                inner = Some(self::shape(btf, name, target)?.shape);
            }
            other => return Err(bad(name, format!("unknown member `{other}`"))),
        }
    }
    shape.map_type = map_type.ok_or_else(|| bad(name, "it has no `type`"))?;
    Ok(MapDefinition {
        name: String::new(),
        shape,
        inner,
        data: None,
    })
}

/// `int (*member)[N]`
fn number(btf: &Btf, type_id: TypeId) -> Option<u32> {
    match btf.kind(btf.resolve(pointee(btf, type_id)?)) {
        Kind::Array { count, .. } => Some(count),
        _ => None,
    }
}

fn pointee(btf: &Btf, type_id: TypeId) -> Option<TypeId> {
    match btf.kind(btf.resolve(type_id)) {
        Kind::Ptr(to) => Some(to),
        _ => None,
    }
}

fn bad(name: &str, reason: impl Into<String>) -> ObjectError {
    ObjectError::BadMap {
        name: name.to_owned(),
        reason: reason.into(),
    }
}
