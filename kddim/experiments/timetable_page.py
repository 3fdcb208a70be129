"""Tables and notes of a timetable, for people to read."""

from collections.abc import Mapping, Sequence
from typing import Any

from kddim.experiments.tables import to_markdown
from kddim.progress import duration

MEASURED = (
    "Times are extrapolated from the first steps of one batch, as the column measured says: "
    "linearly in steps and in batches. A batch that was measured in all its steps is extrapolated "
    "in batches only. Each time is the median of {repeats}, after one that compiles."
)
MACHINE = "Machine: {machine}. Times as fast: compared with the first row of the first table."
GAN = (
    "The GAN is the generator of DCGAN (arXiv 1511.06434) with {gan:,} parameters; the network of "
    "the model has {model:,}. Its weights are random, so that it only has a time."
)
NOT_TUNED = (
    "There is no row of a tuned sampler, because the model has none. Run: kddim tune MODEL "
    "--diffusion-steps 5"
)
NOT_DISTILLED = (
    "There is no row of a distilled model. Run: kddim distill MODEL SOURCE --diffusion-steps 2 "
    "--output RUN, and add --distilled RUN"
)
KID = "KID: over all images, with its standard deviation over random subsets."
NO_DDPM_KID = (
    "The KID of DDPM was not measured, because its images take long. Add --ddpm-images N to "
    "measure it with N images."
)
NO_KID = "KID was not measured. Add SOURCE to measure it."


def tables(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return one Markdown table per precision, by heading.

    Args:
        rows: At least one row, as `Timetable.run` returns them.
    """
    found: dict[str, list[dict[str, str]]] = {}
    with_kid = any("kid" in row for row in rows)
    for row in rows:
        found.setdefault(row["dtype"], []).append(_cells(row, with_kid))
    return {dtype: to_markdown(lines) for dtype, lines in found.items()}


def _cells(row: Mapping[str, Any], with_kid: bool) -> dict[str, str]:
    steps, measured = row["diffusion_steps"], row["measured_steps"]
    found = {
        "method": row["method"],
        "steps": f"{steps:,}" if row["method"] != "GAN" else "",
        f"time for {row['sample_size']:,} images": duration(row["seconds"]),
        "times as fast": _significant(row["times_as_fast"]),
    }
    if with_kid:
        found["KID"] = _kid(row)
    share = "all" if measured == steps else f"{measured} of {steps:,}"
    return found | {"measured": f"{share} steps of {row['batch_size']} images"}


def _kid(row: Mapping[str, Any]) -> str:
    if "kid" not in row:
        return ""
    figure = f"{row['kid']:.4g} ± {row['kid_subsets_std']:.2g}"
    return f"{figure} ({row['kid_images']:,} images)"


def _significant(ratio: float) -> str:
    """Return a ratio with three significant digits, and without an exponent."""
    return f"{ratio:.3g}" if ratio < 1000 else f"{ratio:,.0f}"
