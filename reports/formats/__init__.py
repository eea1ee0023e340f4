"""A table as text for the terminal, LaTeX, Markdown, CSV and JSON."""
