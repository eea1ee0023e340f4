"""Videos and what belongs to them: sequences, boxes, benchmarks, protocols, training pairs. Imports no other package."""
