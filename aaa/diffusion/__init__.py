"""Noise schedulers, loss and sampler: functions of tensors."""
