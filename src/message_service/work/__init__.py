"""What waits to be done, who does it, and what happens when it goes wrong."""
