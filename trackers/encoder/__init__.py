"""The one-stream vision transformer: backbones, token embeddings, attention and token elimination."""
