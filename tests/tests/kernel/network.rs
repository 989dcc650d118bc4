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

#[test]
fn packets_are_told_by_their_headers() {
    requires!(Need::Bpf, Need::KernelFunctions);
    let scratch = Scratch::new("packets");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("packets");
    let listeners =
        ["127.0.0.1", "::1"].map(|address| TcpListener::bind((address, 0)).expect("an address of this host"));
    let ports = listeners
        .each_ref()
        .map(|listener| listener.local_addr().expect("it is bound").port());
    // the function of both families that every packet passes which leaves through a device
    agent.add_policy(&format!(
        "apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: packets
spec:
  kprobes:
  - call: dev_hard_start_xmit
    syscall: false
    args: [{{index: 0, type: skb}}, {{index: 1, type: net_device}}]
    selectors:
    - matchArgs:
      - {{index: 0, operator: DPort, values: ['{}', '{}']}}
      - {{index: 0, operator: Protocol, values: [IPPROTO_TCP]}}
      - {{index: 0, operator: DAddr, values: [127.0.0.0/8, '::1']}}
      - {{index: 1, operator: Equal, values: [lo]}}
",
        ports[0], ports[1]
    ));
    for ((listener, port), (address, family)) in listeners
        .iter()
        .zip(ports)
        .zip([("127.0.0.1", "AF_INET"), ("::1", "AF_INET6")])
    {
        let before = agent.hook_events(&activity).len();
        assert_eq!(activity.run(&[&["connect", address, &port.to_string()]]).results, [0]);
        let (_stream, peer) = listener.accept().expect("a connection is there");

        let events = agent.hook_events(&activity);
        // at least the first of the handshake is sent by whoever connects
        assert!(events.len() > before, "{address}");
        for event in &events[before..] {
            let skb = event.at("/args/0/skb_arg");
            assert_eq!(skb["family"], family);
            assert_eq!(skb["protocol"], "IPPROTO_TCP");
            assert_eq!(skb["proto"], 6);
            assert_eq!((&skb["saddr"], &skb["daddr"]), (&address.into(), &address.into()));
            assert_eq!((&skb["sport"], &skb["dport"]), (&peer.port().into(), &port.into()));
            assert!(skb["len"].as_u64() >= Some(40), "{skb}");
            assert_eq!(event.text("/args/1/string_arg"), "lo");
        }
    }
    agent.stop();
}
