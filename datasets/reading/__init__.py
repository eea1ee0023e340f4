"""Reads a data set from where it lies: files, annotation, frames, and the declaration of each layout."""
