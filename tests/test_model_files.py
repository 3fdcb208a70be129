"""Model files that are damaged, or made to harm: each loads or is refused in one line."""

import io
import json
import os
import resource
import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest

import kddim
from kddim import cli, runs
from kddim.networks.sizes import count_values, variable_bytes

CONFIG, WEIGHTS = "config.json", "model.weights.h5"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Members of a good model file, by name."""
    model = kddim.DiffusionModel(8, (4, 8), 1, channels=1)
    model.normalizer.adapt(np.random.default_rng(0).random((8, 8, 8, 1)).astype("float32"))
    path = tmp_path_factory.mktemp("models") / "m.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def with_config(members, change):
    """Members whose config.json has other arguments of the model."""
    content = json.loads(members[CONFIG])
    content["config"] |= change
    return members | {CONFIG: json.dumps(content).encode()}


def with_weights(members, change):
    """Members whose file of weights was changed by a function of the open file."""
    stream = io.BytesIO(members[WEIGHTS])
    with h5py.File(stream, "r+") as file:
        change(file)
    return members | {WEIGHTS: stream.getvalue()}


def test_the_size_of_a_network_is_known_before_it_is_built():
    for widths, depth, channels in (((8, 16), 1, 1), ((6, 6, 10), 2, 3), ((5,), 3, 2)):
        network = kddim.networks.residual_unet(16, widths, depth, channels=channels)
        assert 4 * count_values(widths, depth, channels) == variable_bytes(network)


def test_good_files_load(whole, tmp_path):
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        model = runs.load_model(write(tmp_path / "m.keras", whole, compression))
        assert model.generate(1, 1, seed=0).shape == (1, 8, 8, 1)


@pytest.mark.backend
def test_files_of_custom_networks_load(tmp_path):
    network = kddim.networks.residual_unet(
        8, (8, 16), 1, attention_levels=(1,), normalization="group"
    )
    model = kddim.DiffusionModel(8, network=network)
    model.save(tmp_path / "m.keras")
    loaded = runs.load_model(tmp_path / "m.keras")
    for one, other in zip(model.get_weights(), loaded.get_weights()):
        np.testing.assert_array_equal(one, other)


CLAIMS = [
    {"image_size": [10**6, 10**6]},
    {"image_size": "8"},
    {"image_size": [8]},
    {"image_size": [8, None]},
    {"widths": [20_000, 8]},
    {"widths": [1_000_000]},
    {"widths": [1e400]},
    {"widths": [4, 8] * 40},
    {"widths": "48"},
    {"widths": None},
    {"channels": 10**9},
    {"channels": True},
    {"block_depth": 10**5},
    {"block_depth": 10**18},
    {"block_depth": None},
    {"network": 5},
    {"network": "x"},
    {"network": {"class_name": "__tensor__", "config": {"value": [1.0], "dtype": "float32"}}},
    {"network": {"module": "keras.layers", "class_name": "Dense", "config": {"units": 10**9}}},
    {"schedule": 5},
    {"schedule": {"class_name": "LinearBetaSchedule", "config": {"num_timesteps": 10**10}}},
    {"dtype": "float1"},
    {"dtype": 5},
    {"ema": "x"},
    {"unknown": 1},
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim}"[:40])
def test_absurd_arguments_are_refused(whole, tmp_path, claim):
    path = write(tmp_path / "m.keras", with_config(whole, claim))
    with pytest.raises(ValueError, match="which cannot be loaded"):
        runs.load_model(path)


def large_network():
    """A serialised custom network whose weights are larger than those in the file."""
    inputs = [keras.Input((8, 8, 1)), keras.Input((1, 1, 1))]
    x = keras.layers.Conv2D(30_000, 3, padding="same")(inputs[0])
    outputs = keras.layers.Conv2D(1, 1)(x)
    return keras.saving.serialize_keras_object(keras.Model(inputs, outputs))


def lambda_network():
    inputs = [keras.Input((8, 8, 1)), keras.Input((1, 1, 1))]
    outputs = keras.layers.Lambda(lambda x: x)(inputs[0])
    return keras.saving.serialize_keras_object(keras.Model(inputs, outputs))


def deep():
    return b'{"config": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}"


def hostile_members(whole):
    """Hostile members by name, and a part of the reason of the refusal."""
    larger = json.loads(whole[CONFIG]) | {"pad": "x" * 2**24}
    return {
        "deep nesting": (whole | {CONFIG: deep()}, "nested too deeply"),
        "no JSON": (whole | {CONFIG: b"\xff\xfe"}, "Expecting value"),
        "a list": (whole | {CONFIG: b"[1]"}, "describes no model"),
        "another class": (whole | {CONFIG: b'{"config": {}}'}, "Received: a None"),
        "a large config": (whole | {CONFIG: json.dumps(larger).encode()}, "17 MB|16.8 MB"),
        "no weights": ({CONFIG: whole[CONFIG]}, "it holds no"),
        "widths": (with_config(whole, {"widths": [64, 128]}), "claims networks of"),
        "a custom network": (
            with_config(whole, {"network": large_network()}),
            "claims networks of",
        ),
        "code": (with_config(whole, {"network": lambda_network()}), "Lambda|lambda"),
        "external": (with_weights(whole, add_external), "kept in another file"),
        "a soft link": (with_weights(whole, add_soft_link), "link to another place"),
        "strings": (with_weights(whole, add_strings), "holds no numbers"),
        "a shape": (with_weights(whole, add_shape), "claims 4 GB"),
        "not HDF5": (whole | {WEIGHTS: b"x" * len(whole[WEIGHTS])}, "signature"),
    }


def add_external(file):
    file.create_dataset("x", (4,), "float32", external=[("/etc/hostname", 0, 16)])


def add_soft_link(file):
    file["x"] = h5py.SoftLink("/network")


def add_strings(file):
    file.create_dataset("x", data=["text"], dtype=h5py.string_dtype())


def add_shape(file):
    file.create_dataset("x", (10**9,), "float32", chunks=(10**6,), compression="gzip")


def test_hostile_members_are_refused(whole, tmp_path):
    for name, (members, reason) in hostile_members(whole).items():
        path = write(tmp_path / f"{name.replace(' ', '_')}.keras", members)
        with pytest.raises(ValueError, match=f"(?s)cannot be loaded.*({reason})") as caught:
            runs.load_model(path)
        assert "\n" not in str(caught.value), name


def patched_headers(path, whole):
    """Archives whose headers lie: bytes of the central directory by name."""
    content = bytearray(write(path, whole).read_bytes())
    entry = content.rindex(b"PK\x01\x02")  # of the last member, the weights
    for name, offset, value in (("encrypted", 8, 1), ("unknown compression", 10, 99)):
        changed = bytearray(content)
        changed[entry + offset] = value
        yield name, bytes(changed)
    changed = bytearray(content)
    changed[entry + 20 : entry + 28] = (2**32 - 2).to_bytes(4, "little") * 2
    yield "claims", bytes(changed)


def test_lying_headers_are_refused(whole, tmp_path):
    for name, content in patched_headers(tmp_path / "m.keras", whole):
        path = tmp_path / "lies.keras"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"cannot be loaded.*(member|{name})"):
            runs.load_model(path)


MEASURE = """
import json, resource, sys, time
import kddim.runs
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
kddim.runs.read_model(sys.argv[1])
for path in sys.argv[2:]:
    before = peak()
    try:
        kddim.runs.load_model(path)
        print("loaded", path)
    except ValueError as error:
        print(json.dumps([path, peak() - before]))
