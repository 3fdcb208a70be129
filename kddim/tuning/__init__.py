"""Samplers for few evaluations, fitted to one model without gradients.

`search_times` and `tune` follow a few hundred noises accurately and then look for the few steps
that end nearest to the same images.
"""

from collections.abc import Sequence
from typing import Any

from kddim.checks import check_count
from kddim.progress import show_bar
from kddim.samplers import DDIM, IPNDM, DPMSolverPP
from kddim.tuning.search import FITTED, Found, Search, check
from kddim.tuning.stored import keep
from kddim.tuning.trajectories import follow

__all__ = [
    "FITTED",
    "Found",
    "Search",
    "check",
    "compare",
    "follow",
    "keep",
    "make_search",
    "search_times",
    "tune",
]

LEAST_IMAGES = 8


def search_times(
    model: Any,
    diffusion_steps: int,
    sampler: Any = "ipndm",
    *,
    num_images: int = 256,
    seed: int = 0,
) -> tuple[float, ...]:
    """Return the times at which a sampler ends nearest to the accurate images of a model.

    A few hundred noises are followed accurately over about 60 points of time. Dynamic programming
    over the errors of all possible steps between these points gives a path of `diffusion_steps`
    steps (GITS, arXiv 2405.11326). From the best of this path and the named grids, points are
    moved as long as the images of the sampler come nearer to the accurate ones.

    Args:
        model: A trained `kddim.DiffusionModel` or `kddim.Denoiser`.
        diffusion_steps: Number of steps, 1 to 20.
        sampler: Name or `kddim.samplers.Sampler`, deterministic.
        num_images: Number of noises, at least 8.
        seed: Seed of the noises.

    Returns:
        `diffusion_steps + 1` decreasing times, for the option `times` of the sampler.

    Raises:
        ValueError: If a number is out of range, the sampler is stochastic, or the schedule has no
            signal at time 1.

    Example:
        >>> times = kddim.tuning.search_times(model, 5)
        >>> model.generate(16, 5, kddim.samplers.IPNDM(times=times), seed=0)
    """
    found = tune(model, [diffusion_steps], sampler, num_images=num_images, seed=seed)
    return tuple(found[0].sampler.times)  # type: ignore[arg-type]


def tune(
    model: Any,
    diffusion_steps: Sequence[int],
    sampler: Any = FITTED,
    *,
    num_images: int = 256,
    seed: int = 0,
    start: float = 1.0,
    keep_in_model: bool = True,
    verbose: int = 0,
) -> list[Found]:
    """Find a sampler for each of several numbers of steps, and give them to the model.

    Args:
        model: A trained `kddim.DiffusionModel` or `kddim.Denoiser`.
        diffusion_steps: Numbers of steps, each 1 to 20.
        sampler: "fitted" searches the times and fits the weights of each step, by least squares
            along the accurate trajectories. A name or a `kddim.samplers.Sampler` searches the
            times of this sampler.
        num_images: Number of noises, at least 8.
        seed: Seed of the noises.
        start: Time in (0, 1] at which the steps begin. Below 1, the Gaussian of the model leads
            there without the network (`kddim.samplers.GaussianStart`).
        keep_in_model: If true, `model.tuned_samplers` receives what is found, and
            `model.generate(n, steps, "tuned")` uses it.
        verbose: 1 draws a bar on the terminal while noises are followed.

    Returns:
        One `Found` per number of steps.

    Raises:
        ValueError: As for `search_times`.
    """
    for steps in diffusion_steps:
        check(steps, sampler)
    search = make_search(model, sampler, num_images, seed, verbose, start)
    found = [search.find(steps) for steps in diffusion_steps]
    if keep_in_model:
        model.tuned_samplers = model.tuned_samplers | {f.diffusion_steps: f.sampler for f in found}
    return found


def make_search(
    model: Any,
    sampler: Any = FITTED,
    num_images: int = 256,
    seed: int = 0,
    verbose: int = 0,
    start: float = 1.0,
) -> Search:
    """Return a search along fresh trajectories of a model.

    Arguments and errors are those of `tune`. One search serves any number of steps.
    """
    num_images = check_count("num_images", num_images, LEAST_IMAGES)
    with show_bar(num_images, verbose) as progress:
        # Times of a named sampler are those that are nearest to the exact flow. Fitted weights
        # are to give good images, for which a little less accuracy is better.
        perceptual = isinstance(sampler, str) and sampler == FITTED
        options: dict[str, Any] = {"perceptual": perceptual, "advance": progress.advance}
        found = follow(model, num_images, seed, start=start, **options)
        return Search(model, found, sampler)


def compare(search: Search, found: Sequence[Found]) -> list[dict[str, Any]]:
    """Return the errors of tuned samplers beside those of others with as many steps.

    Args:
        search: The search that found them.
        found: What it found.

    Returns:
        Rows with the columns `steps`, `tuned`, and one for each other sampler. The last row has
        20 steps, which none was tuned for.
    """
    others = {
        "ddim": DDIM(),
        "ddim, log_snr": DDIM(times="log_snr"),
        "dpm_solver_pp, log_snr": DPMSolverPP(times="log_snr"),
        "ipndm:order=3, log_snr": IPNDM(order=3, times="log_snr"),
    }
    rows: list[dict[str, Any]] = []
    for steps, error in [*((one.diffusion_steps, one.error) for one in found), (20, None)]:
        errors = {name: search.error(other, steps) for name, other in others.items()}
        rows.append({"steps": steps, "tuned": error, **errors})
    return rows
