"""What --slurm asks for, and what is refused of it before a store is made."""

from pathlib import Path

import pytest

from command_line import invoke
from trackablate.harness.errors import BadInput
from trackablate.harness.profiles import load_profile
from trackablate.harness.running.executors import slurm_options
from trackablate.harness.running.executors.slurm_options import changes, minutes, refuse_unknown, resources

SMOKE = load_profile("smoke")


def test_resources_come_from_the_profile_unless_they_are_named() -> None:
    assert resources("", SMOKE, 1, "auto").parameters == {
        **{"cpus_per_task": 1, "mem": "3G"},
        "time": slurm_options.MINUTES,
    }
    found = resources("partition=gpu, gpus=2,time=1-12:00,memory=64G,jobs=8", SMOKE, 2, "auto")
    assert (found.gpus, found.cpus, found.jobs) == (2, 8, 8)
    assert found.parameters == {
        **{"partition": "gpu", "gpus_per_node": 2, "cpus_per_task": 8, "mem": "64G"},
        "time": 36 * 60,
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [("90", 90), ("90:30", 91), ("4:00:00", 240), ("2-0", 2880), ("1-01:30", 1530), ("0-0:5:0", 5), ("0:4:61", 6)],
)
def test_times_are_written_as_for_slurm(text: str, found: int) -> None:
    assert minutes(text) == found


REFUSED = [
    ("colour=blue", "write KEY=VALUE,KEY=VALUE with partition, account, .*time, jobs"),
    ("partition", "--slurm partition: write KEY=VALUE"),
    ("gpus=none", "--slurm gpus=none: write a number from 0"),
    ("cpus=0", "write a number from 1"),
    ("gpus=1", "each run has 2 by --gpus-per-run; ask for gpus=2"),
    ("time=soon", "write minutes, hours:minutes:seconds or days-hours"),
    ("time=0:00:00", "write minutes"),
    ("time=4:59", "--slurm time=4:59: a job needs 5 minutes at least"),
    ("time=0-0:04:59", "a job needs 5 minutes at least"),
    ("memory=much", "write a size, as memory=16G"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_what_slurm_does_not_know_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        resources(text, SMOKE, 2, "auto")


def programs(folder: Path, sbatch: str) -> str:
    """A PATH with nothing but an sbatch that is the lines of a script."""
    folder.mkdir()
    (folder / "sbatch").write_text(f"#!/bin/sh\n{sbatch}\n")
    (folder / "sbatch").chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("text", ["colour=blue", "time=2", "gpus=none", "partition=nowhere"])
def test_a_refused_option_leaves_no_store_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    refusal = 'echo "allocation failure: Invalid partition name specified" >&2; exit 1'
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", refusal))
    words = ["run", "head", "--profile", "smoke", "--store", tmp_path / "store", "--out", tmp_path / "report"]
    done = invoke(*words, "--executor", "slurm", "--slurm", text)
    assert done.exit_code == 2
    assert "--slurm" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_options_that_cannot_work_are_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "head", "--profile", "smoke", "--store", tmp_path / "store"]
    assert "--slurm says what its jobs ask for: add --executor slurm" in invoke(*words, "--slurm", "gpus=1").stderr
    assert "--detach is for jobs of SLURM: add --executor slurm" in invoke(*words, "--detach").stderr
    monkeypatch.setenv("PATH", str(tmp_path))
    absent = invoke(*words, "--executor", "slurm")
    assert absent.exit_code == 2
    assert "sbatch is not on the PATH; start the command where jobs are handed in" in absent.stderr
    monkeypatch.setattr(slurm_options, "find_spec", lambda name: None)
    assert "python -m pip install 'trackablate[slurm]'" in invoke(*words, "--executor", "slurm").stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("sbatch: error: invalid partition specified: gpu\nallocation failure: Invalid partition name specified", True),
        ("allocation failure: Requested node configuration is not available", True),
        ("allocation failure: Requested time limit is invalid (missing or exceeds some limit)", True),
        ("allocation failure: Required node not available (down, drained or reserved)", False),
        ("allocation failure: Requested nodes are busy", False),
        ("allocation failure: Job violates accounting/QOS policy (job submit limit, user's size)", False),
        ("slurm_load_ctl_conf error: Unable to contact slurm controller", False),
    ],
)
def test_slurm_is_asked_whether_it_has_such_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, refused: bool
) -> None:
    """It refuses for ever, or only for now, or does not answer: that is not said of the resources."""
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", f'echo "$*" > {tmp_path}/asked; echo "{said}" >&2; exit 1'))
    asked = resources("partition=gpu,gpus=2", SMOKE, 1, "auto")
    if refused:
        with pytest.raises(BadInput, match="SLURM would not take such a job: allocation failure"):
            refuse_unknown(asked)
    else:
        refuse_unknown(asked)
    words = (tmp_path / "asked").read_text().split()
    assert words[0] == "--test-only"
    assert {"--partition=gpu", "--gpus-per-node=2", "--cpus-per-task=8", "--mem=5G"} <= set(words)


def test_a_change_is_told_by_the_keys_of_the_option() -> None:
    before, now = (resources(text, SMOKE, 1, "auto").parameters for text in ("partition=old,time=60", "cpus=2,time=90"))
    assert changes(before, now) == "partition old -> unset, cpus 1 -> 2, time 60 -> 90"
