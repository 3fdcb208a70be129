"""Training from a source of images to a run folder, and going on with a run."""

import dataclasses
import logging
import os
import shlex
import time
from pathlib import Path
from typing import Any

import keras

from kddim import callbacks, checkpoints, data, devices, hosts, runs, tuning
from kddim.callbacks import RunCheckpoint
from kddim.callbacks.health import DivergenceError
from kddim.callbacks.tracking import trackers
from kddim.files import read_json, write_json
from kddim.locks import output_lock
from kddim.run_state import is_run
from kddim.samplers import GaussianStart
from kddim.signals import Interrupted
from kddim.snapshots import SnapshotFolder
from kddim.training import folder as files
from kddim.training.build import build_model, kid_callback, size_of
from kddim.training.config import ResolvedConfig, TrainingConfig
from kddim.training.config_file import run_config
from kddim.training.starting import initialise, take_over
from kddim.training.state import StateCallback

log = logging.getLogger("kddim")

_NOISES = 128  # that a sampler is tuned with
# What other processes than the first one read when a run goes on.
_RESUMED = (runs.CONFIG, files.STATE, files.CHECKPOINTS, runs.AVERAGES)


def train(
    config: TrainingConfig,
    output: str | os.PathLike,
    *,
    overwrite: bool = False,
    verbose: int | str = "auto",
    command: str | None = None,
    preset: str | None = None,
) -> Path:
    """Train a model, and write a run folder.

    Args:
        config: Settings of the run.
        output: Run folder. It receives `model.keras` (the model with the best KID, or the last
            one), `config.json`, `history.csv`, `history.png`, `samples/epoch_0001.png` and so
            on, `checkpoints/`, from which `resume` goes on, and `state.json`.
        overwrite: If true, `output` may be an earlier run. It is replaced as soon as the new
            run has a model, and stays if the new run never gets one.
        verbose: 0 is silent. Any other value shows the progress of training.
        command: Command line as it was typed, for `config.json`. None for a run from Python.
        preset: Name of the recipe that the settings began with, for `config.json`.

    Returns:
        Path of the run folder.

    Raises:
        ValueError: If a setting, the data or the output cannot be used. Nothing is written then.
            If training diverges (`kddim.callbacks.DivergenceError`).
        KeyboardInterrupt: After Ctrl-C or SIGTERM, once a checkpoint is written.

    Example:
        >>> train(TrainingConfig("digits", epochs=20), "runs/digits")
    """
    with hosts.watched(output), hosts.folder_of(output) as place, output_lock(place):
        place = runs.check_run_output(place, overwrite)
        run = _Run(take_over(config).resolved(), place, verbose)
        run.begin()
        files.set_earlier_aside(place)
        run.content = run.describe(command, preset)
        run.start(None)
    return Path(output)


def resume(
    folder: str | os.PathLike,
    *,
    epochs: int | None = None,
    max_minutes: float | None = None,
    verbose: int | str = "auto",
) -> Path:
    """Go on with a run that was stopped, exactly as if it had not been.

    Args:
        folder: Run folder.
        epochs: New number of epochs of the whole run. None keeps the number.
        max_minutes: New time limit of the whole run in minutes. None keeps the limit.
        verbose: As in `train`.

    Returns:
        Path of the run folder.

    Raises:
        ValueError: If the folder holds no run, if its data or its checkpoints cannot be used,
            or if training diverges.
        KeyboardInterrupt: After Ctrl-C or SIGTERM, once a checkpoint is written.

    Example:
        >>> resume("runs/digits")
    """
    folder = Path(folder)
    if not (folder / runs.CONFIG).is_file() or not is_run(folder):
        raise ValueError(
            f"Expected a run folder, which holds {runs.CONFIG}. Received: {folder}. Start a run "
            "with kddim train SOURCE --output FOLDER."
        )
    config = TrainingConfig.from_file(folder / runs.CONFIG)
    changed: dict[str, Any] = {"epochs": epochs, "max_minutes": max_minutes}
    changed = {name: value for name, value in changed.items() if value is not None}
    if not changed and (read_json(folder / files.STATE) or {}).get("finished"):
        log.info("%s is finished. Train longer with --epochs N or --max-minutes M.", folder)
        return folder
    content = read_json(folder / runs.CONFIG)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(content["training"].get("dtype", policy.name))
    try:
        with hosts.watched(folder), hosts.folder_of(folder, _RESUMED) as place, output_lock(place):
            files.clean(place)
            run = _Run(dataclasses.replace(config, **changed).resolved(), place, verbose)
            run.content = content | {"training": content["training"] | changed}
            run.check_data()
            run.start(run.restore())
    finally:
        keras.config.set_dtype_policy(policy)
    return folder