"""


@pytest.mark.slow
def test_refusals_take_no_memory(whole, tmp_path):
    """The peak of a process grows by less than 150 MB for each file, which claims gigabytes."""
    good = write(tmp_path / "good.keras", whole)
    cases = [with_config(whole, claim) for claim in CLAIMS[:15]]
    cases += [with_weights(whole, add_shape), whole | {CONFIG: deep()}]
    paths = [write(tmp_path / f"{i}.keras", members) for i, members in enumerate(cases)]
    bomb = tmp_path / "bomb.keras"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(CONFIG, whole[CONFIG])
        with archive.open(WEIGHTS, "w") as member:
            for _ in range(30):
                member.write(bytes(10**7))
    command = [sys.executable, "-c", MEASURE, str(good), *map(str, [*paths, bomb])]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300)
    lines = answer.stdout.splitlines()
    assert len(lines) == len(paths) + 1, answer.stderr[-2000:]
    for line in lines:
        path, growth = json.loads(line)
        assert growth < 150e6, path


def test_loading_does_not_run_the_network_at_full_size(whole, tmp_path):
    """One image of 2048x2048 would take gigabytes in this network."""
    path = write(tmp_path / "m.keras", with_config(whole, {"image_size": [2048, 2048]}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = runs.load_model(path)
    assert model.image_shape == (2048, 2048, 1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200e3


def test_a_model_must_fit_in_the_free_memory(whole, tmp_path, monkeypatch):
    path = write(tmp_path / "m.keras", with_config(whole, {"image_size": [4096, 4096]}))
    monkeypatch.setenv("KDDIM_MEMORY", "200000000")
    with pytest.raises(ValueError, match=r"one image of 4096x4096.*free memory of 200 MB"):
        runs.load_model(path)


def fuzzed(whole, tmp_path, rounds, seed):
    """Damage a good file in random ways, and return the outcomes."""
    random = np.random.default_rng(seed)
    content = write(tmp_path / "whole.keras", whole).read_bytes()
    path = tmp_path / "fuzzed.keras"
    outcomes = []
    for number in range(rounds):
        kind = ("flip", "cut", "member", "config")[number % 4]
        if kind == "flip":
            changed = bytearray(content)
            changed[random.integers(len(content))] ^= int(random.integers(1, 256))
            path.write_bytes(bytes(changed))
        elif kind == "cut":
            path.write_bytes(content[: random.integers(len(content))])
        elif kind == "member":  # under a correct checksum, the structure of HDF5
            changed = bytearray(whole[WEIGHTS])
            for _ in range(3):
                changed[random.integers(len(changed) // 2)] = int(random.integers(256))
            write(path, whole | {WEIGHTS: bytes(changed)})
        else:
            values = [None, -1, 0, 3, 10**9, 1e30, "x", [], [8, 8], {}, True, float("nan")]
            names = list(json.loads(whole[CONFIG])["config"])
            change = {str(random.choice(names)): values[random.integers(len(values))]}
            write(path, with_config(whole, change))
        try:
            runs.read_model(path)
            outcomes.append("loaded")
        except ValueError as error:
            outcomes.append("refused" if "\n" not in str(error) else "several lines")
    return outcomes


def test_damaged_files_load_or_are_refused(whole, tmp_path):
    outcomes = fuzzed(whole, tmp_path, 60, seed=0)
    assert outcomes.count("refused") > 20
    assert set(outcomes) <= {"loaded", "refused"}


@pytest.mark.slow
def test_many_damaged_files_load_or_are_refused(whole, tmp_path):
    assert set(fuzzed(whole, tmp_path, 2000, seed=1)) == {"loaded", "refused"}


def spoil(whole, where, value):
    def change(file):
        names = []
        file[where].visititems(lambda name, item: names.append((name, item)))
        data = next(item for _, item in names if isinstance(item, h5py.Dataset) and item.size > 3)
        array = data[...]
        array.flat[:3] = value
        data[...] = array

    return with_weights(whole, change)


@pytest.mark.parametrize("where", ["layers/functional", "ema_network"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(whole, tmp_path, where, value):
    name = {"layers/functional": "the network", "ema_network": "the EMA network"}[where]
    path = write(tmp_path / "m.keras", spoil(whole, where, value))
    with pytest.raises(ValueError, match=rf"finite values.*3 of [\d,]+ values of {name} are NaN"):
        runs.load_model(path)
    assert "3 of" in runs.describe(path)["unusable"]


@pytest.mark.parametrize("value", [np.nan, -np.inf, -1.0])
def test_statistics_of_the_normaliser_that_are_no_statistics_are_refused(
    whole, tmp_path, value, capsys
):
    def change(file):
        file["layers/image_normalization/vars/1"][...] = value

    path = write(tmp_path / "m.keras", with_weights(whole, change))
    for verb in (
        ["generate", path, "-o", tmp_path / "g.png"],
        ["reconstruct", path, "digits"],
        ["consistency", path],
        ["interpolate", path],
        ["evaluate", path, "digits"],
        ["sweep", path, "digits"],
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(word) for word in verb])
        error = capsys.readouterr().err
        assert stopped.value.code == 2, verb
        assert "of the normaliser are NaN or infinite" in error
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.keras"]
    with pytest.raises(SystemExit) as stopped:
        cli.main(["info", str(path)])
    assert stopped.value.code == 0
    assert "unusable:" in capsys.readouterr().out


BROKEN = ["{", "[]", "5", '{"training": 5}', '{"training": [1]}', '{"kid": "x"}', "[" * 10**5]


@pytest.mark.parametrize("content", BROKEN, ids=lambda text: text[:12])
def test_a_broken_config_beside_a_model_is_told(whole, tmp_path, capsys, content):
    write(tmp_path / "model.keras", whole)
    (tmp_path / "config.json").write_text(content)
    assert "a damaged file" in runs.describe(tmp_path)["run"]
    with pytest.raises(ValueError, match=r"config\.json\. Received: a damaged file"):
        runs.loading_of(tmp_path)


@pytest.mark.parametrize(
    "training",
    [
        {"validation_split": "x"}, {"validation_split": 2.0}, {"validation_split": None},
        {"limit": 0}, {"limit": "all"}, {"seed": None}, {"seed": 0.5},
    ],
)  # fmt: skip
def test_a_broken_split_beside_a_model_is_refused(whole, tmp_path, training):
    write(tmp_path / "model.keras", whole)
    (tmp_path / "config.json").write_text(json.dumps({"training": training}))
    with pytest.raises(ValueError, match="Repair the file"):
        runs.loading_of(tmp_path)
    assert "training limit" in runs.describe(tmp_path) or len(training) == 1


def test_empty_sections_of_a_config_are_defaults(whole, tmp_path):
    write(tmp_path / "model.keras", whole)
    (tmp_path / "config.json").write_text('{"training": null, "kid": null}')
    assert runs.loading_of(tmp_path)["validation_split"] == 0.2
    assert "file" in runs.describe(tmp_path)


def test_a_missing_config_beside_a_model_is_told(whole, tmp_path, caplog):
    path = write(tmp_path / "m.keras", whole)
    with caplog.at_level("INFO", "kddim"):
        assert runs.loading_of(path)["data_seed"] == 0
    assert "there is no config.json beside" in caplog.text


def test_no_file_is_left_open(whole, tmp_path):
    path = write(tmp_path / "m.keras", with_config(whole, {"widths": [64, 128]}))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(3):
        with pytest.raises(ValueError, match="claims networks"):
            runs.load_model(path)
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before
