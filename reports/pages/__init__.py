"""HTML pages of a study, of scored results, and of a whole store."""
