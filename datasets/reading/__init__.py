"""Reading a data set: files, frames, annotation, and the declaration of each layout."""
