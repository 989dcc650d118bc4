//! Which template a record means: by the tag of the object that wrote it and an index.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{Account, DecodeError, EventTemplate};

/// A template and the account of its policy.
#[derive(Debug)]
pub struct Template {
    /// What the compiler says of the record.
    pub description: EventTemplate,
    /// Where the policy's records go.
    pub account: Arc<Account>,
}

impl Deref for Template {
    type Target = EventTemplate;

    fn deref(&self) -> &EventTemplate {
        &self.description
    }
}

/// Templates of the objects that are loaded, and of the last ones that no longer are: their records may still be on the way.
#[derive(Debug, Default)]
pub struct Registry {
    objects: FxHashMap<u32, Arc<[Arc<Template>]>>,
    retired: VecDeque<u32>,
}

impl Registry {
    /// Objects that stay known after they were replaced.
    const RETIRED: usize = 1024;

    /// Makes an object known. Equal tags mean equal objects, so replacing one loses nothing.
    pub fn insert(&mut self, tag: u32, templates: Vec<Template>) {
        self.retired.retain(|&retired| retired != tag);
        self.objects.insert(tag, templates.into_iter().map(Arc::new).collect());
    }

    /// An object was replaced: it is forgotten after a while.
    pub fn retire(&mut self, tag: u32) {
        self.retired.push_back(tag);
        if self.retired.len() > Self::RETIRED
            && let Some(oldest) = self.retired.pop_front()
        {
            self.objects.remove(&oldest);
        }
    }

    /// The template of a record.
    ///
    /// # Errors
    /// If the object or the template is not known.
    pub fn get(&self, tag: u32, index: u16) -> Result<&Arc<Template>, DecodeError> {
        self.objects
            .get(&tag)
            .ok_or(DecodeError::UnknownObject(tag))?
            .get(index as usize)
            .ok_or(DecodeError::UnknownTemplate { tag, index })
    }
}
