"""What training and tracking cost: time, energy, memory, parameters and multiply-accumulates."""
