"""Boxes to scores: metrics, whose rules they follow, and raw result files of any tracker."""
