"""Records become typed rows and verdicts."""
