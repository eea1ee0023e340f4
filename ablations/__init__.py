"""Which runs answer which question: studies, their rows, the published recipes and figures."""
