"""Tables as CSV, and as Markdown."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from kddim.files import atomic_write


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Writes rows of equal keys, whole or not at all."""
    with atomic_write(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_markdown(path: Path, title: str, tables: Mapping[str, str], notes: str) -> Path:
    """Writes tables under their headings, whole or not at all.

    Args:
        path: file to write.
        title: of the page.
        tables: heading to `to_markdown`'s text.
        notes: what the figures mean; stands at the end.
    """
    parts = [f"# {title}"]
    for heading, table in tables.items():
        parts += [f"## {heading}", table]
    with atomic_write(path) as partial:
        partial.write_text("\n\n".join([*parts, notes]) + "\n")
    return path


def to_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal keys as a Markdown table; numbers and words stand as they are given."""
    return tabulate(
        [list(row.values()) for row in rows],
        headers=list(rows[0]),
        tablefmt="github",
        disable_numparse=True,
    )


def figure(value: float, deviation: float | None = None) -> str:
    """A figure to four significant digits, with its deviation to two."""
    text = f"{value:.4g}"
    return text if deviation is None else f"{text} ± {deviation:.2g}"
