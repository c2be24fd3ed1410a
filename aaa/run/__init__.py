"""One training run: what it is put together from, what it looks at on its way, and what it leaves behind."""
