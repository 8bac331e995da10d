"""Fitting one GoP: initialisation, then the training phases, the last of them through the quantisers."""
