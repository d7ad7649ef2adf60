"""May this text pass, and in what form?"""
