"""All studies: importing this module registers them. A new study is its module and one line here."""

import ablations.head
import ablations.papers
from ablations.study import STUDIES

__all__ = ["STUDIES", "ablations"]
