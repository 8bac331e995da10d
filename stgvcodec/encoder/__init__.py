"""From a video to a `.stgv` file: look ahead, plan, fit each GoP, write it."""
