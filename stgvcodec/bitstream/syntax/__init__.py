"""The syntax of the format: primitive types, syntax tables, limits, and the version."""
