"""The sales generator and its faults: the same for the same seed, and what it says it is."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from lakehouse.ingest.verdict import TimeRules, explain
from lakehouse.model.contract import Record
from lakehouse.products.sales.contract import SALES, Sale
from lakehouse.settings.sections import ProductSettings
from producers.message import Message
from producers.pacing import paced, replayed
from producers.sales.faults import FAULTS
from producers.sales.generator import LATE_MARK, SalesGenerator, Shares
from producers.sales.producer import run
from producers.sales.shop import COUNTRIES, busyness, make_shop
from producers.sending import Summary, _count

END = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)
SHARES = Shares(late=0.02, duplicates=0.03, corrupt=0.05)
RULES = TimeRules(
    ProductSettings(topic="sales").earliest_time, ProductSettings(topic="sales").future_tolerance
)
COUNT = 20_000


def history(seed: int = 7, shares: Shares = SHARES, count: int = COUNT) -> list[Message]:
    shop = make_shop(seed, 200, 100)
    return list(SalesGenerator(shop, seed, f"s{seed}", shares).history(count, END, 30))


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    return history()


def sales(messages: list[Message], *kinds: str) -> list[Sale]:
    return [
        msgspec.json.decode(m.value, type=Sale) for m in messages if m.kind in kinds and m.value
    ]


def test_same_seed_same_bytes(messages: list[Message]) -> None:
    assert history() == messages
    assert history(seed=8, count=100) != messages[:100]


def test_count_is_of_distinct_events_and_shares_are_near_what_was_asked(
    messages: list[Message],
) -> None:
    kinds = Counter(m.kind for m in messages)
    corrupt = sum(n for kind, n in kinds.items() if kind.startswith("corrupt:"))
    assert sum(kinds.values()) - kinds["duplicate"] == COUNT
    assert kinds["late"] / COUNT == pytest.approx(SHARES.late, rel=0.25)
    assert kinds["duplicate"] / COUNT == pytest.approx(SHARES.duplicates, rel=0.25)
    assert corrupt / COUNT == pytest.approx(SHARES.corrupt, rel=0.25)
    assert {f"corrupt:{name}" for name in FAULTS} == {k for k in kinds if k.startswith("corrupt")}


def test_good_events_keep_the_contract_and_have_ids_of_their_own(messages: list[Message]) -> None:
    kept = [m for m in messages if not m.kind.startswith("corrupt")]
    verdicts = {explain(Record(None, m.value, None, END), SALES, RULES).verdict for m in kept}
    assert verdicts == {None}
    events = sales(messages, "good", "late")
    assert len({e.event_id for e in events}) == len(events)


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_every_fault_breaks_the_contract(messages: list[Message], kind: str) -> None:
    values = [m.value for m in messages if m.kind == f"corrupt:{kind}"]
    assert values
    for value in values:
        assert explain(Record(None, value, None, END), SALES, RULES).verdict is not None


def test_a_corrupt_event_is_never_sent_whole(messages: list[Message]) -> None:
    good = {e.event_id for e in sales(messages, "good", "late")}
    for message in messages:
        if message.kind == "corrupt:unknown_currency" and message.value:
            assert msgspec.json.decode(message.value)["event_id"] not in good


def test_a_copy_is_the_same_bytes_and_comes_after(messages: list[Message]) -> None:
    places = {m.value: n for n, m in enumerate(messages) if m.kind == "good"}
    apart = [n - places[m.value] for n, m in enumerate(messages) if m.kind == "duplicate"]
    assert min(apart) >= 1
    assert max(apart) > 5


def test_late_events_come_behind_the_watermark_and_the_rest_in_order(
    messages: list[Message],
) -> None:
    newest = datetime.min.replace(tzinfo=UTC)
    for message in messages:
        if message.kind == "late":
            assert newest - message.event_time > timedelta(minutes=15)
        elif message.kind == "good":
            assert message.event_time >= newest
            newest = message.event_time
    assert newest <= END
    assert all(e.event_id.endswith(LATE_MARK) for e in sales(messages, "late"))


def test_the_shop_is_believable(messages: list[Message]) -> None:
    events = sales(messages, "good")
    returned = [e for e in events if e.quantity < 0]
    assert len(returned) / len(events) == pytest.approx(0.02, rel=0.3)
    assert all(e.order_id.startswith("R-") for e in returned)
    consumers = [e for e in events if e.segment == "B2C"]
    assert sum(e.client_id is None for e in consumers) / len(consumers) == pytest.approx(
        0.2, abs=0.04
    )
    assert all(e.client_id for e in events if e.segment == "B2B")
    assert {e.currency for e in events} == {currency for currency, *_ in COUNTRIES.values()}
    assert all(e.unit_price == e.unit_price.quantize(Decimal("0.01")) > 0 for e in events)
    assert any(not (e.product_name or "").isascii() for e in events)
    weekend = [e.segment == "B2B" for e in events if e.event_time.weekday() >= 5]
    week = [e.segment == "B2B" for e in events if e.event_time.weekday() < 5]
    assert sum(weekend) / len(weekend) < sum(week) / len(week)


def test_december_is_busier_than_february() -> None:
    february, december = (
        busyness(np.array([int(datetime(2025, m, 3, 12, tzinfo=UTC).timestamp()) // 3600]))[0]
        for m in (2, 12)
    )
    assert december > 1.5 * february


def test_a_live_order_is_placed_now_and_a_late_one_before() -> None:
    shop = make_shop(7, 50, 50)
    now = SalesGenerator(shop, 7, "a", Shares()).order_now(END)
    assert {m.event_time for m in now} == {END}
    late = SalesGenerator(shop, 7, "b", Shares(late=1)).order_now(END)
    assert {m.kind for m in late} == {"late"}
    assert all(timedelta(minutes=15) <= END - m.event_time <= timedelta(hours=2) for m in late)


def test_the_summary_says_where_records_belong(messages: list[Message]) -> None:
    summary = Summary()
    for message in messages:
        _count(summary, message)
    corrupt = sum(m.kind.startswith("corrupt:") for m in messages)
    copies = sum(m.kind == "duplicate" for m in messages)
    assert summary.good == COUNT - corrupt
    assert summary.expected == {
        "bronze": len(messages) - corrupt, "duplicates": copies, "quarantine": corrupt,
    }  # fmt: skip
    assert "good" not in summary.by_fault
    assert sum(summary.by_fault.values()) == len(messages) - summary.by_kind["good"]
    net: dict[str, Decimal] = {}
    for event in sales(messages, "good", "late"):
        net[event.currency] = (
            net.get(event.currency, Decimal(0)) + event.unit_price * event.quantity
        )
    assert summary.amounts == net


class Waited(threading.Event):
    """What it is asked to wait for, in seconds: it waits for none."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return False


def test_pace_is_orders_a_second() -> None:
    source = [Message(b"", b"", "good", order, END) for order in "aabbcc"]
    stop = Waited()
    assert list(paced(source, 0.01, stop)) == source
    assert [round(seconds, -2) for seconds in stop.waits] == [100, 200, 300]
    ended = threading.Event()
    ended.set()
    assert list(paced(source, 1e-300, ended)) == []  # longer than a thread can wait


def test_replay_keeps_the_files_pace_and_ignores_lines_without_a_time() -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    times = [epoch, END, END + timedelta(minutes=1)]
    source = [Message(b"", b"", "good", "", when) for when in times]
    stop = Waited()
    assert list(replayed(source, 0.01, stop)) == source
    assert [round(seconds, -3) for seconds in stop.waits] == [6_000]


def test_help_shows_examples() -> None:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(run)
    text = CliRunner().invoke(app, ["--help"]).output
    assert "Examples:" in text
    for option in ("--rate", "--count", "--days", "--replay", "--speed", "--topic", "--json"):
        assert option in text
