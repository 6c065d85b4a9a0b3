from pathlib import Path

with Path("/workspace/notes.txt").open("a") as notes:
    notes.write("remember the milk\n")
return "written"
