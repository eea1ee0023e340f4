"""Training pairs: the choice of videos and of two frames, their crops and their augmentation."""
