"""Models from the Hugging Face hub, by addresses such as `hf://user/repo`."""

import functools
import re
from pathlib import Path

from kddim.checks import reason_of
from kddim.presets.catalogue import FILES

SCHEME = "hf://"

_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?/?")
_RUN_FILES = ("model.keras",)


def is_address(text: str) -> bool:
    """Return True for a text that is meant as an address on the hub."""
    return text.startswith(SCHEME)


@functools.cache
def download(address: str) -> Path:
    """Download a model from the hub into the cache of `huggingface_hub`.

    Only the files of a preset, or `model.keras`, are fetched. A process asks the hub once per
    address.

    Args:
        address: `hf://user/repo`, or `hf://user/repo@revision`.

    Returns:
        Folder of the files.

    Raises:
        ValueError: If the address has another form, if `huggingface_hub` is not installed, or if
            the download fails.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(f"Expected an address such as hf://user/repo. Received: {address!r:.200}")
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise ValueError(
            f"Expected huggingface_hub to be installed, to read {address}. Received: no module "
            f"{error.name!r}. Install kddim[hub], or download the repository and give its folder."
        ) from error
    try:
        folder = huggingface_hub.snapshot_download(
            match[1], revision=match[2], allow_patterns=[*FILES, *_RUN_FILES]
        )
    except Exception as error:  # of the hub, of the connection, or of the disk
        raise ValueError(
            f"Expected a repository of the Hugging Face hub that can be read. Received: {address} "
            f"({reason_of(error)})"
        ) from error
    return Path(folder)
