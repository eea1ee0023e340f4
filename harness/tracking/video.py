"""Videos in and out: frames from a file, a folder or a camera, and frames to a file, a folder or a window.

No torch here.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ENOSPC
from os import getpid
from pathlib import Path

import cv2
import numpy as np

from trackablate.datasets.atomic import write_bytes
from trackablate.datasets.errors import DataError, counted, shown
from trackablate.datasets.reading.files import Folder
from trackablate.datasets.reading.frame_names import SUFFIXES, frame_names
from trackablate.datasets.reading.frames import MOST_PIXELS, ImageFiles, jpeg
from trackablate.datasets.sequence import Image
from trackablate.harness.errors import BadInput

CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
"""Codec that OpenCV's own build writes, by a file's ending."""
RATE = 30.0
"""Frames per second where nothing says it."""
Write = Callable[[Image], None]
"""Takes the next frame."""


def check_output(out: Path, video: Path | None = None) -> bool:
    """Return whether an output is a video file; else it is a folder of images.

    Raises BadInput if it has another ending, if it is the input, or if it is a folder that holds something.
    """
    if video is not None and out.resolve() == video.resolve():
        raise BadInput(f"--out {shown(out)} is the input: name another file")
    if out.suffix.lower() in CODECS and not out.is_dir():
        return True
    if out.suffix and not out.is_dir():
        raise BadInput(
            f"--out {shown(out)}: write {', '.join(CODECS)}, or a folder's name without an ending for images"
        )
    if out.is_dir() and any(out.iterdir()):
        raise BadInput(f"--out {shown(out)} is a folder that is not empty: name a new one")
    return False


@contextmanager
def writing(out: Path, rate: float) -> Iterator[Write]:
    """Write frames to a video file, or to a folder as 00000000.jpg and so on; see `check_output`.

    The file stands under its name when the block ends, also by an error or a signal, with all frames until then.
    """
    count, file = 0, out.suffix.lower() in CODECS and not out.is_dir()
    part = out.with_name(f".{out.stem}-{getpid()}{out.suffix}")
    writer: cv2.VideoWriter | None = None
    size = (0, 0)

    def write_image(image: Image) -> None:
        nonlocal count
        write_bytes(out / f"{count:08}.jpg", jpeg(image))
        count += 1

    def write_frame(image: Image) -> None:
        nonlocal count, size, writer
        if writer is None:
            size = (image.shape[1], image.shape[0])
            out.parent.mkdir(parents=True, exist_ok=True)
            writer = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*CODECS[out.suffix.lower()]), rate, size)
        # OpenCV drops frames of another size than the first one's without a word.
        fitted = image if (image.shape[1], image.shape[0]) == size else cv2.resize(image, size)
        writer.write(cv2.cvtColor(fitted, cv2.COLOR_RGB2BGR))
        count += 1

    try:
        yield write_frame if file else write_image
    finally:
        if writer is not None:
            writer.release()
            count = _keep(part, out, count)
        if count:
            sys.stderr.write(f"video: {shown(out)} ({counted(count, 'frame')})\n")


def _keep(part: Path, out: Path, count: int) -> int:
    """Rename a written video, and return how many frames it holds.

    Raises OSError if it does not hold the frames, of which OpenCV itself says nothing.
    """
    held = frame_count(part) if part.exists() else 0
    if abs(held - count) > 1:  # a signal may come between a frame and its count
        part.unlink(missing_ok=True)
        raise OSError(ENOSPC, f"holds {held} of {count} frames", str(out))
    part.replace(out)
    return held


@contextmanager
def window() -> Iterator[Write]:
    """Show frames in a window. Closing it ends the work as Ctrl-C does. Raises BadInput where there is no display."""
    remedy = "leave it out, or write a file with --out clip.mp4"
    try:
        import tkinter
    except ImportError:
        raise BadInput(f"--show needs Python's tkinter (on Debian: apt install python3-tk): {remedy}") from None
    try:
        root = tkinter.Tk()
    except tkinter.TclError as error:
        raise BadInput(f"--show: there is no display here ({error}): {remedy}") from None
    closed = False

    def close() -> None:
        nonlocal closed
        closed = True

    root.title("trackablate")
    root.protocol("WM_DELETE_WINDOW", close)
    label = tkinter.Label(root)
    label.pack()

    def write(image: Image) -> None:
        header = f"P6 {image.shape[1]} {image.shape[0]} 255\n".encode()
        photo = tkinter.PhotoImage(data=header + image.tobytes(), format="ppm")
        label.configure(image=photo)
        label.image = photo  # type: ignore[attr-defined]  # Tk itself holds no reference to it
        root.update()
        if closed:
            raise KeyboardInterrupt

    try:
        yield write
    finally:
        root.destroy()


def is_camera(video: Path) -> bool:
    """Return whether a video is a camera's number, 0 for the first one."""
    return str(video).isdecimal() and not video.exists()


def frames_of(video: Path) -> Iterator[Image]:
    """Return the frames of a folder of images, in the order of their numbers, of a video file, or of a camera.

    Raises DataError if there are none, or if two orders are possible.
    """
    if video.is_dir():
        files = Folder(video)
        try:
            names = frame_names(files.names(), "clear")
        except ValueError as error:
            raise DataError.at(video, *error.args) from None
        if not len(names):
            raise DataError(f"{shown(video)} holds no image ({', '.join(SUFFIXES)})")
        return iter(ImageFiles(files, "", names))
    if is_camera(video):
        return _seen(int(str(video)))
    if not video.is_file():  # a pipe would be waited for
        there = "is neither a file nor a folder" if video.exists() else "is not there"
        raise DataError(f"{shown(video)} {there}: name a folder of images, a video file, or a camera's number")
    return _decoded(video)


def frame_count(video: Path) -> int:
    """Return the number of frames of a folder of images or, by its own word, of a video file; 0 if it does not say."""
    if video.is_dir():
        return sum(name.lower().endswith(SUFFIXES) for name in Folder(video).names())
    return max(0, int(cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT))) if video.is_file() else 0


def frame_rate(video: Path) -> float:
    """Return the frames per second of a video file by its own word, else RATE."""
    told = float(cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FPS)) if video.is_file() else 0.0
    return told if 0 < told < 1000 else RATE


def _images(capture: cv2.VideoCapture, if_none: str) -> Iterator[Image]:
    """Yield the images of a file or camera. Raises DataError with that message if there are none."""
    more, image = capture.read()
    if not more:
        raise DataError(if_none)
    while more:
        yield np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        more, image = capture.read()


def _seen(number: int) -> Iterator[Image]:
    capture = cv2.VideoCapture(number)
    try:
        yield from _images(
            capture, f"camera {number} gives no image: is it connected, and not in use by another program?"
        )
    finally:
        capture.release()


def _decoded(video: Path) -> Iterator[Image]:
    capture = cv2.VideoCapture(str(video))
    try:
        width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MOST_PIXELS:
            said = f"{shown(video)} says that its frames are {width} x {height} pixels"
            raise DataError(f"{said}, too large to decode: make them smaller")
        done, problem = 0, "is no video that OpenCV can decode: convert it, or name a folder of its frames"
        for image in _images(capture, f"{video} {problem}"):
            yield image
            done += 1
        if (told := int(capture.get(cv2.CAP_PROP_FRAME_COUNT))) > done:
            problem = f"{shown(video)} ends after {done} frames, though its header says {told}"
            sys.stderr.write(f"{problem}: if it is cut off, get it again\n")
    finally:
        capture.release()
