"""The terminal explorer, in Textual; it asks what every other face asks, and is imported only
when it is opened."""
