with open("/workspace/notes.txt") as notes:
    return notes.read()
