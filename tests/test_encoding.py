"""Text files are UTF-8 whatever the locale; a terminal that lacks a letter stops nothing."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "scripts", "benchmarks", "tests", "docs", "examples")
# Calls that read or write text unless they are told otherwise, and the place of their mode.
_OPENING = {"open": 1, "fdopen": 1, "NamedTemporaryFile": 0, "TemporaryFile": 0}
_TEXT = ("read_text", "write_text", "TextIOWrapper", "FileHandler", "to_csv", "read_csv")
_COMMANDS = ("run", "Popen", "check_output", "call", "check_call")
_OWN_OPEN = {"Checkpoints", "Image", "browser", "checkpoints", "opener", "os", "webbrowser"}


def text_without_encoding(tree: ast.AST) -> Iterator[int]:
    """Yield the lines of calls that leave the encoding of text to the locale."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            if "encoding" not in given and None not in given and _is_text(node, given):
                yield node.lineno


def _is_text(node: ast.Call, given: dict[str | None, ast.expr]) -> bool:
    function = node.func
    name = getattr(function, "attr", getattr(function, "id", ""))
    if name in _COMMANDS:
        return bool({"text", "universal_newlines"} & given.keys())
    if name in _TEXT:
        return True
    if name not in _OPENING:
        return False
    place = _OPENING[name]
    if isinstance(function, ast.Attribute) and name == "open":
        # Of a path: its mode is the first. Other objects have an `open` of their own.
        owner = function.value.func if isinstance(function.value, ast.Call) else function.value
        if getattr(owner, "attr", getattr(owner, "id", "")) in _OWN_OPEN:
            return False
        place = 0
    mode = given.get("mode", node.args[place] if len(node.args) > place else None)
    is_binary = name.endswith("File") if mode is None else "b" in str(ast.unparse(mode))
    return not is_binary


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_text_file_is_opened_as_utf8(folder):
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in text_without_encoding(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("open('a')", True),
        ("open('a', 'wb')", False),
        ("open('a', mode='w')", True),
        ("open('a', encoding='utf-8')", False),
        ("path.open()", True),
        ("path.open('rb')", False),
        ("path.open('w', newline='')", True),
        ("path.read_text()", True),
        ("path.write_text('x', encoding='utf-8')", False),
        ("checkpoints.open(fingerprint)", False),
        ("os.open('a', os.O_RDONLY)", False),
        ("tempfile.NamedTemporaryFile()", False),
        ("tempfile.NamedTemporaryFile('w')", True),
        ("subprocess.run(['a'], text=True)", True),
        ("subprocess.run(['a'], capture_output=True)", False),
        ("subprocess.run(['a'], text=True, encoding='utf-8')", False),
        ("logging.FileHandler('a')", True),
        ("table.to_csv('a')", True),
    ],
)
def test_calls_that_leave_the_encoding_to_the_locale_are_found(code, found):
    assert list(text_without_encoding(ast.parse(code))) == ([1] if found else [])


STUDY = """\
study: s
title: "Größe ρ"
system: {name: ising, parameters: {temperature: 2.5}}
sizes: {small: [8, 6], large: [16, 18]}
# Ein Größenvergleich ρ
"ψ": 1
runs: {a: {}}
"""
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def call(code: str, *arguments: object, **more: str) -> subprocess.CompletedProcess[bytes]:
    """Run Python code where the locale knows ASCII alone."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **ASCII, **more},
        capture_output=True,
    )


def test_messages_do_without_letters_that_the_terminal_lacks(tmp_path):
    (tmp_path / "größe").mkdir()
    path = tmp_path / "größe" / "a.yaml"
    path.write_text(STUDY, encoding="utf-8")
    code = (
        "import sys, os; from macrodyn.cli import main\n"
        "os.chdir(sys.argv[1]); folder, = os.listdir()\n"
        "sys.exit(main(['check', folder + '/a.yaml']))"
    )
    wrong = call(code, tmp_path)
    assert wrong.returncode == 1 and b"Traceback" not in wrong.stderr
    assert b"unknown key" in wrong.stderr
    path.write_text(STUDY.replace('"ψ": 1', ""), encoding="utf-8")
    done = call(code, tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert b"/a.yaml: study s, 1 run(s)" in done.stdout


def test_the_log_of_a_job_is_utf8(tmp_path):
    code = (
        "import sys, logging; from pathlib import Path\n"
        "from macrodyn.pipeline.job import _set_up_log\n"
        "_set_up_log(Path(sys.argv[1])); logging.info('Gr\\xf6\\xdfe \\u03c1')\n"
    )
    done = call(code, tmp_path / "a.log")
    assert (done.returncode, done.stderr) == (0, b"")
    assert "Größe ρ" in (tmp_path / "a.log").read_text(encoding="utf-8")
