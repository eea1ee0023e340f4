"""Any program that speaks TraX, the protocol of the VOT toolkit, as a tracker (Cehovin 2017). Needs the package vot-trax."""

import importlib
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


class Program:
    """A program that is started for one sequence.

    Args:
        command: The program with its arguments, as in a shell.
    """

    def __init__(self, command: str) -> None:
        try:
            self.trax: Any = importlib.import_module("trax")
            client: Any = importlib.import_module("trax.client")
        except ImportError as error:
            raise ImportError("TraX needs the package vot-trax: pip install vot-trax") from error
        self.process = subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        streams = self.process.stdin.fileno(), self.process.stdout.fileno()
        self.client = client.Client(stream=streams, log=lambda _: None)  # without a log vot-trax 4.0.2 does not start
        self.folder = tempfile.TemporaryDirectory()

    def initialise(self, image: NDArray[np.uint8], box: NDArray[np.float64]) -> None:
        """Start on the first frame with box xywh."""
        x, y, w, h = (float(v) for v in box)
        region = self.trax.Rectangle.create(x, y, w, h)
        if "rectangle" not in self.client.region_formats:
            region = self.trax.Polygon.create([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])
        self.client.initialize(self._sent(image), [(region, {})], {})

    def update(self, image: NDArray[np.uint8]) -> list[float]:
        """Return the box xywh around the region in the next frame."""
        objects, _ = self.client.frame(self._sent(image), {}, [])
        region = objects[0][0]
        if region.type == "rectangle":
            return list(region.bounds())
        if region.type != "polygon":
            raise self.trax.TraxException(f"it gave a region of type {region.type}, neither rectangle nor polygon")
        corners = np.array(list(region))
        return [*corners.min(axis=0), *np.ptp(corners, axis=0)]

    def close(self) -> None:
        """End the program."""
        try:
            self.client.quit()
        except self.trax.TraxException:
            self.process.kill()
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.folder.cleanup()

    def _sent(self, image: NDArray[np.uint8]) -> Any:
        """Return the image in a form that the program takes; as a file it is without loss."""
        formats = self.client.image_formats
        if "memory" in formats:
            return {"color": self.trax.MemoryImage.create(np.ascontiguousarray(image))}
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if "buffer" in formats:
            return {"color": self.trax.BufferImage.create(cv2.imencode(".png", bgr)[1].tobytes())}
        file = Path(self.folder.name, "frame.png")
        cv2.imwrite(str(file), bgr)
        return {"color": self.trax.FileImage.create(str(file))}
