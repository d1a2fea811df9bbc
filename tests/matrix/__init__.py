"""The crash matrix: real faults on real processes while events flow, and what is left of the data.

row.py       what a row is: a name, a fault in words, what it does to a try; what a try showed
rows.py      a product's rows: the steps that its flows reach, what befalls all, its own
faults.py    kill -9 at a step and at random, broker, disk, clock
driver.py    the process that faults act on
stage.py     one try: topics and a lake of its own, what feeds them, its driver
noise.py     copies and junk, in the topic of a product whose source sends good events alone
products/    what is of one product: how it is fed, its own faults and checks
broker.py    the matrix's own Kafka, which can be killed, paused and started again
check.py     Kafka's records read by a consumer, against the tables; then `lakehouse audit`
clock.py     a clock that can be stepped, under one process (clock.c)
report.py    docs/reliability.md
"""
