"""Our names and those of others: `datasets` and `trackers` are living packages on the registry, and stay importable."""

import os
import shutil
import socket
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from places import ROOT, SRC

BOTH = (
    "import datasets, trackablate, trackablate.datasets.boxes, trackablate.trackers.spec\n"
    "assert callable(datasets.load_dataset), datasets.__file__\n"
)


def python(code: str, cwd: Path, interpreter: str = sys.executable, **variables: str) -> str:
    """What a fresh interpreter prints; its errors are shown."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    words = [interpreter, "-c", code]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_links_make_a_source_layout() -> None:
    links = {path.name: path.resolve() for path in (SRC / "trackablate").iterdir() if path.is_symlink()}
    assert links == {name: ROOT / name for name in ("ablations", "datasets", "harness", "reports", "trackers")}


def test_a_checkout_runs_without_being_installed(tmp_path: Path) -> None:
    """`-S` leaves out the installed packages, ours too; the code that is found is the checkout's."""
    code = (
        "import runpy, sys\n"
        "sys.argv = ['harness', '--help']\n"
        f"sys.path[1:1] = {[path for path in sys.path if 'site-packages' in path]!r}\n"
        "try:\n"
        "    runpy.run_module('harness', run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        "    import trackablate\n"
        f"    assert trackablate.__file__.startswith({str(SRC)!r})\n"
        f"    assert {str(ROOT)!r} not in sys.path and '' not in sys.path\n"
    )
    words = [sys.executable, "-S", "-c", code]
    done = subprocess.run(
        words, cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "table3" in done.stdout or "Usage" in done.stdout


def test_both_packages_in_one_process(tmp_path: Path) -> None:
    """As in a notebook beside an installation for development."""
    python(BOTH, tmp_path, PYTHONPATH=str(SRC))


def test_the_command_in_the_checkout_leaves_the_other_datasets_importable() -> None:
    """The current folder is on the path then, with our folder `datasets` in it."""
    code = (
        "import sys\nfrom trackablate.harness.checkout import hide_checkout\n"
        "assert sys.path[0] == ''\nhide_checkout()\n" + BOTH
    )
    python(code, ROOT, PYTHONPATH=str(SRC))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"  # a build leaves folders in its source
    for name in ("src", "ablations", "datasets", "harness", "reports", "trackers"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    words = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out), str(source)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no wheel can be built here, most likely for want of a network: {done.stderr[-300:]}")
    return next(out.glob("*.whl"))


def test_a_wheel_holds_nothing_outside_its_own_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {
        "trackablate",
        next(n for n in names if "dist-info" in n).split("/")[0],
    }
    data = {"datasets/splits/lasot_test.csv", "trackers/weights/vit-mini.safetensors", "reports/templates/page.html"}
    data |= {
        "harness/exchange/downloads.toml",
        "harness/profiles/mini.toml",
        "harness/training/mini.toml",
        "ablations/published.toml",
        "py.typed",
    }
    assert {f"trackablate/{name}" for name in data} <= set(names)


def test_a_wheel_beside_the_other_datasets_and_uninstalled_again(wheel: Path, tmp_path: Path) -> None:
    """Both in one folder of installed packages; what they need comes from the environment of the tests."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    interpreter = next((tmp_path / "env").glob("[bS][ic]*/python*"))
    site = Path(python("import sysconfig; print(sysconfig.get_path('purelib'))", tmp_path, str(interpreter)).strip())
    for file in metadata.files("datasets") or []:
        if ".." not in file.parts:
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file.locate()), site / file)
    pip = [str(interpreter), "-m", "pip", "-q", "--no-input", "--disable-pip-version-check"]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([*pip, "install", "--no-deps", "--force-reinstall", str(wheel)], check=True, env=alone)
    others = [path for path in sys.path if path.endswith("site-packages")]
    (site / "others.pth").write_text("\n".join(others))
    where = "import trackablate.trackers.spec as ours; print(ours.__file__)"
    assert python(BOTH + where, tmp_path, str(interpreter)).startswith(str(site))
    assert "table3" in python(
        "from trackablate.harness.cli import app; app(['list', 'studies'])", tmp_path, str(interpreter)
    )
    subprocess.run([*pip, "uninstall", "-y", "trackablate"], check=True, env=alone)
    assert not (site / "trackablate").exists()
    here = "import datasets; assert callable(datasets.load_dataset); print(datasets.__file__)"
    assert python(here, tmp_path, str(interpreter)).startswith(str(site))


LOADER = """
import sys
from trackablate.harness.checkout import hide_checkout
hide_checkout()
import torch
from accelerate import Accelerator
loader = torch.utils.data.DataLoader(torch.arange(8.0), batch_size=2)
accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == 2
print([batch.tolist() for batch in accelerator.prepare(loader)])
"""


def test_accelerate_prepares_a_loader_on_two_processes() -> None:
    """Started in the checkout: accelerate asks whether `datasets` is there, and would find our folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"ACCELERATE_USE_CPU": "true"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", LOADER],
            cwd=ROOT,
            env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    said = [rank.communicate(timeout=120) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said[0][1] + said[1][1]
    assert [out.splitlines()[-1] for out, _ in said] == ["[[0.0, 1.0], [4.0, 5.0]]", "[[2.0, 3.0], [6.0, 7.0]]"]
