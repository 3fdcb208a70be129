"""Image sets as files: a folder of PNG files, one grid, or an array."""

import math
import os
import re
import tempfile
from pathlib import Path

import numpy as np

from kddim.files import atomic_write, check_output
from kddim.images import grid, save_png, to_uint8


def check_images_output(path: str | os.PathLike, overwrite: bool) -> Path:
    """Return `path` if images can be written to it.

    Args:
        path: Folder, `.png` file (a grid) or `.npz` file (an array).
        overwrite: If true, something may be there already.

    Raises:
        ValueError: If something is there already and `overwrite` is false, if `path` names a
            file but is a folder (or the reverse), or if its suffix is another one.
    """
    path = check_output(path, overwrite)
    file_wanted = path.suffix.lower() in (".png", ".npz")
    if path.suffix and not file_wanted and not path.is_dir():
        raise ValueError(f"Expected a folder, a .png or a .npz file as output. Received: {path}")
    if path.exists() and path.is_dir() == file_wanted:
        kind = "folder" if path.is_dir() else "file"
        raise ValueError(
            f"Expected to write a {path.suffix or 'folder'} there. Received: {path}, a {kind}"
        )
    return path


def write_images(images: np.ndarray, path: str | os.PathLike, *, overwrite: bool = False) -> None:
    """Write images in one of three forms, as a whole or not at all.

    Args:
        images: Float images `(n, height, width, channels)` in [0, 1].
        path: `.png` file for one grid, `.npz` file for a uint8 array `images`, or folder for
            `00000.png`, `00001.png`, ... and `grid.png`.
        overwrite: If true, replace existing files of these names.
    """
    path = check_images_output(path, overwrite)
    columns = math.ceil(math.sqrt(len(images) * 2))  # twice as wide as high
    if path.suffix.lower() == ".png":
        save_png(path, grid(images, columns))
    elif path.suffix.lower() == ".npz":
        with atomic_write(path) as partial:
            np.savez_compressed(partial, images=to_uint8(images))
    else:
        _write_folder(images, path, columns)


def _write_folder(images: np.ndarray, path: Path, columns: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        partial = Path(folder) / path.name
        for index, pixels in enumerate(to_uint8(images)):
            save_png(partial / f"{index:05d}.png", pixels)
        save_png(partial / "grid.png", grid(images, columns))
        if not path.exists():
            partial.chmod(0o755)
            partial.rename(path)
            return
        # An earlier, larger set must not leave images among the new ones.
        for old in path.glob("*.png"):
            if re.fullmatch(r"\d{5,}\.png", old.name):
                old.unlink()
        for file in partial.iterdir():
            os.replace(file, path / file.name)
