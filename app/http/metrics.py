"""Prometheus metrics of the fleet, read from the catalog and so the same in all processes."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from app.extensions import db
from app.fleet.reports.metrics import Measures, measure
from app.fleet.reports.run_counts import BOUNDS, Tally
from headway.errors import HeadwayError

log = logging.getLogger(__name__)


def fleet_metrics() -> bytes:
    """The metrics of the fleet; b"" if the catalog cannot be read now."""
    registry = CollectorRegistry()
    try:
        registry.register(_Fleet(measure()))
    except (HeadwayError, SQLAlchemyError) as error:
        log.warning("the fleet cannot be measured: %s", error)
        return b""
    finally:
        db.session.rollback()
    return generate_latest(registry)


class _Fleet(Collector):
    def __init__(self, measures: Measures) -> None:
        self.measures = measures

    def collect(self) -> Iterator[Metric]:
        it = self.measures
        yield _gauge("runs", "Runs by state", {(k,): v for k, v in it.runs.states.items()}, "state")
        yield _durations(it.runs)
        yield _gauge("databases", "Databases by position", it.databases, "project", "position")
        yield _gauge(
            "oldest_behind_seconds",
            "How long the oldest revision that a database lacks has been known",
            {(name,): seconds for name, seconds in it.oldest_behind.items()},
            "project",
        )
        yield _gauge("workers", "Workers that are alive", {(): it.workers})
        stages = {(stage,): number for stage, number in it.rollouts.items()}
        yield _gauge("rollouts", "Rollouts by stage", stages, "stage")
        yield _gauge(
            "webhook_deliveries_pending",
            "Messages to webhooks that wait or are tried again",
            {(): it.deliveries},
        )


def _gauge(name: str, says: str, values: Mapping[Any, float], *labels: str) -> Metric:
    family = GaugeMetricFamily(f"headway_{name}", says, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _durations(tally: Tally) -> Metric:
    family = HistogramMetricFamily(
        "headway_run_seconds", "How long runs took that have ended", labels=["kind"]
    )
    for kind in tally.kinds:
        buckets = [(str(bound), float(tally.timed[kind, bound])) for bound in BOUNDS]
        buckets.append(("+Inf", float(tally.timed[kind, float("inf")])))
        family.add_metric([kind], buckets, tally.seconds[kind])
    return family
