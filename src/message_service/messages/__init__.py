"""The two nouns, message and reply, and the conversation they belong to. Pure: no I/O here."""
