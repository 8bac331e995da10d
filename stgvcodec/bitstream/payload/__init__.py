"""One GoP as bytes: its header, and its symbols in streams."""
