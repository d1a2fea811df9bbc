"""Change data capture: a Postgres table's snapshot and changes → Kafka, in the order of commits.

values     a column's text → its JSON value
table      the table as the catalogue has it, checked against the contract
pgoutput   what a replication slot sends → changes, with their place in the commit order
state      where the capture stands: read, and written whole
sink       events → Kafka; what is acknowledged
snapshot   the table's rows → events; a delete for each key that only the topic has
stream     the replication protocol: what is read, and what is reported as received
slot       a replication slot, made with its snapshot, and checked
follow     read the slot: publish, wait for Kafka, then advance
poll       read by transaction id, for databases that allow no slot
"""
