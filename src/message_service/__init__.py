"""Message Service: keeps the messages of a character-chat platform and answers them.

Start reading in `journey/`: its four files tell the path of a message in order.
"""

__version__ = "0.1.0"
