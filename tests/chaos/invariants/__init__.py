"""What must hold of every history, a file for each kind of promise. Pure."""
