"""Accurate trajectories of a model, which short ones are compared with."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import ops

from kddim import backend, latents
from kddim.checks import check_count
from kddim.samplers import DDIM, AdamsBashforth, GaussianStart, Rates
from kddim.samplers import times as time_grids

NUM_POINTS = 60
BATCH_SIZE = 64
ORDER = 3  # of the solver that follows the trajectories
# Time of the last prediction: that of DDIM with the 20 steps that are the default. Predictions at
# lower noise add grain (KID of a model of flowers: 8.6 with 40 accurate steps to time 0.025, 7.9
# with 20 steps of DDIM).
LAST_TIME = 0.05
# Of the weights of frequencies. With 0, tuned samplers of 3 steps leave grain (KID of a model of
# flowers 19.2), with 0.5 they blur (10.9 with the last step as now); 0.35 gives 8.1.
EXPONENT = 0.35


@dataclasses.dataclass(frozen=True)
class Trajectories:
    """Trajectories of a few hundred noises to their images, at many points of time.

    The images are in the frame of a variance-exploding process, `y = noisy / signal_rate` and
    `sigma = noise_rate / signal_rate`, in which the process is `dy = pred_noise dsigma` (DDIM
    paper, Eq. 14).

    Attributes:
        times: Decreasing diffusion times of the points, `(points + 1,)` float64. The last one is
            the clean end, 0.
        rates: Noise rates and signal rates at the times, a pair of float64 arrays.
        spectrum: Weights of the frequencies of images, as `frequency_weights` returns them.
        gram: Mean products of the weighted images `y` at all times, the clean end included, and
            then of the weighted predicted noises at all times but the clean end,
            `(2 * points + 1, 2 * points + 1)` float64. They are means over images and pixels.
        noises: Noisy images at the first time of the kept images, `(kept, height, width,
            channels)`. At time 1 they are the noises.
        path: Images `y` of the kept noises, `(points + 1, kept, height, width, channels)`.
        predict: `(noisy_images, noise_rate, signal_rate) -> pred_noises`, compiled.
    """

    times: np.ndarray
    rates: tuple[np.ndarray, np.ndarray]
    spectrum: np.ndarray
    gram: np.ndarray
    noises: np.ndarray
    path: np.ndarray
    predict: Callable

    @property
    def sigmas(self) -> np.ndarray:
        """`noise_rate / signal_rate` at the times, and 0 at the clean end."""
        noise, signal = self.rates
        return np.append(noise[:-1] / signal[:-1], 0.0)

    def weighted(self, images: np.ndarray) -> np.ndarray:
        """Return images `(..., height, width, channels)` with weighted frequencies."""
        return _weighted(images, self.spectrum)


def frequency_weights(images: np.ndarray, exponent: float = EXPONENT) -> np.ndarray:
    """Return weights of frequencies that make errors comparable to the images.

    Most of the variance of photographs is in low frequencies. An error of fine grain is then small
    in the mean square, and plain to see. The weight of a frequency is the power of the images
    there to `-exponent`. White noise keeps its mean square.

    Args:
        images: Images, `(n, height, width, channels)`.
        exponent: Exponent. With 0, all weights are 1.

    Returns:
        Float64 array `(height, width // 2 + 1, channels)`, for `numpy.fft.rfft2`.
    """
    width = images.shape[2]
    power = np.mean(np.abs(np.fft.fft2(images, axes=(1, 2))) ** 2, axis=0)
    power = np.maximum(power, 1e-6 * power.mean())
    weights = power**-exponent
    weights /= np.sqrt(np.mean(weights**2))
    return weights[:, : width // 2 + 1]


def _weighted(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    axes = (-3, -2)
    # In float64: products of images are subtracted from one another.
    spectra = np.fft.rfft2(images.astype("float64"), axes=axes)
    return np.fft.irfft2(spectra * weights, s=images.shape[-3:-1], axes=axes)


def follow(
    model: Any,
    num_images: int = 256,
    seed: int = 0,
    *,
    start: float = 1.0,
    perceptual: bool = False,
    kept: int = 64,
    advance: Callable[[int], None] = lambda images: None,
) -> Trajectories:
    """Return accurate trajectories of a model.

    Args:
        model: A `kddim.Denoiser`.
        num_images: Number of noises, at least 1.
        seed: Seed of the noises.
        start: Time in (0, 1] at which the trajectories begin. Below 1, the Gaussian of the model
            leads there from the noises.
        perceptual: If true, the trajectories end with a prediction at time 0.05 instead of the
            last point, and frequencies are weighted. If false, all weights are 1.
        kept: Number of noises whose images are kept at all points.
        advance: Called with the number of images after each batch.

    Raises:
        ValueError: If `num_images` is below 1, the process starts without any signal, or there is no
            Gaussian to start with.
    """
    num_images = check_count("num_images", num_images)
    if not 0.0 < start <= 1.0:
        raise ValueError(f"Expected `start` above 0 and at most 1. Received: {start}")
    times = point_times(model.schedule, LAST_TIME if perceptual else 0.0)
    begin = None
    if start < 1.0:
        begin = GaussianStart(start=start).for_model(model, len(times)).begin
        times = np.append(start, times[times < start - 0.1 / NUM_POINTS])
    rates, predict = _rates(model.schedule, times), _predictor(model)
    spectrum, gram, found = np.zeros(0), np.zeros(()), []
    batches = _batches(model, predict, rates, num_images, seed, begin)
    for first, noises, path, predictions in batches:
        if first == 0:
            spectrum = frequency_weights(path[-1], EXPONENT if perceptual else 0.0)
        gram = gram + _products(np.concatenate([path, predictions]), spectrum)
        if first < kept:
            found.append((noises, path))
        advance(len(noises))
    return Trajectories(
        times,
        rates,
        spectrum,
        gram / (num_images * np.prod(model.image_shape)),
        np.concatenate([noises for noises, _ in found])[:kept],
        np.concatenate([path for _, path in found], axis=1)[:, :kept],
        predict,
    )


def _rates(schedule: Any, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return float64 noise rates and signal rates, which must not begin without signal."""
    noise, signal = (backend.to_numpy(r).astype("float64") for r in schedule(times))
    if signal[0] < 1e-6:
        raise ValueError(
            f"Expected a schedule with some signal at time 1. Received: {schedule}, which "
            "has none. Tuning divides by the signal rate."
        )
    return noise, signal


