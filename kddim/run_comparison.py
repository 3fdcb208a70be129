"""Several training runs beside each other: settings that differ, results, and curves."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kddim.plots import plot_runs
from kddim.progress import duration
from kddim.run_state import RunFiles, describe_state, read_run

# What differs between any two runs, or is no setting.
NO_SETTINGS = ("command", "best_epoch", "KID best")


class RunComparison:
    """Runs to compare.

    Args:
        folders: At least two run folders.

    Attributes:
        runs: Files of the runs by their names, which are the names of the folders if they
            differ, and else their paths.

    Raises:
        ValueError: If there are fewer than two folders, a folder is given twice, or is no run.
    """

    def __init__(self, folders: Sequence[str | os.PathLike]):
        paths = [Path(folder) for folder in folders]
        if len({path.resolve() for path in paths}) < max(2, len(paths)):
            raise ValueError(
                f"Expected at least two different runs. Received: {', '.join(map(str, paths))}"
            )
        found = [read_run(path) for path in paths]
        names = [path.resolve().name for path in paths]
        if len(set(names)) < len(names):
            names = [str(path) for path in paths]
        self.runs: dict[str, RunFiles] = dict(zip(names, found))

    def settings(self) -> list[dict[str, str]]:
        """Return the settings that differ, as one row per setting with a column per run."""
        return [row for row in self._rows("setting", flatten) if len({*list(row.values())[1:]}) > 1]

    def results(self) -> list[dict[str, str]]:
        """Return the state and the results of the runs, as one row each with a column per run."""
        return self._rows("result", _results)

    def remarks(self) -> list[str]:
        """Return sentences on what to keep in mind."""
        found = [f"{name} has no finished epoch" for name, r in self.runs.items() if not r.history]
        differ = self.settings()
        if not differ:
            found.append("the runs have the same settings")
        if any(row["setting"].startswith("KID ") for row in differ):
            found.append("the KIDs were measured differently, and do not compare")
        return found

    def plot(self, path: str | os.PathLike) -> Path:
        """Draw the losses and the KIDs of the runs into one picture.

        Args:
            path: PNG file to write.

        Raises:
            ValueError: If no run has a finished epoch.
        """
        histories = {name: run.history for name, run in self.runs.items() if run.history}
        if not histories:
            raise ValueError(
                "Expected a run with a finished epoch. Received: runs without history.csv"
            )
        return plot_runs(histories, path)

    def _rows(self, header: str, function: Callable) -> list[dict[str, str]]:
        """Return one row per key of the dictionaries that a function of a run returns."""
        columns = {name: function(run) for name, run in self.runs.items()}
        keys = dict.fromkeys(key for column in columns.values() for key in column)
        return [
            {header: key} | {name: column.get(key, "-") for name, column in columns.items()}
            for key in keys
        ]


def flatten(run: RunFiles) -> dict[str, str]:
    """Return all settings of a run as text by name, without what is no setting."""
    found: dict[str, Any] = dict(run.training)
    for name, content in run.config.items():
        if isinstance(content, dict) and name != "training":
            label = {"kid": "KID", "versions": "version"}.get(name, name)
            found |= {f"{label} {key}": value for key, value in content.items()}
        elif not isinstance(content, dict) and content is not None:
            found[name] = content
    return {key: str(value) for key, value in found.items() if key not in NO_SETTINGS}


def _results(run: RunFiles) -> dict[str, str]:
    lines = describe_state(run)
    found = {"state": lines["state"].partition(";")[0], "best KID": lines.get("best KID", "-")}
    last = run.history[-1] if run.history else {}
    losses = {f"last {key}": f"{last[key]:.4g}" for key in ("n_loss", "val_n_loss") if key in last}
    if run.seconds_per_epoch is not None:
        losses["time per epoch"] = duration(run.seconds_per_epoch)
    return found | losses
