//! Copies the types that something refers to from one BTF into another.
//!
//! Ids and string offsets change; the order of the copied types is that of the source, so the result depends only on what was
//! asked for.

use std::collections::{BTreeMap, BTreeSet};

use super::types::{extra_len, kind};
use super::write::BtfWriter;
use super::{Btf, Record, TypeId};

/// Where in a record there are references, by word.
struct References {
    strings: Vec<usize>,
    types: Vec<usize>,
}

fn references(record: Record<'_>) -> References {
    let mut strings = vec![0];
    let mut types = Vec::new();
    let mut each = |first: usize, width: usize, string: bool, type_id: Option<usize>| {
        for index in 0..record.vlen() {
            let at = first + index * width;
            if string {
                strings.push(at);
            }
            types.extend(type_id.map(|offset| at + offset));
        }
    };
    match record.kind() {
        kind::STRUCT | kind::UNION => each(3, 3, true, Some(1)),
        kind::ENUM => each(3, 2, true, None),
        kind::ENUM64 => each(3, 3, true, None),
        kind::FUNC_PROTO => {
            each(3, 2, true, Some(1));
            types.push(2);
        }
        kind::DATASEC => each(3, 3, false, Some(0)),
        kind::ARRAY => types.extend([3, 4]),
        kind::PTR
        | kind::TYPEDEF
        | kind::VOLATILE
        | kind::CONST
        | kind::RESTRICT
        | kind::TYPE_TAG
        | kind::FUNC
        | kind::VAR
        | kind::DECL_TAG => types.push(2),
        _ => {}
    }
    References { strings, types }
}

/// Set of types of one BTF that are to be copied.
#[derive(Debug)]
pub struct TypeCopier<'a> {
    source: &'a Btf,
    wanted: BTreeSet<TypeId>,
}

/// Where the copied types are now.
#[derive(Debug, Default)]
pub struct CopiedTypes {
    map: BTreeMap<TypeId, TypeId>,
}

impl CopiedTypes {
    /// The id of a copied type; [`TypeId::VOID`] for `void` and for what was not copied.
    pub fn get(&self, source: TypeId) -> TypeId {
        self.map.get(&source).copied().unwrap_or(TypeId::VOID)
    }
}

impl<'a> TypeCopier<'a> {
    /// Nothing to be copied so far.
    pub fn new(source: &'a Btf) -> Self {
        Self {
            source,
            wanted: BTreeSet::new(),
        }
    }

    /// Wants a type and all that it refers to.
    pub fn want(&mut self, id: TypeId) {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            let Some(record) = self.source.record(id) else { continue };
            if self.wanted.insert(id) {
                open.extend(references(record).types.into_iter().map(|at| TypeId(record.word(at))));
            }
        }
    }

    /// Appends what is wanted. `adapt` may change the words of a record, given its source id, before references are followed.
    pub fn finish(self, writer: &mut BtfWriter, adapt: impl Fn(TypeId, &mut Vec<u32>)) -> CopiedTypes {
        let first = writer.next_id().0;
        let map: BTreeMap<_, _> = self
            .wanted
            .iter()
            .enumerate()
            .map(|(rank, id)| (*id, TypeId(first + rank as u32)))
            .collect();
        let copied = CopiedTypes { map };
        for id in &self.wanted {
            let record = self.source.record(*id).expect("only ids with a record are wanted");
            let mut words: Vec<u32> = (0..record.bytes.len() / 4).map(|index| record.word(index)).collect();
            adapt(*id, &mut words);
            debug_assert_eq!(extra_len(words[1]).map(|len| len / 4 + 3), Some(words.len()));
            let references = references(record);
            for at in references.strings {
                words[at] = writer.string(self.source.string(words[at]));
            }
            for at in references.types {
                words[at] = copied.get(TypeId(words[at])).0;
            }
            writer.push_record(&words);
        }
        copied
    }
}