def _predictor(model: Any) -> Callable:
    """Return `(noisy_images, noise_rate, signal_rate) -> pred_noises`, compiled, for NumPy."""
    denoiser = model.sampling_denoiser()
    denoise = DDIM().with_scalar_rates(denoiser.denoise)
    compiled = backend.compile_step(lambda x, n, s: denoise(x, n, s)[0], denoiser.variables)

    def predict(noisy_images: np.ndarray, noise_rate: float, signal_rate: float) -> np.ndarray:
        arguments = (noisy_images, noise_rate, signal_rate)
        tensors = (ops.convert_to_tensor(value, "float32") for value in arguments)
        return backend.to_numpy(compiled(*tensors))

    return predict


def _batches(
    model: Any,
    predict: Callable,
    rates: tuple[np.ndarray, np.ndarray],
    num_images: int,
    seed: int,
    begin: Callable | None,
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Follow noises, one batch at a time.

    Yields:
        `(first, noises, path, predictions)`: the index of the batch's first noise, its noises,
        and arrays of its images at all times and of its predicted noises at all but the last.
    """
    noise, signal = rates
    steps = Rates(noise[:-1], signal[:-1], noise[1:], signal[1:], model.schedule)
    weights = AdamsBashforth(order=ORDER).weights(steps)
    size = min(BATCH_SIZE, num_images)
    for first in range(0, num_images, size):
        # All batches have the same size, so that the step is compiled once.
        number = min(size, num_images - first)
        noises = latents.initial_noise(size, model.image_shape, seed, first)
        if begin is not None:
            noises = begin(model.schedule, ops.convert_to_tensor(noises))
        noises = backend.to_numpy(noises)
        found = _follow_batch(predict, noises, noise, signal, weights)
        path, predictions = (np.stack(images)[:, :number] for images in found)
        yield first, noises[:number], path, predictions


def _products(vectors: np.ndarray, spectrum: np.ndarray) -> np.ndarray:
    """Return the sums of the products of any two of `vectors`, with weighted frequencies."""
    weighted = np.stack([_weighted(images, spectrum).ravel() for images in vectors])
    return weighted @ weighted.T


def point_times(schedule: Any, last_time: float = 0.0) -> np.ndarray:
    """Return the times of the points, about 60, from 1 to 0.

    Half of them have equal steps of the time, and half have equal steps of the log-SNR.

    Args:
        schedule: The schedule.
        last_time: Least time above 0.
    """
    half = NUM_POINTS // 2
    grids = [time_grids.grid(name, schedule, half) for name in ("uniform", "log_snr")]
    times = np.unique(np.concatenate(grids))
    # Close neighbours of the two grids give no new place, and the solver divides by their distance.
    chosen = [0.0]
    for time in times[(times >= last_time) & (times > 0.0) & (times < 1.0)]:
        if time - chosen[-1] > 0.1 / NUM_POINTS and 1.0 - time > 1e-4:
            chosen.append(float(time))
    return np.array([*chosen, 1.0])[::-1].copy()


def _follow_batch(
    predict: Callable, noises: np.ndarray, noise: np.ndarray, signal: np.ndarray, weights: Any
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the images at all times, and the predicted noises at all but the last."""
    sigmas = noise / signal
    path, predictions = [noises / np.float32(signal[0])], []
    for point in range(len(sigmas) - 1):
        rates = noise[point], signal[point]
        predictions.append(predict(path[-1] * np.float32(signal[point]), *rates))
        mean = sum(
            np.float32(weights[point, age]) * predictions[point - age]
            for age in range(min(weights.shape[1], point + 1))
        )
        path.append(path[-1] + np.float32(sigmas[point + 1] - sigmas[point]) * mean)
    # Sampling ends with the images that the last evaluation predicts.
    path[-1] = path[-2] - np.float32(sigmas[-2]) * predictions[-1]
    return path, predictions
