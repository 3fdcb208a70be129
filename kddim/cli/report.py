"""Scores printed for people to read."""

from pathlib import Path
from typing import Any

import click


def report_scores(result: dict[str, Any], output: Path | None) -> None:
    """Print the result of a measurement, and write it to a file.

    Args:
        result: Result of `kddim.evaluation.evaluate` or `kddim.evaluation.compare`.
        output: JSON file to write. None writes none.
    """
    from kddim.files import write_json

    print_scores(result)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_json(output, result)


def print_scores(result: dict[str, Any]) -> None:
    """Print scores with their errors and floors, then remarks and the protocol."""
    floor = result.get("floor") or {}
    unbiased = result["protocol"]["protocol"] == "unbiased"
    if "kid" in result:
        error = "standard error" if unbiased else "standard deviation"
        _print_figure("KID", result, "kid", error, floor)
    if "kid" in result and unbiased:
        mean, deviation = result["kid_subsets_mean"], result["kid_subsets_std"]
        click.echo(f"subsets {mean:.6g} +- {deviation:.2g} (standard deviation)")
    for name in ("fid", "precision", "recall", "density", "coverage"):
        if name in result:
            label = "FID" if name == "fid" else name
            _print_figure(label, result, name, "standard error", floor)
    if floor:
        click.echo(f"floor: {floor['of']}")
    if "copy_ratio" in result:
        _print_copying(result)
    for remark in result.get("remarks", ()):
        click.echo(f"note: {remark}")
    for key, value in result["protocol"].items():
        click.echo(f"  {key.replace('_', ' ')}: {value}")


def _print_figure(label: str, scores: Any, name: str, error: str, floor: dict[str, Any]) -> None:
    deviation = scores.get(f"{name}_std")
    words = f"{label} {scores[name]:.6g}"
    if deviation is not None:
        words += f" +- {deviation:.2g} ({error})"
    if name in floor:
        beside = floor.get(f"{name}_std")
        words += f"; floor {floor[name]:.4g}" + (f" +- {beside:.2g}" if beside is not None else "")
    click.echo(words)


def _print_copying(result: dict[str, Any]) -> None:
    click.echo(
        f"nearest training image: at {result['neighbour_distance']:.4g}; of held-out real images: "
        f"at {result['neighbour_distance_real']:.4g}; ratio {result['copy_ratio']:.3f} (1: no "
        f"copies); {100 * result['copy_share']:.1f} % are nearer than 99 % of the held-out images "
        "(1 % by chance)"
    )
