"""Properties of settings: whatever a file holds, it is valid settings or a `ValueError`."""

import dataclasses
import json

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kddim.settings import RunSettings, Settings, read_settings, validate
from kddim.training import TrainingConfig

NAMES = [field.name for field in dataclasses.fields(RunSettings)]
FAST = settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
numbers = st.integers() | st.floats() | st.integers(-5, 100)
words = st.sampled_from(["cosine", "noise", "auto", "none", "64x48", "8", "float32", "jax", "batch"])  # fmt: skip
scalars = st.none() | st.booleans() | numbers | st.text() | words
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3)
)  # fmt: skip
names = st.sampled_from([*NAMES, "training", "versions"]) | st.text()
contents = st.dictionaries(names, values, max_size=6)
documents = values | contents | st.fixed_dictionaries(
    {"training": contents | values, "versions": contents | values}
)  # fmt: skip


def valid(call, *arguments):
    """The result of a call, or None if it raises a `ValueError` of one line."""
    try:
        return call(*arguments)
    except ValueError as error:
        message = str(error)
    assert 0 < len(message) < 5000
    return None


@FAST
@given(content=documents)
def test_any_json_is_settings_or_an_error(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content))
    found = valid(read_settings, path)
    if found is not None:
        check(found.values)


@FAST
@given(content=documents)
def test_any_yaml_is_settings_or_an_error(tmp_path, content):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(content))
    found = valid(read_settings, path)
    if found is not None:
        check(found.values)


@FAST
@given(data=st.binary() | st.text().map(str.encode), ending=st.sampled_from(["toml", "yaml", "json"]))  # fmt: skip
def test_any_bytes_are_settings_or_an_error(tmp_path, data, ending):
    path = tmp_path / f"run.{ending}"
    path.write_bytes(data)
    valid(read_settings, path)


@FAST
@given(
    lines=st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            st.sampled_from(["1", "0.5", "true", "[8, 16]", '"x"', "{a = 1}", "2020-01-01", "inf"]),
        ),
        max_size=5,
        unique_by=lambda pair: pair[0],
    )
)
def test_any_toml_is_settings_or_an_error(tmp_path, lines):
    path = tmp_path / "run.toml"
    path.write_text("\n".join(f"{name} = {value}" for name, value in lines))
    found = valid(read_settings, path)
    if found is not None:
        check(found.values)


def check(found):
    """Valid settings make a configuration, have their own types, and are valid again."""
    assert validate(RunSettings, found) == found
    names = {field.name for field in dataclasses.fields(Settings)}
    config = TrainingConfig(**{name: found[name] for name in found if name in names})
    resolved = valid(config.resolved)
    if resolved is not None:
        assert json.loads(json.dumps(vars(resolved)))["batch_size"] == resolved.batch_size
        assert resolved.resolved() == resolved


@FAST
@given(
    image_size=st.integers(1, 64) | st.tuples(st.integers(1, 64), st.integers(1, 64)),
    channels=st.none() | st.integers(1, 8),
    batch_size=st.integers(1, 512),
    widths=st.lists(st.integers(1, 128), min_size=1, max_size=4),
    ema=st.floats(0, 1, exclude_max=True),
)
def test_a_config_survives_its_file(tmp_path, **options):
    config = TrainingConfig(**options)
    for ending, dump in (("json", json.dumps), ("yaml", yaml.safe_dump)):
        path = tmp_path / f"run.{ending}"
        path.write_text(dump(json.loads(json.dumps(vars(config)))))
        assert TrainingConfig(**read_settings(path).values) == config


@pytest.mark.parametrize("name", NAMES)
@settings(FAST, max_examples=30)
@given(value=values)
def test_any_value_of_any_setting_is_valid_or_an_error(name, value):
    found = valid(validate, RunSettings, {name: value})
    if found is not None:
        assert validate(RunSettings, found) == found
