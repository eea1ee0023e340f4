"""How a pretrained encoder is adapted: full fine-tuning and the parameter-efficient methods."""
