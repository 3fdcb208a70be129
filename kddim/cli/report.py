"""Scores as people read them."""

from typing import Any

import click


def print_scores(result: dict[str, Any]) -> None:
    """Figures with their deviations and the floor beside them, remarks, and the protocol."""
    floor = result.get("floor") or {}
    error = (
        "standard error" if result["protocol"]["protocol"] == "unbiased" else "standard deviation"
    )
    if "kid" in result:
        _print_figure("KID", result, "kid", error, floor)
    if "kid" in result and result["protocol"]["protocol"] == "unbiased":
        mean, deviation = result["kid_subsets_mean"], result["kid_subsets_std"]
        click.echo(f"subsets {mean:.6g} +- {deviation:.2g} (standard deviation)")
    if "fid" in result:
        _print_figure("FID", result, "fid", "standard error", floor)
    for name in ("precision", "recall", "density", "coverage"):
        if name in result:
            _print_figure(name, result, name, "standard error", floor)
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
        f"nearest training image: at {result['neighbour_distance']:.4g}, of held-out real images "
        f"{result['neighbour_distance_real']:.4g}: ratio {result['copy_ratio']:.3f} (1: no copies); "
        f"{100 * result['copy_share']:.1f} % are nearer than 99 % of real ones (1 % by chance)"
    )
