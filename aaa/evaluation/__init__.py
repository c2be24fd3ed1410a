"""Judging a model in training."""
