"""What is done with a whole store: list it, look for damage, clear it, copy it. Imports no torch."""
