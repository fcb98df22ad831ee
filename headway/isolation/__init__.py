"""A project's code, kept apart from the program around it."""
