"""The benchmarks, one file each: sequences, layouts, protocols and what is special about them."""
