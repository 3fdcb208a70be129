"""Table of the presets in the package, as `kddim presets` prints it."""

import math
from typing import Any

from kddim.budget import size_in_words
from kddim.presets.card import protocol_words, score_words
from kddim.presets.catalogue import ROOT, names, read_config, size_of


def rows() -> list[dict[str, str]]:
    """Return one row per preset with weights: texts by column."""
    return [_row(name, read_config(ROOT / name)) for name in names()]


def notes() -> list[str]:
    """Return lines that are too long for a table: protocols and commands."""
    lines = []
    for name in names():
        card = read_config(ROOT / name)["card"]
        figure = _with_kid(card)
        if figure:
            lines.append(f"{name}: KID by {protocol_words(figure.get('protocol') or {})}")
        lines.append(f"{name}: made by {card.get('command') or 'a command that is not recorded'}")
    return lines


def _row(name: str, config: dict[str, Any]) -> dict[str, str]:
    model, figure = config["model"], _with_kid(config["card"])
    return {
        "name": name,
        "data": str(config["card"].get("data") or "not recorded"),
        "size": "x".join(map(str, (*model["image_size"], model["channels"]))),
        "parameters": f"{config['parameters']:,}",
        "file": size_in_words(size_of(ROOT / name)),
        "KID": score_words(figure, "kid") if figure else "not measured",
    }


def _with_kid(card: dict[str, Any]) -> dict[str, Any] | None:
    """Return the first figure of a card that has a KID, or None."""
    found = [f for f in card.get("figures") or () if isinstance(f.get("kid"), (int, float))]
    return next((f for f in found if math.isfinite(f["kid"])), None)
