//! The act phase: signals, overrides and events of the winners.

use std::collections::BTreeMap;

use ebpf::record::{self, PolicyCounter};

use crate::attach::Role;
use crate::hir::{Actions, Argument, OperandSource, Post, RateLimit};
use crate::ir::{AluOp, BlockId, CmpOp, Operand as IrOperand, Size, Value, Width};
use crate::output::{ArgumentType, AttachPoint};
use crate::plan::{Instance, PlannedSelector};

use super::layout::{ARG_FAULT, ARGUMENT_HEADER, CURSOR, RECORD, RECORD_ARGUMENT_COUNT, RECORD_ARGUMENTS};
use super::{GenerateError, Generator, classifier, helper, state, winner};

/// Functions of the library that give a socket an owner and take it away.
const TRACK: &str = "tetra_track_sock";
const UNTRACK: &str = "tetra_untrack_sock";

/// Bytes of a number's payload.
const NUMBER: u32 = 8;

/// Which event is sent.
#[derive(Clone, Copy)]
struct Event {
    /// First template of its kind.
    template: u32,
    flags: u32,
    /// Whether it carries the arguments.
    arguments: bool,
    /// Whether it carries the return value.
    returned: bool,
}

impl Generator<'_> {
    pub(super) fn act_phase(&mut self) -> Result<(), GenerateError> {
        for (number, group) in self.groups.all().to_vec().into_iter().enumerate() {
            let next = self.b.create_block();
            self.b.begin_region();
            if self.is_indexed {
                self.b.begin_cold();
                self.require_winner(number, next);
            }
            for k in group.instances {
                self.act(k)?;
            }
            self.b.jump(next);
            if self.is_indexed {
                self.b.end_cold();
            }
            self.b.end_region();
            self.b.switch_to(next);
        }
        Ok(())
    }

    /// Goes on if there may be a winner in a group.
    pub(super) fn require_winner(&mut self, group: usize, other: BlockId) {
        let bit = self.groups.winner_bit(group);
        let any = self.frame_load(self.places.any_winner + (bit / 32) as i32 * 4, Size::B4);
        self.require(CmpOp::Set, any, 1i64 << (bit % 32), other);
    }

    fn act(&mut self, k: usize) -> Result<(), GenerateError> {
        let plan = self.plan;
        let instance = &plan.instances[k];
        let done = self.b.create_block();
        self.at(&instance.hook.line);
        let won = self.frame_load(self.winner_place(k), Size::B2);
        self.b.begin_cold();
        self.require(CmpOp::Ne, won, 0, done);
        let value = instance.role.takes_pending().then(|| {
            let key = self.call_key(instance.pending_key);
            self.call("tetra_pending_take", &[key])
        });
        if instance.may_be_undecided() {
            let (undecided, decided) = (self.b.create_block(), self.b.create_block());
            self.b
                .branch(CmpOp::Eq, Width::W64, won, winner::UNDECIDED, undecided, decided);
            self.b.switch_to(undecided);
            self.undecided(instance, done)?;
            self.b.switch_to(decided);
        }
        if let (Role::ExitOfPair, Some(value)) = (instance.role, value) {
            if instance.only_finishes() {
                self.second_half(instance, value, won, done)?;
                self.b.end_cold();
                self.b.switch_to(done);
                return Ok(());
            }
            let low = self.b.alu(AluOp::And, Width::W64, value, winner::UNDECIDED);
            let (second_half, whole) = (self.b.create_block(), self.b.create_block());
            self.b
                .branch(CmpOp::Ne, Width::W64, low, winner::UNDECIDED, second_half, whole);
            self.b.switch_to(second_half);
            self.second_half(instance, value, won, done)?;
            self.b.switch_to(whole);
            self.rejected(instance, won, done);
        }
        self.matched(instance, won, done)?;
        self.b.end_cold();
        self.b.switch_to(done);
        Ok(())
    }

    /// User memory could not be read: left to the exit of the operation, or counted and shown.
    fn undecided(&mut self, instance: &Instance, done: BlockId) -> Result<(), GenerateError> {
        let slot = instance.hook.policy_slot;
        if instance.defers() {
            let (key, target_key) = (self.call_key(instance.pending_key), self.call_key(instance.target_key));
            let args = [key, IrOperand::Imm(winner::UNDECIDED), slot.into(), target_key];
            self.call("tetra_pending_put", &args);
            self.b.jump(done);
            return Ok(());
        }
        // the program at the entry of the same call has counted it: it is the one that should have acted
        if instance.role != Role::ExitPost {
            self.count(slot, PolicyCounter::Undecided);
        }
        let posting = instance
            .selectors
            .iter()
            .position(|s| s.actions.post.is_some())
            .filter(|_| instance.posts());
        let Some(selector) = posting else {
            self.b.jump(done);
            return Ok(());
        };
        self.frame_store(self.places.action, Size::B8, i64::from(crate::resolve::POST));
        let event = Event {
            template: instance.templates.whole,
            flags: record::RECORD_FLAG_UNDECIDED as u32,
            arguments: true,
            returned: instance.role.is_exit(),
        };
        let won = self.b.const_(selector as i64 + 1);
        self.post(instance, event, won, None, false, done)
    }

    /// Calls that the entry left open and whose selector the value returned does not bear out: there is no event, but what the
    /// entry would have done is done. Goes on in a block for the others.
    fn rejected(&mut self, instance: &Instance, won: Value, done: BlockId) {
        let acting =
            |(_, selector): &(i64, &PlannedSelector)| !selector.returned.is_empty() && selector.actions.enforces();
        for (winner, selector) in (1i64..).zip(&instance.selectors).filter(acting) {
            let next = self.b.create_block();
            self.require(CmpOp::Eq, won, winner::CANCELLED | winner, next);
            self.at(&selector.line);
            self.enforce(instance, &selector.actions);
            self.b.jump(done);
            self.b.switch_to(next);
        }
    }

    /// A selector has won: acts, then posts. Selectors with equal actions share their code.
    fn matched(&mut self, instance: &Instance, won: Value, done: BlockId) -> Result<(), GenerateError> {
        let mut groups: BTreeMap<(&Actions, &Actions), Vec<u64>> = BTreeMap::new();
        for (i, selector) in instance.selectors.iter().enumerate() {
            groups
                .entry((&selector.actions, &selector.return_actions))
                .or_default()
                .push(i as u64 + 1);
        }
        let post = self.b.create_block();
        let blocks: Vec<BlockId> = groups.keys().map(|_| self.b.create_block()).collect();
        if let [only] = blocks.as_slice() {
            self.b.jump(*only);
        } else {
            let mut order: Vec<(u64, BlockId)> = groups
                .values()
                .zip(&blocks)
                .flat_map(|(winners, block)| winners.iter().map(|w| (*w, *block)))
                .collect();
            order.sort_unstable_by_key(|(winner, _)| *winner);
            let winners: Vec<u64> = order.iter().map(|(winner, _)| *winner).collect();
            classifier::search(&mut self.b, won, &winners, &|i| order[i].1, done);
        }
        let mut any_posts = false;
        let mut rate_limited = false;
        for (((actions, return_actions), winners), block) in groups.iter().zip(blocks) {
            self.b.switch_to(block);
            let selector: &PlannedSelector = &instance.selectors[winners[0] as usize - 1];
            self.at(&selector.line);
            if instance.acts() {
                self.enforce(instance, actions);
            }
            if instance.role.is_exit() {
                self.enforce(instance, return_actions);
                self.track_returned(instance)?;
            }
            if !instance.posts() {
                self.b.jump(done);
                continue;
            }
            let posted = actions
                .post
                .filter(|_| !instance.role.is_exit() || return_actions.post.is_some());
            let Some(posted) = posted else {
                self.count(instance.hook.policy_slot, PolicyCounter::NoPost);
                self.track(instance, actions)?;
                if instance.role == Role::EntryOfPair && instance.acts_at_return(selector) {
                    self.mark_silently(instance, won);
                }
                self.b.jump(done);
                continue;
            };
            any_posts = true;
            rate_limited |= posted.rate_limit.is_some();
            self.frame_store(self.places.action, Size::B8, i64::from(actions.reported));
            let limit = posted.rate_limit.unwrap_or(RateLimit {
                interval_ns: 0,
                scope: 0,
            });
            self.frame_store(self.places.rate_limit, Size::B8, limit.interval_ns as i64);
            self.frame_store(self.places.rate_limit + 8, Size::B8, i64::from(limit.scope));
            self.b.jump(post);
        }
        self.b.switch_to(post);
        self.at(&instance.hook.line);
        if !any_posts {
            self.b.jump(done);
            return Ok(());
        }
        if instance.role == Role::EntryOfPair {
            return self.first_half(instance, won, rate_limited, done);
        }
        let event = Event {
            template: instance.templates.whole,
            flags: 0,
            arguments: true,
            returned: instance.role.is_exit(),
        };
        self.post(instance, event, won, None, rate_limited, done)
    }

    /// Sends signals and sets the verdict, unless the policy only monitors; counts either way.
    fn enforce(&mut self, instance: &Instance, actions: &Actions) {
        if let Some(key) = actions.forget {
            self.call("tetra_pending_take", &[key.into()]);
        }
        if !actions.enforces() {
            return;
        }
        let slot = instance.hook.policy_slot;
        let (enforcing, monitoring, next) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let monitors = self.call("tetra_monitors", &[slot.into()]);
        self.b.branch(CmpOp::Eq, Width::W32, monitors, 0, enforcing, monitoring);
        self.b.switch_to(monitoring);
        for _ in &actions.signals {
            self.count(slot, PolicyCounter::MonitorSignal);
        }
        if actions.override_errno.is_some() {
            self.count(slot, PolicyCounter::MonitorOverride);
        }
        if actions.notify.is_some() {
            self.count(slot, PolicyCounter::MonitorNotifyEnforcer);
        }
        self.b.jump(next);
        self.b.switch_to(enforcing);
        for signal in &actions.signals {
            self.b.call_helper(helper::SEND_SIGNAL, &[(*signal).into()]);
            self.count(slot, PolicyCounter::Signal);
        }
        if let Some(notification) = actions.notify {
            let args = [notification.key.into(), notification.number.into(), slot.into()];
            self.call("tetra_notify", &args);
            self.count(slot, PolicyCounter::NotifyEnforcer);
        }
        match actions.override_errno {
            // the entry could not tell, and now the operation has been done
            Some(_) if instance.role.is_exit() => self.count(slot, PolicyCounter::Undecided),
            Some(errno) => {
                self.override_result(errno);
                self.count(slot, PolicyCounter::Override);
            }
            None => {}
        }
        self.b.jump(next);
        self.b.switch_to(next);
    }

    /// The first override wins.
    fn override_result(&mut self, errno: u32) {
        if !self.may_deny() {
            if matches!(self.plan.attach, AttachPoint::Kprobe { .. }) {
                self.b.call_helper(
                    helper::OVERRIDE_RETURN,
                    &[self.ctx.into(), IrOperand::Imm(-i64::from(errno))],
                );
            }
            return;
        }
        let (set, next) = (self.b.create_block(), self.b.create_block());
        let verdict = self.frame_load(self.places.verdict, Size::B8);
        self.b.branch(CmpOp::Eq, Width::W64, verdict, 0, set, next);
        self.b.switch_to(set);
        self.frame_store(self.places.verdict, Size::B8, i64::from(errno));
        self.b.jump(next);
        self.b.switch_to(next);
    }

    /// The half that an entry sends, and the mark for its exit.
    fn first_half(
        &mut self,
        instance: &Instance,
        won: Value,
        rate_limited: bool,
        done: BlockId,
    ) -> Result<(), GenerateError> {
        // unique per call of a thread: the time, with the selector in its low bits for the exit to know
        let now = self.b.call_helper(helper::KTIME_GET_NS, &[]);
        let high = self.b.alu(AluOp::Lsh, Width::W64, now, 16i64);
        let call_id = self.b.alu(AluOp::Or, Width::W64, high, IrOperand::Value(won));
        let event = Event {
            template: instance.templates.whole,
            flags: record::RECORD_FLAG_AWAIT_RETURN as u32,
            arguments: true,
            returned: false,
        };
        self.post(instance, event, won, Some(call_id), rate_limited, done)
    }

    /// The mark for an exit that has something to do, but no half of an event to follow: a selector without a time.
    fn mark_silently(&mut self, instance: &Instance, won: Value) {
        let (key, target_key) = (self.call_key(instance.pending_key), self.call_key(instance.target_key));
        let args = [key, won.into(), instance.hook.policy_slot.into(), target_key];
        self.call("tetra_pending_put", &args);
    }

    /// The half that an exit sends.
    fn second_half(
        &mut self,
        instance: &Instance,
        call_id: Value,
        won: Value,
        done: BlockId,
    ) -> Result<(), GenerateError> {
        let selector = self.b.alu(AluOp::And, Width::W64, won, winner::MAX as i64);
        if acts_at_return(instance) {
            let (silent, sent) = (self.b.create_block(), self.b.create_block());
            let time = self.b.alu(AluOp::Rsh, Width::W64, call_id, 16i64);
            self.b.branch(CmpOp::Eq, Width::W64, time, 0, silent, sent);
            self.b.switch_to(silent);
            let confirmed = self.b.create_block();
            self.b
                .branch(CmpOp::Set, Width::W64, won, winner::CANCELLED, done, confirmed);
            self.b.switch_to(confirmed);
            self.return_enforcement(instance, selector)?;
            self.b.jump(done);
            self.b.switch_to(sent);
        }
        self.frame_store(self.places.action, Size::B8, i64::from(crate::resolve::POST));
        self.frame_store(self.places.rate_limit, Size::B8, 0);
        let (cancelled, confirmed) = (self.b.create_block(), self.b.create_block());
        self.b
            .branch(CmpOp::Set, Width::W64, won, winner::CANCELLED, cancelled, confirmed);
        let event = |flags: i64| Event {
            template: instance.templates.returned,
            flags: flags as u32,
            arguments: false,
            returned: true,
        };
        let returned = i64::from(record::RECORD_FLAG_RETURN);
        self.b.switch_to(cancelled);
        let cancel = event(returned | i64::from(record::RECORD_FLAG_CANCEL));
        self.post(instance, cancel, selector, Some(call_id), false, done)?;
        self.b.switch_to(confirmed);
        self.return_enforcement(instance, selector)?;
        // the return's own `NoPost` takes the event back
        let silent: Vec<u64> = (1u64..)
            .zip(&instance.selectors)
            .filter(|(_, planned)| planned.return_actions.post.is_none())
            .map(|(winner, _)| winner)
            .collect();
        if !silent.is_empty() {
            let (unposted, posted) = (self.b.create_block(), self.b.create_block());
            classifier::search(&mut self.b, selector, &silent, &|_| unposted, posted);
            self.b.switch_to(unposted);
            self.count(instance.hook.policy_slot, PolicyCounter::NoPost);
            self.post(instance, cancel, selector, Some(call_id), false, done)?;
            self.b.switch_to(posted);
        }
        self.post(instance, event(returned), selector, Some(call_id), false, done)
    }

    /// `matchReturnActions` of the selector that the entry found.
    fn return_enforcement(&mut self, instance: &Instance, selector: Value) -> Result<(), GenerateError> {
        self.track_returned(instance)?;
        for (i, planned) in instance
            .selectors
            .iter()
            .enumerate()
            .filter(|(_, s)| s.return_actions.enforces())
        {
            let next = self.b.create_block();
            self.require(CmpOp::Eq, selector, i as i64 + 1, next);
            self.enforce(instance, &planned.return_actions);
            self.b.jump(next);
            self.b.switch_to(next);
        }
        Ok(())
    }

    /// `returnArgAction`
    fn track_returned(&mut self, instance: &Instance) -> Result<(), GenerateError> {
        let (Some(tracks), Some(returned)) = (instance.hook.tracks_returned, &instance.hook.returned) else {
            return Ok(());
        };
        let sock = self.raw(&returned.operand)?;
        self.sock_call(if tracks { TRACK } else { UNTRACK }, sock, instance);
        Ok(())
    }

    /// `TrackSock` and `UntrackSock`
    fn track(&mut self, instance: &Instance, actions: &Actions) -> Result<(), GenerateError> {
        let tracked = actions.tracks.iter().map(|sock| (TRACK, sock));
        for (function, operand) in tracked.chain(actions.untracks.iter().map(|sock| (UNTRACK, sock))) {
            let sock = self.raw(operand)?;
            self.sock_call(function, sock, instance);
        }
        Ok(())
    }

    fn sock_call(&mut self, function: &'static str, sock: Value, instance: &Instance) {
        let args = [self.scratch.into(), sock.into(), instance.hook.policy_slot.into()];
        self.call(function, &args);
    }

    /// Has the record be about the owner of its sockets, then does to them what the winner asks for.
    fn follow_socks(&mut self, instance: &Instance, event: Event, won: Value) -> Result<(), GenerateError> {
        if instance.hook.follows_socks && event.arguments {
            let returned = instance.hook.returned.iter().filter(|_| event.returned);
            let arguments = instance.hook.arguments.iter().chain(returned);
            for argument in arguments.filter(|a| a.operand.argument_type == ArgumentType::Sock) {
                let sock = self.raw(&argument.operand)?;
                self.sock_call("tetra_set_owner", sock, instance);
            }
        }
        if !event.arguments || event.flags & record::RECORD_FLAG_UNDECIDED as u32 != 0 {
            return Ok(());
        }
        for (winner, planned) in (1i64..).zip(&instance.selectors) {
            let actions = &planned.actions;
            if actions.tracks.is_empty() && actions.untracks.is_empty() {
                continue;
            }
            let next = self.b.create_block();
            self.require(CmpOp::Eq, won, winner, next);
            self.track(instance, actions)?;
            self.b.jump(next);
            self.b.switch_to(next);
        }
        Ok(())
    }

    /// Builds and sends an event, then goes to `done`.
    fn post(
        &mut self,
        instance: &Instance,
        event: Event,
        won: Value,
        call_id: Option<Value>,
        rate_limited: bool,
        done: BlockId,
    ) -> Result<(), GenerateError> {
        let slot = instance.hook.policy_slot;
        // templates follow each other by selector, and winners count from 1
        let first = (i64::from(self.plan.tag) << 32 | i64::from(event.template)) - 1;
        let first = self.b.const_(first);
        let tag_and_template = self.b.alu(AluOp::Add, Width::W64, first, IrOperand::Value(won));
        let action = self.frame_load(self.places.action, Size::B8);
        let call = call_id.map_or(IrOperand::Imm(0), IrOperand::Value);
        let args = [
            self.scratch.into(),
            tag_and_template.into(),
            action.into(),
            event.flags.into(),
            call,
        ];
        self.call("tetra_record_begin", &args);
        let arguments = instance.hook.arguments.iter().filter(|_| event.arguments);
        let returned = instance.hook.returned.iter().filter(|_| event.returned);
        let arguments: Vec<&Argument> = arguments.chain(returned).collect();
        // numbers before anything of variable length stand at places known here
        let fixed = arguments.iter().take_while(|a| is_number(a)).count();
        for (i, argument) in arguments.iter().enumerate() {
            if i < fixed {
                self.put_fixed(argument, i as u32)?;
                if i + 1 == fixed {
                    let end = RECORD_ARGUMENTS + fixed as u32 * (ARGUMENT_HEADER + NUMBER);
                    self.frame_store(CURSOR, Size::B4, end);
                    self.frame_store(RECORD_ARGUMENT_COUNT, Size::B4, fixed as u32);
                }
            } else {
                self.put(argument)?;
            }
        }
        self.follow_socks(instance, event, won)?;
        if rate_limited {
            let (limited, send) = (self.b.create_block(), self.b.create_block());
            let interval = self.frame_load(self.places.rate_limit, Size::B8);
            self.b.branch(CmpOp::Ne, Width::W64, interval, 0, limited, send);
            self.b.switch_to(limited);
            let scope = self.frame_load(self.places.rate_limit + 8, Size::B8);
            let args = [self.scratch.into(), slot.into(), scope.into(), interval.into()];
            let passes = self.call("tetra_rate_limit", &args);
            let stopped = self.b.create_block();
            self.b.branch(CmpOp::Ne, Width::W64, passes, 0, send, stopped);
            self.b.switch_to(stopped);
            // the return has nothing to take back: only what it does itself is left
            let acting: Vec<u64> = (1u64..)
                .zip(&instance.selectors)
                .filter(|(_, planned)| instance.acts_at_return(planned))
                .map(|(winner, _)| winner)
                .collect();
            if instance.role == Role::EntryOfPair && !acting.is_empty() {
                let marked = self.b.create_block();
                classifier::search(&mut self.b, won, &acting, &|_| marked, done);
                self.b.switch_to(marked);
                self.mark_silently(instance, won);
            }
            self.b.jump(done);
            self.b.switch_to(send);
        }
        if let (Some(call_id), true) = (call_id, instance.role == Role::EntryOfPair) {
            let (key, target_key) = (self.call_key(instance.pending_key), self.call_key(instance.target_key));
            let args = [key, call_id.into(), slot.into(), target_key];
            self.call("tetra_pending_put", &args);
        }
        if event.arguments {
            self.put_stacks(instance, won);
            self.note_changes(instance, won)?;
        }
        let lane = u32::from(instance.hook.enforces());
        for argument in &arguments {
            self.send_whole(argument, lane)?;
        }
        self.call("tetra_submit", &[self.scratch.into(), slot.into(), lane.into()]);
        self.b.jump(done);
        Ok(())
    }

    /// After an event about a change only another change is one.
    fn note_changes(&mut self, instance: &Instance, won: Value) -> Result<(), GenerateError> {
        let is_about_changes = |planned: &PlannedSelector| {
            let mut filters = planned.cheap.iter().chain(&planned.dear);
            filters.any(|filter| filter.predicate.is_about_changes())
        };
        let winners: Vec<u64> = (1u64..)
            .zip(&instance.selectors)
            .filter(|(_, planned)| is_about_changes(planned))
            .map(|(winner, _)| winner)
            .collect();
        if winners.is_empty() {
            return Ok(());
        }
        let (noted, next) = (self.b.create_block(), self.b.create_block());
        classifier::search(&mut self.b, won, &winners, &|_| noted, next);
        self.b.switch_to(noted);
        self.remember_process()?;
        self.b.jump(next);
        self.b.switch_to(next);
        Ok(())
    }

    /// Sends the buffer of an argument that is to be whole, if it is longer than a text.
    fn send_whole(&mut self, argument: &Argument, lane: u32) -> Result<(), GenerateError> {
        let OperandSource::Buffer(buffer) = &argument.operand.source else {
            return Ok(());
        };
        let (true, Some(index)) = (argument.is_whole, self.plan.text(&argument.operand)) else {
            return Ok(());
        };
        self.at(&argument.line);
        let next = self.b.create_block();
        let read = self.frame_load(self.state_place(index), Size::B1);
        self.require(CmpOp::Eq, read, state::READ, next);
        let text = self.texts[index];
        let address = self.raw(&buffer.address)?;
        let (scratch, text, address) = (self.scratch.into(), text.into(), address.into());
        let flags = u32::from(self.plan.has_user_pointers()) | lane << 1;
        match &buffer.length {
            Some(length) => {
                let length = self.integer(length)?;
                let args = [scratch, text, address, length.into(), flags.into()];
                self.call("tetra_send_buffer", &args);
            }
            None => {
                self.call("tetra_send_iov_iter", &[scratch, text, address, flags.into()]);
            }
        }
        self.b.jump(next);
        self.b.switch_to(next);
        Ok(())
    }

    /// Appends the stacks that the winner's event is to have.
    fn put_stacks(&mut self, instance: &Instance, won: Value) {
        for is_user in [false, true] {
            let wants = |post: &Post| if is_user { post.user_stack } else { post.kernel_stack };
            let winners: Vec<u64> = (1u64..)
                .zip(&instance.selectors)
                .filter(|(_, planned)| planned.actions.post.as_ref().is_some_and(wants))
                .map(|(winner, _)| winner)
                .collect();
            if winners.is_empty() {
                continue;
            }
            let (wanted, next) = (self.b.create_block(), self.b.create_block());
            classifier::search(&mut self.b, won, &winners, &|_| wanted, next);
            self.b.switch_to(wanted);
            let args = [self.scratch.into(), self.ctx.into(), u32::from(is_user).into()];
            self.call("tetra_put_stack", &args);
            self.b.jump(next);
            self.b.switch_to(next);
        }
    }

    /// Writes a number as the `index`-th argument of the event, with only numbers before it.
    fn put_fixed(&mut self, argument: &Argument, index: u32) -> Result<(), GenerateError> {
        self.at(&argument.line);
        let at = RECORD + (RECORD_ARGUMENTS + index * (ARGUMENT_HEADER + NUMBER)) as i32;
        // status ARG_OK in the lower half, the length in the upper one
        self.frame_store(at, Size::B8, i64::from(NUMBER) << 32);
        let place = at + ARGUMENT_HEADER as i32;
        if argument.operand.argument_type == ArgumentType::Nop {
            self.frame_store(place, Size::B8, 0);
        } else {
            let value = self.integer(&argument.operand)?;
            self.frame_store(place, Size::B8, value);
        }
        Ok(())
    }

    /// Status of a gathered argument in a record: 0 if it was read, without a branch, because the verifier follows a function anew
    /// at each call.
    fn status(&mut self, index: usize) -> Value {
        let read = self.frame_load(self.state_place(index), Size::B1);
        let other = self.b.alu(AluOp::Xor, Width::W64, read, state::READ);
        let above = self.b.alu(AluOp::Add, Width::W64, other, 7i64);
        let is_other = self.b.alu(AluOp::Rsh, Width::W64, above, 3i64);
        self.b.alu(AluOp::Mul, Width::W64, is_other, i64::from(ARG_FAULT))
    }

    /// Likewise of a number behind a chain of pointers: where it was not read, the number is the status.
    fn chain_status(&mut self, index: usize) -> Value {
        let fault = self.status(index);
        let status = self.frame_load(self.loaded_place(index), Size::B8);
        self.b.alu(AluOp::Mul, Width::W64, status, IrOperand::Value(fault))
    }

    /// Appends one argument to the event.
    fn put(&mut self, argument: &Argument) -> Result<(), GenerateError> {
        self.at(&argument.line);
        let operand = &argument.operand;
        let scratch = IrOperand::Value(self.scratch);
        if operand.is_text() {
            let Some(index) = self.plan.text(operand) else {
                return Ok(());
            };
            let name = if operand.argument_type == ArgumentType::String {
                "tetra_put_string"
            } else if operand.is_buffer() {
                "tetra_put_buffer"
            } else {
                "tetra_put_path"
            };
            let text = self.texts[index];
            self.call(name, &[scratch, text.into()]);
        } else if operand.is_sock() && operand.source == OperandSource::Return {
            let sock = self.raw(operand)?;
            self.call("tetra_put_returned_sock", &[scratch, sock.into()]);
        } else if operand.is_socket() {
            let Some(index) = self.gathered_index(operand) else {
                return Ok(());
            };
            let is_sock = operand.is_sock();
            let before = self.plan.texts.len() + if is_sock { 0 } else { self.plan.socks.len() };
            let name = if is_sock {
                "tetra_put_sock"
            } else {
                "tetra_put_sockaddr"
            };
            let number = (index - before) as u32;
            let status = self.status(index);
            self.call(name, &[scratch, number.into(), status.into()]);
        } else if operand.is_object() {
            let name = match operand.argument_type {
                ArgumentType::UserNamespace => "tetra_put_user_namespace",
                ArgumentType::Cred => "tetra_put_cred",
                ArgumentType::BpfAttr => "tetra_put_bpf_attr",
                ArgumentType::BpfProg => "tetra_put_bpf_prog",
                ArgumentType::BpfMap => "tetra_put_bpf_map",
                ArgumentType::PerfEvent => "tetra_put_perf_event",
                ArgumentType::Module => "tetra_put_module",
                _ => "tetra_put_load_info",
            };
            let address = self.raw(operand)?;
            self.call(name, &[scratch, address.into()]);
        } else if operand.argument_type == ArgumentType::Nop {
            self.call("tetra_put_integer", &[scratch, 0u32.into(), 0u32.into()]);
        } else {
            let value = self.integer(operand)?;
            let status = match self.gathered_index(operand) {
                Some(index) if matches!(operand.source, OperandSource::Chain(_)) => self.chain_status(index).into(),
                Some(index) => self.status(index).into(),
                None => 0u32.into(),
            };
            self.call("tetra_put_integer", &[scratch, value.into(), status]);
        }
        Ok(())
    }
}

/// Whether any selector does something at the return beside posting.
fn acts_at_return(instance: &Instance) -> bool {
    instance.selectors.iter().any(|s| instance.acts_at_return(s))
}

/// Whether an argument takes eight bytes, whatever happens.
fn is_number(argument: &Argument) -> bool {
    let operand = &argument.operand;
    !(operand.is_text() || operand.is_socket() || operand.is_object() || operand.is_loaded())
}
