"""Losses that training and tuning share: pure functions of tensors."""
