"""The built-in studies: one module for each paper, and one for the head study."""
