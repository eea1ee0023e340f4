"""A real SLURM of one node on this machine, for tests: its own daemons, keys, ports and folders, gone with the test.

It needs root and Debian's packages slurm-wlm and munge (`apt-get install slurm-wlm munge`).
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from on_clusters import free_ports

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue")
MOST_TASKS = 4
"""Jobs of the largest array that it takes."""
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=1
KillWait=15
MinJobAge=3600
MaxArraySize={most_tasks}
ReturnToService=2
SlurmctldPort={controller}
SlurmdPort={daemon}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={megabytes} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def lacking() -> str:
    """Why there can be no cluster here, "" if there can."""
    if os.geteuid() != 0:
        return "a SLURM of one's own needs root"
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    return f"{', '.join(absent)} not installed: apt-get install slurm-wlm munge" if absent else ""


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the environment in which the commands of SLURM reach the cluster."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    controller, daemon = free_ports(2)
    about = {"host": socket.gethostname(), "folder": folder, "cpus": os.cpu_count() or 1, "megabytes": _megabytes()}
    about["most_tasks"] = MOST_TASKS
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**about, controller=controller, daemon=daemon))
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o400)
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
    munge = [f"--{name}-file={folder}/munge.{name}" for name in ("log", "pid", "seed")]
    commands = (
        ["munged", "-F", "--force", f"--key-file={folder}/key", f"--socket={folder}/munge.socket", *munge],
        ["slurmctld", "-D"],
        ["slurmd", "-D"],
    )
    started: list[subprocess.Popen[bytes]] = []
    with (folder / "daemons.log").open("wb") as log:
        try:
            for command in commands:
                started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
                time.sleep(0.5)
            _wait_for_node(folder, environment)
            yield environment
        finally:
            subprocess.run(["scancel", "--user=root"], env=environment, check=False, stderr=log)
            _wait_for_jobs(environment)
            for process in reversed(started):
                process.terminate()
                process.wait(30)


def _wait_for_node(folder: Path, environment: dict[str, str]) -> None:
    state = ""
    for _ in range(120):
        asked = ["sinfo", "--noheader", "--format=%T"]
        state = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False).stdout.strip()
        if state == "idle":
            return
        time.sleep(0.5)
    logs = "\n".join(file.read_text(errors="replace")[-1500:] for file in folder.glob("*.log"))
    raise RuntimeError(f"the node is {state!r}:\n{logs}")


def _wait_for_jobs(environment: dict[str, str]) -> None:
    for _ in range(60):
        asked = ["squeue", "--noheader"]
        if not subprocess.run(asked, env=environment, capture_output=True, text=True, check=False).stdout.strip():
            return
        time.sleep(0.5)


def _megabytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
