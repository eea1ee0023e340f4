"""Training pairs: which videos, which two frames, how they are cropped and augmented."""
