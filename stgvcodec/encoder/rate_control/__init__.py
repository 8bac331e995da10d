"""How many bytes each GoP gets, so that the file meets its rate, size or quality."""
