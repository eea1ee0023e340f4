"""`python -m trackablate`: the same as the command `trackablate`."""

from trackablate.harness.cli import main

if __name__ == "__main__":
    main()
