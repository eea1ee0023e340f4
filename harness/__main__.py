"""`python -m harness` in a checkout, installed or not."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    from trackablate.harness.cli import main

    main()
