"""Encoder and decoder: the only place that joins fit, quantisers, bitstream and media."""
