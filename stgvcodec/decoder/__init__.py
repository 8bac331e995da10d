"""Decoding: a `.stgv` file in, frames out; nothing here needs the encoder or the fit."""
