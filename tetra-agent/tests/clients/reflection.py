"""A client that knows of the agent's API only what the agent tells it by reflection.

It goes through what a user does: adds a policy, lists it, watches events with a filter and a field filter while it makes the system
call, disables and removes the policy. It prints what it saw, a JSON object a line, and fails where an answer is not what it must be.

    reflection.py unix:///run/agent.sock
"""

import json
import os
import sys
import threading

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "tetragon.FineGuidanceSensors"
PATIENCE = 60  # seconds for any answer

POLICY = """
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: independent-client
spec:
  kprobes:
  - call: sys_setuid
    args: [{index: 0, type: int}]
"""


class Client:
    def __init__(self, address):
        # of a unix socket, gRPC's C core makes a host name with percent signs, which h2 refuses as none
        options = [("grpc.default_authority", "localhost")]
        self.channel = grpc.insecure_channel(address, options=options)
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.service = DescriptorPool(self.database).FindServiceByName(SERVICE)

    def stub(self, method, **fields):
        """A call with its request: fields by name, as JSON has them."""
        described = self.service.methods_by_name[method]
        request = json_format.ParseDict(fields, GetMessageClass(described.input_type)())
        kind = self.channel.unary_stream if described.server_streaming else self.channel.unary_unary
        call = kind(
            f"/{SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(described.output_type).FromString,
        )
        return call(request, timeout=PATIENCE)

    def ask(self, method, **fields):
        answer = self.stub(method, **fields)
        return json_format.MessageToDict(answer, preserving_proto_field_name=True)


def policies(client):
    return {policy["name"]: policy for policy in client.ask("ListTracingPolicies").get("policies", [])}


def main(address):
    client = Client(address)
    say = lambda what, value: print(json.dumps({what: value}), flush=True)

    services = list(client.database.get_services())
    assert SERVICE in services, services
    say("methods", sorted(client.service.methods_by_name))
    version = client.ask("GetVersion")["version"]
    assert version, version
    health = client.ask("GetHealth", event_set=["HEALTH_STATUS_TYPE_STATUS"])["health_status"]
    assert health[0]["status"] == "HEALTH_STATUS_RUNNING", health

    assert policies(client) == {}, policies(client)
    client.ask("AddTracingPolicy", yaml=POLICY)
    added = policies(client)["independent-client"]
    assert added["state"] == "TP_STATE_ENABLED", added
    try:
        client.ask("AddTracingPolicy", yaml="kind: Nonsense")
        raise AssertionError("nonsense was taken")
    except grpc.RpcError as error:
        say("refusal", error.details().splitlines()[0])

    own = [os.getpid()]
    events = client.stub(
        "GetEvents",
        allow_list=[{"pid": own, "event_set": ["PROCESS_KPROBE"], "policy_names": ["independent-client"]}],
        field_filters=[{"fields": "process.pid,functionName,args", "action": "INCLUDE"}],
    )
    # until the stream is there, calls go by unseen
    over = threading.Event()

    def call():
        while not over.wait(0.05):
            os.setuid(os.getuid())

    caller = threading.Thread(target=call)
    caller.start()
    try:
        event = json_format.MessageToDict(next(events), preserving_proto_field_name=True)
    finally:
        over.set()
        caller.join()
    say("event", event)
    kprobe = event["process_kprobe"]
    assert sorted(kprobe) == ["args", "function_name", "process"], event
    assert kprobe["process"] == {"pid": own[0]}, event
    assert kprobe["args"][0]["int_arg"] == os.getuid(), event
    events.cancel()

    client.ask("DeleteTracingPolicy", name="independent-client")
    assert policies(client) == {}, policies(client)
    try:
        client.ask("DeleteTracingPolicy", name="independent-client")
        raise AssertionError("what is not there was removed")
    except grpc.RpcError as error:
        say("missing", error.code().name)


main(sys.argv[1])
