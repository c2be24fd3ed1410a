"""Noise levels, what a model's output means, guidance and samplers: functions of tensors."""
