"""Every product's lake, once a day: maintain, audit each product, back up."""

from __future__ import annotations

import json
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task
from lakehouse_command import RETRIES, lakehouse, options


@dag(
    schedule="@daily",
    catchup=False,
    max_active_runs=1,
    default_args=RETRIES,
    tags=["lakehouse"],
    params={
        "backups": Param("", type="string", description="a folder for backups; none without it"),
        "root": Param("", type="string", description="the lake's root; else config.ini's"),
        "config": Param("", type="string", description="config.ini; else the environment's"),
    },
)
def lakehouse_care() -> None:
    """Maintain the tables, prove each product that has landed, and back up what was proven."""

    @task
    def maintain(params: dict[str, Any]) -> None:
        lakehouse("maintain", *options(params))

    @task
    def products(params: dict[str, Any]) -> list[str]:
        listed = json.loads(lakehouse("products", "--json", *options(params)))
        return [one["product"] for one in listed if one["state"] != "not begun"]

    @task
    def audit(product: str, params: dict[str, Any]) -> None:
        lakehouse("audit", product, *options(params))

    @task
    def backup(params: dict[str, Any]) -> None:
        if params["backups"]:
            context = get_current_context()
            name = f"{context['ts_nodash']}-{context['ti'].try_number}"  # each try its own folder
            lakehouse("backup", f"{params['backups']}/{name}", *options(params))

    landed = products()
    maintain() >> landed
    audit.expand(product=landed) >> backup()


lakehouse_care()
