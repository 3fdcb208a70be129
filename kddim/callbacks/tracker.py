"""Runs in Weights & Biases, or in Trackio."""

import dataclasses
import importlib
import importlib.util
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from kddim.callbacks.scalars import ScalarCallback
from kddim.checks import check_choice, reason_of


@dataclasses.dataclass(frozen=True)
class Tool:
    """Differences between the tools. Both have `init`, `Image`, and runs with `log` and `finish`.

    Args:
        title: Name for people.
        begin: Function of the module and of a `TrackerCallback` that returns the run.
        first_step: Function of a run that returns the first step that it takes. A run that is
            gone on with has the steps before.
        check: Function of the module that raises unless the tool can be used.
    """

    title: str
    begin: Callable[[Any, Any], Any]
    first_step: Callable[[Any], int]
    check: Callable[[Any], None] = lambda module: None


def _begin_wandb(module: Any, callback: "TrackerCallback") -> Any:
    return module.init(
        **callback.description,
        id=callback.run_id,
        name=callback.name,
        dir=callback.directory,
        resume="allow",
        settings={"console": "off"},  # it would record each state of the progress bar
    )


def _begin_trackio(module: Any, callback: "TrackerCallback") -> Any:
    # Runs of Trackio are known by their names.
    name = f"{callback.name}-{callback.run_id}"
    return module.init(**callback.description, name=name, resume="allow")


def _check_wandb(module: Any) -> None:
    if module.setup().settings.mode != "online":
        return
    try:
        known = module.login()  # asks for the key on a terminal
    except module.Error:
        known = False
    if not known:
        raise ValueError(
            "Expected an account of Weights & Biases. Received: no API key. Call `wandb login`, "
            "or set the environment variable WANDB_MODE=offline."
        )


TOOLS = {
    "wandb": Tool("Weights & Biases", _begin_wandb, lambda run: run.step, _check_wandb),
    # It takes any step. Numbers of the last one may be missing.
    "trackio": Tool("Trackio", _begin_trackio, lambda run: getattr(run, "_next_step", 0) - 1),
}


class TrackerCallback(ScalarCallback):
    """Log numbers and image grids to Weights & Biases or Trackio.

    The Keras callbacks of Weights & Biases need TensorFlow, and Trackio has none. The numbers
    are those of `TensorBoardCallback`. Put the callback behind those that add to the logs, and before a
    `RunCheckpoint`. A
    resumed run is continued in the tool, under the same id.

    Args:
        tool: "wandb" or "trackio".
        name: Name of the run.
        directory: Folder for the files of Weights & Biases, in its subfolder `wandb`. Trackio
            has a folder of its own.
        config: Settings of the run.
        project: Name of the project. None is the environment variable WANDB_PROJECT or
            TRACKIO_PROJECT, else "kddim".
        samples: Folder of the pictures of an `ImageGridCallback`. None shows no pictures.
        every_steps: Number of steps from one `batch/loss` to the next, at least 1.

    Attributes:
        run_id: Identity of the run in the tool.

    Raises:
        ValueError: If the tool is unknown, not installed or without an account, or if
            `every_steps` is below 1.

    Example:
        >>> tracker = kddim.callbacks.TrackerCallback("wandb", "flowers")
        >>> model.fit(images, callbacks=[tracker])
    """

    kept: ClassVar[tuple[str, ...]] = (*ScalarCallback.kept, "run_id")

    def __init__(
        self,
        tool: str,
        name: str,
        directory: str | os.PathLike = ".",
        config: Mapping[str, Any] | None = None,
        *,
        project: str | None = None,
        samples: str | os.PathLike | None = None,
        every_steps: int = 10,
    ):
        super().__init__(samples, every_steps)
        self._tool = TOOLS[check_choice("tracker", tool, TOOLS)]
        if importlib.util.find_spec(tool) is None:
            raise ValueError(
                f"Expected the package {tool}. Received: no such module. Install it with "
                f"`pip install {tool}`."
            )
        self.tool = self._tool.title
        self.name, self.directory, self.run_id = name, Path(directory), uuid.uuid4().hex[:8]
        self.project = project or os.environ.get(f"{tool.upper()}_PROJECT") or "kddim"
        self.config = dict(config or {})
        self._module = importlib.import_module(tool)
        self._tool.check(self._module)
        self._run: Any = None
        self._first_step = 0

    @property
    def description(self) -> dict[str, Any]:
        """Project and settings, as arguments of `init`."""
        return {"project": self.project, "config": self.config}

    def start(self) -> None:
        """Begin a run of the tracker.

        Raises:
            ValueError: If the tracker refuses.
        """
        try:
            self._run = self._tool.begin(self._module, self)
        except Exception as error:
            raise ValueError(
                f"Expected {self.tool} to begin a run. Received: {reason_of(error)}"
            ) from error
        self._first_step = self._tool.first_step(self._run)

    def write(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Log scalars, unless the run has those of this step already."""
        if step >= self._first_step:  # a killed process has written the others
            self._run.log(dict(scalars), step=step)

    def write_picture(self, step: int, path: Path) -> None:
        """Log a picture as `samples`."""
        self.write(step, {"samples": self._module.Image(str(path))})

    def finish(self) -> None:
        """End the run."""
        self._run.finish()
