"""Whether the pages of Parquet files are what was written, as far as their checksums tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.core.progress import Counted
from lakehouse.core.text import one_line
from lakehouse.storage.data_files import THREADS

_NUMBER = b"\x15"
"""Before a number of a page's header that comes next in it, as Thrift's compact form has it."""


def corrupt_files(
    paths: Sequence[str | Path], *, or_large: bool = True
) -> Iterator[tuple[str, str]]:
    """Files of which a page cannot be read, or is not what was written, and why.

    All pages of all columns are read, a row group at a time. One that is too
    large for memory is among them where ``or_large``, else MemoryError.
    """
    looked_at = Counted("reading files whole", len(paths), "files")
    with ThreadPoolExecutor(THREADS, "checksums") as pool:
        for path, fault in zip(paths, pool.map(_page_fault, paths), strict=True):
            if isinstance(fault, MemoryError) and not or_large:
                raise MemoryError(f"{path}: {fault}")
            looked_at.add(1)
            if fault:
                yield str(path), f"cannot be read: {one_line(fault, 120)}"


def _page_fault(path: str | Path) -> Exception | None:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                for _ in file.iter_batches(row_groups=[group], use_threads=False):
                    pass
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        return error
    return None


def has_checksums(path: str | Path) -> bool:
    """Whether the file's first page has a checksum: a writer gives one to every page, or to none.

    A page's header is its kind and its two sizes, then the checksum where there is one.
    """
    about = pq.read_metadata(path)
    if not about.num_row_groups:
        return True
    chunk = about.row_group(0).column(0)
    with Path(path).open("rb") as file:
        file.seek(chunk.dictionary_page_offset or chunk.data_page_offset)
        header, at = file.read(64), 0
    for _ in range(3):
        at += 1
        while header[at] >= 0x80:  # the number goes on in the next byte
            at += 1
        at += 1
    return header[at : at + 1] == _NUMBER
