"""Plots: their ticks and the channels that they draw."""

import numpy as np
import pytest

from kddim import plots


@pytest.fixture
def drawn(monkeypatch):
    """Figures that the test saves."""
    figures = []
    save = plots._save

    def keep(figure, *args, **style):
        figures.append(figure)
        return save(figure, *args, **style)

    monkeypatch.setattr(plots, "_save", keep)
    return figures


@pytest.mark.parametrize("epochs", [1, 2, 3, 9, 120])
def test_ticks_of_epochs_are_integers(epochs, drawn, tmp_path):
    rows = [
        {"epoch": e, "loss": 2.0, "n_loss": 1 / e, "val_n_loss": 2 / e, "val_kid": 3 / e}
        for e in range(1, epochs + 1)
    ]
    plots.plot_history(rows, tmp_path / "history.png")
    plots.plot_kid([(row["epoch"], row["val_kid"]) for row in rows], tmp_path / "kid.png")
    axes = [axis for figure in drawn for axis in figure.axes]
    assert len(axes) == 3
    for axis in axes:
        low, high = axis.get_xlim()
        ticks = [tick for tick in axis.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(tick == round(tick) for tick in ticks)


def test_the_history_draws_losses_of_noises_once(drawn, tmp_path):
    """`loss`, which equals `n_loss` by default, is no line of its own."""
    rows = [{"epoch": e, "loss": 1 / e, "n_loss": 1 / e, "val_n_loss": 2 / e} for e in (1, 2)]
    plots.plot_history(rows, tmp_path / "history.png")
    (axis,) = drawn[0].axes
    lines = {line.get_label(): list(line.get_ydata()) for line in axis.lines}
    assert lines == {"training": [1.0, 0.5], "validation (EMA network)": [2.0, 1.0]}


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_neighbours_of_any_number_of_channels_are_drawn(channels, drawn, tmp_path):
    images = np.random.default_rng(0).random((2, 4, 4, channels))
    plots.plot_neighbours([images], [["a", "b"]], tmp_path / "neighbours.png")
    shapes = [axis.images[0].get_array().shape for axis in drawn[0].axes]
    assert shapes == [{1: (4, 4), 2: (4, 8), 3: (4, 4, 3)}[channels]] * 2
