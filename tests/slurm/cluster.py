"""A SLURM of two virtual nodes with GPUs that are none, on this machine, in a temporary folder.

``python tests/slurm/cluster.py up`` starts one to try the profile with, ``down`` stops it. That
needs root, the daemons, and an /etc/slurm without a configuration: a SLURM that is set up on the
machine is left alone. The daemons are children of a keeper process: they end with it, and it ends
when the last one who uses them has gone, however that went.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

NAME = "macrodyn-tests"
NODES = ("n1", "n2")
ACTIVE = "pending,running,completing,suspended"
HOME = Path(tempfile.gettempdir()) / NAME
RUN, USERS, START, KEEPER = (HOME / name for name in ("run", "users", "start", "keeper"))
ETC = Path("/etc/slurm")
_LINKED = ("slurm.conf", "gres.conf")
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
# The daemons lie where not every user's PATH leads.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

# Without accounting, SLURM itself must remember jobs that ended (MinJobAge). Without cgroups,
# memory is watched by looking at it every second. Jobs in `urgent` take the place of others.
_SLURM_CONF = """\
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={run}/munge.socket,cred_expire=15
StateSaveLocation={run}/state
SlurmdSpoolDir={run}/spool-%n
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd-%n.pid
SlurmctldLogFile={run}/slurmctld.log
SlurmdLogFile={run}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MailProg=/bin/true
MinJobAge=600
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=5
SlurmdParameters=config_overrides
KillWait=10
ReturnToService=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
{nodes}
PartitionName=normal Nodes=ALL Default=YES PriorityTier=1 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF State=UP
"""
_NODE_CONF = (
    "NodeName={node} NodeAddr=127.0.0.1 NodeHostname={host} Port={port} CPUs=4 SocketsPerBoard=1 "
    "CoresPerSocket=4 ThreadsPerCore=1 RealMemory=64000 Gres=gpu:2 State=UNKNOWN"
)


class SlurmError(RuntimeError):
    """SLURM cannot be started, or a command of it failed."""


def lacking() -> str | None:
    """Say what there is no cluster for, None where there can be one."""
    absent = [name for name in _PROGRAMS if not shutil.which(name, path=_PATH)]
    if absent:
        packages = "slurmctld slurmd slurm-client munge"
        return f"SLURM is not installed (no {', '.join(absent)}); on Debian: {packages}"
    if os.geteuid() != 0:
        return "only root can start SLURM's daemons"
    if not os.access(ETC, os.W_OK):
        return f"{ETC} cannot be written to"
    for path in (ETC / name for name in _LINKED):
        if os.path.lexists(path) and not _is_ours(path):
            return f"{path} exists: the SLURM that is set up here is left alone"
    try:
        socket.gethostbyname(socket.gethostname())
        with tempfile.TemporaryDirectory() as folder:
            _make_device(Path(folder) / "gpu")
    except OSError as error:
        return f"no name of this host, or no devices: {error}"
    return None


def _is_ours(path: Path) -> bool:
    return path.is_symlink() and Path(os.readlink(path)).parent == RUN


def _make_device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))


def slurm(*command: str) -> str:
    """Run a command of SLURM; return what it printed."""
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60)
    if done.returncode:
        raise SlurmError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def jobs(states: str = "all") -> list[dict[str, str]]:
    """List the jobs that SLURM remembers, the oldest first."""
    form = {"id": "%i", "state": "%T", "node": "%N", "comment": "%k", "folder": "%Z"}
    printed = slurm("squeue", f"--states={states}", "-h", f"--format={'|'.join(form.values())}")
    found = [dict(zip(form, line.split("|"), strict=True)) for line in printed.splitlines()]
    return sorted(found, key=lambda job: int(job["id"]))


def describe(job: str) -> dict[str, str]:
    """Return all that SLURM knows of a job, by its own names."""
    words = slurm("scontrol", "show", "job", job, "--details").split()
    return dict(word.split("=", 1) for word in words if "=" in word)


def wait_until(true: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait until something is true; an error says what was waited for."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise SlurmError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.1)


def empty_queue() -> None:
    """Cancel all jobs, and wait for their end."""
    for job in jobs("pending,running,suspended"):
        with suppress(SlurmError):
            slurm("scancel", job["id"])
    wait_until(lambda: not jobs(ACTIVE), "an empty queue")


def wait_for_nodes(seconds: float = 30) -> None:
    """Wait until all nodes wait for jobs."""

    def idle() -> bool:
        with suppress(SlurmError):
            states = slurm("sinfo", "-h", "-N", "-p", "normal", "-o", "%T").split()
            return states == ["idle"] * len(NODES)
        return False

    wait_until(idle, "idle nodes", seconds)


def fail_node(node: str) -> None:
    """Let a node die with all that runs on it; SLURM then declares it down."""
    (RUN / f"{node}.dead").touch()
    wait_until(lambda: not _processes(f"slurmd -D -N {node}"), f"the end of {node}")
    for job in jobs("running,completing"):
        if job["node"] == node:
            _kill_job(job["id"])
    slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=test")


def revive_nodes() -> None:
    """Bring back the nodes that failed, and what else was stopped."""
    for path in RUN.glob("*.dead"):
        path.unlink()
        with suppress(SlurmError):
            slurm("scontrol", "update", f"nodename={path.stem}", "state=resume")
    wait_for_nodes()


@contextmanager
def outage(daemon: str) -> Iterator[None]:
    """Have no ``munged``, or no ``slurmctld``, while this context lasts."""
    mark = RUN / f"{daemon}.dead"
    mark.touch()
    try:
        wait_until(lambda: not _processes(" ".join(_commands()[daemon])), f"the end of {daemon}")
        yield
    finally:
        mark.unlink()
    wait_until(_answers, f"{daemon} to come back")


def _answers() -> bool:
    with suppress(SlurmError):
        jobs()
        return True
    return False


def _kill_job(job: str) -> None:
    _kill(_processes(f"slurmstepd: [{job}."))
    _kill(_processes(environment=[f"SLURM_JOB_ID={job}", f"SLURM_CLUSTER_NAME={NAME}"]))


def _processes(*arguments: str, environment: list[str] | None = None) -> list[int]:
    """Processes whose command line holds all arguments, whose environment all variables."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
            if command and all(argument in command.replace("\0", " ") for argument in arguments):
                variables = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
                if set(environment or []) <= set(variables):
                    found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


