"""Images as JPEG files."""

import cv2
import numpy as np

from trackablate.datasets.sequence import Image


def jpeg(image: Image, quality: int = 95) -> bytes:
    """Return an RGB image as the content of a JPEG file. Raises OSError if OpenCV cannot encode it on this machine."""
    pixels = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    done, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise OSError("OpenCV cannot encode JPEG on this machine")
    return content.tobytes()
