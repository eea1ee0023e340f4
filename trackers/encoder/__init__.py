"""The one-stream vision transformer: backbones, token embeddings, attention, prompts and token elimination."""
