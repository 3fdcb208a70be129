"""Events for TensorBoard, on every backend and without TensorFlow."""

import importlib.util
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from kddim.callbacks.scalars import ScalarCallback


class TensorBoardCallback(ScalarCallback):
    """Write numbers and image grids for TensorBoard.

    `keras.callbacks.TensorBoard` needs TensorFlow. This callback needs the package `tensorboard`
    only, and does not import TensorFlow where it is installed.

    The numbers are `epoch/loss`, `epoch/val_kid` and so on, and `batch/loss` and so on, over
    the number of training steps. Put the callback behind those that add to the logs, and before a
    `RunCheckpoint`. A resumed run writes a new file, and tells TensorBoard to drop the numbers that a killed process wrote
    after the step from which the run goes on.

    Args:
        directory: Folder that receives the events.
        samples: Folder of the pictures of an `ImageGridCallback`. None shows no pictures.
        every_steps: Number of steps from one `batch/loss` to the next, at least 1.

    Raises:
        ValueError: If the package `tensorboard` is missing, or `every_steps` is below 1.

    Example:
        >>> board = kddim.callbacks.TensorBoardCallback("logs")
        >>> model.fit(images, callbacks=[board])  # then: tensorboard --logdir logs
    """

    tool = "TensorBoard"

    def __init__(
        self,
        directory: str | os.PathLike,
        samples: str | os.PathLike | None = None,
        every_steps: int = 10,
    ):
        super().__init__(samples, every_steps)
        if importlib.util.find_spec("tensorboard") is None:
            raise ValueError(
                "Expected the package tensorboard. Received: no such module. Install it with "
                "`pip install tensorboard` (or kddim[tensorboard])."
            )
        self.directory = Path(directory)
        self._writer: Any = None

    def start(self) -> None:
        """Open a new file, from which TensorBoard reads on where the earlier one is complete."""
        # Not tensorboard's `EventFileWriter`, which imports TensorFlow where it is installed.
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.directory.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a folder in the order of their names.
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._writer = RecordWriter((self.directory / name).open("wb"))
        self._add(file_version="brain.Event:2")
        # TensorBoard drops what earlier files hold from this step on.
        self._add(step=self.resume_step, session_log=SessionLog(status=SessionLog.START))
        if self._point and self.resume_step == self.step:
            self.write(self.step, self._point)
        self._writer.flush()

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write numbers, and flush the file."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=v) for tag, v in scalars.items()]
        self._add(step=step, summary=Summary(value=values))
        self._writer.flush()

    def write_picture(self, step: int, path: Path) -> None:
        """Write a picture, and flush the file."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        with Image.open(path) as picture:
            (width, height), channels = picture.size, len(picture.getbands())
        image = Summary.Image(
            height=height,
            width=width,
            colorspace=channels,
            encoded_image_string=path.read_bytes(),
        )
        self._add(step=step, summary=Summary(value=[Summary.Value(tag="samples", image=image)]))
        self._writer.flush()

    def finish(self) -> None:
        """Close the file."""
        self._writer.close()

    def _add(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.write(Event(wall_time=time.time(), **content).SerializeToString())
