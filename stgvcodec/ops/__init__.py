"""The operators: one folder each, with a reference in torch and fast twins of the same signature."""