# How the cluster comes and goes.


@contextmanager
def used() -> Iterator[None]:
    """Have the cluster run for as long as this context lasts, at least."""
    with _locked(USERS, fcntl.LOCK_SH):
        start(stay=False)
        yield


def start(stay: bool) -> None:
    """Start the cluster, if none runs.

    Args:
        stay: Whether it runs on when nobody uses it.
    """
    reason = lacking()
    if reason:
        raise SlurmError(reason)
    with _locked(START, fcntl.LOCK_EX):
        if _keeper():
            return
        log = (HOME / "keeper.log").open("w", encoding="utf-8")
        command = [sys.executable, __file__, "keep", *(["stay"] if stay else [])]
        # In a session of its own, so that Ctrl-C in the terminal does not reach it.
        keeper = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        while not _keeper():
            if keeper.poll() is not None:
                raise SlurmError(
                    f"SLURM did not start:\n{(HOME / 'keeper.log').read_text(encoding='utf-8')}"
                )
            time.sleep(0.1)


def stop() -> None:
    """Stop the cluster, if one runs."""
    pid = _keeper()
    if pid:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not _keeper(), "the cluster to stop")


@contextmanager
def _locked(path: Path, how: int) -> Iterator[IO[str]]:
    HOME.mkdir(mode=0o700, exist_ok=True)
    if HOME.is_symlink() or HOME.stat().st_uid != os.geteuid():
        raise SlurmError(f"{HOME} belongs to another user: remove it")
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, how)
        yield file


def _keeper() -> int | None:
    """Return the process that keeps a running cluster."""
    with suppress(OSError, ValueError):
        pid = int(KEEPER.read_text(encoding="utf-8"))
        if pid in _processes(f"{Path(__file__).name} keep"):
            return pid
    return None


