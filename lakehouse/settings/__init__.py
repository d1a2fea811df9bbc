"""config.ini and the environment become frozen settings."""
