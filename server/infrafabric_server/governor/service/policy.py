"""The calls about the policy: what is in force, and whether another could be."""

import asyncio

from infrafabric.v1 import governor_policy_pb2 as pb
from infrafabric.v1.governor_service_pb2_grpc import GovernorServiceServicer
from infrafabric_server.edge.calls import Context
from infrafabric_server.edge.times import to_timestamp
from infrafabric_server.errors import FieldViolation, InvalidField
from infrafabric_server.governor.policy.agreement import Agreement
from infrafabric_server.governor.policy.checking import check
from infrafabric_server.governor.policy.document import MAX_BYTES, Problem
from infrafabric_server.governor.policy.file import PolicyFile, spelled_out


class PolicyCalls(GovernorServiceServicer):
    """GetPolicy, CheckPolicy."""

    policy: PolicyFile
    agreement: Agreement

    async def GetPolicy(
        self, request: pb.GetPolicyRequest, context: Context
    ) -> pb.GetPolicyResponse:
        """Show the policy in force here."""
        current = self.policy.book.current
        return pb.GetPolicyResponse(
            policy_yaml=spelled_out(current),
            policy_hash=current.hash,
            source=str(self.policy.path or ""),
            load_time=to_timestamp(self.policy.load_time),
            problems=map(_problem, self.policy.problems),
            others=[
                pb.ReplicaPolicy(replica=name, host=each.host, policy_hash=each.policy_hash)
                for name, each in sorted(self.agreement.others().items())
            ],
        )

    async def CheckPolicy(
        self, request: pb.CheckPolicyRequest, context: Context
    ) -> pb.CheckPolicyResponse:
        """Check a policy; nothing changes."""
        text = request.policy_yaml.encode()
        if len(text) > MAX_BYTES:
            rule = f"must be at most {MAX_BYTES} bytes"
            raise InvalidField(FieldViolation("policy_yaml", rule))
        # A large one takes a while, which is not for the event loop.
        checked = await asyncio.to_thread(check, text)
        return pb.CheckPolicyResponse(
            problems=map(_problem, checked.problems),
            policy_hash=checked.hash,
            cases=checked.cases,
        )


def _problem(problem: Problem) -> pb.PolicyProblem:
    return pb.PolicyProblem(path=problem.path, line=problem.line, problem=problem.problem)
