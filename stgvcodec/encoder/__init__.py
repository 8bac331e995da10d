"""The encoder makes a `.stgv` file of a video: it looks ahead, plans, fits each GoP and writes it."""
