"""The `message-service` command."""
