"""Rows of megabytes: sent where the topic takes them, and never an end of the capture for ever."""

from __future__ import annotations

import pytest
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic

from producers.cdc.table import CannotCapture
from tests.live.conftest import rows, verb
from tests.live.orders_table import INSERT, check_order, current

pytestmark = pytest.mark.live
NOISE = (
    "UPDATE orders SET item = (SELECT string_agg(md5(i::text || random()), '') "
    "FROM generate_series(1, {mb} * 32768) i) WHERE order_id = {key}"
)
PLAIN = "UPDATE orders SET item = repeat('long ', {mb} * 209715) WHERE order_id = {key}"


def test_a_topic_of_ours_takes_rows_of_megabytes_and_compressed_ones_of_more(orders):
    orders.capture()
    orders.sql(NOISE.format(mb=6, key=3))
    orders.sql(NOISE.format(mb=6, key=3))  # with its old image 12 MB
    orders.sql(PLAIN.format(mb=30, key=4))
    orders.sql("UPDATE orders SET item = 'short' WHERE order_id = 4")
    assert orders.capture().counts == {"u": 4}
    assert current(orders.records()) == orders.table()


@pytest.mark.parametrize("how", ["stop", "quarantine"])
def test_what_is_too_large_stops_in_words_or_is_marked_in_its_place(orders, admin, land, how):
    admin.create_topics([NewTopic(orders.name, 2, 1)])  # a broker's default: 1 MiB
    settings = orders.settings(LAKEHOUSE_ORDERS_OVERSIZED=how)
    orders.settings = lambda: settings
    orders.capture()
    orders.sql(NOISE.format(mb=2, key=3))
    orders.sql("DELETE FROM orders WHERE order_id = 3")
    orders.sql(NOISE.format(mb=2, key=5))
    orders.sql(INSERT + "('after', 'b', 'c', 1)")
    if how == "stop":
        with pytest.raises(CannotCapture, match=r"'u' of {'order_id': 3} at .* bytes, and") as told:
            orders.capture()
        assert f"--alter --topic {orders.name} --add-config max.message" in told.value.remedy
        assert "oversized = quarantine" in told.value.remedy
        return
    assert orders.capture().counts == {"u": 2, "d": 1, "tombstone": 1, "c": 1, "oversized": 3}
    assert orders.capture().sent == 0
    land(("orders.bronze", "orders.silver", "orders.parquet"), orders.environment, orders.root)
    told = rows(orders.root, "SELECT verdict FROM quarantine.orders")
    assert len(told) == 3
    assert all("too large for its topic" in row["verdict"] for row in told)
    assert {n for n in (3, 5) for row in told if f'"order_id":{n}' in row["verdict"]} == {3, 5}
    now = rows(orders.root, "SELECT order_id, item FROM silver.orders_current ORDER BY 1")
    assert [row["order_id"] for row in now] == [1, 2, 4, 5, 6, 7, 8, 9, 10, 11]
    done = verb("audit", "orders", "--content", "all", check=False, **orders.environment)
    assert done.returncode == 0, done.stdout

    # raised, and sent again: the rows as they are; the lost changes stay listed
    resource = ConfigResource(ConfigResourceType.TOPIC, orders.name)
    resource.configs = {"max.message.bytes": str(8 * 2**20)}
    admin.alter_configs([resource])
    orders.sql("UPDATE orders SET restaurant_name = 'later' WHERE order_id = 6")
    assert orders.capture(resend=True).counts == {"r": 1, "u": 1}
    assert orders.capture(resend=True).sent == 0
    assert current(orders.records()) == orders.table()
    check_order(orders.records())
    land(("orders.bronze", "orders.silver", "orders.parquet"), orders.environment, orders.root)
    now = rows(orders.root, "SELECT item FROM silver.orders_current WHERE order_id = 5")
    assert now == [{"item": orders.table()["5"][3]}]
    assert len(rows(orders.root, "SELECT verdict FROM quarantine.orders")) == 3
    done = verb("audit", "orders", "--source", check=False, **orders.environment)
    assert done.returncode == 0, done.stdout
