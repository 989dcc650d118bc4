//! Options of a policy.

use super::declare::object;

object! {
    /// An option by name.
    pub struct OptionSpec {
        /// Its name.
        name: String = "name" [required],
        /// Its value.
        value: String = "value",
    }
}
