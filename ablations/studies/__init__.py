"""The built-in studies, one module for each source. Every module-level `Study` is found by `ablations.catalogue`."""
