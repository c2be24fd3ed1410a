"""Measurements of speed, each a class with a `run` method named by `_target_` in conf/bench."""
