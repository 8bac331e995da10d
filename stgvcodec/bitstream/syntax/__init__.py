"""How values are written: primitive types, syntax tables, limits, and the version of the format."""
