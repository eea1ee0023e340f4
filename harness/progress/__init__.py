"""How far a study is: what is left of it, and what is at work in a store. Imported by the command line alone."""
