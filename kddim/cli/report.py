"""Scores printed for people to read."""

from pathlib import Path
from typing import Any

import click

from kddim.files import check_output, write_json
from kddim.locks import output_lock

SCORES = ("kid", "fid", "precision", "recall", "density", "coverage")


def reserve_file(path: Path | None, overwrite: bool) -> None:
    """Lock a file until the verb ends, if it may be written. None is no file.

    Raises:
        ValueError: If it exists and must not be replaced, is a folder, has a parent that nobody
            can write to, or is being written by another process.
    """
    if path is None:
        return
    if check_output(path, overwrite).is_dir():
        raise ValueError(f"Expected a file to write. Received: {path}, a folder")
    click.get_current_context().with_resource(output_lock(path))


def report_scores(result: dict[str, Any], output: Path | None) -> None:
    """Print scores with their errors and floors, then remarks and the protocol.

    Args:
        result: Result of `kddim.evaluation.evaluate` or `kddim.evaluation.compare`.
        output: JSON file that also receives the result. None writes none.
    """
    floor = result.get("floor") or {}
    unbiased = result["protocol"]["protocol"] == "unbiased"
    for name in [name for name in SCORES if name in result]:
        label = name.upper() if name in ("kid", "fid") else name
        spread = "(standard error)" if unbiased or name != "kid" else "(standard deviation)"
        beside = f"; floor {_figure(floor, name, 4)}" if name in floor else ""
        click.echo(f"{label} {_figure(result, name, 6, spread)}{beside}")
        if name == "kid" and unbiased:
            mean, deviation = result["kid_subsets_mean"], result["kid_subsets_std"]
            click.echo(f"subsets {mean:.6g} +- {deviation:.2g} (standard deviation)")
    if floor:
        click.echo(f"floor: {floor['of']}")
    if result.get("classes"):
        click.echo(_table_of_classes(result["classes"]))
    if "copy_ratio" in result:
        _print_copying(result)
    for remark in result.get("remarks", ()):
        click.echo(f"note: {remark}")
    for key, value in result["protocol"].items():
        click.echo(f"  {key.replace('_', ' ')}: {value}")
    if output:
        write_json(output, result)


def _table_of_classes(rows: list[dict[str, Any]]) -> str:
    """Return the scores of the classes as a table."""
    from tabulate import tabulate

    names = [name for name in ("kid", "fid") if name in rows[0]]
    cells = [
        {"class": row["class"], "real": row["real"], "generated": row["generated"]}
        | {name.upper(): _figure(row, name, 4) for name in names}
        for row in rows
    ]
    return tabulate(cells, headers="keys", disable_numparse=True)


def _figure(scores: dict[str, Any], name: str, digits: int, spread: str = "") -> str:
    """Return a score with its deviation, if it has one, and the words for the deviation."""
    deviation = scores.get(f"{name}_std")
    words = "" if deviation is None else f" +- {deviation:.2g} {spread}".rstrip()
    return f"{scores[name]:.{digits}g}{words}"


def _print_copying(result: dict[str, Any]) -> None:
    click.echo(
        f"nearest training image: at {result['neighbour_distance']:.4g}; of held-out real images: "
        f"at {result['neighbour_distance_real']:.4g}; ratio {result['copy_ratio']:.3f} (1: no "
        f"copies); {100 * result['copy_share']:.1f} % are nearer than 99 % of the held-out images "
        "(1 % by chance)"
    )
