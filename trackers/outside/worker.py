"""Runs a tracker's class in a process of its own, perhaps in another environment: an old Python with NumPy is enough.

It reads requests from standard input, each a line of JSON and, for a frame, its pixels; it answers each with a line of
JSON on what was standard output. What the tracker prints goes to standard error. Nothing here imports the project.
"""

import importlib
import json
import os
import random
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

NAMES = (
    ("initialise", "update"),
    ("initialize", "update"),
    ("init", "update"),
    ("initialize", "track"),
    ("init", "track"),
)
"""Names of the two methods: ours, and those that the toolkits of GOT-10k and others give them."""


class Held:
    """The tracker of one sequence, with its two methods: `first` and `next`."""

    def __init__(self, target: str, arguments: "dict[str, Any]") -> None:
        module, _, name = target.partition(":")
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        _seed()
        self.tracker = found(**arguments)
        pairs = [pair for pair in NAMES if all(callable(getattr(self.tracker, one, None)) for one in pair)]
        if not pairs:
            raise TypeError(name + " has no methods initialise(image, box) and update(image)")
        self.first, self.next = (getattr(self.tracker, one) for one in pairs[0])
        self.of_got10k = any(one.__module__.partition(".")[0] == "got10k" for one in type(self.tracker).__mro__)

    def image(self, frame: Any) -> Any:
        """Return a frame (H, W, 3), RGB, as the tracker wants it: GOT-10k's toolkit gives its own trackers PIL's images."""
        return importlib.import_module("PIL.Image").fromarray(frame) if self.of_got10k else frame

    def close(self) -> None:
        """Let the tracker end what it has started, if it has a method for that."""
        close = getattr(self.tracker, "close", None)
        if callable(close):
            close()

    def parameters(self) -> "int | None":
        """Return the number of parameters of the networks that the tracker holds, None if it holds none."""
        torch: Any = sys.modules.get("torch")
        held = [self.tracker, *getattr(self.tracker, "__dict__", {}).values()] if torch else []
        networks = [one for one in held if isinstance(one, torch.nn.Module)]
        weights = {id(weight): weight.numel() for network in networks for weight in network.parameters()}
        return sum(weights.values()) if networks else None


def _seed() -> None:
    # A tracker must not depend on which sequences its process has tracked before.
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002, trackers draw from the global generator
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setRNGSeed(0)


def _memory() -> "dict[str, Any]":
    torch: Any = sys.modules.get("torch")
    if torch and torch.cuda.is_available() and torch.cuda.is_initialized():
        return {"memory_bytes": torch.cuda.max_memory_allocated(), "memory_kind": "device peak allocated"}
    return {"memory_bytes": _peak_rss(), "memory_kind": "process peak RSS"}


def _peak_rss() -> int:
    """Return the peak memory of this process and, on Linux, of those that it has started, in bytes."""
    if not Path("/proc/self/status").exists():
        import resource

        peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if sys.platform == "darwin" else 1024)
    # On Linux getrusage starts at the peak of the process that started this one.
    parents: dict[str, str] = {}
    peaks: dict[str, int] = {}
    for file in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:  # it has ended
            continue
        fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        parents[file.parent.name] = fields["PPid"][0]
        peaks[file.parent.name] = int(fields.get("VmHWM", ["0"])[0]) * 1024
    return sum(peak for process, peak in peaks.items() if _descends(process, parents))


def _descends(process: str, parents: "dict[str, str]") -> bool:
    while process in parents and process != str(os.getpid()):
        process = parents[process]
    return process == str(os.getpid())


def _answer(request: "dict[str, Any]", frame: Any, held: "Held | None") -> "tuple[dict[str, Any], Held | None]":
    if request["do"] == "make":
        if held is not None:
            held.close()
        return {}, Held(request["target"], request["arguments"])
    assert held is not None
    if request["do"] == "initialise":
        held.first(held.image(frame), np.array(request["box"], dtype=np.float64))
        return {}, held
    if request["do"] == "about":
        return dict(_memory(), params=held.parameters()), held
    box = held.next(held.image(frame))
    try:
        return {"box": [float(number) for number in np.asarray(box, dtype=np.float64).reshape(-1)]}, held
    except (TypeError, ValueError):
        return {"box": repr(box)[:200]}, held


def _end_with_parent() -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main() -> None:
    """Answer requests until standard input ends."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.path[:1] = json.loads(requests.readline()) or [str(Path.cwd())]
    held = None
    for line in iter(requests.readline, b""):
        request, frame = json.loads(line), None
        if "shape" in request:
            height, width = request["shape"]
            frame = np.frombuffer(bytearray(requests.read(height * width * 3)), dtype=np.uint8).reshape(
                height, width, 3
            )
        try:
            answer, held = _answer(request, frame, held)
        except Exception as error:  # noqa: BLE001, whatever it is, the sequence is reported with it
            traceback.print_exc()
            lines = traceback.extract_tb(error.__traceback__)
            place = f"{Path(lines[-1].filename).name}, line {lines[-1].lineno}"
            answer = {"error": f"{type(error).__name__}: {error} ({place})"}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()
    if held is not None:
        held.close()


if __name__ == "__main__":
    main()
