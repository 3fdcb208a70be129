"""Plain language: how docstrings of the package begin."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kddim"
FILES = sorted(PACKAGE.rglob("*.py"))
# Ruff's pydocstyle rules (pyproject.toml) check the rest: `make lint`.
ODD = re.compile(r"(What|Whether|Where|That|Of)\b")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_summaries_begin_with_a_verb_or_a_noun(path):
    tree = ast.parse(path.read_text())
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    documented = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    odd = [text for node in documented if ODD.match(text := ast.get_docstring(node) or "")]
    assert not odd


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arguments_are_described_by_sentences(path):
    """`name: Noun phrase, capitalised.`, or a code span or number at the start."""
    begins = re.compile(r"^ {4,}(?P<name>\*{0,2}\w+): (?P<text>\S.*)$")
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            continue
        _, found, arguments = (ast.get_docstring(node) or "").partition("Args:\n")
        for line in re.split(r"\n\n|\n\S", arguments)[0].split("\n") if found else ():
            if match := begins.match(line):
                text = re.sub(r"^(u?int|float)\d+ ", "", match["text"])
                sentence = not text[0].islower() or text != match["text"]
                assert sentence, f"{node.name}: {line.strip()}"
                assert not re.match(r"Of |See ", match["text"]), f"{node.name}: {line.strip()}"
