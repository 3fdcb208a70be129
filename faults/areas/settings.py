"""Settings files of training: unknown, ill-typed, huge and hostile ones."""

import random
from collections.abc import Iterator

from faults.areas.arguments import check_run
from faults.attack import Attack, wrong_if
from faults.base import TRAIN
from faults.box import Box
from faults.compare import read_rows

# Files that must be refused, by ending and name.
REFUSED = {
    "toml": {
        "unknown key": 'learning_rte = 0.1\n',
        "type": 'epochs = "many"\n',
        "float for int": "epochs = 1.5\n",
        "nan": "learning_rate = nan\n",
        "inf": "learning_rate = inf\n",
        "negative": "batch_size = -1\n",
        "huge": "image_size = 1000000\n",
        "list": "epochs = [1, 2]\n",
        "bool": "batch_size = true\n",
        "twice": "epochs = 1\nepochs = 2\n",
        "broken": "epochs = \n",
        "binary": "\x00\x01\x02",
        "unknown table": "[nosuch]\na = 1\n",
        "escape": '"\\u001b[31mred" = 1\n',
    },
    "yaml": {
        "unknown key": "learning_rte: 0.1\n",
        "type": "epochs: many\n",
        "nan": "learning_rate: .nan\n",
        "list": "- 1\n- 2\n",
        "code": "!!python/object/apply:os.system ['touch canary']\n",
        "code key": "epochs: !!python/object/apply:os.system ['touch canary']\n",
        "bomb": "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n"
            for i in range(9)
        ),
        "loop": "a: &a [*a]\n",
        "broken": "epochs: [1\n",
        "scalar": "7\n",
        "null": "epochs: {a: null}\n",
        "deep": "[" * 3000,
        "key type": "1: 2\n",
    },
    "json": {
        "list": "[]",
        "null training": '{"training": null}',
        "deep": "[" * 3000 + "]" * 3000,
        "NaN": '{"training": {"learning_rate": NaN}}',
        "unknown": '{"training": {"learning_rte": 1}}',
        "text": '"training"',
    },
}  # fmt: skip


def attacks(random: random.Random) -> Iterator[Attack]:
    from kddim.cli import app

    if "config" not in {p.name for p in app.commands["train"].params}:
        return
    for ending, files in REFUSED.items():
        for name, text in files.items():
            yield _refused(f"settings/{ending}/{name}", f"s.{ending}", text.encode())
    for number in range(30):
        data = bytes(random.randrange(256) for _ in range(random.randrange(200)))
        yield _refused(f"settings/random/{number}", random.choice(["s.toml", "s.yaml"]), data, None)
    yield _refused("settings/ending", "s.ini", b"epochs = 1\n")
    yield Attack("settings/folder", "settings", _folder)
    yield Attack("settings/repeat", "settings", _repeat)
    yield Attack("settings/dry run", "settings", _dry_run)


def _refused(name: str, file: str, data: bytes, refuse: bool | None = True) -> Attack:
    def act(box: Box) -> None:
        box.path(file).write_bytes(data)
        report = box.kddim(*TRAIN, "--epochs", 1, "--config", file, "-o", "new")
        wrong_if(box.path("canary").exists(), "code in a settings file ran")
        wrong_if(refuse and report.status == 0, "the settings are taken")

    return Attack(name, "settings", act)


def _folder(box: Box) -> None:
    box.path("s.toml").mkdir()
    box.refused(*TRAIN, "--config", "s.toml", "-o", "new")


def _repeat(box: Box) -> None:
    """The settings of a run repeat it."""
    box.done(*TRAIN, "--epochs", 1, "-o", "first")
    box.done("train", "--config", "first/config.json", "-o", "second")
    check_run(box.path("second"))
    columns = [read_rows(box.path(run) / "history.csv") for run in ("first", "second")]
    wrong_if(columns[0] != columns[1], f"another history: {columns}")


def _dry_run(box: Box) -> None:
    box.done(*TRAIN, "--epochs", 1, "-o", "new", "--dry-run")
    wrong_if(box.path("new").exists(), "a dry run writes")
