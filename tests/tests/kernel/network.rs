//! TCP connections: addresses and ports of both families.

use std::net::TcpListener;

use tests::activity::Activity;
use tests::agent::Agent;
use tests::guard::Need;
use tests::scratch::Scratch;
use tests::{policy, requires};

#[test]
fn connections_show_addresses_and_ports() {
    requires!(Need::Bpf, Need::KernelFunctions);
    let scratch = Scratch::new("tcp");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("tcp");
    agent.add_policy(&policy::example("network/tcp-connect.yaml", &[]));

    for (address, family) in [("127.0.0.1", "AF_INET"), ("::1", "AF_INET6")] {
        let listener = TcpListener::bind((address, 0)).unwrap_or_else(|error| panic!("{address}: {error}"));
        let port = listener.local_addr().expect("it is bound").port();
        let before = agent.hook_events(&activity).len();
        assert_eq!(activity.run(&[&["connect", address, &port.to_string()]]).results, [0]);
        let (_stream, peer) = listener.accept().expect("a connection is there");

        let events = agent.hook_events(&activity);
        let connects: Vec<_> = events[before..]
            .iter()
            .filter(|event| event.text("/function_name") == "tcp_connect")
            .collect();
        assert_eq!(connects.len(), 1, "{events:#?}");
        let sock = connects[0].at("/args/0/sock_arg");
        assert_eq!(sock["family"], family);
        assert_eq!(sock["protocol"], "IPPROTO_TCP");
        assert_eq!(sock["saddr"], address);
        assert_eq!(sock["daddr"], address);
        assert_eq!(sock["dport"], port);
        assert_eq!(sock["sport"], peer.port());
        let closes = events[before..]
            .iter()
            .filter(|event| event.text("/function_name") == "tcp_close")
            .count();
        assert_eq!(closes, 1);
    }
    agent.stop();
}
