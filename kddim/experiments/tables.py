"""Tables as Markdown files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from kddim.files import atomic_write


def write_markdown(path: Path, title: str, tables: Mapping[str, str], notes: str) -> None:
    """Write a page of tables as a whole or not at all.

    Args:
        path: File to write.
        title: Title of the page.
        tables: Tables as `to_markdown` returns them, by heading.
        notes: Explanation of the figures, for the end of the page.
    """
    sections = [f"## {heading}\n\n{table}" for heading, table in tables.items()]
    with atomic_write(path) as partial:
        partial.write_text("\n\n".join([f"# {title}", *sections, notes]) + "\n")


def to_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table.

    Args:
        rows: At least one row. All rows have the keys of the first, which form the header.
            Values are not formatted again: a string such as "0.10" stays as it is.
    """
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)
