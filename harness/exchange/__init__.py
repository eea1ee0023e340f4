"""Results on their way out and back: result files, submissions, server scores, data frames."""
