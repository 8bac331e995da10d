"""The entropy coder: models of symbols, frequency tables, plain streams and conditional streams."""
