"""The actions that an entry of ours in a Delta log has, beside the files that it adds."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from deltalake import DeltaTable, Schema

from lakehouse.storage.metadata import NOTE


def append_info(
    files: int, rows: int, partition_by: Sequence[str], note: Mapping[str, Any]
) -> dict[str, Any]:
    """The commitInfo action of an append, as delta-rs writes it."""
    metrics = {"num_added_files": files, "num_added_rows": rows}
    parameters = {"mode": "Append", "partitionBy": json.dumps(partition_by)}
    return _info("WRITE", parameters, metrics, json.dumps(note))


def exchange_info(
    added: int, removed: int, rows: int, partition_by: Sequence[str], note: Mapping[str, Any]
) -> dict[str, Any]:
    """The action that describes files that replaced others."""
    metrics = {"num_added_files": added, "num_removed_files": removed, "num_added_rows": rows}
    parameters = {"mode": "Overwrite", "partitionBy": json.dumps(partition_by)}
    return _info("WRITE", parameters, metrics, json.dumps(note))


def delete_info(added: int, removed: int, rows: int, note: Mapping[str, Any]) -> dict[str, Any]:
    """The action that describes deleted rows; not which ones, since that may name a person."""
    metrics = {"num_added_files": added, "num_removed_files": removed, "num_deleted_rows": rows}
    return _info("DELETE", {}, metrics, json.dumps(note))


def merge_info(added: int, removed: int, rows: int, note: Mapping[str, Any]) -> dict[str, Any]:
    """The action that describes rows of which some columns were set."""
    metrics = {
        "num_target_files_added": added,
        "num_target_files_removed": removed,
        "num_target_rows_updated": rows,
    }
    return _info("MERGE", {}, metrics, json.dumps(note))


def optimize_info(added: int, removed: int, note: str) -> dict[str, Any]:
    """The commitInfo action of a compaction."""
    return _info("OPTIMIZE", {}, {"numFilesAdded": added, "numFilesRemoved": removed}, note)


def repair_info(added: int, removed: int, note: Mapping[str, Any]) -> dict[str, Any]:
    """The commitInfo action of a repair: files that were lost, and what replaces them."""
    metrics = {"numFilesAdded": added, "numFilesRemoved": removed}
    return _info("REPAIR", {}, metrics, json.dumps(note))


def removal(
    name: str, size: int, values: Mapping[str, str | None], *, data_change: bool, ago: float = 0.0
) -> dict[str, Any]:
    """The action that takes a file out of the table; its retention began ``ago`` seconds before."""
    return {
        "remove": {
            "path": name,
            "deletionTimestamp": int((time.time() - ago) * 1000),
            "dataChange": data_change,
            "extendedFileMetadata": True,
            "partitionValues": dict(values),
            "size": size,
        }
    }


def _info(
    operation: str, parameters: Mapping[str, str], metrics: Mapping[str, int], note: str
) -> dict[str, Any]:
    return {
        "commitInfo": {
            "timestamp": int(time.time() * 1000),
            "operation": operation,
            "operationParameters": parameters,
            "engineInfo": "lakehouse",
            "operationMetrics": metrics,
            NOTE: note,
        }
    }


def schema_action(table: DeltaTable, schema: Schema) -> dict[str, Any]:
    """The action that gives a table other columns, and leaves all else that is told of it."""
    told = table.metadata()
    return {
        "metaData": {
            "id": str(told.id),
            "name": told.name,
            "description": told.description,
            "format": {"provider": "parquet", "options": {}},
            "schemaString": schema.to_json(),
            "partitionColumns": told.partition_columns,
            "configuration": told.configuration,
            "createdTime": told.created_time,
        }
    }


def transaction(name: str, version: int) -> dict[str, Any]:
    """The action that records an application's transaction."""
    return {"txn": {"appId": name, "version": version}}
