"""The table of areas by outcomes, as Markdown."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from faults.attack import AREAS, BAD, BROKEN, OUTCOMES

_BEGIN, _END = "<!-- faults:{} -->", "<!-- faults:end -->"


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """Return the results in a ledger, the last one of each attack."""
    if not path.exists():
        return []
    found = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return list({(result["name"], result["seed"]): result for result in found}.values())


def table(results: Iterable[Mapping[str, Any]]) -> str:
    """Return the table of areas by outcomes."""
    counts = {area: Counter() for area in AREAS}
    for result in results:
        counts[result["area"]][result["outcome"]] += 1
        counts[result["area"]]["handled"] += result.get("times", 1) - 1
    head = ["area", "tried", *OUTCOMES[:-1], "lost or half-written"]
    lines = [_row(head), _row(["---"] * len(head))]
    total: Counter = Counter()
    for area, found in counts.items():
        if found:
            total += found
            lines.append(_row([area, *_numbers(found)]))
    lines.append(_row(["**all**", *_numbers(total)]))
    if total[BROKEN]:
        lines += ["", f"{total[BROKEN]} attacks failed themselves and are not counted."]
    return "\n".join(lines)


def _numbers(found: Counter) -> list[int]:
    return [sum(found[outcome] for outcome in OUTCOMES), *(found[o] for o in OUTCOMES)]


def _row(cells: Iterable[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def failures(results: Iterable[Mapping[str, Any]]) -> str:
    """Return one line per attack with a bad outcome."""
    lines = []
    for result in results:
        if result["outcome"] in (*BAD, BROKEN):
            why = " ".join(result["why"].split())[:300].replace("|", "\\|").replace("`", "'")
            lines.append(f"- `{result['name']}`: {result['outcome']}: {why}")
    return "\n".join(lines) or "None."


def findings(results: Iterable[Mapping[str, Any]]) -> str:
    """Return the table of the findings that attacks aim at: how many were made, how many hit."""
    made, hit = Counter(), Counter()
    for result in results:
        if result["finding"]:
            made[result["finding"]] += 1
            hit[result["finding"]] += result["outcome"] in BAD
    rows = [_row([key, made[key], hit[key]]) for key in sorted(made, key=_order)]
    return "\n".join([_row(["finding", "attacks", "of these bad"]), _row(["---"] * 3), *rows])


def _order(key: str) -> tuple[int, str]:
    number = key.split()[0].rstrip("abcdef")
    return (int(number) if number.isdecimal() else 99, key)


def write_report(results: list[dict[str, Any]], path: Path, seed: int) -> None:
    """Write the table and the failures as Markdown, and all results as CSV beside it."""
    text = (
        f"# {len(results)} attacks, seed {seed}\n\n{table(results)}\n\n"
        f"## Bad outcomes\n\n{failures(results)}\n\n## Findings\n\n{findings(results)}\n"
    )
    path.write_text(text)
    columns = ("name", "area", "finding", "seed", "outcome", "why", "status", "seconds", "peak")
    with path.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(results)


def fill(document: Path, results: list[dict[str, Any]]) -> None:
    """Replace the parts of a document between `<!-- faults:NAME -->` and `<!-- faults:end -->`."""
    text = document.read_text()
    for name, part in {"table": table(results), "failures": failures(results)}.items():
        head, found, rest = text.partition(_BEGIN.format(name))
        if found:
            _, _, tail = rest.partition(_END)
            text = f"{head}{found}\n\n{part}\n\n{_END}{tail}"
    document.write_text(text)
