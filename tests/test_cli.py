"""The command line, as users see it."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import make_model
from PIL import Image

from kddim import cli


def kddim(*arguments):
    """Run the command in this process, and return its exit status."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(a) for a in arguments])
    return stopped.value.code


@pytest.fixture
def saved(images, tmp_path):
    path = tmp_path / "m.keras"
    make_model(images).save(path)
    return path


# The code of the console script, with the name of the program that it has there.
ENTRY = "import sys; sys.argv[0] = '/usr/bin/kddim'; from kddim.cli import main; main()"
NO_KERAS = {"PATH": "/usr/bin:/bin", "KERAS_BACKEND": "none, which would fail"}


@pytest.mark.parametrize("options", [["-c", ENTRY], ["-m", "kddim"]], ids=["script", "module"])
def test_help_answers_without_keras(options):
    answer = subprocess.run(
        [sys.executable, *options, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        env=NO_KERAS,
    )
    assert answer.returncode == 0, answer.stderr
    for verb in ("train", "generate", "evaluate", "info"):
        assert verb in answer.stdout


@pytest.mark.parametrize("verb", ["train", "generate", "evaluate", "info"])
def test_every_verb_explains_itself(capsys, verb):
    assert kddim(verb, "--help") == 0
    assert "MODEL" in (text := capsys.readouterr().out) or verb == "train"
    assert "--backend" in text


def test_train_then_generate_evaluate_info(tmp_path, capsys):
    run = tmp_path / "run"
    status = kddim(
        "train", "digits", "--output", run, "--widths", "8,16", "--block-depth", 1, "--epochs", 1,
        "--steps-per-epoch", 3, "--kid-encoder", "random_conv", "--kid-images", 8, "--kid-steps", 1,
    )  # fmt: skip
    assert status == 0
    assert f"kddim generate {run}" in capsys.readouterr().out

    assert kddim("generate", run, "-n", 5, "--diffusion-steps", 2, "-o", tmp_path / "out") == 0
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == [f"0000{i}.png" for i in range(5)] + ["grid.png"]
    assert Image.open(tmp_path / "out" / "00000.png").size == (8, 8)

    report = tmp_path / "report.json"
    arguments = ("evaluate", run, "digits", "-n", 20, "--diffusion-steps", 2)
    assert kddim(*arguments, "--kid-encoder", "random_conv", "-o", report) == 0
    printed = capsys.readouterr().out
    result = json.loads(report.read_text())
    assert f"KID {result['kid']:.6g}" in printed
    assert result["protocol"]["generated_images"] == result["protocol"]["real_images"] == 20
    assert "encoder: random_conv" in printed

    assert kddim("info", run) == 0
    assert "8x8, 1 channels" in capsys.readouterr().out


def test_a_seed_gives_the_same_images_in_every_form(saved, tmp_path):
    common = ("generate", saved, "-n", 4, "--diffusion-steps", 3, "--seed", 11)
    assert kddim(*common, "-o", tmp_path / "a.npz") == 0
    assert kddim(*common, "-o", tmp_path / "b") == 0
    assert kddim(*common, "-o", tmp_path / "c.png", "--batch-size", 3) == 0
    arrays = np.load(tmp_path / "a.npz")["images"]
    assert arrays.dtype == np.uint8
    assert arrays.shape == (4, 16, 16, 3)
    for index, image in enumerate(arrays):
        np.testing.assert_array_equal(
            np.asarray(Image.open(tmp_path / f"b/0000{index}.png")), image
        )
    grid = np.asarray(Image.open(tmp_path / "c.png")).astype(int)
    whole = np.asarray(Image.open(tmp_path / "b/grid.png")).astype(int)
    assert np.abs(grid - whole).max() <= 1


def test_eta_and_seed_matter(saved, tmp_path):
    found = []
    for name, options in {"a": [], "b": ["--eta", 1], "c": ["--seed", 1]}.items():
        path = tmp_path / f"{name}.npz"
        assert kddim("generate", saved, "-n", 2, "--diffusion-steps", 3, "-o", path, *options) == 0
        found.append(np.load(path)["images"].astype(int))
    assert np.abs(found[0] - found[1]).max() > 2
    assert np.abs(found[0] - found[2]).max() > 2


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["train", "nowhere.npz", "-o", "new"], "nowhere.npz, no such file"),
        (["train", "digits"], "Missing option"),
        (["train", "digits", "-o", "new", "--widths", "a,b"], "integers separated by commas"),
        (["train", "digits", "-o", "new", "--image-size", "big"], "expected a size"),
        (["train", "digits", "-o", "new", "--image-size", "9"], "divisible by 4"),
        (["train", "digits", "-o", "new", "--epochs", "0"], "epochs of at least 1"),
        (["train", "digits", "-o", "new", "--schedule", "cosin"], "Unknown schedule"),
        (["train", "digits", "-o", "new", "--backend", "mxnet"], "'mxnet' is not one of"),
        (["generate", "missing.keras", "-o", "new"], "missing.keras"),
        (["generate", "MODEL", "-o", "new", "--diffusion-steps", "0"], "at least 1"),
        (["generate", "MODEL", "-o", "new", "-n", "0"], "at least 1"),
        (["generate", "MODEL", "-o", "new", "--eta", "-1"], "`eta`"),
        (["generate", "MODEL", "-o", "new", "--sampler", "euler"], "Unknown sampler"),
        (["generate", "MODEL", "-o", "new.jpg"], "folder, a .png or a .npz"),
        (["generate", "MODEL", "-o", "MODEL"], "--overwrite"),
        (["evaluate", "MODEL", "nowhere.npy"], "no such file"),
        (["evaluate", "MODEL", "digits", "--kid-encoder", "x"], "Unknown encoder"),
        (["info", "missing"], "Received: missing"),
        (["paint"], "No such command 'paint'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(saved, tmp_path, monkeypatch, capsys, arguments, match):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert kddim(*[saved if a == "MODEL" else a for a in arguments]) == 2
    error = capsys.readouterr().err
    assert match in error
    assert error.startswith("kddim: error: ")
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_existing_output_is_kept_unless_it_may_be_replaced(saved, tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    (path / "mine.txt").write_text("mine")
    (path / "00007.png").write_text("of an earlier, larger set")
    common = ("generate", saved, "-n", 1, "--diffusion-steps", 1, "-o", path)
    assert kddim(*common) == 2
    assert sorted(p.name for p in path.iterdir()) == ["00007.png", "mine.txt"]
    assert kddim(*common, "--overwrite") == 0
    assert sorted(p.name for p in path.iterdir()) == ["00000.png", "grid.png", "mine.txt"]


def test_a_package_run_with_m_that_imports_kddim_gets_all_of_it(saved, tmp_path):
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("import kddim\n")
    program = f"import keras; print(keras.saving.load_model({str(saved)!r}).name)"
    (package / "__main__.py").write_text(program)
    answer = subprocess.run(
        [sys.executable, "-m", "mine"], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert answer.stdout.startswith("diffusion_model"), answer.stderr[-2000:]


def test_python_m_kddim_fails_in_one_line_too(tmp_path):
    command = [sys.executable, "-m", "kddim", "info", str(tmp_path / "missing.keras")]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("verb", ["info", "compare", "stats"])
def test_verbs_without_noises_have_no_seed_in_their_help(capsys, verb):
    assert kddim(verb, "--help") == 0
    text = capsys.readouterr().out
    assert "--seed" not in text
    assert "--dtype" not in text


def test_options_of_all_verbs_are_accepted_by_all(saved, capsys):
    assert kddim("info", saved, "--seed", 1, "--dtype", "mixed_bfloat16") == 0
    assert "16x16" in capsys.readouterr().out


def test_a_model_generates_in_the_precision_that_it_was_saved_with(images, tmp_path):
    half, full = make_model(images, dtype="mixed_bfloat16"), make_model(images)
    full.set_weights(half.get_weights())
    half.save(tmp_path / "half.keras")
    full.save(tmp_path / "full.keras")

    def generate(name, *options):
        path = tmp_path / "out.npz"
        common = ("-n", 4, "--diffusion-steps", 3, "-o", path, "--overwrite")
        assert kddim("generate", tmp_path / name, *common, *options) == 0
        return np.load(path)["images"].astype(int)

    exact = generate("full.keras")
    assert np.abs(generate("half.keras") - exact).max() > 1
    assert np.abs(generate("half.keras", "--dtype", "float32") - exact).max() <= 1
