"""What a video is: sequences, boxes, protocols, cropping and sampling. Imports none of the project's other packages."""
