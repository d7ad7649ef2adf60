"""The path of a message, in order: submit, answer, watch; and recover, for whatever fell between. Read here first."""
