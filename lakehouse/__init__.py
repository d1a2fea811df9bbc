"""A streaming medallion lakehouse that proves its own numbers. The map of the house:

core/         words and ground: errors, settings, flows, aggregates, locks; imports nothing of ours
contracts/    one file an event kind: its fields, types and rules
ingest/       records → typed rows and verdicts; late and doubled rows are marked
products/     meaning: each product's silver tables and flows, declared and pure
publish/      rows → Delta, by delta-rs in the driver or by Spark
runtime/      a declared flow → a running query: session, checkpoint, lock, maintenance
audit/        the proof that nothing was lost, doubled or invented
explorer/     read-only: catalogue, report, SQL, terminal menu; no JVM
services/     real Kafka, Postgres, Java and jars, found or fetched and started locally
doctor.py     checks of the environment
orders.py     the verbs of the orders product; orders_verify.py its checks, orders_demo.py its demo
cli.py        the verbs of the `lakehouse` command

A folder imports only from folders above it in this list.
"""
