"""What training adds to a model: label assignment, losses and denoising queries."""
