"""The HTTP door. It reads requests, calls a journey step, and writes answers; it decides nothing."""
