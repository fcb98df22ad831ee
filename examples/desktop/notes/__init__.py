"""Notes in one file that the user keeps where they like: an application file, made with Headway."""

RELEASE = "3.0"
