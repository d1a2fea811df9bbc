"""The table in Postgres against the lake: ``lakehouse audit orders --source``.

table      one moment of the table: its rows by chunks of the key, with checksums
lake       what bronze says that the table held at that moment
compare    both, chunk by chunk; the keys that differ
excuse     the keys that differ for a reason that quarantine has on record
source     the audit's check
"""
