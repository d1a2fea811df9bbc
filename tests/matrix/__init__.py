"""The crash matrix: real faults on real processes while events flow, and what is left of the data.

rows.py      the rows: a name, a fault in words, and what it does to a try
faults.py    kill -9 at a step and at random, broker, disk, clock, producer, records
stage.py     one try: a topic and a lake of its own, its producer, its driver
broker.py    the matrix's own Kafka, which can be killed, paused and started again
products/    what is of one product: sales, orders
             sales_sending.py: records that the sales producer does not send: transactions, 5 MB, chosen partitions
check.py     Kafka's records read by a consumer, against the tables; then `lakehouse audit`
clock.py     a clock that can be stepped, under one process (clock.c)
report.py    docs/reliability.md
"""
