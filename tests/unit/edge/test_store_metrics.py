from prometheus_client import CollectorRegistry, generate_latest

from infrafabric_server.edge.store_metrics import StoreMetrics, show_leader
from infrafabric_server.store.etcd import Observer


def _sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"infrafabric_{name}", labels)


def test_what_the_store_tells_is_shown() -> None:
    registry = CollectorRegistry()
    observer: Observer = StoreMetrics(registry)
    observer.batch(members=64, postponed=3, conflicts=2, seconds=0.002)
    observer.batch(members=1, postponed=0, conflicts=0, seconds=0.0004)
    observer.uncertain(0.3, applied=True)
    observer.uncertain(0.7, applied=False)
    observer.uncertain(0.2, applied=False)
    observer.watch_lag(0)
    observer.watch_lag(40)
    observer.lease_slack(9.5)
    assert _sample(registry, "store_batch_members_sum") == 65
    assert _sample(registry, "store_batch_members_bucket", le="1.0") == 1
    assert _sample(registry, "store_postponed_total") == 3
    assert _sample(registry, "store_conflicts_total") == 2
    # Batches whose answer got lost took time as well.
    assert _sample(registry, "store_batch_seconds_count") == 5
    assert _sample(registry, "store_uncertain_total", found="applied") == 1
    assert _sample(registry, "store_uncertain_total", found="dropped") == 2
    assert _sample(registry, "store_watch_lag_revisions_bucket", le="0.0") == 1
    assert _sample(registry, "store_watch_lag_revisions_bucket", le="100.0") == 2
    assert _sample(registry, "store_lease_slack_seconds_bucket", le="5.0") == 0
    assert _sample(registry, "store_lease_slack_seconds_bucket", le="10.0") == 1


def test_nothing_lost_is_shown_as_zero_and_not_left_out() -> None:
    registry = CollectorRegistry()
    StoreMetrics(registry)
    assert b'infrafabric_store_uncertain_total{found="dropped"} 0.0' in generate_latest(registry)


def test_whether_a_replica_leads_is_asked_when_it_is_shown() -> None:
    registry = CollectorRegistry()
    answers = [True, False]
    show_leader(registry, lambda: answers.pop(0))
    assert [_sample(registry, "leader"), _sample(registry, "leader")] == [1.0, 0.0]
