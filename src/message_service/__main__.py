"""`python -m message_service` is the same as `message-service`."""

from message_service.cli.main import main

if __name__ == "__main__":
    main()
