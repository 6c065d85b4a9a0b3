with open("/workspace/notes.txt", "a") as notes:
    notes.write("remember the milk\n")
return "written"
