"""The models that the project itself is about: AFRAD."""
