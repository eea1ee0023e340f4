"""The costs of training and tracking: time, energy, memory, parameters and multiply-accumulates."""
