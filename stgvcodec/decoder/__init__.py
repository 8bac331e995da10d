"""From a `.stgv` file to frames; nothing here needs the encoder or the fit."""
