"""How a pretrained encoder is adapted: one file per method, and one table of them in `adapt.py`."""
