"""The target heads: tokens of the search region to scores and boxes."""
