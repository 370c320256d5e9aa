"""Figures about the store on etcd and the place of a replica among all, for Prometheus."""

from collections.abc import Callable, Sized

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_MEMBERS = (1, 2, 4, 8, 16, 32, 64)
# From a fifth of what a free cluster takes to the patience with one that does not answer.
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 10)
_REVISIONS = (0, 1, 10, 100, 1_000, 10_000)
# A lease of 15 s that is renewed in time has 12 left; one with nothing left is about to be lost.
_SLACK = (0, 0.5, 1, 2, 3, 5, 10, 15, 30, 60)


class StoreMetrics:
    """Observes a store on etcd: it is the adapter's Observer."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._members = Histogram(
            "infrafabric_store_batch_members",
            "Transactions that one batch carried.",
            registry=registry,
            buckets=_MEMBERS,
        )
        self._seconds = Histogram(
            "infrafabric_store_batch_seconds",
            "Time from sending a batch to its answer.",
            registry=registry,
            buckets=_SECONDS,
        )
        self._postponed = Counter(
            "infrafabric_store_postponed",
            "Transactions left for a later batch, as one was full or they touch the same keys.",
            registry=registry,
        )
        self._conflicts = Counter(
            "infrafabric_store_conflicts",
            "Transactions, and members and guards of folds, whose compares did not hold.",
            registry=registry,
        )
        uncertain = Counter(
            "infrafabric_store_uncertain",
            "Batches whose answer got lost, by how reading back found them.",
            ("found",),
            registry=registry,
        )
        self._applied, self._dropped = uncertain.labels("applied"), uncertain.labels("dropped")
        self._lag = Histogram(
            "infrafabric_store_watch_lag_revisions",
            "Revisions that a change was behind the newest one when a watch delivered it.",
            registry=registry,
            buckets=_REVISIONS,
        )
        self._slack = Histogram(
            "infrafabric_store_lease_slack_seconds",
            "The least time that a lease had left when the leases were renewed.",
            registry=registry,
            buckets=_SLACK,
        )

    def batch(self, members: int, postponed: int, conflicts: int, seconds: float) -> None:
        """Count an answered batch."""
        self._members.observe(members)
        self._seconds.observe(seconds)
        self._postponed.inc(postponed)
        self._conflicts.inc(conflicts)

    def uncertain(self, seconds: float, *, applied: bool) -> None:
        """Count a batch whose unknown outcome was found out after `seconds`."""
        (self._applied if applied else self._dropped).inc()
        self._seconds.observe(seconds)

    def watch_lag(self, revisions: int) -> None:
        """Count a change that a watch delivered."""
        self._lag.observe(revisions)

    def lease_slack(self, seconds: float) -> None:
        """Count a round of renewals."""
        self._slack.observe(seconds)


def show_leader(registry: CollectorRegistry, leading: Callable[[], bool]) -> None:
    """Show whether this replica leads; over all replicas the sum is 1, or 0 for a while."""
    Gauge(
        "infrafabric_leader",
        "1 while this replica does what is done once in the fabric.",
        registry=registry,
    ).set_function(lambda: float(leading()))


def show_policies(registry: CollectorRegistry, differing: Callable[[], Sized]) -> None:
    """Show how many other replicas go by another policy than this one."""
    Gauge(
        "infrafabric_policy_differing_replicas",
        "Other replicas whose policy is not the one in force here.",
        registry=registry,
    ).set_function(lambda: float(len(differing())))
