"""The heads that turn search tokens into scores and boxes, one file for each kind."""
