"""A server of an index: an API over HTTP with a page, and tools for assistants."""
