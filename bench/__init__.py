"""The benchmark: this lakehouse beside its peers, on one topic of one broker.

events.py     fills the topic: real retail lines where they are at hand, made ones elsewhere
process.py    runs one command and tells its time, CPU seconds and peak memory
drain.py      one million records, each peer a process of its own, interleaved
freshness.py  a live stream, and when another process sees its events in silver
report.py     docs/performance.md
peers/        what is compared: one program each, which prints one JSON line
"""
