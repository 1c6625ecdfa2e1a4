"""What is said to a management server: a subscription, then an ACK or a NACK of every response.

    ──▶ node, type, no version        ◀── version, nonce, resources
    ──▶ version, nonce                    ACK: this state is in force here
    ──▶ last good version, nonce, error   NACK: the last good state still is

A stream begins without a version, though an earlier stream had one: a management server that
was restarted may count its versions from 1 again, and would believe that we have its state.
"""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.struct_pb2 import Struct

from protos.interop.discovery.v1.discovery_pb2 import DiscoveryRequest, DiscoveryResponse, Node, Status
from ratelimit.config.resources import TYPE_URL
from ratelimit.errors import ConfigError
from serving.calls import StatusCode

USER_AGENT = "weir"
# A refusal is read by people; the whole list of a large broken set would be no help to them.
PROBLEMS_TOLD_MAX = 20
REASON_CHARACTERS_MAX = 8_192


class Subscription:
    """Makes requests; remembers the last good version."""

    def __init__(self, node_id: str, metadata: Mapping[str, str]) -> None:
        self._node = Node(id=node_id, user_agent_name=USER_AGENT)
        if metadata:
            self._node.metadata.CopyFrom(Struct())
            self._node.metadata.update(metadata)
        self._version = ""

    def first(self) -> DiscoveryRequest:
        """Ask for everything; the first request of a stream."""
        return DiscoveryRequest(node=self._node, type_url=TYPE_URL)

    def accept(self, response: DiscoveryResponse) -> DiscoveryRequest:
        """Say that this state is in force."""
        self._version = response.version_info
        return self._answer(response)

    def refuse(self, response: DiscoveryResponse, error: ConfigError) -> DiscoveryRequest:
        """Say that this state is not, and why."""
        request = self._answer(response)
        request.error_detail.CopyFrom(Status(code=StatusCode.INVALID_ARGUMENT, message=reason(error)))
        return request

    def _answer(self, response: DiscoveryResponse) -> DiscoveryRequest:
        return DiscoveryRequest(version_info=self._version, type_url=TYPE_URL, response_nonce=response.nonce)


def reason(error: ConfigError) -> str:
    """Write down the first problems."""
    lines = [str(problem) for problem in error.problems[:PROBLEMS_TOLD_MAX]]
    if len(error.problems) > PROBLEMS_TOLD_MAX:
        lines.append(f"and {len(error.problems) - PROBLEMS_TOLD_MAX} more problems")
    return "\n".join(lines)[:REASON_CHARACTERS_MAX]
