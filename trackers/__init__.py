"""What is compared: tracker specifications, the networks that they build, and online tracking."""
