"""Calls about the policy."""

from infrafabric.calls import Caller
from infrafabric.v1 import governor_policy_pb2 as pb2


class Policy:
    """The policy of the fabric, as GovernorService knows it.

    Every method may raise the FabricErrors that its RPC lists.
    """

    def __init__(self, calls: Caller) -> None:
        self._calls = calls

    async def get(self) -> pb2.GetPolicyResponse:
        """Return the policy in force at the server that answers."""
        return await self._calls.unary(lambda at: at.governor.GetPolicy, pb2.GetPolicyRequest())

    async def check(self, policy_yaml: str) -> pb2.CheckPolicyResponse:
        """Return what is wrong with a policy; nothing changes.

        Args:
            policy_yaml: its text, at most 256 KiB.
        """
        request = pb2.CheckPolicyRequest(policy_yaml=policy_yaml)
        return await self._calls.unary(lambda at: at.governor.CheckPolicy, request)
