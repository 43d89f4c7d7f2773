"""Nothing that is read can run code or lead out of its folder: the source, and hostile files."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import snakemake.parser
import yaml
from safetensors.numpy import save
from snakemake.sourcecache import infer_source_file

from macrodyn.closure.model import load_autoencoder
from macrodyn.config.load import ConfigError, load_study
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.storage.checkpoints import read_checkpoint
from macrodyn.storage.errors import StoreError
from macrodyn.storage.models import ModelFileError, load_model
from macrodyn.storage.netcdf import read_dataset
from macrodyn.storage.sealed import read_sealed_json, seal, write_sealed_json

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "scripts", "workflow", "benchmarks", "examples")
SOURCES = [
    ROOT / "Snakefile",
    *sorted(p for f in FOLDERS for p in (ROOT / f).rglob("*") if p.suffix in (".py", ".smk")),
]
TINY = ROOT / "tests" / "workflow" / "configs" / "tiny.yaml"

# Modules whose files run code when they are read.
MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
MODULES |= {"jsonpickle", "pandas.io.pickle", "ruamel"}
# Calls by their full name.
CALLS = {
    "eval": "runs text",
    "exec": "runs text",
    "compile": "runs text",
    "__import__": "runs text",
    "os.system": "runs text in a shell",
    "os.popen": "runs text in a shell",
    "subprocess.getoutput": "runs text in a shell",
    "subprocess.getstatusoutput": "runs text in a shell",
    "tempfile.mktemp": "another process may take the name first",
    "yaml.load": "makes objects",
    "yaml.load_all": "makes objects",
    "yaml.unsafe_load": "makes objects",
    "yaml.full_load": "makes objects",
    "torch.save": "pickles",
    "np.save": "may pickle; data go to NetCDF",
    "torch.hub.load": "runs code from elsewhere",
    "shutil.unpack_archive": "writes where the archive says",
}
# Methods, whatever they belong to.
METHODS = {
    "read_pickle": "unpickles",
    "to_pickle": "pickles",
    "extractall": "writes where the archive says",
}


def dotted(node: ast.expr) -> str:
    """The name of what is called, as far as it stands in the source."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "?"


def keyword(call: ast.Call, name: str) -> Any:
    """The constant value of an argument; the node where it is none; None where it is not given."""
    for given in call.keywords:
        if given.arg == name:
            return given.value.value if isinstance(given.value, ast.Constant) else given.value
    return None