class _Run:
    """A model, its data and its callbacks, built from settings alone.

    Args:
        config: Settings.
        folder: Run folder. Nothing is written yet.
        verbose: As in `train`.
    """

    def __init__(self, config: ResolvedConfig, folder: Path, verbose: int | str):
        devices.check_batch_size(config.batch_size)
        keras.utils.set_random_seed(config.seed % 2**32)
        self.folder, self.verbose = folder, 0 if hosts.index() else verbose
        self.train_data, self.validation_data = data.load(**config.arguments_of(data.load))
        config = dataclasses.replace(config, channels=self.train_data.images.shape[3])
        self.config = config
        self.content: dict[str, Any] = {}
        self.model = build_model(config, self.train_data)
        self.init: dict[str, str] | None = None
        log.info(
            "%s: %d training and %d validation images of %s; %s parameters",
            *(config.source, len(self.train_data.images), len(self.validation_data.images)),
            *(size_of(self.model), f"{self.model.network.count_params():,}"),
        )
        self.measure = kid_callback(config, self.validation_data, verbose)
        if self.measure:
            self.measure.prepare(self.model.image_shape)
        self.best = callbacks.BestModelCallback(
            folder / runs.MODEL, "val_kid" if self.measure else None, config.every
        )
        self.state = StateCallback(folder)
        self.checkpoint = RunCheckpoint(
            folder / files.CHECKPOINTS,
            every_steps=config.checkpoint_steps,
            every_minutes=config.checkpoint_minutes,
        )
        self.checkpoint.way_on = f"Go on with: kddim train --resume {shlex.quote(str(folder))}"
        self.callbacks = self._callbacks()

    def _callbacks(self) -> list[keras.callbacks.Callback]:
        """Return all callbacks. Those that may end training come first, those that save last."""
        config, folder = self.config, self.folder
        found: list[Any] = [self.measure, callbacks.HealthCallback(folder, self.train_data)]
        if config.max_minutes:
            found.insert(0, callbacks.TimeLimitCallback(60.0 * config.max_minutes))
        if config.power_ema:
            found.append(callbacks.PowerAverageCallback(folder / runs.AVERAGES))
        samples = folder / runs.SAMPLES
        found.append(callbacks.ImageGridCallback(samples, every=config.every))
        found += [self.best, callbacks.HistoryCallback(folder, title=self._title())]
        found += trackers(folder, config.tensorboard, config.track, vars(config), samples)
        if self.verbose:
            limit = None if config.max_minutes is None else 60.0 * config.max_minutes
            found.append(callbacks.TrainingProgress(config.batch_size, limit))
        return [callback for callback in [*found, self.state, self.checkpoint] if callback]

    def begin(self) -> None:
        """Give the model the weights that the run begins with, if it has `init`."""
        if self.config.init is not None:
            self.init = initialise(self.model, self.config.init)

    def describe(self, command: str | None, preset: str | None = None) -> dict[str, Any]:
        """Return the content of `config.json`."""
        described = run_config(
            self.config, self.model, self.train_data, self.validation_data, command
        )
        described["training"] |= {"preset": preset} if preset else {}
        return described | {"kid": None} | ({"init": self.init} if self.init else {})

    def check_data(self) -> None:
        """Log a warning if the images are not those that the run began with."""
        began = self.content.get("data")
        if isinstance(began, dict) and began != self.describe(None)["data"]:
            log.warning(
                "the images of %s changed since the run began: it goes on with those of now",
                self.config.source,
            )

    def restore(self) -> checkpoints.RunState | None:
        """Go to the newest checkpoint, and return its position, or None if there is none."""
        directory = self.folder / files.CHECKPOINTS
        if not self.checkpoint.folder.paths():
            log.info("%s holds no checkpoint yet: the run starts from its beginning", self.folder)
            SnapshotFolder(self.folder / runs.AVERAGES).forget(0)
            self.begin()
            if self.init != self.content.get("init"):
                log.warning("%s changed since the run began", self.config.init)
            return None
        state = RunCheckpoint.restore(self.model, directory)
        log.info("going on from epoch %d, step %d", state.epoch + 1, state.step)
        return state

    def start(self, state: checkpoints.RunState | None) -> None:
        """Train from a position, and leave a folder that says what happened.

        Args:
            state: Position that the model was restored to. None is the beginning.
        """
        write_json(self.folder / runs.CONFIG, self.content)
        data.write_skipped(self.train_data.skipped, self.folder / files.SKIPPED)
        try:
            self.model.fit(
                self.train_data,
                epochs=self.config.epochs,
                initial_epoch=0 if state is None else state.epoch,
                validation_data=self.validation_data,
                verbose=0,
                callbacks=self.callbacks,
            )
            self._write_result()
            files.settle_earlier(self.folder)
            self._tune()
            self.state.write(finished=True)
        except DivergenceError as error:
            raise DivergenceError(f"{error} {self._keep_last_good_model()}") from error
        except KeyboardInterrupt as error:  # `resume` goes on from the newest checkpoint
            self._write_result()
            if isinstance(error, Interrupted) and self.checkpoint.way_on in str(error):
                raise
            status = getattr(error, "status", 130)
            raise Interrupted(status, f"interrupted. {self.checkpoint.way_on}") from error
        except BaseException:
            self._write_result()
            files.settle_earlier(self.folder)
            raise

    def _tune(self) -> None:
        """Tune the model of the folder to the numbers of steps of the settings."""
        steps = self.config.tune_steps
        if not steps:
            return
        if hosts.count() > 1:
            log.info("not tuned, because several processes trained: kddim tune does it")
            return
        began = time.monotonic()
        model = runs.load_model(self.folder, dtype="float32")
        # The Gaussian knows no classes.
        start = GaussianStart().start if model.gaussian and not model.num_classes else 1.0
        try:
            found = tuning.tune(model, steps, num_images=_NOISES, start=start, keep_in_model=False)
        except ValueError as error:  # no reason to lose the training
            log.warning("not tuned: %s", error)
            return
        tuning.keep(self.folder, found)
        words = ", ".join(map(str, steps))
        log.info("tuned to %s steps in %.0f s", words, time.monotonic() - began)

    def _write_result(self) -> None:
        kid = self.measure and self.measure.protocol | {"best": self.best.best}
        found = {"kid": kid, "best_epoch": self.best.best_epoch}
        write_json(self.folder / runs.CONFIG, self.content | found)

    def _keep_last_good_model(self) -> str:
        """Leave a good model in the folder after a divergence, and return where it is from."""
        self._write_result()
        model = self.folder / runs.MODEL
        if model.is_file():
            return f"{model} is the best model before."
        if (self.folder / runs.EARLIER).is_dir():
            files.settle_earlier(self.folder)
            return f"{self.folder} holds the earlier run."
        state = checkpoints.newest(self.folder / files.CHECKPOINTS)
        if state is None or not state.steps:
            return "No model was saved: there was none before."
        RunCheckpoint.restore(self.model, self.folder / files.CHECKPOINTS)
        self.model.save(model)
        return f"{model} is the model after step {state.steps}, of the last checkpoint."

    def _title(self) -> str:
        title = f"{Path(self.config.source).name}, {size_of(self.model)}"
        if self.measure is None:
            return title
        encoder, steps = self.measure.encoder.description, self.measure.diffusion_steps
        return f"{title} (KID: {encoder}, {self.measure.num_images} images, {steps} steps)"
