"""Beside a running scorer: check topics → produce → watch the scorer → summarise."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, task
from churn_batch import FLOWS
from lakehouse_command import RETRIES, lakehouse, options


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=RETRIES,
    tags=["lakehouse", "churn"],
    params={
        "count": Param(500, type="integer", minimum=1, description="customers to send"),
        "rate": Param(50, type="number", exclusiveMinimum=0, description="of them a second"),
        "wait": Param(120, type="number", minimum=0, description="seconds until all are scored"),
        "root": Param("", type="string", description="the lake's root; else config.ini's"),
        "config": Param("", type="string", description="config.ini; else the environment's"),
    },
)
def churn_streaming() -> None:
    """Send customers as they come; the scorer, which runs elsewhere, has to keep up."""

    @task
    def check_topics(params: dict[str, Any]) -> None:
        lakehouse("churn", "topics", *options(params))

    @task
    def produce(params: dict[str, Any]) -> None:
        lakehouse("produce", "churn", *options(params, ("count", "rate", "root", "config")))

    @task
    def watch_scorer(params: dict[str, Any]) -> None:
        lakehouse("churn", "topics", *options(params, ("wait", "root", "config")))

    @task
    def summarise(params: dict[str, Any]) -> str:
        lakehouse("run", *FLOWS, "--available-now", *options(params))
        return lakehouse("churn", "sample", *options(params))

    check_topics() >> produce() >> watch_scorer() >> summarise()


churn_streaming()
