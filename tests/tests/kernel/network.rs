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

#[test]
fn events_about_a_socket_are_about_its_owner() {
    requires!(Need::Bpf, Need::KernelFunctions);
    let scratch = Scratch::new("owners");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("owners");
    let of_listener = "  - call: tcp_v4_conn_request
    syscall: false
    args: [{index: 0, type: sock}]
";
    let following = "  - call: sk_alloc
    syscall: false
    return: true
    args: [{index: 1, type: int}]
    returnArg: {index: 0, type: sock}
    returnArgAction: tracksock
    selectors:
    - matchArgs: [{index: 1, operator: Equal, values: ['2']}]
  - call: tcp_close
    syscall: false
    args: [{index: 0, type: sock}]
    selectors:
    - matchActions: [{action: UntrackSock, argSock: 0}]
";
    for (name, hooks) in [
        ("following", format!("{following}{of_listener}")),
        ("not-following", of_listener.to_owned()),
    ] {
        agent.add_policy(&format!(
            "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}}}\nspec:\n  kprobes:\n{hooks}"
        ));
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("an address of this host");
    let port = listener.local_addr().expect("it is bound").port().to_string();
    let connecting = activity.run(&[&["connect", "127.0.0.1", &port]]);
    assert_eq!(connecting.results, [0]);
    drop(listener);

    let (me, other) = (std::process::id(), connecting.pid);
    let events = agent.events();
    let of = |policy: &str, function: &str| -> Vec<&tests::event::Event> {
        let mut of = events
            .iter()
            .filter(|event| event.is_of_policy(policy))
            .collect::<Vec<_>>();
        of.retain(|event| event.text("/function_name") == function && [me, other].contains(&event.pid()));
        of
    };
    let pids = |events: Vec<&tests::event::Event>| events.iter().map(|event| event.pid()).collect::<Vec<_>>();
    // whoever connects brings the request to the listener itself, on this machine
    assert_eq!(pids(of("not-following", "tcp_v4_conn_request")), [other]);
    assert_eq!(pids(of("following", "tcp_v4_conn_request")), [me]);
    let request = of("following", "tcp_v4_conn_request")[0];
    assert_ne!(request.at("/process/tid"), &serde_json::json!(other));
    let mine: Vec<_> = of("following", "sk_alloc")
        .into_iter()
        .filter(|event| event.pid() == me)
        .collect();
    let made = mine
        .first()
        .expect("the listener was made")
        .at("/return/sock_arg/cookie");
    assert_eq!(made, request.at("/args/0/sock_arg/cookie"));
    // the event of the action itself is still about the owner
    let closed = of("following", "tcp_close");
    assert!(
        closed
            .iter()
            .any(|event| event.at("/args/0/sock_arg/cookie") == made && event.pid() == me)
    );
    assert_eq!(closed[0].text("/action"), "KPROBE_ACTION_UNTRACKSOCK");
    agent.stop();
}
