"""Synthetic tracking videos with exact boxes, drawn on the fly or written in a benchmark's layout."""
