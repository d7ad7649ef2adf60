"""What a watcher sees while a reply is written."""
