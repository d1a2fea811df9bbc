"""The reader's process: see :mod:`lakehouse.ingest.reader`."""

import sys


class _WithoutPandas:
    """Arrow would load it with its first array: a third of a second and 40 MB, for nothing."""

    def find_spec(self, name: str, _path: object, _target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, _WithoutPandas())

from lakehouse.ingest.reader.child import main  # noqa: E402  # after the line above

if __name__ == "__main__":
    main()
