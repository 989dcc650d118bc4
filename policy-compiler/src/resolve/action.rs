//! Actions (§8).

use tracingpolicy_crd::{Action, ActionSelector, FieldPath};

use super::Resolver;
use crate::codes;
use crate::hir::{Actions, Argument, Operand, Post, RateLimit, Target};
use crate::output::ArgumentType;

/// `tetragon.KprobeAction` numbers.
pub(crate) const POST: u16 = 1;
const SIGKILL: u16 = 3;
const OVERRIDE: u16 = 5;
const NO_POST: u16 = 9;
const SIGNAL: u16 = 10;
const NOTIFY_ENFORCER: u16 = 13;
const TRACK_SOCK: u16 = 11;
const UNTRACK_SOCK: u16 = 12;
const CLEANUP_ENFORCER_NOTIFICATION: u16 = 14;

/// Signal number of SIGKILL.
const SIGKILL_NUMBER: u32 = 9;
/// Greatest signal number (`_NSIG`).
const MAX_SIGNAL: u32 = 64;
/// Greatest errno a function may return (`MAX_ERRNO`).
const MAX_ERRNO: i64 = 4095;

impl Resolver<'_> {
    /// The actions of a selector. Post is implicit.
    pub(super) fn actions(
        &mut self,
        specs: &[ActionSelector],
        path: &FieldPath,
        target: &Target,
        arguments: &[Argument],
        is_return: bool,
    ) -> Actions {
        let mut actions = Actions {
            post: Some(Post::default()),
            reported: POST,
            ..Actions::default()
        };
        for (i, spec) in specs.iter().enumerate() {
            let path = path.index(i);
            self.refuse_parameters(spec, &path);
            match spec.action {
                Action::Post => {
                    let rate_limit = self.rate_limit(spec, &path);
                    let stacks = self.stacks(spec, &path, target, is_return);
                    if let Some(post) = &mut actions.post {
                        post.rate_limit = rate_limit;
                        post.kernel_stack |= stacks.0;
                        post.user_stack |= stacks.1;
                    }
                    actions.reported = POST;
                }
                Action::NoPost => {
                    actions.post = None;
                    actions.reported = NO_POST;
                }
                Action::Sigkill => {
                    actions.signals.push(SIGKILL_NUMBER);
                    actions.reported = SIGKILL;
                }
                Action::Signal => {
                    actions.signals.extend(self.signal(spec, &path));
                    actions.reported = SIGNAL;
                }
                Action::Override => {
                    actions.override_errno = self.override_errno(spec, &path, target, is_return);
                    actions.reported = OVERRIDE;
                }
                Action::NotifyEnforcer => {
                    actions.notify = self.notification(spec, &path);
                    actions.reported = NOTIFY_ENFORCER;
                }
                Action::CleanupEnforcerNotification => {
                    actions.forget = Some(self.notification_key());
                    actions.reported = CLEANUP_ENFORCER_NOTIFICATION;
                }
                Action::TrackSock => {
                    actions.tracks.extend(self.sock(spec, &path, arguments, is_return));
                    actions.reported = TRACK_SOCK;
                }
                Action::UntrackSock => {
                    actions.untracks.extend(self.sock(spec, &path, arguments, is_return));
                    actions.reported = UNTRACK_SOCK;
                }
                other => self.error(
                    codes::NOT_COMPILED,
                    &path.key("action"),
                    format!("the action `{other}` is not compiled"),
                    "compiled are Post, NoPost, Sigkill, Signal, Override, TrackSock, UntrackSock, NotifyEnforcer and CleanupEnforcerNotification",
                ),
            }
        }
        actions
    }

    /// The argument that `argSock` means.
    fn sock(
        &mut self,
        spec: &ActionSelector,
        path: &FieldPath,
        arguments: &[Argument],
        is_return: bool,
    ) -> Option<Operand> {
        if is_return {
            self.error(
                codes::ACTION_NOT_POSSIBLE,
                &path.key("action"),
                format!("`{}` cannot be done when the function has returned", spec.action),
                "use it in `matchActions`, or `returnArgAction` for a socket that the function returns",
            );
            return None;
        }
        let mut arguments = arguments.iter().filter(|argument| !argument.is_data);
        let operand = &arguments.nth(spec.arg_sock as usize)?.operand;
        // whoever checked the policy has said so, or it is an argument that could not be resolved
        (operand.argument_type == ArgumentType::Sock).then(|| operand.clone())
    }

    fn refuse_parameters(&mut self, spec: &ActionSelector, path: &FieldPath) {
        for (present, key) in [(spec.ima_hash, "imaHash")] {
            if present {
                self.error(
                    codes::NOT_COMPILED,
                    &path.key(key),
                    format!("`{key}` is not compiled"),
                    "leave it out",
                );
            }
        }
        for (present, key) in [
            (spec.kernel_stack_trace, "kernelStackTrace"),
            (spec.user_stack_trace, "userStackTrace"),
        ] {
            if present && spec.action != Action::Post {
                self.error(
                    codes::ACTION_NOT_POSSIBLE,
                    &path.key(key),
                    format!("`{key}` does not apply to `{}`", spec.action),
                    format!("add `- action: Post` with `{key}: true`"),
                );
            }
        }
        if spec.action != Action::Post && !spec.rate_limit.is_empty() {
            self.error(
                codes::ACTION_NOT_POSSIBLE,
                &path.key("rateLimit"),
                format!("`rateLimit` does not apply to `{}`", spec.action),
                "add `- action: Post` with the rate limit",
            );
        }
    }

    fn override_errno(
        &mut self,
        spec: &ActionSelector,
        path: &FieldPath,
        target: &Target,
        is_return: bool,
    ) -> Option<u32> {
        if matches!(target, Target::User(_)) && !is_return {
            self.error(
                codes::NOT_COMPILED,
                &path.key("action"),
                "`Override` of a user function is not compiled",
                "use `action: Sigkill`, or deny what the function asks of the kernel with a hook of `kprobes` or `lsmhooks`",
            );
            return None;
        }
        if is_return || matches!(target, Target::Tracepoint(..) | Target::RawTracepoint(..)) {
            let what = if is_return {
                "when the function has returned".into()
            } else {
                format!("at a {}", super::target_name(target))
            };
            self.error(
                codes::ACTION_NOT_POSSIBLE,
                &path.key("action"),
                format!("`Override` cannot do anything {what}"),
                "use it in `matchActions` of a kprobe on a syscall or `security_*` function, or of an LSM hook",
            );
            return None;
        }
        self.errno(spec, path)
    }

    /// `argError`, positive.
    pub(super) fn errno(&mut self, spec: &ActionSelector, path: &FieldPath) -> Option<u32> {
        let error = i64::from(spec.arg_error);
        if !(-MAX_ERRNO..=-1).contains(&error) {
            self.error(
                codes::BAD_VALUE,
                &path.key("argError"),
                format!("{error} is not an error that can be returned"),
                "write a negative errno between -4095 and -1, for example `argError: -1` for EPERM",
            );
            return None;
        }
        Some(error.unsigned_abs() as u32)
    }

    /// `argSig`
    pub(super) fn signal(&mut self, spec: &ActionSelector, path: &FieldPath) -> Option<u32> {
        if (1..=MAX_SIGNAL).contains(&spec.arg_sig) {
            return Some(spec.arg_sig);
        }
        self.error(
            codes::BAD_VALUE,
            &path.key("argSig"),
            format!("{} is not a signal", spec.arg_sig),
            "signals are 1 to 64, for example `argSig: 15` for SIGTERM",
        );
        None
    }

    /// `kernelStackTrace` and `userStackTrace`, which only events of functions of the kernel have room for.
    fn stacks(&mut self, spec: &ActionSelector, path: &FieldPath, target: &Target, is_return: bool) -> (bool, bool) {
        for (present, key) in [
            (spec.kernel_stack_trace, "kernelStackTrace"),
            (spec.user_stack_trace, "userStackTrace"),
        ] {
            if present && is_return {
                self.error(
                    codes::ACTION_NOT_POSSIBLE,
                    &path.key(key),
                    format!("`{key}` does not apply to `matchReturnActions`"),
                    "write it in `matchActions`: a stack trace is taken when the function is called",
                );
                return (false, false);
            }
            if present && !matches!(target, Target::Function(_) | Target::Syscall(_)) {
                self.error(
                    codes::ACTION_NOT_POSSIBLE,
                    &path.key(key),
                    format!("events of {} have no stack trace", super::target_name(target)),
                    "stack traces are shown in events of `kprobes` and `fentries`: hook a function there, or leave it out",
                );
                return (false, false);
            }
        }
        (spec.kernel_stack_trace, spec.user_stack_trace)
    }

    fn rate_limit(&mut self, spec: &ActionSelector, path: &FieldPath) -> Option<RateLimit> {
        if spec.rate_limit.is_empty() {
            return None;
        }
        let text = spec.rate_limit.as_str();
        let parsed = tracingpolicy_crd::value::rate_limit(text).and_then(|time| u64::try_from(time.as_nanos()).ok());
        let Some(interval_ns) = parsed else {
            self.error(
                codes::BAD_VALUE,
                &path.key("rateLimit"),
                format!("`{text}` is not a time"),
                "write a number of seconds, or with a unit: `30s`, `5m`, `1h`",
            );
            return None;
        };
        let scope = match spec.rate_limit_scope.as_str() {
            "" | "thread" => 0,
            "process" => 1,
            "global" => 2,
            other => {
                self.error(
                    codes::BAD_VALUE,
                    &path.key("rateLimitScope"),
                    format!("`{other}` is not a scope"),
                    "write `thread`, `process` or `global`",
                );
                return None;
            }
        };
        (interval_ns > 0).then_some(RateLimit { interval_ns, scope })
    }
}
