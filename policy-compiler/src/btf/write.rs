//! Writer for BTF: types are appended, strings and simple types are stored once.
//!
//! The bytes depend only on the calls made, in their order.

use std::collections::HashMap;

use super::types::kind;
use super::{HEADER_LEN, MAGIC, TypeId};

/// Linkage of a function or variable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Linkage {
    /// Seen in its object only. The kernel verifies such functions at each call, with what the caller knows of the arguments.
    Static,
    /// Seen by the loader. The kernel verifies such functions once, for any arguments.
    Global,
}

impl Linkage {
    fn word(self) -> u32 {
        match self {
            Self::Static => STATIC_FUNCTION,
            Self::Global => 1,
        }
    }
}

/// Linkage bits of a static function's record.
pub(crate) const STATIC_FUNCTION: u32 = 0;

/// Collects types and strings.
#[derive(Debug)]
pub struct BtfWriter {
    strings: Vec<u8>,
    string_offsets: HashMap<Vec<u8>, u32>,
    types: Vec<u8>,
    count: u32,
    /// Records that are the same as an earlier one: integers, pointers, arrays, prototypes.
    known: HashMap<Vec<u32>, TypeId>,
}

impl Default for BtfWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl BtfWriter {
    /// A writer that knows only `void`.
    pub fn new() -> Self {
        Self {
            strings: vec![0],
            string_offsets: HashMap::from([(Vec::new(), 0)]),
            types: Vec::new(),
            count: 0,
            known: HashMap::new(),
        }
    }

    /// Offset of a string, which is added if it is new. What follows a NUL is cut off.
    pub fn string(&mut self, text: &str) -> u32 {
        let bytes = text.as_bytes();
        let bytes = &bytes[..bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len())];
        if let Some(offset) = self.string_offsets.get(bytes) {
            return *offset;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend_from_slice(bytes);
        self.strings.push(0);
        self.string_offsets.insert(bytes.to_vec(), offset);
        offset
    }

    /// The id that the next new record gets.
    pub fn next_id(&self) -> TypeId {
        TypeId(self.count + 1)
    }

    /// Appends a record as it is.
    pub(crate) fn push_record(&mut self, words: &[u32]) -> TypeId {
        self.types.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        self.count += 1;
        TypeId(self.count)
    }

    fn push_once(&mut self, words: Vec<u32>) -> TypeId {
        if let Some(id) = self.known.get(&words) {
            return *id;
        }
        let id = self.push_record(&words);
        self.known.insert(words, id);
        id
    }

    /// An integer of `size` bytes.
    pub fn int(&mut self, name: &str, size: u32, signed: bool) -> TypeId {
        let name = self.string(name);
        self.push_once(vec![
            name,
            kind::INT << 24,
            size,
            (u32::from(signed) << 24) | (size * 8),
        ])
    }

    /// Pointer to a type.
    pub fn ptr(&mut self, to: TypeId) -> TypeId {
        self.push_once(vec![0, kind::PTR << 24, to.0])
    }

    /// Another name for a type.
    pub fn typedef(&mut self, name: &str, of: TypeId) -> TypeId {
        let name = self.string(name);
        self.push_once(vec![name, kind::TYPEDEF << 24, of.0])
    }

    /// Array.
    pub fn array(&mut self, element: TypeId, index: TypeId, count: u32) -> TypeId {
        self.push_once(vec![0, kind::ARRAY << 24, 0, element.0, index.0, count])
    }

    /// Struct, with (name, type, bit offset) of its members.
    pub fn struct_type(&mut self, name: &str, size: u32, members: &[(&str, TypeId, u32)]) -> TypeId {
        let mut words = vec![self.string(name), (kind::STRUCT << 24) | members.len() as u32, size];
        for (name, type_id, bit_offset) in members {
            words.extend([self.string(name), type_id.0, *bit_offset]);
        }
        self.push_record(&words)
    }

    /// Prototype, with (name, type) of its parameters.
    pub fn func_proto(&mut self, return_type: TypeId, params: &[(&str, TypeId)]) -> TypeId {
        let mut words = vec![0, (kind::FUNC_PROTO << 24) | params.len() as u32, return_type.0];
        for (name, type_id) in params {
            words.extend([self.string(name), type_id.0]);
        }
        self.push_once(words)
    }

    /// Function. The kernel accepts only names that are C identifiers.
    pub fn func(&mut self, name: &str, proto: TypeId, linkage: Linkage) -> TypeId {
        let name = self.string(name);
        self.push_record(&[name, (kind::FUNC << 24) | linkage.word(), proto.0])
    }

    /// Variable.
    pub fn var(&mut self, name: &str, type_id: TypeId, linkage: Linkage) -> TypeId {
        let name = self.string(name);
        self.push_record(&[name, kind::VAR << 24, type_id.0, linkage.word()])
    }

    /// Section of variables, with (id of the variable, byte offset, byte size) of each.
    pub fn datasec(&mut self, name: &str, size: u32, variables: &[(TypeId, u32, u32)]) -> TypeId {
        let mut words = vec![self.string(name), (kind::DATASEC << 24) | variables.len() as u32, size];
        for (id, offset, size) in variables {
            words.extend([id.0, *offset, *size]);
        }
        self.push_record(&words)
    }

    /// The content of a `.BTF` section.
    pub fn finish(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN + self.types.len() + self.strings.len());
        bytes.extend(MAGIC.to_le_bytes());
        bytes.extend([1, 0]);
        let types = self.types.len() as u32;
        for word in [HEADER_LEN as u32, 0, types, types, self.strings.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(&self.types);
        bytes.extend(&self.strings);
        bytes
    }
}
