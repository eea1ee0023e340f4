"""Makes a process that has worked before like one that has just been started, so that what ran before changes nothing."""

import ctypes
import gc
import sys

import cv2
import peft  # noqa: F401 now, so that no run's memory depends on whether one before it needed it
import torch

from trackablate.harness.costing.clock import reset_peak_rss
from trackablate.harness.training.engine import allow_tf32

_INITIAL = torch.get_rng_state()


def start_afresh(threads: int) -> bool:
    """Free what the last task left, and set threads and random generator to where they are in a new process.

    Returns:
        Whether the process can measure the next task's memory too. If not, it has to end after this task.
    """
    gc.collect()
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    torch.set_rng_state(_INITIAL)
    allow_tf32(False)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
        for device in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(device)
    if sys.platform == "linux":
        _return_free_memory()
    return reset_peak_rss()


def _return_free_memory() -> None:
    # glibc keeps freed memory for later; what an earlier run freed must not count as this one's.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
