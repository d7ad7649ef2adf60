"""What comes over the wire in, checked, and the shapes of what goes out, for the OpenAPI document."""
