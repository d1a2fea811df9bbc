"""What is declared, frozen and pure."""
