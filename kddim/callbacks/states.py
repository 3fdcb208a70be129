"""States that checkpoints keep beside the variables of a model."""

import random
from typing import Any

import numpy as np

# State of callbacks of Keras, which have no method for it.
_KERAS_STATE = {
    "EarlyStopping": ("wait", "stopped_epoch", "best", "best_epoch"),
    "ModelCheckpoint": ("best", "epochs_since_last_save", "_current_total_batches_seen"),
    "ReduceLROnPlateau": ("wait", "cooldown_counter", "best"),
}


def states_of(callbacks: list[Any]) -> dict[str, Any]:
    """Return the states of callbacks, as JSON values by class and number.

    Args:
        callbacks: Callbacks of `fit`. Those that have no state to keep are left out.
    """
    found = {key: _state_of(callback) for key, callback in _named(callbacks)}
    return {key: state for key, state in found.items() if state is not None}


def set_states(callbacks: list[Any], states: dict[str, Any], *, training: bool) -> None:
    """Give callbacks the states that `states_of` returned in another process.

    Args:
        callbacks: Callbacks of `fit`.
        states: States by class and number. Callbacks without one stay as they are.
        training: If false, sets the callbacks of kddim, before training begins. If true, sets
            those of Keras, which forget their state when training begins.
    """
    for key, callback in _named(callbacks):
        if key not in states:
            continue
        if hasattr(callback, "set_state"):
            if not training:
                callback.set_state(states[key])
        elif training:
            vars(callback).update(states[key])


def _named(callbacks: list[Any]) -> list[tuple[str, Any]]:
    """Return the callbacks with their classes and numbers, such as `KIDCallback 0`."""
    kinds = [type(callback).__name__ for callback in callbacks]
    return [(f"{k} {kinds[:i].count(k)}", c) for i, (k, c) in enumerate(zip(kinds, callbacks))]


def _state_of(callback: Any) -> Any:
    if hasattr(callback, "get_state"):
        return callback.get_state()
    names = _KERAS_STATE.get(type(callback).__name__, ())
    return {name: getattr(callback, name) for name in names if hasattr(callback, name)} or None


def random_state() -> dict[str, Any]:
    """Return the states of the global random generators, which users' data sets may use."""
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return {"numpy": [kind, np.asarray(keys).tolist(), *rest], "python": random.getstate()}


def set_random_state(state: dict[str, Any]) -> None:
    """Set the global random generators to the states that `random_state` returned."""
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, "uint32"), *rest))  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
