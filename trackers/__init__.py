"""What is compared: tracker specifications, the modules they build, and online inference. May import `datasets` only."""
