"""The reader's process: see :mod:`lakehouse.ingest.reader`."""

from lakehouse.core.arrow_alone import without_pandas

without_pandas()

from lakehouse.ingest.reader.child import main  # noqa: E402  # its modules make arrays

if __name__ == "__main__":
    main()
