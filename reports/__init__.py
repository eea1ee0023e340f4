"""Turns records into tables, figures and pages. Never imports torch."""
