"""Message Service: keeps the messages of a character-chat platform and answers them.

Start reading in `journey/`: its files tell the path of a message in order.
"""

__version__ = "0.1.0"
