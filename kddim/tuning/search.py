"""Search of the time grid of a sampler, and of the weights of its steps."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from kddim import samplers
from kddim.backend import to_numpy
from kddim.checks import check_count
from kddim.recipe import Recipe
from kddim.samplers import GaussianStart, LinearMultistep, Sampler
from kddim.samplers.times import GRIDS
from kddim.tuning.shortest_path import shortest_path, step_costs
from kddim.tuning.trajectories import Trajectories

MOST_STEPS = 20
ORDER = 3  # of the fitted sampler. Four predictions fit the noises of the search and no others.
FITTED = "fitted"
_MOVES = (4, -4, 2, -2, 1, -1)  # of a point, in points

Path = tuple[int, ...]


class _Step(NamedTuple):
    """One step of a fitted sampler along the noises of the search."""

    history: list[np.ndarray]  # predicted noises, the newest first
    weights: tuple[float, ...]
    images: np.ndarray  # at its end


class Measured(NamedTuple):
    """A sampler on some points, its error for the noises of the search, and its fitted steps."""

    error: float
    sampler: Sampler
    path: Path
    steps: Sequence[_Step] = ()


Measure = Callable[[Path, Measured | None], Measured]


@dataclasses.dataclass(frozen=True)
class Found:
    """A sampler that was found for a number of steps.

    Attributes:
        diffusion_steps: Number of steps.
        sampler: The sampler, with its times.
        error: Root mean square of the distance, per pixel, of its images from those of the
            accurate trajectories, of noises that the search did not see. Images are normalised,
            and their frequencies weighted (`kddim.tuning.trajectories.frequency_weights`).
    """

    diffusion_steps: int
    sampler: Sampler
    error: float


def check(diffusion_steps: int, sampler: Any = FITTED) -> tuple[int, Any]:
    """Return a number of steps and a sampler that can be tuned.

    Args:
        diffusion_steps: Number of steps.
        sampler: "fitted", the name of a sampler, or a `kddim.samplers.Sampler`.

    Returns:
        The number, and "fitted" or a `Sampler`.

    Raises:
        ValueError: If the number is not 1 to 20, or the sampler is unknown or stochastic.
    """
    steps = check_count("diffusion_steps", diffusion_steps, 1, MOST_STEPS)
    if isinstance(sampler, str) and sampler == FITTED:
        return steps, sampler
    sampler = samplers.get(sampler)
    if sampler.stochastic or isinstance(sampler, samplers.SamplerOfModel):
        raise ValueError(f"Expected a deterministic sampler to tune. Received: {sampler}")
    return steps, sampler


class Search:
    """Search along accurate trajectories, which serve several numbers of steps.

    Args:
        model: A `kddim.Denoiser`.
        trajectories: Its accurate trajectories. The first half of the kept images decides, and
            the second half gives the errors that are reported.
        sampler: "fitted" fits the weights of each step (`LinearMultistep`). The name of a
            sampler, or a `kddim.samplers.Sampler`, keeps its method, and times are searched.

    Raises:
        ValueError: If the sampler is unknown or stochastic.
    """

    def __init__(self, model: Any, trajectories: Trajectories, sampler: Any = FITTED):
        self.model = model
        self.sampler = check(1, sampler)[1]
        self.trajectories = trajectories
        self.costs = step_costs(trajectories)
        self.half = len(trajectories.noises) // 2

    def find(self, diffusion_steps: int) -> Found:
        """Return the best sampler with a number of steps.

        Args:
            diffusion_steps: Number of steps, 1 to 20.

        Raises:
            ValueError: If there are too many steps.
        """
        steps, sampler = check(diffusion_steps, self.sampler)
        if sampler == FITTED:
            measure: Measure = self.fit
        else:

            def measure(path: Path, near: Measured | None = None) -> Measured:
                """Return the sampler with the times of a path, and its error."""
                placed = dataclasses.replace(sampler, times=self._times(path))
                return Measured(self._error(placed, steps, slice(self.half)), placed, path)

        starts = (measure(path, None) for path in sorted(self._starts(steps)))
        found = self._improve(min(starts, key=lambda one: one.error), measure).sampler
        error, start = self._error(found, steps, slice(self.half, None)), self.start
        if start < 1.0:
            from_one = tuple(time / start for time in found.times)  # type: ignore[operator]
            placed = dataclasses.replace(found, times=from_one)  # type: ignore[type-var]
            found = GaussianStart(placed, start)
        return Found(steps, found, error)

    def fit(self, path: Path, near: Measured | None = None) -> Measured:
        """Return the sampler on some points whose steps end nearest to the trajectories.

        The steps are fitted one after the other, each from where those before it lead, so that it
        also corrects their errors. The last one returns the images that the network predicts: a
        combination of several predictions would leave grain.

        Args:
            path: Points of the times, as many as steps and one.
            near: What was found for another path with as many points. Its steps up to the first
                point that differs are not computed again.

        Returns:
            The sampler, with the error of the noises that were fitted.
        """
        known, (noise, signal) = self.trajectories, self.trajectories.rates
        images, target = known.path[0, : self.half], known.path[:, : self.half]
        steps = [] if near is None else list(near.steps[: _num_equal(path, near.path) - 1])
        history: list[np.ndarray] = []
        if steps:
            history, images = steps[-1].history, steps[-1].images
        for here, there in itertools.pairwise(path[len(steps) :]):
            if near is not None and path[: len(steps) + 1] == near.path[: len(steps) + 1]:
                history = near.steps[len(steps)].history
            else:
                noisy = images * np.float32(signal[here])
                history = [known.predict(noisy, noise[here], signal[here]), *history[: ORDER - 1]]
            length = known.sigmas[there] - known.sigmas[here]
            weights = np.ones(1)
            if there != path[-1]:
                columns = [known.weighted(past).ravel() for past in history]
                wanted = known.weighted((target[there] - images) / length).ravel()
                weights = np.linalg.lstsq(np.stack(columns, axis=1), wanted, rcond=None)[0]
            mean = sum(np.float32(w) * past for w, past in zip(weights, history))
            images = images + np.float32(length) * mean
            steps.append(_Step(history, tuple(float(w) for w in weights), images))
        table = tuple(step.weights for step in steps)
        sampler = LinearMultistep(times=self._times(path), table=table)
        return Measured(self._distance(images - target[-1]), sampler, path, steps)

    @property
    def start(self) -> float:
        """Time at which the trajectories begin."""
        return float(self.trajectories.times[0])

    def error(self, sampler: Sampler, diffusion_steps: int) -> float:
        """Return the error of a sampler for noises that the search does not see.

        Args:
            sampler: The sampler. Its times are multiplied by the time at which the trajectories
                begin.
            diffusion_steps: Number of steps.
        """
        recipe = Recipe(sampler, diffusion_steps)
        if self.start < 1.0:
            recipe = recipe.shortened(self.start, self.model.schedule)
        return self._error(recipe.sampler, diffusion_steps, slice(self.half, None))

    def _error(self, sampler: Sampler, diffusion_steps: int, part: slice) -> float:
        noises, target = self.trajectories.noises[part], self.trajectories.path[-1][part]
        images = to_numpy(self.model.reverse_diffusion(noises, diffusion_steps, sampler))
        return self._distance(images - target)

    def _distance(self, differences: np.ndarray) -> float:
        """Return the root of the mean square, per pixel, of differences with weighted frequencies."""
        return float(np.sqrt(np.mean(self.trajectories.weighted(differences) ** 2)))

    def _times(self, path: Path) -> tuple[float, ...]:
        return tuple(float(self.trajectories.times[point]) for point in path)

    def _starts(self, steps: int) -> set[Path]:
        """Return the paths that the search begins with."""
        paths = {tuple(shortest_path(*self.costs, steps))}
        fractions = np.arange(steps + 1) / steps
        for grid in GRIDS.values():
            times = self.start * grid(self.model.schedule, fractions)
            distances = np.abs(self.trajectories.times[:, None] - times[None, :])
            path = distances.argmin(axis=0)
            if np.all(np.diff(path) > 0):
                paths.add(tuple(int(point) for point in path))
        return paths

    def _improve(self, best: Measured, measure: Measure) -> Measured:
        """Move one point at a time as long as that lowers the error."""
        tried = {best.path}
        for move in _MOVES:
            for place in range(1, len(best.path) - 1):
                moved = (*best.path[:place], best.path[place] + move, *best.path[place + 1 :])
                if moved in tried or not np.all(np.diff(moved) > 0):
                    continue
                tried.add(moved)
                best = min(best, measure(moved, best), key=lambda one: one.error)
        return best


def _num_equal(path: Path, other: Path) -> int:
    """Return the number of equal points at the beginning of two paths."""
    pairs = zip(path, other)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
