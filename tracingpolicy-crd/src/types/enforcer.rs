//! Enforcers: functions where what `NotifyEnforcer` asked for is done.

use super::declare::object;

object! {
    /// Where an enforcer acts.
    pub struct EnforcerSpec {
        /// System calls, `security_` functions, or `list:NAME`.
        calls: Vec<String> = "calls" [required],
    }
}
