"""The payload of a GoP: its header, and its symbols in streams."""
