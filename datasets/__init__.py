"""Says what a video is: sequences, boxes, benchmarks, protocols, and training pairs. Imports no other package of ours."""
