"""The operators. Each has a folder with a reference, and fast twins of the same signature."""
