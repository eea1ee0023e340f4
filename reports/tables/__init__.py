"""What goes into the columns and rows of a report's tables."""
