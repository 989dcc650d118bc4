//! Override: the operation fails with the policy's errno, and only where the policy says so.

use tests::activity::Activity;
use tests::agent::Agent;
use tests::guard::Need;
use tests::scratch::Scratch;
use tests::{policy, requires};

#[test]
fn a_security_function_is_overridden() {
    requires!(Need::Bpf, Need::KernelFunctions);
    let scratch = Scratch::new("override-open");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("override-open");
    let protected = scratch.write("protected/file", "x");
    let other = scratch.write("other", "x");
    agent.add_policy(&policy::example(
        "override/file-open.yaml",
        &[("/opt/tetra-protected/", &scratch.text("protected/"))],
    ));
    let done = activity.run(&[&["open", &other], &["open", &protected], &["open", &other]]);
    assert_eq!(done.results, [0, 19, 0], "ENODEV");
    let events = agent.hook_events(&activity);
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(events[0].text("/action"), "KPROBE_ACTION_OVERRIDE");
    assert_eq!(events[0].text("/args/0/file_arg/path"), protected);
    agent.delete_policy("refuse-open");
    assert_eq!(
        activity.run(&[&["open", &protected]]).results,
        [0],
        "the policy is out of force"
    );
    agent.stop();
}

#[test]
fn directories_are_refused() {
    requires!(Need::Bpf, Need::KernelFunctions);
    let scratch = Scratch::new("override-mkdir");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("override-mkdir");
    agent.add_policy(&policy::example("override/mkdir.yaml", &[]));
    let done = activity.run(&[
        &["mkdir", &scratch.text("allowed")],
        &["mkdir", &scratch.text("forbidden")],
    ]);
    assert_eq!(done.results, [0, 1], "EPERM");
    assert!(!scratch.path("forbidden").exists());
    assert_eq!(agent.hook_events(&activity).len(), 1);
    agent.stop();
}

#[test]
fn a_security_module_hook_is_overridden() {
    requires!(Need::Bpf, Need::Lsm, Need::KernelFunctions);
    let scratch = Scratch::new("override-lsm");
    let activity = Activity::new(&scratch);
    let allowed = Activity::named(&scratch, "allowed");
    let mut agent = Agent::start("override-lsm");
    let protected = scratch.write("protected", "x");
    agent.add_policy(&policy::example(
        "override/lsm-file-open.yaml",
        &[("/usr/bin/head", activity.binary()), ("/etc/passwd", &protected)],
    ));
    assert_eq!(activity.run(&[&["open", &protected]]).results, [13], "EACCES");
    assert_eq!(
        allowed.run(&[&["open", &protected]]).results,
        [0],
        "matchBinaries names another binary"
    );
    let events = agent.hook_events(&activity);
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(events[0].kind(), "process_lsm");
    assert_eq!(events[0].text("/function_name"), "file_open");
    assert_eq!(events[0].text("/args/0/file_arg/path"), protected);
    agent.stop();
}
