"""Second writers, strangers' files and edits by hand: what must not be called PROVEN."""
