"""Card of a preset: what people should know before they use it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Card:
    """Facts about a preset, for `card.md` and for the table of `kddim presets`.

    Args:
        data: Name of the training data, with its source.
        licence: Licence of the data.
        command: Command that trained the model. None is the command of the run, if the preset is
            packed from a run.
        cost: Cost of the training, such as "6 hours on 2 CPU cores".
        figures: Results of `kddim.evaluation.evaluate`, each with its protocol.
        weaknesses: Known weaknesses, one sentence each.
        remarks: Other sentences, such as one that names the sheet of nearest neighbours.
    """

    data: str = ""
    licence: str = ""
    command: str | None = None
    cost: str = ""
    figures: Sequence[Mapping[str, Any]] = ()
    weaknesses: Sequence[str] = ()
    remarks: Sequence[str] = ()


SCORES = {
    "kid": "KID",
    "fid": "FID",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "copy_ratio": "copy ratio",
    "copy_share": "copy share",
}


def card_text(name: str, config: Mapping[str, Any]) -> str:
    """Return the card of a preset as Markdown.

    Args:
        name: Name of the preset.
        config: Content of its `config.json`.
    """
    card = config["card"]
    height, width = config["model"]["image_size"]
    facts = {
        "Images": f"{height}x{width}, {config['model']['channels']} channels",
        "Parameters": f"{config['parameters']:,}",
        "Data": card["data"],
        "Licence of the data": card["licence"],
        "Made by": f"`{card['command']}`" if card["command"] else "",
        "Cost": card["cost"],
        "Half precision": error_words(config["half_precision"]),
    }
    lines = [f"# {name}", "", "A preset of kddim: averaged weights in half precision.", ""]
    lines += [f"- {key}: {value or 'not recorded'}" for key, value in facts.items()]
    lines += ["", "## Figures", "", *_figure_lines(card["figures"])]
    lines += ["", "## Known weaknesses", ""]
    lines += [f"- {text}" for text in card["weaknesses"]] or ["None are recorded."]
    lines += ["", *card["remarks"]] if card["remarks"] else []
    return "\n".join([*lines, ""])


def error_words(error: Mapping[str, Any]) -> str:
    """Return the error of half precision in words."""
    return (
        f"pixels in [0, 255] differ by {255 * error['mean_pixel_error']:.2g} on average and at "
        f"most {255 * error['largest_pixel_error']:.2g} from those in full precision "
        f"({error['images']} images, {error['diffusion_steps']} steps)"
    )


def protocol_words(protocol: Mapping[str, Any]) -> str:
    """Return the protocol of a score in one line."""
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in protocol.items())


def score_words(figure: Mapping[str, Any], key: str) -> str:
    """Return a score with its uncertainty, such as `0.0123 +- 0.0004`."""
    spread = figure.get(f"{key}_std")
    return f"{figure[key]:.3g}" + ("" if spread is None else f" +- {spread:.2g}")


def _figure_lines(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for figure in figures:
        floor = figure.get("floor") or {}
        scores = [
            f"{words} {score_words(figure, key)}"
            + (f" (floor {floor[key]:.3g})" if key in floor else "")
            for key, words in SCORES.items()
            if figure.get(key) is not None
        ]
        protocol = protocol_words(figure.get("protocol") or {})
        lines.append(f"- {'; '.join(scores)}. Protocol: {protocol or 'not recorded'}.")
    return lines or ["None are recorded."]
