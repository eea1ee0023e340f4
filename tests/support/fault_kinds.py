"""The kinds of faults of result files, told by what their messages say."""

import re

SAID = {
    "missing": "holds no result for the sequence",
    "duplicate": r"is one of \d+ results for the sequence",
    "empty": "is empty; ",
    "not numbers": "numbers wanted|numbers separated by",
    "nan": "the box is NaN",
    "negative": "the box has a negative side",
    "huge": "is not a pixel coordinate",
    "short": r"the file ends here, \d+ lines are wanted",
    "long": r"the file goes on to line \d+, \d+ lines are wanted",
}


def kind_of(fault: str) -> str:
    """The kind of a fault; "unreadable" for a file that has no lines to speak of."""
    return next((kind for kind, said in SAID.items() if re.search(said, fault)), "unreadable")
