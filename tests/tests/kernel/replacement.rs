//! A change of the policy set is atomic: what must match before and after is reported once, never twice.

use tests::activity::Activity;
use tests::agent::Agent;
use tests::guard::Need;
use tests::scratch::Scratch;
use tests::{policy, requires};

const REPLACEMENTS: usize = 100;

#[test]
fn a_hundred_replacements_under_load_lose_and_double_nothing() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("replacement");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("replacement");
    let watched = scratch.write("watched", "x");
    let stop = scratch.text("stop");
    agent.add_policy(&policy::openat(
        "constant",
        &[("Equal", std::slice::from_ref(&watched))],
    ));

    let load = activity.start(&[&["open-until", &watched, &stop]]);
    // each adds or removes a policy of the same hook, whose program is then another
    for round in 0..REPLACEMENTS / 2 {
        let name = format!("changing-{round}");
        agent.add_policy(&policy::openat(
            &name,
            &[("Prefix", &[scratch.text(&format!("nothing-{round}"))])],
        ));
        agent.delete_policy(&name);
    }
    std::fs::write(&stop, "").expect("the load can be told to stop");
    let opened = load.wait().results[0];
    assert!(opened > 0);

    let of_constant = agent.hook_events(&activity);
    let reported = of_constant.len() as i64;
    assert_eq!(
        reported,
        opened,
        "opens of a path that one policy always watches; the kernel left out {} calls",
        agent.left_out_by_kernel()
    );
    assert!(of_constant.iter().all(|event| event.is_of_policy("constant")));
    agent.stop();
}
