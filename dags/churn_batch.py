"""A file of customers: produce → score → land → summarise. A task that is tried again goes on."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, task
from lakehouse_command import RETRIES, lakehouse, options

FLOWS = ("churn.bronze", "churn.silver", "churn_predictions.bronze", "churn_predictions.silver")


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=RETRIES,
    tags=["lakehouse", "churn"],
    params={
        "csv": Param(type="string", description="a file of customers, plain or .gz"),
        "root": Param("", type="string", description="the lake's root; else config.ini's"),
        "config": Param("", type="string", description="config.ini; else the environment's"),
    },
)
def churn_batch() -> None:
    """Send a file of customers, predict each, and land both."""

    @task
    def produce(params: dict[str, Any]) -> None:
        lakehouse("produce", "churn", "--csv", params["csv"], *options(params))

    @task
    def score(params: dict[str, Any]) -> None:
        lakehouse("churn", "score", "--batch", *options(params))

    @task
    def land(params: dict[str, Any]) -> None:
        lakehouse("run", *FLOWS, "--available-now", *options(params))

    @task
    def summarise(params: dict[str, Any]) -> str:
        lakehouse("audit", "churn", *options(params))
        return lakehouse("churn", "sample", *options(params))

    produce() >> score() >> land() >> summarise()


churn_batch()
