"""Food orders, captured from Postgres."""
