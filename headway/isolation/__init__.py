"""A project's code, isolated from the program around it."""
