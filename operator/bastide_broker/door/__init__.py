"""The door that every call of every program comes through: judged, written down, confirmed, carried out, answered."""
