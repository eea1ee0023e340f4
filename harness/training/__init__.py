"""Trains one run: the data loader, the loop, and the pretraining of the embedded backbone."""
