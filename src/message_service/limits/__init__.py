"""How much anyone may ask for."""
