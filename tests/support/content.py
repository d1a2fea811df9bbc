"""A broker that gives records' bytes too."""

from lakehouse.audit.extent import Content
from lakehouse.audit.run import Broker, audit
from lakehouse.model.witness import Raw
from tests.conftest import NOW
from tests.support.audited import Kafka, events, late_events

TIME = int(NOW.timestamp() * 1000)


class Topic(Kafka):
    """A broker that gives these values at offsets from 0."""

    def __init__(self, values, compacted=False, **more):
        super().__init__(**{"end": len(values), **more})
        self.values, self.compacted, self.changed = values, compacted, {}

    def records(self, gaps):
        for gap in gaps:
            assert self.beginning <= gap.first < gap.next <= self.end
            for offset in range(gap.first, gap.next):
                if offset not in {*self.aborted, *self.markers}:
                    yield Raw(0, offset, TIME, b"k", self.values[offset], [("h", b"v")])

    def broker(self):
        return Broker(self.topic, self.judge, self.records, lambda: self.compacted)


def proof(lake, kafka=None, content=Content.ALL):
    kafka = kafka or Topic([*events(), *late_events()])
    return audit("sales", lake.settings, kafka.broker(), NOW, lambda _: None, content)
