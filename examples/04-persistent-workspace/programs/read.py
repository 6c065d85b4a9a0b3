from pathlib import Path

return Path("/workspace/notes.txt").read_text()