def keep(stay: bool) -> None:
    """Run the daemons until told to stop, or until nobody uses them."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    KEEPER.unlink(missing_ok=True)
    daemons: dict[str, subprocess.Popen] = {}
    try:
        _prepare()
        for name, command in _commands().items():
            daemons[name] = _daemon(*command)
            if name == "munged":
                wait_until((RUN / "munge.socket").exists, "munged", 20)
        wait_for_nodes()
        KEEPER.write_text(str(os.getpid()), encoding="utf-8")
        with USERS.open("w", encoding="utf-8") as users:
            while stay or not _taken(users):
                _tend(daemons)
                time.sleep(0.2)
            _shut_down(daemons)
    finally:
        _shut_down(daemons)


def _taken(users: IO[str]) -> bool:
    """Whether nobody holds the lock any more; from then on this process does."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _tend(daemons: dict[str, subprocess.Popen]) -> None:
    for name, command in _commands().items():
        dead = (RUN / f"{name}.dead").exists()
        running = daemons[name].poll() is None
        if dead and running:
            daemons[name].kill()
            daemons[name].wait()
        elif not dead and not running:
            daemons[name] = _daemon(*command)


def _commands() -> dict[str, list[str]]:
    """What runs each daemon; those that come first are needed by the others."""
    munge = [f"--{option}={path}" for option, path in _munge().items()]
    return {
        "munged": ["munged", "--force", "--foreground", *munge],
        "slurmctld": ["slurmctld", "-D"],
        **{node: ["slurmd", "-D", "-N", node] for node in NODES},
    }


def _shut_down(daemons: dict[str, subprocess.Popen]) -> None:
    if not daemons:
        return
    with suppress(SlurmError, subprocess.TimeoutExpired):
        empty_queue()
    for daemon in reversed(daemons.values()):
        daemon.terminate()
    for daemon in daemons.values():
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
    daemons.clear()
    _clean()


def _clean() -> None:
    """Remove what a cluster left, even one whose keeper was killed."""
    for pid in _processes(environment=[f"SLURM_CLUSTER_NAME={NAME}"]):
        _kill([pid])
    for path in (ETC / name for name in _LINKED):
        if _is_ours(path):
            path.unlink()
    for path in RUN.glob("*.log"):
        shutil.copy(path, HOME / path.name)
    shutil.rmtree(RUN, ignore_errors=True)
    KEEPER.unlink(missing_ok=True)


def _prepare() -> None:
    _clean()
    (RUN / "state").mkdir(parents=True, mode=0o700)
    (RUN / "munge.key").write_bytes(os.urandom(128))
    (RUN / "munge.key").chmod(0o600)
    for number in range(2):
        _make_device(RUN / f"gpu{number}")
    host, ports = socket.gethostname().split(".")[0], _free_ports(1 + len(NODES))
    nodes = "\n".join(
        _NODE_CONF.format(node=node, host=host, port=port)
        for node, port in zip(NODES, ports[1:], strict=True)
    )
    conf = _SLURM_CONF.format(name=NAME, host=host, ports=ports, run=RUN, nodes=nodes)
    (RUN / "slurm.conf").write_text(conf, encoding="utf-8")
    (RUN / "gres.conf").write_text(
        f"AutoDetect=off\nName=gpu File={RUN}/gpu[0-1]\n", encoding="utf-8"
    )
    # Linked, as the executor plugin takes SLURM_CONF from the environment of jobs.
    for name in _LINKED:
        (ETC / name).symlink_to(RUN / name)


def _munge() -> dict[str, Path]:
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}
    return {option: RUN / f"munge.{ending}" for option, ending in files.items()} | {
        "log-file": RUN / "munged.log"
    }


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _daemon(*command: str) -> subprocess.Popen:
    library = ctypes.CDLL(None)
    return subprocess.Popen(
        command,
        # SLURM's own variables of a surrounding job would confuse the daemons.
        env={k: v for k, v in os.environ.items() if not k.startswith("SLURM")} | {"PATH": _PATH},
        stdin=subprocess.DEVNULL,
        # PR_SET_PDEATHSIG: the daemon is told to end if this process is killed.
        preexec_fn=lambda: library.prctl(1, signal.SIGTERM),
    )


def main(arguments: list[str]) -> int:
    """Start and stop the cluster from the command line."""
    try:
        match arguments:
            case ["up"]:
                start(stay=True)
            case ["down"]:
                stop()
            case ["keep", *rest]:
                keep(stay=bool(rest))
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except SlurmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