def unsafe(source: str) -> Iterator[str]:
    """Say what in a source file could run code that a data file brings."""
    tree = ast.parse(source)
    origin = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                origin[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
                if alias.name.split(".")[0] in MODULES or alias.name in MODULES:
                    yield f"line {node.lineno}: import {alias.name}"
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.split(".")[0] in MODULES or module in MODULES:
                yield f"line {node.lineno}: from {module}"
            for alias in node.names:
                origin[alias.asname or alias.name] = f"{module}.{alias.name}"
                if f"{module}.{alias.name}" in MODULES:
                    yield f"line {node.lineno}: from {module} import {alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            first, _, rest = name.partition(".")
            name = ".".join(filter(None, (origin.get(first, first), rest)))
            name = name.replace("numpy.", "np.")
            for reason in _call(node, name):
                yield f"line {node.lineno}: {name}: {reason}"


def _call(node: ast.Call, name: str) -> Iterator[str]:
    if name == "torch.load" and keyword(node, "weights_only") is not True:
        yield "unpickles without weights_only=True"
    if keyword(node, "allow_pickle") not in (None, False):
        yield "allows pickle"
    if keyword(node, "shell") not in (None, False):
        yield "runs text in a shell"
    if name == "yaml.load" and dotted_keyword(node, "Loader") in ("yaml.SafeLoader", "SafeLoader"):
        return
    if name in CALLS:
        yield CALLS[name]
    if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
        yield METHODS[node.func.attr]


def dotted_keyword(call: ast.Call, name: str) -> str:
    value = keyword(call, name)
    return dotted(value) if isinstance(value, ast.expr) else ""


BAD = [
    "import pickle",
    "import pickle as harmless",
    "def f():\n    from pickle import loads",
    "from joblib import load",
    "import dill.source",
    "import cloudpickle, json",
    "import shelve",
    "import marshal",
    "import torch\ntorch.load('a')",
    "import torch as t\nt.load('a', weights_only=False)",
    "from torch import load\nload('a')",
    "from torch import load as read\nread('a', weights_only=flag)",
    "import torch\ntorch.save(x, 'a')",
    "import numpy as np\nnp.load('a', allow_pickle=True)",
    "import numpy\nnumpy.load('a', allow_pickle=flag)",
    "import numpy as np\nnp.save('a', x)",
    "import yaml\nyaml.load(text)",
    "import yaml\nyaml.load(text, Loader=yaml.FullLoader)",
    "import yaml\nyaml.unsafe_load(text)",
    "from yaml import full_load\nfull_load(text)",
    "import pandas as pd\npd.read_pickle('a')",
    "frame.to_pickle('a')",
    "eval('1')",
    "exec(text)",
    "compile(text, 'a', 'exec')",
    "__import__(name)",
    "import os\nos.system('ls')",
    "from os import system\nsystem('ls')",
    "import os as o\no.popen('ls')",
    "import subprocess\nsubprocess.run('ls', shell=True)",
    "from subprocess import Popen\nPopen('ls', shell=flag)",
    "import subprocess\nsubprocess.getoutput('ls')",
    "import tempfile\ntempfile.mktemp()",
    "import tarfile\ntarfile.open('a').extractall()",
]
GOOD = [
    "import torch\ntorch.load('a', weights_only=True)",
    "import numpy as np\nnp.load('a')",
    "import numpy as np\nnp.load('a', allow_pickle=False)",
    "import yaml\nyaml.safe_load(text)",
    "import yaml\nyaml.load(text, Loader=yaml.SafeLoader)",
    "import subprocess\nsubprocess.run(['ls'])",
    "import subprocess\nsubprocess.run(['ls'], shell=False)",
    "import re\nre.compile('a')",
    "model.eval()",
    "import json\njson.loads(text)",
    "'pickle'",
]


@pytest.mark.parametrize("source", BAD)
def test_walker_finds_what_is_unsafe(source):
    assert list(unsafe(source))


@pytest.mark.parametrize("source", GOOD)
def test_walker_lets_through_what_is_safe(source):
    assert not list(unsafe(source))


def test_walker_sees_every_part_of_the_source():
    assert len(SOURCES) > 80
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == {*FOLDERS, "Snakefile"}


def plain_python(path: Path) -> str:
    """The source; of Snakemake's files what Snakemake makes of them."""
    if path.suffix == ".py":
        return path.read_text(encoding="utf-8")
    opener = SimpleNamespace(open=lambda file: path.open(encoding="utf-8"))
    code, _ = snakemake.parser.parse(
        infer_source_file(path), SimpleNamespace(sourcecache=opener), {}
    )
    return code


def test_walker_reads_the_files_of_snakemake(tmp_path):
    file = tmp_path / "a.smk"
    file.write_text(
        "rule a:\n    params:\n        x=lambda wildcards: eval('1'),\n", encoding="utf-8"
    )
    assert list(unsafe(plain_python(file)))


# A reader of pickled arrays that finds nothing else; tests/systems/nbmota/test_published.py shows
# that it runs nothing.
RESTRICTED = {"src/macrodyn/systems/nbmota/published.py": ["import pickle"]}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_reads_nothing_that_could_run(path):
    found = [text.partition(": ")[2] for text in unsafe(plain_python(path))]
    assert found == RESTRICTED.get(path.relative_to(ROOT).as_posix(), [])


class Trap:
    """What makes a folder when it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.made),)


@pytest.fixture
def trap(tmp_path) -> Iterator[bytes]:
    """A pickle that must never be read; the trap itself works."""
    sprung = tmp_path / "sprung"
    content = pickle.dumps(Trap(sprung))
    pickle.loads(content)
    sprung.rmdir()
    yield content
    assert not sprung.exists()


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "data": ("data.nc", read_dataset),
    "model": ("model.safetensors", load_model),
    "closure": ("model.safetensors", load_autoencoder),
    "dynamics": ("model.safetensors", Ensemble.load),
    "training": ("training.json", read_sealed_json),
}
readers = pytest.mark.parametrize(("name", "read"), READERS.values(), ids=READERS)


def describe(path: Path) -> None:
    """Give weights a description that is right in every digest, as somebody hostile would."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    content = {"format": "macrodyn-model-2", "weights": path.name, "sha256": digest}
    content |= {"metadata": {"model": "patch-autoencoder", "kind": "latent-ensemble"}}
    write_sealed_json(path.with_suffix(".json"), content)


@readers
def test_pickle_under_another_name_is_refused(tmp_path, trap, name, read):
    path = tmp_path / name
    path.write_bytes(trap)
    if path.suffix == ".safetensors":
        describe(path)
    with pytest.raises(StoreError) as caught:
        read(path)
    assert name in str(caught.value)
    # Nor with a right seal.
    if path.suffix == ".nc":
        seal(path)
        with pytest.raises(StoreError, match="cannot be read"):
            read(path)


def test_array_with_a_pickle_in_it_is_refused(tmp_path, trap):
    path = tmp_path / "data.nc"
    with path.open("wb") as file:
        np.save(file, np.array([Trap(tmp_path / "sprung")], dtype=object), allow_pickle=True)
    seal(path)
    with pytest.raises(StoreError, match=r"data\.nc cannot be read"):
        read_dataset(path)


def test_torch_file_under_another_name_is_refused(tmp_path, trap):
    path = tmp_path / "model.safetensors"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", trap)
    describe(path)
    with pytest.raises(ModelFileError, match="is not a safetensors file"):
        load_model(path)


def header(**entries: Any) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


def tensor(begin: int, end: int, shape: list[int]) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


WEIGHTS = {
    "nothing": b"",
    "header longer than any memory": struct.pack("<Q", 2**63) + b"{}",
    "header longer than the file": struct.pack("<Q", 10**6) + b"{}",
    "header that is no JSON": struct.pack("<Q", 4) + b"abcd",
    "header nested deeply": struct.pack("<Q", 200000) + b"[" * 100000 + b"]" * 100000,
    "offsets beyond the end": header(a=tensor(0, 4000, [1000])),
    "offsets backwards": header(a=tensor(8, 0, [2])) + bytes(8),
    "negative offsets": header(a=tensor(-8, 0, [2])) + bytes(8),
    "overlapping tensors": header(a=tensor(0, 8, [2]), b=tensor(4, 12, [2])) + bytes(12),
    "shape larger than its data": header(a=tensor(0, 8, [2**40])) + bytes(8),
    "shape that overflows": header(a=tensor(0, 8, [2**33, 2**33])) + bytes(8),
    "type that is none": header(a={**tensor(0, 8, [2]), "dtype": "O"}) + bytes(8),
}


@pytest.mark.parametrize("content", WEIGHTS.values(), ids=WEIGHTS)
def test_hostile_weights_are_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    describe(path)
    with pytest.raises(ModelFileError, match="is not a safetensors file"):
        load_model(path)


def test_hostile_weights_are_told_from_harmless_ones(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(save({"a": np.zeros(2, np.float32)}))
    describe(path)
    assert load_model(path)[0]["a"].shape == (2,)


def sealed(text: str) -> bytes:
    """JSON with a right seal."""
    body = text.encode()
    return body + b',\n "seal": "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


TEXTS = {
    "no JSON": "{this is none",
    "nested deeply": '{"a": ' + "[" * 100000 + "]" * 100000,
    "a number of a million digits": '{"a": ' + "9" * 10**6,
    "no text": '{"a": "\udcff"'.encode("utf-8", "surrogateescape").decode("latin-1"),
    "an origin that is none": '{"origin": 5',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_hostile_json_is_refused(tmp_path, text):
    path = tmp_path / "stages" / "closure" / ("a" * 12) / "training.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(sealed(text))
    with pytest.raises(StoreError, match=r"training\.json (cannot be read|does not say)"):
        read_sealed_json(path)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "other.safetensors", 5, None])
def test_description_that_names_another_file_is_refused(tmp_path, name):
    path = tmp_path / "model.safetensors"
    path.write_bytes(save({"a": np.zeros(2, np.float32)}))
    describe(path)
    described = path.with_suffix(".json")
    write_sealed_json(described, {**read_sealed_json(described), "weights": name})
    with pytest.raises(ModelFileError, match=r"not model\.safetensors"):
        load_model(path)


@pytest.mark.parametrize("content", [b"", b"short", bytes(40), struct.pack("<Q", 2**63) + b"{}"])
@pytest.mark.parametrize("digest", [False, True], ids=["damaged", "right digest"])
def test_hostile_checkpoint_is_refused(tmp_path, trap, content, digest):
    path = tmp_path / "0.checkpoint"
    for payload in (content, trap):
        path.write_bytes(payload + hashlib.sha256(payload).digest() * digest)
        with pytest.raises(StoreError, match=r"0\.checkpoint"):
            read_checkpoint(path)


NAMES = {
    "parent": "..",
    "this folder": ".",
    "way out": "a/../../b",
    "below": "a/b",
    "absolute": "/etc/x",
    "hidden": ".hidden",
    "option": "-rf",
    "home": "~",
    "variable": "$HOME",
    "new line": "a\nb",
    "new line at the end": "a\n",
    "null": "a\0b",
    "nothing": "",
    "space": "a b",
    "very long": "x" * 65,
    "backslash": "..\\b",
    "drive": "C:\\x",
    "stream": "a:b",
    "look-alike": "\u2024\u2024",
    "wildcard": "{x}",
}


def with_name(where: str, name: str) -> dict[str, Any]:
    content = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    if where == "study":
        content["study"] = name
    elif where == "run":
        content["runs"] = {name: {}}
    elif where == "horizon":
        content["evaluate"]["horizons"][name] = {"spacing": 0.5, "points": 9}
    else:
        content["evaluate"]["horizons"][name] = {"spacing": 0.5, "points": 9}
        content["published"] = {name: {"paper": 0.1}}
    return content


PLACES = {
    "study": "study:",
    "run": "runs.",
    "horizon": "evaluate.horizons",
    "published": "  published",
}


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_name_that_could_lead_out_of_a_folder_is_refused(where, name):
    with pytest.raises(ConfigError) as caught:
        load_study(with_name(where, name), "a.yaml")
    assert PLACES[where] in str(caught.value)


@pytest.mark.parametrize("where", PLACES)
def test_ordinary_names_are_accepted(where):
    load_study(with_name(where, "8x8_dt-0.5.b"), "a.yaml")


@pytest.mark.parametrize(
    "name",
    [
        "stages",
        "figures",
        "logs",
        "pages",
        "checkpoint",
        "Stages",
        "summary.csv",
        "study.json",
        "overview.html",
        "Report.ZIP",
    ],
)
def test_run_cannot_have_the_name_of_what_else_stands_in_the_studys_folder(name):
    with pytest.raises(ConfigError, match="reserved"):
        load_study(with_name("run", name), "a.yaml")


@pytest.mark.parametrize(
    "name", ["os:system", "os.path:join", "../evil:System", "/tmp/evil.py:System", ":", "a:", "os"]
)
def test_system_is_a_class_that_can_be_imported_and_nothing_else(name):
    """The configuration chooses code: of what is importable, a subclass of System."""
    content = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    content["system"]["name"] = name
    with pytest.raises(ConfigError, match=r"system\.name"):
        load_study(content, "a.yaml")
