"""Flows of the end-to-end tests and the demo, and how to register them."""
