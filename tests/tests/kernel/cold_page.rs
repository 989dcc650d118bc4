//! A path in memory that is not resident when the system call begins cannot be read there. That must not let it pass.

use tests::activity::Activity;
use tests::agent::Agent;
use tests::guard::Need;
use tests::scratch::Scratch;
use tests::{policy, requires};

const CALLS: usize = 100;

fn check_mapped_opens(name: &str, how: &str) {
    let scratch = Scratch::new(name);
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start(name);
    let watched = scratch.write("watched/file", "x");
    let mut page = watched.clone().into_bytes();
    page.resize(4096, 0);
    let mapped = scratch.write("page", page);
    agent.add_policy(&policy::openat("watch", &[("Prefix", &[scratch.text("watched/")])]));

    let done = activity.run(&[&["mapped-open", &mapped, &CALLS.to_string(), how]]);
    assert_eq!(done.results, [CALLS as i64]);

    let events = agent.hook_events(&activity);
    let seen = events
        .iter()
        .filter(|event| event.text("/args/0/string_arg") == watched)
        .count();
    assert_eq!(
        (seen, events.len()),
        (CALLS, CALLS),
        "of {CALLS} opens with the page {how}"
    );
    agent.stop();
}

#[test]
fn opens_with_the_path_on_a_touched_page_are_all_seen() {
    requires!(Need::Bpf);
    check_mapped_opens("touched-page", "touch");
}

#[test]
fn opens_with_the_path_on_a_cold_page_are_all_seen() {
    requires!(Need::Bpf);
    check_mapped_opens("cold-page", "cold");
}
