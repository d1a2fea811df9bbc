"""Words and ground: errors, settings, names, locks, metrics. Imports nothing of ours."""
