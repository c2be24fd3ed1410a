"""The transformer, and the factory that makes it from numbers."""
