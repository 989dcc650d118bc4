//! Changes of files with policies: new texts take the place of old ones by a single change of the set.
//!
//! A text that is refused, whoever refuses it, leaves in force what it was to replace, without a gap: the set that is put in
//! force never lacks both.

use super::{Entry, Kernel, Loaded, Manager, ManagerError, PolicyKey, State, log_account};

/// What becomes of a file.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    /// Its name, for diagnostics.
    pub name: &'a str,
    /// Its text; `None`: it is gone.
    pub text: Option<&'a str>,
    /// The policies that its text had before. Those that are no longer there are passed over.
    pub replaces: &'a [PolicyKey],
}

/// A change under way.
#[derive(Debug, Default)]
pub(super) struct Pending {
    new: Vec<PolicyKey>,
    /// What comes back if the new are refused.
    pub(super) old: Vec<(PolicyKey, Entry)>,
    refused: Option<String>,
}

impl<K: Kernel> Manager<K> {
    /// Makes all changes at once. Returns what became of each, in order: the names of its policies, none for a file that is gone,
    /// or why what was in force before still is.
    ///
    /// # Errors
    /// The machine failed: everything is as before.
    pub fn change(&mut self, changes: &[Change<'_>], domain: &str) -> Result<Vec<Loaded>, ManagerError> {
        let mut outcomes: Vec<Loaded> = Vec::with_capacity(changes.len());
        // all go first, so that a policy may move from one file to another
        for change in changes {
            let old = change
                .replaces
                .iter()
                .filter_map(|key| Some((key.clone(), self.entries.remove(key)?)))
                .collect();
            self.pending.push(Pending {
                old,
                ..Pending::default()
            });
        }
        for (number, change) in changes.iter().enumerate() {
            let inserted = change
                .text
                .map_or(Ok(Vec::new()), |text| self.insert(change.name, text, domain));
            match &inserted {
                Ok(keys) => self.pending[number].new.clone_from(keys),
                Err(_) => self.restore(number),
            }
            outcomes.push(inserted);
        }
        let applied = self.apply();
        if applied.is_err() {
            (0..changes.len()).for_each(|number| self.restore(number));
        }
        let pending = std::mem::take(&mut self.pending);
        applied?;
        for (outcome, pending) in outcomes.iter_mut().zip(pending) {
            if let Some(reason) = pending.refused {
                *outcome = Err(ManagerError::Refused(reason));
            }
            for (key, entry) in &pending.old {
                log_account(&self.closing(key, entry));
            }
        }
        Ok(outcomes)
    }

    /// Gives up what could not be put in force where something else was before. Whether the set is another one now.
    pub(super) fn fall_back(&mut self) -> bool {
        let mut any = false;
        for number in 0..self.pending.len() {
            let errors: Vec<String> = self.pending[number]
                .new
                .iter()
                .filter_map(|key| match &self.entries.get(key)?.state {
                    State::LoadError(text) => Some(text.clone()),
                    _ => None,
                })
                .collect();
            if errors.is_empty() || self.pending[number].refused.is_some() {
                continue;
            }
            self.pending[number].refused = Some(errors.join("\n"));
            if self.pending[number].old.is_empty() {
                any |= self.leave_listed(number);
            } else {
                self.restore(number);
                any = true;
            }
        }
        any
    }

    /// Where nothing was before, what is refused stays listed, and the rest of its text goes. Whether there was any.
    fn leave_listed(&mut self, number: usize) -> bool {
        let new = std::mem::take(&mut self.pending[number].new);
        let before = self.entries.len();
        for key in new {
            if self
                .entries
                .get(&key)
                .is_some_and(|entry| entry.state == State::Enabled)
            {
                self.entries.remove(&key);
            }
        }
        self.entries.len() < before
    }

    /// Takes a change back.
    fn restore(&mut self, number: usize) {
        let Pending { new, old, .. } = &mut self.pending[number];
        for key in new.drain(..) {
            self.entries.remove(&key);
        }
        for (key, entry) in old.drain(..) {
            // another file may have brought a policy of that name, which is in force then
            self.entries.entry(key).or_insert(entry);
        }
    }
}
