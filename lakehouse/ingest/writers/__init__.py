"""Who commits a batch: the driver by delta-rs, or Spark."""
