"""Rate control gives each GoP its bytes, so that the file meets its rate, size or quality."""
