"""Training of one run: the loop, its data, and the pretraining of the shipped backbone."""
