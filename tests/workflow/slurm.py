"""A real Slurm on this machine: munged, slurmctld and slurmd on loopback, everything they write below one folder.

The programs are those of the operating system's packages; neither its configuration nor its services are touched.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
PACKAGES = "slurm-wlm slurmctld slurmd slurm-client munge"
MISSING = f"Slurm is not on this machine, so its profile is not run: install it (apt-get install --no-install-recommends {PACKAGES})"
GPUS = ("/dev/zero", "/dev/null")
"""Devices that stand for GPUs; none of the study's jobs opens one."""
PATIENCE = 60
"""Seconds until a daemon must have answered."""


def missing_programs() -> list[str]:
    """What a machine lacks to run this."""
    return [name for name in PROGRAMS if not _found(name)]


@contextmanager
def slurm(folder: Path, cpus: int, memory_mb: int) -> Iterator[dict[str, str]]:
    """A cluster of one node, up while the block runs; gives the environment in which Slurm's commands ask it: a PATH.

    Args:
        folder: an empty folder with a short path, for a socket lies in it.
        cpus: processors of the node.
        memory_mb: what the node says that it has; jobs are booked against it and not held to it.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir(mode=0o700)
    folder.chmod(0o755)
    host, user = socket.gethostname().partition(".")[0], _user()
    controller, node = _free_ports(2)
    settings = {
        "ClusterName": "loopback",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmctldPort": controller,
        "SlurmdPort": node,
        "SlurmUser": user,
        "SlurmdUser": user,
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder / 'munge.socket'}",
        "CommunicationParameters": "NoInAddrAny,NoCtldInAddrAny",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool",
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "slurmd.pid",
        "SlurmctldLogFile": folder / "slurmctld.log",
        "SlurmdLogFile": folder / "slurmd.log",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "MpiDefault": "none",
        "ReturnToService": 2,
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_Memory",
        "SchedulerParameters": "sched_interval=2,bf_interval=2",
        "SlurmdParameters": "config_overrides",  # the node is believed, whatever the machine has
        "GresTypes": "gpu",
        "MinJobAge": 3600,  # squeue is all that Snakemake asks, so ended jobs must stay in sight
    }
    nodes = f"NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} Gres=gpu:{len(GPUS)} State=UNKNOWN"
    partition = f"PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP"
    lines = [*(f"{key}={value}" for key, value in settings.items()), nodes, partition]
    (folder / "slurm.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "gres.conf").write_text("".join(f"Name=gpu File={device}\n" for device in GPUS), encoding="utf-8")
    # Snakemake's plugin takes SLURM_CONF out of the environment of a job's own srun, so each program is given it by name.
    (folder / "bin").mkdir()
    for name in PROGRAMS:
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nSLURM_CONF={folder / "slurm.conf"} exec {_found(name)} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    environment = os.environ | {"PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])}
    munge = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder / 'munge.socket'}"]
    munge += [f"--{name}-file={folder / f'munge.{name}'}" for name in ("pid", "log", "seed")]
    with ExitStack() as running:
        _start(running, munge, folder, environment)
        _wait_for(lambda: (folder / "munge.socket").exists(), folder / "munged.out")
        _start(running, ["slurmctld", "-D"], folder, environment)
        _start(running, ["slurmd", "-D", "-N", host], folder, environment)
        _wait_for(lambda: _node_state(environment) == "idle", folder / "slurmctld.log")
        yield environment


def jobs(environment: dict[str, str]) -> list[dict[str, str]]:
    """All jobs that the cluster has had, as `scontrol` describes them: field -> value."""
    scontrol = shutil.which("scontrol", path=environment["PATH"])
    text = subprocess.run([scontrol, "--oneliner", "show", "job"], env=environment, capture_output=True, text=True, check=True).stdout
    return [dict(word.partition("=")[::2] for word in line.split() if "=" in word) for line in text.splitlines()]


def _start(running: ExitStack, words: list[str], folder: Path, environment: dict[str, str]) -> None:
    out = running.enter_context((folder / f"{words[0]}.out").open("wb"))
    words = [str(folder / "bin" / words[0]), *words[1:]]
    process = subprocess.Popen(words, env=environment, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    running.callback(process.wait)
    running.callback(process.terminate)


def _wait_for(condition, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"no answer in {PATIENCE} s:\n{log.read_text(errors='replace') if log.is_file() else ''}")
        time.sleep(0.2)


def _node_state(environment: dict[str, str]) -> str:
    sinfo = shutil.which("sinfo", path=environment["PATH"])
    done = subprocess.run([sinfo, "--noheader", "--format=%T"], env=environment, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _found(name: str) -> str:
    """A program's path; daemons lie where an ordinary user's PATH does not lead. Empty where there is none."""
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])) or ""


def _user() -> str:
    return subprocess.run(["id", "--user", "--name"], capture_output=True, text=True, check=True).stdout.strip()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as open_:
        sockets = [open_.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
