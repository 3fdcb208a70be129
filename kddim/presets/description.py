"""Description of a model in lines of text, for `kddim info`."""

import os
from pathlib import Path
from typing import Any

from kddim import runs
from kddim.budget import size_in_words
from kddim.presets.card import SCORES, error_words, protocol_words, score_words
from kddim.presets.catalogue import read_config, size_of
from kddim.presets.loading import find, load_preset


def describe(model: str | os.PathLike) -> dict[str, str]:
    """Return a description of a model, and of its training.

    Args:
        model: Name of a preset, path of a preset's folder, of a run folder or of a `.keras` file,
            or address `hf://user/repo`.

    Returns:
        Lines of text by name.

    Raises:
        ValueError: If the model cannot be loaded.
    """
    place = find(model)
    return _describe_preset(place.path) if place.is_preset else runs.describe(place.path)


def _describe_preset(folder: Path) -> dict[str, str]:
    lines = {"preset": f"{folder} ({size_in_words(size_of(folder))})"}
    lines |= runs.model_lines(load_preset(folder))
    config = read_config(folder)
    card: dict[str, Any] = config["card"]
    for name in ("data", "licence", "command", "cost"):
        lines[name] = str(card.get(name) or "not recorded")
    for figure in card.get("figures") or ():
        scores = [f"{words} {score_words(figure, key)}" for key, words in SCORES.items() if key in figure]  # fmt: skip
        lines |= {"figures": ", ".join(scores), "protocol": protocol_words(figure["protocol"])}
    if config.get("half_precision"):
        lines["half precision"] = error_words(config["half_precision"])
    lines |= {"weaknesses": " ".join(card["weaknesses"])} if card.get("weaknesses") else {}
    return lines | runs.describe_training({"training": config["training"]})
