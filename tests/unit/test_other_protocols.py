"""A table that another program gave a feature to that our log entries do not know is left alone."""

import json
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakehouse.core.errors import SettingsError, TableDamaged
from lakehouse.storage.upkeep import compact
from tests.conftest import encode, sale
from tests.support.lake import Lake


def entries(lake):
    return sorted(path.name for path in Path(lake.bronze.bronze.uri, "_delta_log").glob("0*.json"))


def commit(lake, *actions):
    """A commit of another program."""
    table = DeltaTable(lake.bronze.bronze.uri)
    info = {"commitInfo": {"timestamp": 1, "operation": "UPGRADE PROTOCOL", "engineInfo": "other"}}
    entry = Path(lake.bronze.bronze.uri, "_delta_log", f"{table.version() + 1:020}.json")
    entry.write_text("".join(json.dumps(action) + "\n" for action in (info, *actions)))


def protocol(*features, reader=()):
    return {"protocol": {"minReaderVersion": 3 if reader else 1, "minWriterVersion": 7,
                         "writerFeatures": [*features, *reader],
                         **({"readerFeatures": [*reader]} if reader else {})}}  # fmt: skip


def configured(lake, **properties):
    """The table's own metadata, more said in it."""
    log = Path(lake.bronze.bronze.uri, "_delta_log", f"{0:020}.json").read_text().splitlines()
    [metadata] = [action for line in log if (action := json.loads(line)).get("metaData")]
    metadata["metaData"]["configuration"] |= {f"delta.{k}": v for k, v in properties.items()}
    return metadata


@pytest.fixture
def lake(settings):
    lake = Lake(settings)
    for first in (0, 2):
        lake.land(encode(sale(event_id=f"a{first}"), sale(event_id=f"b{first}")), first)
    return lake


def assert_left_alone(lake, word):
    before = entries(lake)
    lake.bronze.bronze.refresh()
    values = encode(sale(event_id="n"))
    for write in (lambda: lake.land(values, 4), lambda: compact(lake.bronze.bronze)):
        with pytest.raises(TableDamaged) as told:
            write()
        assert (told.value.place, word in told.value.fault) == ("table bronze.sales", True), told
        assert "restore" in told.value.remedy
    assert entries(lake) == before


@pytest.mark.parametrize(
    "features",
    [["rowTracking", "domainMetadata"], ["inCommitTimestamp"], ["icebergCompatV1"],
     ["a-feature-of-tomorrow"], ["clustering", "domainMetadata"]],
    ids=lambda names: names[0],
)  # fmt: skip
def test_a_writer_feature_is_refused_in_words(lake, features):
    commit(lake, protocol(*features, "appendOnly", "invariants"))
    assert_left_alone(lake, features[0])


@pytest.mark.parametrize("feature", ["deletionVectors", "columnMapping", "v2Checkpoint"])
def test_a_reader_feature_is_refused_in_words(lake, feature):
    commit(lake, protocol(reader=[feature]))
    assert_left_alone(lake, feature)


def test_a_constraint_is_refused_in_words(lake):
    DeltaTable(lake.bronze.bronze.uri).alter.add_constraint({"few": "quantity < 100"})
    assert_left_alone(lake, "delta.constraints.few")


def test_a_generated_column_is_refused_in_words(lake):
    metadata = configured(lake)
    schema = json.loads(metadata["metaData"]["schemaString"])
    [column] = [f for f in schema["fields"] if f["name"] == "quantity"]
    column["metadata"]["delta.generationExpression"] = "1 + 1"
    metadata["metaData"]["schemaString"] = json.dumps(schema)
    commit(lake, {"protocol": {"minReaderVersion": 1, "minWriterVersion": 4}}, metadata)
    assert_left_alone(lake, "delta.generationExpression of column 'quantity'")


def test_what_asks_nothing_of_an_entry_is_written_on(lake):
    commit(lake, protocol("appendOnly", "invariants", "changeDataFeed"),
           configured(lake, enableChangeDataFeed="true"))  # fmt: skip
    lake.bronze.bronze.refresh()
    lake.land(encode(sale(event_id="n")), 4)
    compact(lake.bronze.bronze)
    assert len(lake.rows("bronze/sales")) == 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("delta.enableRowTracking", "TRUE"), ("delta.columnMapping.mode", "name"),
        ("delta.minReaderVersion", "3"), ("lakehouse.insteadOf", "x"),
    ],
)  # fmt: skip
def test_a_setting_by_which_we_could_not_write_a_table_makes_none(settings, name, value):
    settings = settings.model_copy(update={"table_properties": {name: value}})
    with pytest.raises(SettingsError, match=rf"\[table.properties\] {name}: = {value}"):
        Lake(settings)
    assert not [*Path(settings.lake.root).rglob("*.json")]
