"""Run specifications to run records: planning, training, evaluation, storage."""

from harness.siblings import ensure_siblings

ensure_siblings()
